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

    def test_read_only(self) -> None:
        """Who may only look cannot pause."""
        self.harness.close()
        self.harness.manage(self.letters, name="letters", auth={"read_only": ["1stline.choria"]})
        self.assertTrue(self.harness.ask("ping", caller="1stline.choria").ok)
        reply = self.harness.ask("pause", caller="1stline.choria")
        self.assertEqual(reply.message, "You are not authorized to call this agent or action.")
        self.assertFalse(self.letters.paused())
