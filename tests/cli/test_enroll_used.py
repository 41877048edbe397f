"""What was enrolled is used: a service and an operator at a real broker that wants certificates."""

from __future__ import annotations

import os
import sys

from cryptography import x509
from twisted.internet.utils import getProcessOutputAndValue

from backplane.testing.minting import key_pem, make_ec_key, pem, write_file
from tests.cli.enrolling import EnrolCase
from tests.integration.fleet import Fleet, run_cli

SERVICE = "app1.example.net"
OPERATOR = "bob.mcollective"


class UsedTests(EnrolCase):
    """The layout of Puppet, as ``backplane enroll`` leaves it."""

    def broker(self) -> Fleet:
        """Start a broker with a certificate by the same authority."""
        folder = self.folder.parent / "broker"
        folder.mkdir(parents=True)
        key = make_ec_key()
        self.ca.changes = {"names": ("localhost",)}
        own = self.ca.issue(key, "localhost") + pem(self.ca.signer.certificate)
        self.ca.changes = {}
        files = {
            "cert_file": write_file(folder / "cert.pem", own),
            "key_file": write_file(folder / "key.pem", key_pem(key), 0o600),
            "ca_file": write_file(folder / "ca.pem", self.ca.bundle),
        }
        lines = "\n".join(f'{name}: "{path}"' for name, path in files.items())
        fleet = Fleet(f"tls {{\n{lines}\nverify: true\ntimeout: 10\n}}\n")
        self.addCleanup(fleet.close)
        return fleet

    async def enrolled(self, name: str) -> None:
        """Enroll in a process of its own, as a user would."""
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            [
                *("-m", "backplane.cli.main", "enroll", "--ca", f"localhost:{self.port}"),
                *("--certname", name, "--ssl-dir", str(self.folder), "--wait", "30"),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual((code, err), (0, b""), out)

    async def test_ping(self) -> None:
        """The service starts and the operator reaches it, both by what was enrolled."""
        self.ca.autosign = True
        for name in (SERVICE, OPERATOR):
            await self.enrolled(name)
        fleet = self.broker()
        brokers = f"localhost:{fleet.server.port}"
        management = {
            "name": "app",
            "identity": SERVICE,
            "loglevel": "info",
            "auth": {"full": [OPERATOR]},
            "brokers": [brokers],
            "tls": {"scheme": "puppet", "ssl_dir": str(self.folder)},
        }
        fleet.demo("app", SERVICE, management=management)
        config = fleet.write(
            "puppet.cfg",
            f"plugin.choria.middleware_hosts = {brokers}\nplugin.choria.ssldir = {self.folder}\n",
        )
        ran = run_cli("--config", str(config), "app", "ping", MCOLLECTIVE_CERTNAME=OPERATOR)
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertIn(SERVICE, ran.out)
        stored = x509.load_pem_x509_certificate(self.content(self.files.cert))
        self.assertEqual(stored.subject.rfc4514_string(), f"CN={OPERATOR}")
