"""Tests of a service on the harness: no sockets, no waiting, nothing left behind."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.testing import Harness
from examples.testing.service import Letters, LettersAgent


class LettersTests(SynchronousTestCase):
    """Letters, seen by operators."""

    def setUp(self) -> None:
        self.sent: list[str] = []
        self.letters = Letters(self.sent.append)
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.management = self.harness.manage(
            self.letters, LettersAgent(self.letters), name="letters"
        )

    def test_pause_and_resume(self) -> None:
        """A paused service keeps its letters and sends them when it is resumed."""
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})
        self.letters.send("Dear Ann")
        self.assertEqual(self.sent, [])
        self.harness.ask("resume")
        self.assertEqual(self.sent, ["Dear Ann"])

    def test_unhealthy(self) -> None:
        """A mail server that is down makes the service unhealthy."""

        def fail(letter: str) -> None:
            raise ConnectionRefusedError("mail.example.net is down")

        self.letters.post = fail
        self.letters.send("Dear Bob")
        reply = self.harness.ask("health")
        self.assertEqual(
            reply.data, {"result": {"trouble": "mail.example.net is down"}, "healthy": False}
        )

    def test_found_by_its_country(self) -> None:
        """Operators find it by its facts; its password is masked."""
        self.assertEqual(self.harness.request("ping", facts=["country=nl"]).count, 1)
        self.assertEqual(self.harness.request("ping", facts=["country=be"]).count, 0)
        facts = self.harness.ask("info").data["facts"]
        self.assertEqual(facts["smtp"], {"host": "mail.example.net", "password": "********"})

    def test_drop(self) -> None:
        """Dropping more than there is fails with a text and drops nothing."""
        self.harness.ask("pause")
        self.letters.send("Dear Eve")
        reply = self.harness.ask("drop", {"count": 2}, agent="letters")
        self.assertEqual((reply.ok, reply.message), (False, "only 1 letters wait"))
        reply = self.harness.ask("drop", {"count": 1}, agent="letters")
        self.assertEqual(reply.data, {"left": 0})

    def test_outage(self) -> None:
        """Without a broker it works on; readiness comes back with the broker."""
        self.harness.network.fail_dns("broker.example.net")
        self.harness.network.cut()
        self.harness.advance(60)
        self.assertFalse(self.management.state.ready)
        self.letters.send("Dear Joe")
        self.assertEqual(self.sent, ["Dear Joe"])
        self.harness.network.fail_dns("broker.example.net", False)
        self.harness.result_of(self.management.when_ready())
        self.assertTrue(self.harness.ask("ping").ok)


class CallerTests(SynchronousTestCase):
    """Who may do what, with real signatures: the service is in the secure mode."""

    def setUp(self) -> None:
        self.letters = Letters(lambda letter: None)
        self.harness = Harness(self.letters, name="letters", secure=True)
        self.addCleanup(self.harness.close)

    def test_full(self) -> None:
        """Who may do everything can pause it."""
        self.assertEqual(self.harness.as_full().pause().verdict, "ok")
        self.assertTrue(self.letters.paused())

    def test_read_only(self) -> None:
        """Who may only look can look, and cannot pause."""
        first_line = self.harness.as_read_only()
        self.assertEqual(first_line.info().data["version"], "2.1.0")
        self.assertEqual(first_line.pause().verdict, "denied: read_only")
        self.assertFalse(self.letters.paused())

    def test_stranger(self) -> None:
        """Whom nobody has given a role is denied, and it is written down."""
        self.assertEqual(self.harness.as_stranger().info().verdict, "denied: no role")
        line = self.harness.audited()[-1]
        self.assertEqual((line["signer"], line["decision"]), ("stranger.choria", "deny"))

    def test_certificates(self) -> None:
        """A certificate that is not good is not even answered, whatever name is in it."""
        pki = self.harness.pki
        for certificate, verdict in (
            (pki.defective_client("expired", "sre.choria"), "dropped: certificate_expired"),
            (pki.defective_client("other_ca", "sre.choria"), "dropped: unknown_ca"),
            (pki.client("eve.choria"), "dropped: name_mismatch"),
        ):
            caller = self.harness.as_caller("sre.choria", certificate)
            self.assertEqual(caller.pause().verdict, verdict)

    def test_policy(self) -> None:
        """The site's policy lets Bob pause in the Netherlands, and nobody else of his team."""
        policy = (
            "policy default deny\n"
            "allow\tchoria=bob.choria\tpause resume\tcountry=nl\t*\n"
            "deny\t/\\.choria$/\tpause\t*\t*\n"
        )
        harness = Harness(self.letters, name="mail", secure=True, policy=policy)
        self.addCleanup(harness.close)
        self.assertEqual(harness.as_caller("bob.choria").pause().rule, "policy line 2")
        eve = harness.as_caller("choria=eve.choria").pause()
        self.assertEqual(eve.verdict, "denied: policy line 3")
