"""Callers on a harness, in both modes: who may do what, and how it is told."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.testing import PKI, Caller, Harness, RecordingApplication, Result

POLICY = (
    "policy default deny\n"
    "allow\tchoria=rip.mcollective\tinfo\t*\t*\n"
    "deny\tchoria=rip.mcollective\t*\t*\t*\n"
)


class CallersCase(SynchronousTestCase):
    """One application, managed on a harness."""

    secure = False

    def setUp(self) -> None:
        self.app = RecordingApplication({"dc": "DC1"})

    def harness(self, *provided: object, **options: Any) -> Harness:
        harness = Harness(*(provided or (self.app,)), secure=self.secure, **options)
        self.addCleanup(harness.close)
        return harness

    def told(self, result: Result) -> tuple[str, bool, bool, bool]:
        return result.verdict, result.ok, result.denied, result.dropped


class InsecureTests(CallersCase):
    """Names are claimed."""

    def test_full(self) -> None:
        """Who may do everything reaches the application."""
        paused = self.harness().as_full().pause()
        self.assertEqual(self.told(paused), ("ok", True, False, False))
        self.assertEqual(
            (paused.rule, paused.message, paused.data), ("full", "OK", {"paused": True})
        )
        self.assertIn("pause", self.app.calls)

    def test_changes(self) -> None:
        """What is changed for a while, ended and told, for those who may."""
        self.app = RecordingApplication(breakers=("payments", "search"))
        harness = self.harness()
        caller, payments = harness.as_full(), self.app.breakers()["payments"]
        changed = caller.change("breaker:payments", "open", seconds=60, why="the bank is down")
        self.assertEqual((changed.verdict, changed.rule), ("ok", "full"))
        self.assertTrue(payments.paused())
        (live,) = harness.as_read_only().changes().data["live"]
        self.assertEqual(live["why"], "the bank is down")
        self.assertTrue(harness.as_read_only().end(target="breaker:payments").denied)
        again = caller.change("breaker:payments", "closed", expect="closed")
        self.assertRegex(again.verdict, "^failed: ")
        self.assertTrue(caller.end(change=live["id"], why="it is up").ok)
        self.assertFalse(payments.paused())
        self.assertTrue(caller.change("breaker:payments", "open", seconds=60).ok)
        harness.advance(61)
        self.assertFalse(payments.paused())
        self.assertEqual(caller.changes(last=1).data["live"], [])
        self.assertEqual(len(caller.changes(last=1).data["history"]), 1)
        self.assertNotIn("pause", self.app.calls)

    def test_read_only(self) -> None:
        """Who may only look looks, and is denied the rest by his role."""
        caller = self.harness().as_read_only()
        self.assertEqual(caller.health().rule, "read_only")
        denied = caller.pause()
        self.assertEqual(self.told(denied), ("denied: read_only", False, True, False))
        self.assertEqual(denied.message, "You are not authorized to call this agent or action.")
        self.assertNotIn("pause", self.app.calls)

    def test_stranger(self) -> None:
        """Who has no role is denied everything."""
        caller = self.harness().as_stranger()
        for result in (caller.info(), caller.ping(), caller.resume(), caller.flip()):
            self.assertEqual(self.told(result), ("denied: no role", False, True, False))

    def test_policy(self) -> None:
        """A policy's line that decides is named."""
        caller = self.harness(policy=POLICY).as_caller("choria=rip.mcollective")
        self.assertEqual(caller.name, "rip.mcollective")
        self.assertEqual((caller.info().verdict, caller.info().rule), ("ok", "policy line 2"))
        self.assertEqual(caller.shutdown().verdict, "denied: policy line 3")

    def test_failed(self) -> None:
        """An action that fails is told apart from one that is denied."""
        self.app.raises["pause"] = RuntimeError("no disk")
        failed = self.harness().as_full().pause()
        self.assertEqual(
            self.told(failed), ("failed: pause failed: RuntimeError: no disk", False, False, False)
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_hidden(self) -> None:
        """A service that is hidden does not answer a stranger at all."""
        harness = self.harness(auth={"full": ["sre.choria"], "hidden": True})
        dropped = harness.as_stranger().ping()
        self.assertEqual(self.told(dropped), ("dropped: hidden", False, False, True))
        self.assertEqual((dropped.reply, dropped.message, dropped.data), (None, "", {}))
        self.assertEqual(harness.drops(), {"hidden": 1})

    def test_nobody(self) -> None:
        """A filter that matches nobody is the test's mistake, not a denial; so are two answers."""
        harness = self.harness()
        with self.assertRaisesRegex(AssertionError, "ping: 0 services found, 0 answered"):
            harness.as_full().ping(facts=["dc=DC9"])
        harness.manage(identity="app2.example.net")
        with self.assertRaisesRegex(AssertionError, "ping: 2 services found, 2 answered"):
            harness.as_full().ping()
        self.assertEqual(harness.as_read_only().request("ping").count, 2)
        self.assertTrue(harness.as_full().ping(identities=["app2.example.net"]).ok)

    def test_other_agents(self) -> None:
        """Actions of other agents are asked by name, with inputs."""
        caller = self.harness().as_read_only()
        got = caller.ask("get_fact", {"fact": "dc"}, agent="rpcutil")
        self.assertEqual((got.verdict, got.data["value"]), ("ok", "DC1"))

    def test_roles_of_ones_own(self) -> None:
        """A caller who is not what he is asked for is an error: nothing would be tested."""
        everybody = self.harness(auth={"insecure": True})
        with self.assertRaisesRegex(AssertionError, "1stline.choria has full .* not read_only"):
            everybody.as_read_only()
        everybody.close()
        own = self.harness(auth={"full": ["ann.choria"]})
        with self.assertRaisesRegex(AssertionError, "sre.choria has no role .* not full"):
            own.as_full()
        self.assertEqual(own.as_caller("ann.choria").pause().rule, "full")
        self.assertEqual(own.as_stranger().pause().verdict, "denied: no role")

    def test_without_audit(self) -> None:
        """Without an audit log a denial is one still, only its rule is not known."""
        harness = self.harness(audit=None)
        self.assertEqual(self.told(harness.as_stranger().info()), ("denied", False, True, False))
        self.assertEqual(harness.audited(), [])

    def test_no_certificates(self) -> None:
        """There are none in the insecure mode."""
        harness = self.harness()
        issued = PKI(self.mktemp()).client("sre.choria")
        for wrong in (lambda: harness.pki, lambda: harness.as_caller("sre.choria", issued)):
            self.assertRaisesRegex(AssertionError, r"secure=True", wrong)

    def test_nothing_managed(self) -> None:
        """Without a management there is nobody to have a role; settings would be of nothing."""
        harness = Harness()
        self.addCleanup(harness.close)
        self.assertRaisesRegex(AssertionError, "nothing is managed", harness.as_full)
        self.assertRaisesRegex(TypeError, "auth: of a management", Harness, auth={})

    def test_bad_settings(self) -> None:
        """A harness that cannot be made leaves nothing: the name is free."""
        self.assertRaises(ConfigError, Harness, self.app, loglevel="loud")
        self.assertRaises(TypeError, Harness, self.app, object())
        self.assertEqual(self.harness().as_full().pause().verdict, "ok")


class SecureTests(CallersCase):
    """Requests are signed, and the broker speaks TLS."""

    secure = True

    def test_roles(self) -> None:
        """The same verdicts as in the insecure mode; the audit log has who signed."""
        harness = self.harness()
        for caller, verdicts in (
            (harness.as_full(), ("ok", "ok")),
            (harness.as_read_only(), ("ok", "denied: read_only")),
            (harness.as_stranger(), ("denied: no role", "denied: no role")),
        ):
            self.assertEqual((caller.info().verdict, caller.pause().verdict), verdicts)
        lines = [(line["signer"], line["action"], line["phase"]) for line in harness.audited()]
        self.assertEqual(
            lines,
            [
                ("sre.choria", "info", "only"),
                ("sre.choria", "pause", "begin"),
                ("sre.choria", "pause", "end"),
                ("1stline.choria", "info", "only"),
                ("1stline.choria", "pause", "only"),
                ("stranger.choria", "info", "only"),
                ("stranger.choria", "pause", "only"),
            ],
        )
        self.assertEqual({line["secure"] for line in harness.audited()}, {True})
        self.assertEqual(self.app.calls.count("pause"), 1)

    def test_tls(self) -> None:
        """Nothing of it goes over the network in the clear."""
        harness = self.harness()
        self.assertTrue(harness.as_full().ping().ok)
        self.assertTrue(harness.broker.info["tls_required"])
        for each in harness.broker.clients:
            self.assertTrue(ISSLTransport.providedBy(each.transport))

    def test_policy(self) -> None:
        """A policy goes by the verified name."""
        harness = self.harness(policy=POLICY)
        self.assertEqual(
            harness.as_caller("rip.mcollective").pause().verdict, "denied: policy line 3"
        )
        rip = harness.pki.client("rip.mcollective")
        liar = harness.as_caller("sre.choria", rip)
        self.assertEqual(liar.pause().verdict, "dropped: name_mismatch")

    def test_defects(self) -> None:
        """Each defect of a certificate is told by its reason."""
        harness = self.harness()
        for defect, reason in (
            ("expired", "certificate_expired"),
            ("not_yet_valid", "certificate_not_yet_valid"),
            ("other_ca", "unknown_ca"),
            ("self_signed", "unknown_ca"),
            ("missing_intermediate", "unknown_ca"),
            ("wrong_purpose", "wrong_purpose"),
            ("other_name", "name_mismatch"),
        ):
            certificate = harness.pki.defective_client(defect, "sre.choria")
            dropped = harness.as_caller("sre.choria", certificate).pause()
            self.assertEqual(self.told(dropped), (f"dropped: {reason}", False, False, True), defect)
        certificate = harness.pki.defective_client("ec_key", "sre.choria")
        with self.assertRaisesRegex(ConfigError, "EC key"):
            harness.as_caller("sre.choria", certificate).pause()
        self.assertNotIn("pause", self.app.calls)

    def test_not_allowed(self) -> None:
        """Who is not on the allow list is dropped; the list is a setting of the service."""
        harness = self.harness()
        self.assertEqual(harness.as_caller("eve").ping().verdict, "dropped: not_allowed")
        harness.close()
        harness.manage(self.app, tls={"allow": ["^eve$"]})
        self.assertEqual(harness.as_caller("eve").ping().verdict, "denied: no role")
        self.assertEqual(harness.as_full().ping().verdict, "dropped: not_allowed")

    def test_time(self) -> None:
        """A certificate ends on the harness's clock, whatever the real time is."""
        for start in (1_000_000_000.0, 1_700_000_000.0, 3_000_000_000.0):
            harness = Harness(self.app, secure=True, start=start)
            try:
                caller = harness.as_caller(
                    "sre.choria", harness.pki.client("ann.choria", seconds=60)
                )
                short = harness.as_caller(
                    "ann.choria", harness.pki.client("ann.choria", seconds=60)
                )
                self.assertEqual(harness.as_full().ping().verdict, "ok")
                self.assertEqual(caller.ping().verdict, "dropped: name_mismatch")
                self.assertEqual(short.ping().verdict, "denied: no role")
                harness.advance(61)
                self.assertEqual(short.ping().verdict, "dropped: certificate_expired")
            finally:
                harness.close()

    def test_delegation(self) -> None:
        """A privileged certificate speaks for others, unless the service does not want that."""
        harness = self.harness()
        signer = harness.pki.client("signer.privileged.choria")
        for_ann = harness.as_caller("sre.choria", signer)
        self.assertEqual(for_ann.ping().verdict, "ok")
        self.assertEqual(harness.audited()[-1]["signer"], "signer.privileged.choria")
        harness.close()
        harness.manage(self.app, tls={"delegation": False})
        self.assertEqual(
            harness.as_caller("sre.choria", signer).ping().verdict, "dropped: name_mismatch"
        )

    def test_keys(self) -> None:
        """The keys of a name are made once, those files are of one harness and go with it."""
        first, second = self.harness(), self.harness(name="other")
        one, other = first.pki.client("sre.choria"), second.pki.client("sre.choria")
        self.assertEqual(Path(one.key).read_bytes(), Path(other.key).read_bytes())
        self.assertNotEqual(Path(one.ca).read_bytes(), Path(other.ca).read_bytes())
        crossed = first.as_caller("sre.choria", other)
        self.assertEqual(crossed.ping().verdict, "dropped: unknown_ca")

    def test_files_go(self) -> None:
        """Its files are removed when it is no more."""
        harness = Harness(self.app, secure=True)
        folder = harness.folder
        harness.close()
        self.assertTrue(folder.is_dir())
        del harness
        gc.collect()
        self.assertFalse(os.path.exists(folder))

    def test_caller_is_public(self) -> None:
        """What is returned has a name for annotations."""
        caller = self.harness().as_full()
        self.assertIsInstance(caller, Caller)
        self.assertEqual(caller.caller_id, "choria=sre.choria")
