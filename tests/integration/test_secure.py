"""The secure mode: TLS to a broker that wants certificates, signed requests, roles by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration.fleet import Fleet, Ran, run_cli

PKI = Path(__file__).parent.parent / "vectors" / "pki"

BROKER = f"""tls {{
    cert_file: "{PKI / "broker.example.net.pem"}"
    key_file: "{PKI / "broker.example.net.key"}"
    ca_file: "{PKI / "ca.pem"}"
    verify: true
    timeout: 10
}}
"""


class SecureTests(TestCase):
    """Services and callers with certificates of one authority, as processes."""

    def setUp(self) -> None:
        self.fleet = Fleet(BROKER)
        self.addCleanup(self.fleet.close)

    def service(self, identity: str, **tls: Any) -> Any:
        management = {
            "name": "app",
            "identity": identity,
            "loglevel": "info",
            "auth": {"full": ["sre.choria", "chained.choria"], "read_only": ["1stline.choria"]},
            "audit": {"logfile": f"{identity}.audit"},
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "tls": {
                "scheme": "file",
                "ca": str(PKI / "ca.pem"),
                "cert": str(PKI / f"{identity}.pem"),
                "key": str(PKI / f"{identity}.key"),
                **tls,
            },
        }
        return self.fleet.demo("app", identity, management=management)

    def ask(self, caller: str, *args: str) -> Ran:
        config = self.fleet.write(
            f"{caller}.cfg",
            f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}\n"
            "plugin.security.provider = file\n"
            f"plugin.security.file.ca = {PKI / 'ca.pem'}\n"
            f"plugin.security.file.certificate = {PKI / f'{caller}.pem'}\n"
            f"plugin.security.file.key = {PKI / f'{caller}.key'}\n",
        )
        name = caller.rpartition("/")[2]
        environ = {**self.fleet.state, "MCOLLECTIVE_CERTNAME": name}
        return run_cli("--config", str(config), *args, **environ)

    def test_roles(self) -> None:
        """Full, read-only, none; a certificate with an intermediate; each is written down."""
        self.service("app1.example.net")
        self.service("app2.example.net")
        paused = self.ask("sre.choria", "app", "pause", "-F", "interval=1", "--expect", "2")
        self.assertEqual(paused.code, 0, paused.out + paused.err)
        self.assertEqual(self.ask("chained.choria", "app", "resume", "--expect", "2").code, 0)
        info = self.ask("1stline.choria", "app", "info", "--expect", "2", "--json")
        self.assertEqual(info.code, 0, info.err)
        self.assertEqual([each["data"]["paused"] for each in info.json()["replies"]], [False] * 2)
        denied = self.ask("1stline.choria", "app", "pause", "--expect", "2")
        self.assertEqual(denied.code, 2)
        self.assertIn("You are not authorized to call this agent or action.", denied.out)
        nobody = self.ask("evil.mcollective", "app", "info", "--expect", "2")
        self.assertEqual(nobody.code, 2)
        lines = [
            json.loads(line)
            for line in (self.fleet.folder / "app1.example.net" / "app1.example.net.audit")
            .read_text()
            .splitlines()
        ]
        told = [(each["action"], each["phase"], each["rule"], each["signer"]) for each in lines]
        self.assertEqual(
            told,
            [
                ("pause", "begin", "full", "sre.choria"),
                ("pause", "end", "full", "sre.choria"),
                ("resume", "begin", "full", "chained.choria"),
                ("resume", "end", "full", "chained.choria"),
                ("info", "only", "read_only", "1stline.choria"),
                ("pause", "only", "read_only", "1stline.choria"),
                ("info", "only", "no role", "evil.mcollective"),
            ],
        )
        self.assertEqual({each["secure"] for each in lines}, {True})

    def test_refused(self) -> None:
        """Who is not on the allow list does not even discover; who has no certificate fails."""
        service = self.service("app1.example.net")
        outsider = self.ask("outsider.example.net", "app", "info")
        self.assertEqual(outsider.code, 1, outsider.err)
        self.assertIn("not_allowed", service.text())
        insecure = self.fleet.cli("app", "info")
        self.assertEqual(insecure.code, 69, insecure.err)
        self.assertIn("the broker wants TLS", insecure.err)
        config = self.fleet.write("none.cfg", "plugin.choria.middleware_hosts = localhost:1\n")
        nothing = run_cli("--config", str(config), "app", "info")
        self.assertEqual(nothing.code, 77)
        self.assertIn("certificate directory", nothing.err)
