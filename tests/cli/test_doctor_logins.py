"""``backplane doctor``: files that logging in to brokers needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor.files import check_account
from backplane.cli.doctor.findings import Finding, exit_code
from backplane.cli.doctor.logins import check_login
from backplane.cli.doctor.operator import read_operator
from backplane.cli.doctor.party import Party
from backplane.cli.doctor.service import read_service
from backplane.client.accounting import ExitCode
from backplane.nats.credentials import CredsFile
from backplane.testing.broker import FakeBroker
from tests.cli.doctoring import HOST, NOW, DoctorCase, operator, service, told
from tests.nats.checklist.jwts import ACCOUNT, USER, creds, user_jwt


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


class FilesTests(SynchronousTestCase):
    """What is said of files and of what is in them."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def service(self, nats: str) -> Party:
        path = write(
            self.folder / "app.yaml",
            f"management:\n  name: app\n  brokers: [b]\n  nats: {nats}\n",
        )
        party, _ = read_service(path, None, {}, "h.example.net")
        assert party is not None
        return party

    def found(self, text: str, mode: int = 0o600) -> list[Finding]:
        """Examine a service with a file of credentials."""
        write(self.folder / "app.creds", text, mode)
        return list(check_login(self.service("{credentials: app.creds}"), NOW))

    def test_nothing(self) -> None:
        """There is nothing to be said where no file is needed."""
        self.assertEqual(list(check_login(self.service("{user: u, password: p}"), NOW)), [])

    def test_dates(self) -> None:
        """A JWT that has ended is a failure, one that ends soon a warning."""
        for ends, verdict, words in (
            (None, "ok", "valid for ever"),
            (NOW + 86400, "ok", "is valid until 2026-11-26 01:40 UTC"),
            (NOW + 60, "warning", "expires on 2026-11-25 01:41 UTC"),
            (NOW, "failed", "expired on 2026-11-25 01:40 UTC"),
        ):
            found = self.found(creds(user_jwt(name="shop1", exp=ends), USER))
            self.assertEqual(told(found), [("file.credentials", "ok"), ("login", verdict)])
            self.assertIn(words, found[1].detail)
            self.assertIn("the JWT of user 'shop1'", found[1].detail)
        self.assertIs(exit_code(found), ExitCode.CREDENTIALS)

    def test_broken(self) -> None:
        """What cannot be used, missing, and readable by all; no secret is shown."""
        found = self.found(creds(user_jwt(), ACCOUNT), 0o644)
        self.assertEqual(told(found), [("file.credentials", "warning"), ("login", "failed")])
        self.assertIn("can be read by others (mode 0644, wanted 0600)", found[0].detail)
        self.assertIn("the seed of an account", found[1].detail)
        self.assertNotIn(ACCOUNT, str(found))
        found = self.found(creds(user_jwt(), USER), 0o666)
        self.assertEqual(told(found)[0], ("file.credentials", "failed"))
        os.unlink(self.folder / "app.creds")
        found = list(check_login(self.service("{credentials: app.creds}"), NOW))
        self.assertEqual(told(found), [("file.credentials", "failed")])
        self.assertIn("management.nats.credentials", found[0].detail)

    def test_others(self) -> None:
        """Two files, and secrets in files."""
        write(self.folder / "seed", USER)
        write(self.folder / "jwt", user_jwt())
        write(self.folder / "secret", "a\nb\n")
        for nats, expected in (
            ("{nkey_file: seed}", [("file.nkey_file", "ok"), ("login", "ok")]),
            (
                "{nkey_file: seed, jwt_file: jwt}",
                [("file.nkey_file", "ok"), ("file.jwt_file", "ok"), ("login", "ok")],
            ),
            ("{token_file: secret}", [("file.token_file", "ok"), ("login", "failed")]),
        ):
            self.assertEqual(told(check_login(self.service(nats), NOW)), expected)

    def test_account(self) -> None:
        """Whom the service becomes must be able to read them."""
        from backplane.cli.doctor.accounts import Account

        write(self.folder / "app.creds", creds(user_jwt(), USER))
        nobody = Account("nobody", 65534, frozenset((65534,)), "nogroup")
        (finding,) = check_account(self.service("{credentials: app.creds}"), nobody)
        self.assertEqual(finding.verdict.value, "failed")
        self.assertIn("credentials", finding.detail)

    def test_operator(self) -> None:
        """An operator's file; user and file at once are a mistake."""
        path = write(self.folder / "user.creds", creds(user_jwt(), USER))
        text = f"plugin.choria.middleware_hosts = b\nplugin.nats.credentials = {path}\n"
        environ = {"USER": "sre"}

        def read(text: str) -> Any:
            config = write(self.folder / "client.cfg", text)
            return read_operator(config, None, environ, "h.example.net", True)

        party, _ = read(f"{text}plugin.backplane.handshake_first = yes\n")
        self.assertTrue(party.tls_first)
        self.assertEqual(
            told(check_login(party, NOW)), [("file.credentials", "ok"), ("login", "ok")]
        )
        party, found = read(f"{text}plugin.nats.user = u\n")
        self.assertIsNone(party)
        self.assertIn("plugin.nats.credentials", found[-1].detail)


class BrokerTests(DoctorCase):
    """What is tried with them."""

    def party(self, text: str, make: Any = service) -> Party:
        path = write(Path(self.mktemp()).absolute(), text)
        files = {"management.nats.credentials": path}
        made: Party = make(login=CredsFile(path), login_files=files)
        return made

    def test_login(self) -> None:
        """Let in, refused, and not even tried."""
        self.network.listen(HOST, 4222, FakeBroker())
        found = self.examine(self.party(creds(user_jwt(), USER)))
        self.assert_told(found)
        self.assertIn("let in with management.nats.credentials", found[1].detail)
        self.findings.clear()
        found = self.examine(self.party("nothing", operator))
        self.assert_told(found, ("broker.login", "failed"))
        self.assertEqual(found[1].fix, "mend the file that is named there")
        self.assertIs(exit_code(found), ExitCode.CREDENTIALS)

    def test_refused(self) -> None:
        """The fix names the setting."""
        self.network.listen(HOST, 4222, FakeBroker(token="t"))
        found = self.examine(self.party(creds(user_jwt(), USER)))
        self.assert_told(found, ("broker.login", "failed"))
        self.assertIn("renew what management.nats.credentials names", found[1].fix or "")
        self.assertNotIn(USER, str(self.findings))
