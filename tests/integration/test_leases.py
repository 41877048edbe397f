"""Leases end without broker and operator, and over restarts; services as processes."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration.fleet import Fleet, Ran, run_cli, wait
from tests.integration.test_secure import BROKER, PKI

NAME = "app1.example.net"


class LeaseTests(TestCase):
    """In the insecure mode."""

    timeout = 120
    secure = False

    def setUp(self) -> None:
        self.fleet = Fleet(BROKER if self.secure else "")
        self.addCleanup(self.fleet.close)

    def management(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": "app",
            "identity": NAME,
            "loglevel": "info",
            "auth": {"insecure": True},
            "audit": {"logfile": "audit.log"},
            "brokers": [f"localhost:{self.fleet.server.port}"],
            **more,
        }
        if self.secure:
            found["auth"] = {"full": ["sre.choria"], "read_only": ["1stline.choria"]}
            found["tls"] = {
                "scheme": "file",
                "ca": str(PKI / "ca.pem"),
                "cert": str(PKI / f"{NAME}.pem"),
                "key": str(PKI / f"{NAME}.key"),
            }
        return found

    def ask(self, *args: str) -> Ran:
        if not self.secure:
            return self.fleet.cli(*args)
        config = self.fleet.write(
            "sre.cfg",
            f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}\n"
            "plugin.security.provider = file\n"
            f"plugin.security.file.ca = {PKI / 'ca.pem'}\n"
            f"plugin.security.file.certificate = {PKI / 'sre.choria.pem'}\n"
            f"plugin.security.file.key = {PKI / 'sre.choria.key'}\n",
        )
        environ = {**self.fleet.state, "MCOLLECTIVE_CERTNAME": "sre.choria"}
        return run_cli("--config", str(config), *args, **environ)

    def pause(self, seconds: int) -> float:
        """Pause for some seconds; return when that was asked for."""
        asked = time.time()
        given = ("--for", f"{seconds}s", "--reason", "db failover")
        done = self.ask("app", "pause", *given, "--expect", "1")
        self.assertEqual(done.code, 0, done.out + done.err)
        return asked

    def info(self) -> dict[str, Any]:
        """Return what the service says; it may be on its way back to the broker."""
        found: list[Ran] = []

        def answered() -> bool:
            found.append(self.ask("app", "info", "--expect", "1", "--json"))
            return found[-1].code == 0

        wait(answered, "an answer", lambda: found[-1].out + found[-1].err)
        return dict(found[-1].json()["replies"][0]["data"])

    def outcomes(self) -> list[tuple[str, str]]:
        """Return target and outcome of the lines of the history."""
        ran = self.ask("app", "history", "--json")
        self.assertEqual(ran.code, 0, ran.err)
        (line,) = [json.loads(text) for text in [ran.out]]
        return [(each["target"], each["outcome"]) for each in _entries(line)]

    def audited(self, action: str) -> list[dict[str, Any]]:
        path = self.fleet.folder / NAME / "audit.log"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["action"] == action]

    def test_broker_is_gone(self) -> None:
        """Paused for five seconds, the broker killed: when it is back the pause is over."""
        service = self.fleet.demo("app", NAME, management=self.management())
        time.sleep(1)  # a change of its first second would wait
        self.pause(5)
        self.assertTrue(self.info()["paused"])
        self.fleet.server.kill()
        service.wait_for("app: running → paused: expired")
        self.fleet.server.restart()
        info = self.info()
        self.assertEqual((info["paused"], info["state"], info["changes"]), (False, "running", []))
        self.assertEqual(self.outcomes(), [("app", "done"), ("app", "expired")])
        (line,) = self.audited("expire")
        self.assertEqual((line["rule"], line["outcome"]), ("lease", "ok"))
        self.assertEqual(line["data"]["why"], "db failover")
        if self.secure:
            self.assertEqual((line["caller"], line["secure"]), ("choria=sre.choria", True))

    def test_restart(self) -> None:
        """Killed within a lease: the next process keeps the rest of it, and no more."""
        management = self.management(state_file="state")
        service = self.fleet.demo("app", NAME, management=management)
        time.sleep(1)
        asked = self.pause(15)
        before = self.info()["changes"]
        service.process.kill()
        service.process.wait()
        service = self.fleet.demo("app", NAME, management=management)
        info = self.info()
        self.assertEqual((info["paused"], info["changes"]), (True, before))
        self.assertEqual(before[0]["why"], "db failover")
        service.wait_for("app: running → paused: expired")
        self.assertGreater(time.time() - asked, 14.5)
        self.assertFalse(self.info()["paused"])
        self.assertEqual(len(self.audited("reinstate")), 1)
        self.assertEqual(self.outcomes(), [("app", "done"), ("app", "expired")])

    def test_over_while_down(self) -> None:
        """What is over while the service is down is ended by its next start."""
        management = self.management(state_file="state")
        service = self.fleet.demo("app", NAME, management=management)
        time.sleep(1)
        asked = self.pause(4)
        service.process.kill()
        service.process.wait()
        wait(lambda: time.time() > asked + 6, "the end of the lease")
        self.fleet.demo("app", NAME, management=management)
        info = self.info()
        self.assertEqual((info["paused"], info["changes"]), (False, []))
        self.assertEqual(self.outcomes(), [("app", "done"), ("app", "expired")])


class SecureLeaseTests(LeaseTests):
    """The same in the secure mode."""

    secure = True


def _entries(document: Any) -> list[dict[str, Any]]:
    """Return the lines of one instance's history, wherever they stand in the document."""
    if isinstance(document, list):
        if document and all(isinstance(each, dict) and "outcome" in each for each in document):
            return list(document)
        return next((found for each in document if (found := _entries(each))), [])
    if isinstance(document, dict):
        return next((found for each in document.values() if (found := _entries(each))), [])
    return []
