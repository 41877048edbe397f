"""An action policy beside the lists, and the audit log, in a service on the network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.security.auditverify import verify_files
from backplane.testing import Harness
from backplane.testing.application import RecordingApplication

DENIED = "You are not authorized to call this agent or action."

POLICY = """policy default deny
allow\tops\tpause resume\tdc=DC1\t*
allow\tops\tping\tdc=DC2\t*
deny\tchoria=sre.choria\tshutdown\t*\t*
allow\t/^choria=aud/\tinfo\t*\t*
"""
GROUPS = "ops choria=one.choria choria=two.choria\n"


class ServiceTests(SynchronousTestCase):
    """One service and its files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path.absolute())

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / "audit.log").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def manage(self, required: bool = False, **auth: Any) -> None:
        logfile = str((self.folder / "audit.log").absolute())
        self.harness.manage(self.app, auth=auth, audit={"logfile": logfile, "required": required})

    def ask(self, action: str, caller: str, **how: Any) -> tuple[int, str]:
        reply = self.harness.ask(action, caller=caller, **how)
        return int(reply.status), reply.message


class PolicyTests(ServiceTests):
    """Lines first, then lists, then the default."""

    def setUp(self) -> None:
        super().setUp()
        self.manage(
            policy=self.file("backplane.policy", POLICY),
            groups=self.file("groups", GROUPS),
            full=["sre.choria"],
            read_only=["look.choria"],
        )

    def test_lines(self) -> None:
        """Callers, actions and facts of the lines."""
        self.assertEqual(self.ask("pause", "one.choria"), (0, "OK"))
        self.assertTrue(self.app.paused())
        self.assertEqual(self.ask("ping", "one.choria"), (1, DENIED))
        self.assertEqual(self.ask("flip", "two.choria"), (1, DENIED))
        self.assertEqual(self.ask("info", "auditor.choria"), (0, "OK"))
        self.assertEqual(self.ask("info", "nobody.choria"), (1, DENIED))

    def test_lists(self) -> None:
        """A line wins over the lists; they win over the default."""
        self.assertEqual(self.ask("flip", "sre.choria"), (0, "OK"))
        self.assertEqual(self.ask("shutdown", "sre.choria"), (1, DENIED))
        self.assertEqual(self.ask("info", "look.choria"), (0, "OK"))
        self.assertEqual(self.ask("flip", "look.choria"), (1, DENIED))

    def test_filters(self) -> None:
        """Whom a policy allows something may filter by all facts."""
        self.assertEqual(self.ask("resume", "one.choria", facts=["dc=DC1"]), (0, "OK"))
        outcome = self.harness.request("resume", caller="nobody.choria", facts=["dc=DC1"])
        self.assertEqual(outcome.count, 0)

    def test_other_agents(self) -> None:
        """The policy is that of one agent."""
        reply = self.harness.ask("inventory", agent="rpcutil", caller="one.choria")
        self.assertEqual((int(reply.status), reply.message), (1, DENIED))

    def test_audited(self) -> None:
        """One line for a read or a refusal, two for a change; each says what decided."""
        self.ask("pause", "one.choria")
        self.ask("ping", "one.choria")
        self.ask("ping", "look.choria")
        told = [
            (each["action"], each["phase"], each["decision"], each["rule"], each["outcome"])
            for each in self.lines()
        ]
        self.assertEqual(
            told,
            [
                ("pause", "begin", "allow", "policy line 2", None),
                ("pause", "end", "allow", "policy line 2", "ok"),
                ("ping", "only", "deny", "policy default, line 1", None),
                ("ping", "only", "allow", "read_only", "ok"),
            ],
        )
        self.assertEqual({each["secure"] for each in self.lines()}, {False})
        self.assertIsNone(verify_files([str(self.folder / "audit.log")]).fault)


class AuditTests(ServiceTests):
    """When it cannot be written."""

    def test_required(self) -> None:
        """Without a line nothing is changed; reads go on."""
        self.manage(required=True, insecure=True)
        self.assertEqual(self.ask("pause", "sre.choria"), (0, "OK"))
        self.spoil()
        status, message = self.ask("resume", "sre.choria")
        self.assertEqual(status, 5)
        self.assertIn("audit log", message)
        self.assertTrue(self.app.paused())
        self.assertEqual(self.ask("ping", "sre.choria"), (0, "OK"))

    def test_not_required(self) -> None:
        """Otherwise what is asked is done."""
        self.manage(insecure=True)
        self.spoil()
        self.assertEqual(self.ask("pause", "sre.choria"), (0, "OK"))
        self.assertTrue(self.app.paused())

    def spoil(self) -> None:
        """Put something there that cannot be written to."""
        path = self.folder / "audit.log"
        path.unlink(missing_ok=True)
        os.mkdir(path)

    def test_failed(self) -> None:
        """What fails is written down as failed, and so is what had bad inputs."""
        self.app.raises["pause"] = ValueError("no")
        self.manage(insecure=True)
        self.ask("pause", "sre.choria")
        self.flushLoggedErrors(ValueError)
        self.assertEqual([each["outcome"] for each in self.lines()], [None, "failed"])
        self.ask("get_fact", "sre.choria", agent="rpcutil")
        self.assertEqual(self.lines()[-1]["action"], "get_fact")


class MistakeTests(ServiceTests):
    """Found before the start."""

    def test_mistakes(self) -> None:
        """Every line of the policy that cannot be used is named."""
        policy = self.file("p", "policy default perhaps\nallow\t*\t*\tdc\t*\n")
        error = self.assertRaises(ConfigError, self.manage, policy=policy)
        self.assertIn(f"{policy}:1", str(error))
        self.assertIn(f"{policy}:2", str(error))

    def test_groups_alone(self) -> None:
        groups = self.file("g", GROUPS)
        error = self.assertRaises(ConfigError, self.manage, groups=groups)
        self.assertIn("groups without a policy", str(error))
