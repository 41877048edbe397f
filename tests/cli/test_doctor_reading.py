"""``backplane doctor``: what it reads of configurations, good and bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor.examination import Orders, read
from backplane.cli.doctor.findings import Finding, exit_code
from backplane.cli.doctor.party import Party
from backplane.client.accounting import ExitCode
from tests.cli.doctoring import told

SERVICE = """\
management:
  name: shop
  identity: shop1.example.net
  brokers: [broker1.example.net]
  tls: {scheme: file, ca: ca.pem, cert: cert.pem, key: key.pem, identity: other.example.net}
"""


class ReadingCase(SynchronousTestCase):
    """A folder with a configuration."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.environ = {"HOME": str(self.folder), "USER": "sre"}
        self.patch(os, "environ", self.environ)
        self.code = ExitCode.OK

    def write(self, text: str, mode: int = 0o600) -> str:
        path = self.folder / "file"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def read(self, **orders: Any) -> tuple[Party | None, list[Finding]]:
        party, found = read(Orders(**orders), self.environ, "desk.example.net")
        self.code = exit_code(found)
        return party, found


class ServiceTests(ReadingCase):
    """``app.yaml``."""

    def service(self, text: str, mode: int = 0o600, **orders: Any) -> tuple[Any, list[Finding]]:
        return self.read(service_file=self.write(text, mode), **orders)

    def test_good(self) -> None:
        """Paths are relative to its folder; nothing is looked at yet."""
        party, found = self.service(SERVICE)
        self.assertEqual(told(found), [("configuration", "ok"), ("application", "skipped")])
        self.assertEqual(party.files.key, str(self.folder / "key.pem"))
        self.assertEqual(
            (party.identity, party.certname), ("shop1.example.net", "other.example.net")
        )
        self.assertEqual((party.secure, party.partial), (True, False))

    def test_identity(self) -> None:
        """Another identity is another certificate name, unless ``tls`` has one."""
        party, _ = self.service(SERVICE.replace(", identity: other.example.net", ""), identity="x")
        self.assertEqual((party.identity, party.certname, party.caller_id), ("x", "x", "choria=x"))

    def test_puppet(self) -> None:
        """Puppet's layout needs no paths."""
        text = SERVICE.replace(
            "file, ca: ca.pem, cert: cert.pem, key: key.pem", "puppet, ssl_dir: ssl"
        )
        party, _ = self.service(text)
        self.assertEqual(party.files.cert, str(self.folder / "ssl/certs/other.example.net.pem"))
        self.assertTrue(party.legacy)

    def test_missing_paths(self) -> None:
        """Each path that is not there; the rest goes on."""
        party, found = self.service(SERVICE.replace("ca: ca.pem, cert: cert.pem, ", ""))
        self.assertIsNone(party.files)
        self.assertEqual(told(found)[2:], [("configuration", "failed")] * 2)
        self.assertIs(self.code, ExitCode.USAGE)

    def test_mistakes(self) -> None:
        """Mistakes that nothing else depends on are left out, and the rest is examined."""
        text = SERVICE + "  loglvel: debug\n  outbox: {max_items: -1}\n  reply_to: [a, 'b c']\n"
        party, found = self.service(text)
        self.assertEqual(
            [each for each in told(found) if each[1] == "failed"], [("configuration", "failed")] * 3
        )
        self.assertIn(
            f"{self.folder / 'file'}:6:3: management.loglvel: found an unknown key", found[0].detail
        )
        self.assertIn("'loglevel' perhaps", found[0].fix or "")
        self.assertTrue(party.partial)
        self.assertEqual(party.config.name, "shop")

    def test_strict(self) -> None:
        """What strictness refuses is told, and the rest is examined without it."""
        for text, strict in ((SERVICE, True), (SERVICE + "  strict: true\n", False)):
            party, found = self.service(text, strict=strict)
            self.assertEqual(told(found)[0], ("configuration", "failed"))
            self.assertEqual((party.secure, party.config.strict), (True, False))
        more = "  auth: {full: [a.choria]}\n  audit: {logfile: audit.log}\n"
        party, found = self.service(SERVICE + more, strict=True)
        self.assertEqual(told(found), [("configuration", "ok"), ("application", "skipped")])
        self.assertEqual((party.config.strict, party.config.tls.delegation), (True, False))

    def test_unusable(self) -> None:
        """Mistakes that others depend on end it; what is skipped is said."""
        for text in (
            SERVICE.replace("name: shop", "name: Shop!"),
            SERVICE.replace("[broker1.example.net]", "broker1.example.net"),
            SERVICE.replace("scheme: file", "scheme: files"),
            SERVICE + "  auth: {full: ['(']}\n",
            SERVICE + "  name: again\n",
            "management: [\n",
            "- a list\n",
            "{}\n",
        ):
            party, found = self.service(text)
            self.assertIsNone(party)
            verdicts = [each[1] for each in told(found)]
            self.assertIn("failed", verdicts)
            self.assertEqual(verdicts[-5:], ["skipped"] * 5)
            self.assertIs(self.code, ExitCode.USAGE)
        self.assertIsNone(self.read(service_file="/nonexistent/app.yaml")[0])

    def test_application(self) -> None:
        """The module of ``app`` is looked for, not run."""
        (self.folder / "shopping.py").write_text("raise SystemExit('imported')")
        for app, verdict in (("shopping:make", "ok"), ("nosuchmodule.x:make", "failed")):
            _, found = self.service(f"app: {app}\n{SERVICE}")
            self.assertEqual(told(found)[1], ("application", verdict))

    def test_password(self) -> None:
        """A password in a file that everybody can read is told, and is not shown."""
        for more in ("  nats: {user: shop, password: s3same}\n", "  nats: {token: s3same}\n"):
            _, found = self.service(SERVICE + more, 0o644)
            self.assertEqual(told(found)[2], ("configuration", "warning"))
            self.assertNotIn("s3same", str(found))
            party, found = self.service(SERVICE + more)
            self.assertEqual(len(found), 2)
            self.assertNotIn("s3same", str(party))


class OperatorTests(ReadingCase):
    """Files of Choria's clients, for somebody who is not root."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "geteuid", lambda: 1000)

    def operator(self, text: str, **orders: Any) -> tuple[Any, list[Finding]]:
        return self.read(operator_file=self.write(text), **orders)

    def test_file(self) -> None:
        """The provider ``file`` names each file."""
        keys = "".join(
            f"plugin.security.file.{name} = ~/{name}.pem\n" for name in ("ca", "certificate", "key")
        )
        text = (
            f"plugin.choria.middleware_hosts = a:4222, b\nplugin.security.provider = file\n{keys}"
        )
        party, found = self.operator(text)
        self.assertEqual(told(found), [("configuration", "ok")])
        self.assertEqual(party.files.cert, str(self.folder / "certificate.pem"))
        self.assertEqual((party.brokers, party.identity), (("a:4222", "b"), "desk.example.net"))
        party, found = self.operator(text.replace("file.key", "file.kee"))
        self.assertEqual(told(found)[-1], ("configuration", "failed"))
        self.assertIs(self.code, ExitCode.CREDENTIALS)
        self.assertIsNone(party.files)

    def test_puppet(self) -> None:
        """The default; the name is the user's."""
        party, _ = self.operator(
            f"plugin.choria.middleware_hosts = a\nplugin.choria.ssldir = {self.folder}\n"
        )
        self.assertEqual(party.files.key, str(self.folder / "private_keys/sre.mcollective.pem"))
        self.assertEqual(party.caller_id, "choria=sre.mcollective")
        self.assertTrue(party.legacy)

    def test_insecure(self) -> None:
        party, found = self.operator("plugin.choria.middleware_hosts = a\n", insecure=True)
        self.assertEqual((party.secure, party.files), (False, None))
        self.assertEqual(told(found), [("configuration", "ok")])

    def test_places(self) -> None:
        """Without a file the usual places; or the environment; or it says where it looked."""
        self.patch(os.path, "exists", lambda path: path == str(self.folder / ".choriarc"))
        (self.folder / ".choriarc").write_text("plugin.choria.middleware_hosts = a\n")
        party, _ = self.read()
        assert party is not None
        self.assertEqual(party.brokers, ("a",))
        self.patch(os.path, "exists", lambda path: False)
        party, found = self.read()
        self.assertIsNone(party)
        self.assertIn("/etc/choria/client.conf", str(found[0].fix))
        self.environ["BROKER"] = "b:4222, c"
        party, _ = self.read(insecure=True)
        assert party is not None
        self.assertEqual(party.brokers, ("b:4222", "c"))
        self.environ["BROKER"] = "b:port"
        self.assertIsNone(self.read(insecure=True)[0])

    def test_mistakes(self) -> None:
        """What cannot be used, and whose fault it is."""
        hosts = "plugin.choria.middleware_hosts = a\n"
        for text, environ, code in (
            ("", {}, ExitCode.USAGE),
            ("plugin.choria.middleware_hosts = a:b\n", {}, ExitCode.USAGE),
            (f"{hosts}plugin.security.provider = vault\n", {}, ExitCode.CREDENTIALS),
            (hosts, {"USER": ""}, ExitCode.CREDENTIALS),
            (hosts, {"MCOLLECTIVE_CERTNAME": "no name"}, ExitCode.CREDENTIALS),
            (f"{hosts}identity = no name\n", {}, ExitCode.USAGE),
        ):
            before = dict(self.environ)
            self.environ.update(environ)
            party, _ = self.operator(text)
            self.assertIsNone(party)
            self.assertIs(self.code, code, text)
            self.environ.update(before)
            self.environ.pop("MCOLLECTIVE_CERTNAME", None)

    def test_warnings(self) -> None:
        """Lines without effect are named."""
        _, found = self.operator("plugin.choria.middleware_hosts = a\nnonsense\n")
        self.assertEqual(told(found), [("configuration", "ok"), ("configuration", "warning")])
