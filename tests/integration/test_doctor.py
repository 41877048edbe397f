"""``backplane doctor`` as a process, against a real nats-server that wants certificates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from backplane.testing import PKI
from backplane.testing.natsserver import NatsServer
from backplane.testing.pki import Issued
from tests.integration.fleet import ROOT, Fleet, Ran, run_cli, wait

NAME = "shop1.example.net"

USERS = """
authorization { users: [
    {user: full, password: s3same}
    {user: narrow, password: s3same, permissions: {
        subscribe: ["shop_backplane.broadcast.agent.>"]
        publish: ["shop_backplane.reply.>"]
    }}
] }
"""


@cache
def authority() -> PKI:
    return PKI(tempfile.mkdtemp(prefix="backplane-test-"), reuse_keys=True)


class DoctorTests(TestCase):
    """A fleet whose broker has ``verify: true``."""

    def setUp(self) -> None:
        self.pki = authority()
        self.server = self.pki.server("localhost")
        self.fleet = Fleet(self.pki.nats_config(self.server))
        self.addCleanup(self.fleet.close)
        self.service = self.pki.client(NAME)
        self.sre = self.pki.client("sre.choria")

    def management(self, issued: Issued, **fields: Any) -> dict[str, Any]:
        return {
            "name": "shop",
            "identity": NAME,
            "loglevel": "info",
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "tls": {
                "scheme": "file",
                "ca": issued.ca,
                "cert": issued.cert,
                "key": issued.key,
                "delegation": False,
            },
            "auth": {"full": ["sre.choria"]},
            "audit": {"logfile": str(self.fleet.folder / "audit.log")},
            **fields,
        }

    def examine(self, issued: Issued, *args: str, **fields: Any) -> Ran:
        made = self.management(issued, **fields)
        management = {name: value for name, value in made.items() if value is not None}
        path = self.fleet.write("app.yaml", json.dumps({"management": management}))
        path.chmod(0o600)
        return run_cli("doctor", "-c", str(path), "--json", *args)

    def bad(self, ran: Ran) -> list[tuple[str, str]]:
        """Return check and verdict of what is not well; the detail is in ``said``."""
        found = [each for each in ran.json() if each["verdict"] in ("warning", "failed")]
        self.said = "\n".join(each["detail"] for each in found)
        self.assertNotIn("s3same", ran.out)
        self.assertNotIn("wr0ng", ran.out)
        self.assertEqual(ran.err, "")
        return [(each["check"], each["verdict"]) for each in found]

    def operator(self, *args: str) -> Ran:
        config = self.fleet.write(
            "sre.cfg",
            f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}\n"
            "plugin.security.provider = file\n"
            f"plugin.security.file.ca = {self.sre.ca}\n"
            f"plugin.security.file.certificate = {self.sre.cert}\n"
            f"plugin.security.file.key = {self.sre.key}\n",
        )
        args = ("doctor", "--config", str(config), "--json", *args)
        return run_cli(*args, MCOLLECTIVE_CERTNAME="sre.choria")

    def test_good(self) -> None:
        """A service that would work, beside one that does; an operator sees its clock."""
        ran = self.examine(self.service, "--caller", "sre.choria")
        self.assertEqual((ran.code, self.bad(ran)), (0, []))
        found = {each["check"]: each for each in ran.json() if each["verdict"] == "ok"}
        self.assertIn("TLSv1.3", found["broker.tls"]["detail"])
        self.assertIn("full: may do everything", found["caller"]["detail"])
        self.fleet.demo("shop", NAME, management=self.management(self.service))
        ran = self.examine(self.service)
        self.assertEqual((ran.code, self.bad(ran)), (0, []))
        ran = self.operator("--service", "shop")
        self.assertEqual((ran.code, self.bad(ran)), (0, []))
        self.assertEqual(ran.json()[-1]["detail"], "1 service of shop within 5 s of this clock")

    def test_tls(self) -> None:
        """Wrong CA, wrong host, expired, unknown to the broker, wrong key."""
        other = PKI(self.fleet.folder / "other", "Foreign CA")
        both = [("certificate.chain", "failed"), ("broker.tls", "failed")]
        ran = self.examine(attrs.evolve(self.service, ca=other.ca))
        self.assertEqual((ran.code, self.bad(ran)), (2, both))
        self.assertIn("its authority is not in the CA file", self.said)
        ran = self.examine(self.service, brokers=[f"127.0.0.1:{self.fleet.server.port}"])
        self.assertEqual((ran.code, self.bad(ran)), (69, both[1:]))
        self.assertIn("is for localhost, not for 127.0.0.1", self.said)
        for defect, check, words in (
            ("expired", "certificate.dates", "our certificate has expired"),
            ("other_ca", "certificate.chain", "does not know the authority of our certificate"),
        ):
            ran = self.examine(self.pki.defective_client(defect, NAME))
            self.assertEqual((ran.code, self.bad(ran)), (77, [(check, "failed"), both[1]]))
            self.assertIn(words, self.said)
        ran = self.examine(self.pki.defective_client("other_key", NAME))
        self.assertEqual((ran.code, self.bad(ran)), (77, [("certificate.key", "failed")]))

    def test_plain(self) -> None:
        """One side has TLS, and the other has not; nobody listens at all."""
        with NatsServer() as plain:
            ran = self.examine(self.service, brokers=[f"localhost:{plain.port}"])
        self.assertEqual((ran.code, self.bad(ran)), (69, [("broker.tls", "failed")]))
        self.assertIn("the broker does not speak TLS", self.said)
        ran = self.examine(self.service, tls=None)
        self.assertIn(("broker.tls", "failed"), self.bad(ran))
        self.assertIn("the broker wants TLS, and none is configured", self.said)
        ran = self.examine(self.service, brokers=["localhost:1"])
        self.assertEqual((ran.code, self.bad(ran)), (69, [("broker.tcp", "failed")]))

    def test_permissions(self) -> None:
        """What the broker does not allow is named; a wrong password, and nowhere shown."""
        with NatsServer(config=self.pki.nats_config(self.server) + USERS) as strict:
            brokers = [f"localhost:{strict.port}"]
            for user, password, code, wanted in (
                ("full", "s3same", 0, []),
                ("full", "wr0ng", 77, [("broker.login", "failed")]),
                (
                    "narrow",
                    "s3same",
                    77,
                    [
                        ("broker.subscribe", "failed"),
                        ("broker.subscribe", "warning"),
                        ("broker.publish", "failed"),
                        ("broker.publish", "failed"),
                    ],
                ),
            ):
                nats = {"user": user, "password": password}
                ran = self.examine(self.service, "--publish", brokers=brokers, nats=nats)
                self.assertEqual((ran.code, self.bad(ran)), (code, wanted))
            self.assertIn(f'Subscription to "shop_backplane.node.{NAME}"', self.said)

    def test_interrupted(self) -> None:
        """An interrupt ends it, and shows what was found until then."""
        self.fleet.server.pause()
        self.addCleanup(self.fleet.server.resume)
        document = {"management": self.management(self.service)}
        path = self.fleet.write("app.yaml", json.dumps(document))
        output = self.fleet.folder / "output"
        with output.open("wb") as out:
            arguments = ["doctor", "-c", str(path), "--timeout", "60"]
            process = subprocess.Popen(
                [sys.executable, "-m", "backplane.cli.main", *arguments],
                stdout=out,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                preexec_fn=_default_interrupt,
            )
        wait(lambda: "roles" in output.read_text(), "the checks before the broker")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 130)
        self.assertRegex(output.read_text(), r"\d+ ok, \d+ warnings?, \d+ failed, \d+ skipped\n$")


def _default_interrupt() -> None:
    # Background jobs of a shell ignore it, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
