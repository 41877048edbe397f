"""``backplane doctor``: files, modes, and what another user could read."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor import accounts, files
from backplane.cli.doctor.accounts import READ, WRITE, Account, obstacle, read_account
from backplane.cli.doctor.files import check_account, check_audit, check_files
from backplane.config.settings import AuditConfig
from backplane.security.providers import TLSFiles
from tests.cli.doctoring import service, told

SHOP = Account("shop", 4711, frozenset((4711, 100)), "shop")


def status(mode: int, uid: int = 0, gid: int = 0, folder: bool = False) -> os.stat_result:
    kind = stat.S_IFDIR if folder else stat.S_IFREG
    return os.stat_result((kind | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


class ObstacleTests(SynchronousTestCase):
    """By owner, group and mode, as the kernel decides; the file is ``/ssl/key``."""

    def why(self, file: os.stat_result, folder: int = 0o755, want: int = READ) -> str | None:
        def look(path: str) -> os.stat_result:
            return file if path == "/ssl/key" else status(folder if path == "/ssl" else 0o755)

        found = obstacle("/ssl/key", SHOP, want, look)
        return None if found is None else f"{found.path} {found.bits}"

    def test_modes(self) -> None:
        """The first class that the account is in decides, be it worse than the next."""
        for file, want, expected in (
            (status(0o644), READ, None),
            (status(0o640), READ, "/ssl/key r"),
            (status(0o640, gid=100), READ, None),
            (status(0o604, gid=100), READ, "/ssl/key r"),
            (status(0o600, uid=4711), READ, None),
            (status(0o044, uid=4711), READ, "/ssl/key r"),
            (status(0o644), WRITE, "/ssl/key w"),
            (status(0o620, gid=100), WRITE, None),
            (status(0o755, folder=True), WRITE, "/ssl/key wx"),
        ):
            self.assertEqual(self.why(file, want=want), expected, oct(file.st_mode))

    def test_folders(self) -> None:
        """A folder that cannot be entered hides what is in it."""
        self.assertEqual(self.why(status(0o644), folder=0o700), "/ssl x")
        self.assertIsNone(self.why(status(0o644), folder=0o711))

    def test_root(self) -> None:
        root = Account("root", 0, frozenset((0,)), "root")
        self.assertIsNone(obstacle("/ssl/key", root, READ, lambda path: status(0)))

    def test_missing(self) -> None:
        """What is not there cannot be read either, and modes do not help."""
        here = Path(self.mktemp()).absolute()
        here.mkdir()
        me = accounts.this_account()
        assert me is not None
        found = obstacle(str(here / "none" / "key"), me, READ)
        assert found is not None
        self.assertEqual((found.bits, found.path), ("", str(here / "none")))
        found = obstacle(str(here / "key"), me, READ)
        assert found is not None
        self.assertIn("No such file", found.reason)

    def test_words(self) -> None:
        """The sentence has mode, owner and group."""
        found = obstacle("/ssl/key", SHOP, READ, lambda path: status(0o700, 99999, 99998))
        assert found is not None
        self.assertEqual(found.reason, "shop may not enter / (mode 0700, 99999:99998)")


class AccountTests(SynchronousTestCase):
    """Who ``twistd --uid --gid`` becomes."""

    def test_root(self) -> None:
        """By name and by number, with the group of his own."""
        for user in ("root", "0"):
            account = read_account(user, None)
            self.assertEqual((account.name, account.uid), ("root", 0))
            self.assertIn(0, account.gids)
        self.assertIn(12, read_account("root", "12").gids)

    def test_group_alone(self) -> None:
        """Without user it stays the present one."""
        account = read_account(None, "12")
        self.assertEqual(account.uid, os.getuid())
        self.assertIn(12, account.gids)

    def test_unknown(self) -> None:
        for user, group, words in (
            ("nobody-at-all", None, "there is no user 'nobody-at-all'"),
            ("3999999999", None, "there is no user '3999999999'"),
            ("root", "no-such-group", "there is no group 'no-such-group'"),
        ):
            with self.assertRaises(ValueError) as caught:
                read_account(user, group)
            self.assertEqual(str(caught.exception), words)


class FileTests(SynchronousTestCase):
    """Files of a service, in a folder of their own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(mode=0o755)
        for name in ("ca", "cert", "key", "crl", "policy"):
            self.write(name, 0o600 if name == "key" else 0o644)
        self.party = service(
            secure=True,
            files=TLSFiles(**{name: str(self.folder / name) for name in ("ca", "cert", "key")}),
            crl=str(self.folder / "crl"),
            further={"management.auth.policy": (str(self.folder / "policy"), False)},
        )

    def write(self, name: str, mode: int) -> Path:
        path = self.folder / name
        path.write_text("x")
        path.chmod(mode)
        return path

    def bad(self) -> list[tuple[str, str, str | None]]:
        return [
            (each.check, each.verdict.value, each.fix)
            for each in check_files(self.party)
            if each.verdict.value != "ok"
        ]

    def test_good(self) -> None:
        names = ["file.ca", "file.cert", "file.key", "file.crl", "file.policy"]
        self.assertEqual(told(check_files(self.party)), [(name, "ok") for name in names])

    def test_missing(self) -> None:
        """Each that is missing is named with its setting; the others are looked at."""
        (self.folder / "ca").unlink()
        (self.folder / "crl").unlink()
        (self.folder / "crl").mkdir()
        found = list(check_files(self.party))
        self.assertEqual([each[1] for each in told(found)], ["failed", "ok", "ok", "failed", "ok"])
        path = self.folder / "ca"
        self.assertEqual(found[0].detail, f"management.tls.ca: {path}, which does not exist")
        self.assertIn("which is a directory", found[3].detail)

    def test_modes(self) -> None:
        """Who can change a file decides whom the service believes."""
        key, ca, policy = (self.folder / name for name in ("key", "ca", "policy"))
        key.chmod(0o644)
        ca.chmod(0o666)
        policy.chmod(0o664)
        self.assertEqual(
            self.bad(),
            [
                ("file.ca", "failed", f"chmod go-w {ca}"),
                ("file.key", "warning", f"chmod 0600 {key}"),
                ("file.policy", "warning", f"chmod g-w {policy}"),
            ],
        )
        key.chmod(0o640)  # a group that shares it is fine
        self.assertNotIn("file.key", [each[0] for each in self.bad()])

    def test_folder(self) -> None:
        """In a folder that everybody may write to every file can be replaced."""
        self.folder.chmod(0o777)
        self.assertEqual(len(self.bad()), 5)
        self.assertEqual(self.bad()[0][2], f"chmod o-w {self.folder}")
        self.folder.chmod(0o1777)  # as /tmp is
        self.assertEqual(self.bad(), [])

    def renewal(self) -> list[tuple[str, str | None]]:
        """Return what is said of the files, as if all folders above them could be entered."""
        self.patch(files, "obstacle", partial(obstacle, status=self.status))
        return [(each.detail, each.fix) for each in check_account(self.party, SHOP)]

    def status(self, path: str) -> os.stat_result:
        found = os.stat(path)
        inside = path.startswith(str(self.folder))
        return found if inside else status(0o755, folder=True)

    def test_renewal(self) -> None:
        """What the later user cannot read, and how he could; each obstacle once."""
        key = self.folder / "key"
        ((detail, fix),) = self.renewal()
        self.assertIn(f"shop may not read {key} (mode 0600, ", detail)
        self.assertTrue(
            detail.endswith("; the service runs as shop: key, so a renewed one would not be taken"),
            detail,
        )
        self.assertEqual(fix, f"chgrp shop {key} && chmod g+r {key}")
        key.chmod(0o644)
        self.assertEqual(self.renewal(), [("shop may use ca, cert, key, crl, policy", None)])
        self.folder.chmod(0o700)
        ((detail, fix),) = self.renewal()
        self.assertIn("ca, cert, key, crl, policy, so a renewed one", detail)
        self.assertEqual(fix, f"chgrp shop {self.folder} && chmod g+x {self.folder}")

    def test_renewal_written(self) -> None:
        """What is written is opened after the change of user; what is missing is told before."""
        further = {
            "management.logfile": (str(self.folder / "log"), True),
            "management.state_file": (str(self.folder / "none" / "state"), True),
        }
        self.party = attrs.evolve(self.party, files=None, crl=None, further=further)
        ((detail, fix),) = self.renewal()
        self.assertIn("logfile, written from its start on", detail)
        self.assertEqual(fix, f"chgrp shop {self.folder} && chmod g+wx {self.folder}")
        self.party = attrs.evolve(self.party, further={})
        self.assertEqual(self.renewal(), [("the configuration names no files", None)])

    def test_no_account(self) -> None:
        self.assertEqual(told(check_account(self.party, None)), [("renewal", "skipped")])


class AuditTests(SynchronousTestCase):
    """The audit log, and the file beside it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(mode=0o755)
        self.path = self.folder / "audit.log"

    def check(
        self, account: Account | None = None, required: bool = False
    ) -> list[tuple[str, str]]:
        party = service(audit=AuditConfig(str(self.path), required))
        self.found = list(check_audit(party, account))
        return told(self.found)

    def test_good(self) -> None:
        """It need not be there; nothing is made."""
        self.assertEqual(self.check(), [("audit", "ok")])
        self.assertIn("is not there yet, and can be made; not required", self.found[0].detail)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.path.touch()
        self.assertEqual(self.check(required=True), [("audit", "ok")])
        self.assertIn("what cannot be written is refused", self.found[0].detail)

    def test_nowhere(self) -> None:
        self.path = self.folder / "none" / "audit.log"
        self.assertEqual(self.check(), [("audit", "failed")])
        self.assertIn(f"mkdir -p {self.folder / 'none'}", self.found[0].fix or "")

    def test_account(self) -> None:
        """The user that it becomes must write the log, and the state beside it."""
        self.assertEqual(self.check(SHOP), [("audit", "failed")])
        self.assertIn("audit.log cannot be made: ", self.found[0].detail)
        self.path.touch(0o600)
        self.assertEqual(self.check(SHOP), [("audit", "failed")] * 2)
        self.assertIn(".audit.log.chain cannot be made: ", self.found[0].detail)

    def test_open_folder(self) -> None:
        """Where everybody can write, everybody can replace the log."""
        self.folder.chmod(0o777)
        self.assertEqual(self.check(), [("audit", "failed")])

    def test_none(self) -> None:
        self.assertEqual(told(check_audit(service(), None)), [("audit", "skipped")])
