"""The audit log as a file: requests, restarts, rotation."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import signal
import stat
from pathlib import Path

from backplane.security.audit import AuditError, AuditLog
from backplane.security.auditchain import START, digest
from backplane.security.auditverify import Fault
from tests.security.auditing import ENTRY, NOW, LogCase, mask


class LogTests(LogCase):
    """Lines in a file."""

    def test_requests(self) -> None:
        """A refusal and a read have one line, a change has two; secrets are masked."""
        log = self.log
        self.assertTrue(log.only(ENTRY, NOW, allowed=False, rule="no role"))
        self.assertTrue(
            log.only(ENTRY, NOW, allowed=True, rule="read_only", outcome="ok", duration=0.5)
        )
        self.assertTrue(log.begin(ENTRY, NOW, rule="line 7"))
        self.assertTrue(log.end(ENTRY, NOW + 1, rule="line 7", outcome="failed", duration=1.0))
        keys = ("phase", "decision", "rule", "outcome", "duration", "seq")
        self.assertEqual(
            [tuple(line[key] for key in keys) for line in self.lines()],
            [
                ("only", "deny", "no role", None, None, 1),
                ("only", "allow", "read_only", "ok", 0.5, 2),
                ("begin", "allow", "line 7", None, None, 3),
                ("end", "allow", "line 7", "failed", 1.0, 4),
            ],
        )
        self.assertNotIn(b"hunter2", self.path.read_bytes())
        self.assertEqual(self.good().lines, 4)

    def test_chain(self) -> None:
        """Each line holds the hash of the line before it."""
        self.write(3)
        raw = self.path.read_bytes().splitlines(keepends=True)
        self.assertEqual(
            [line["previous"] for line in self.lines()], [START, digest(raw[0]), digest(raw[1])]
        )

    def test_restart(self) -> None:
        """The chain goes on where it ended."""
        self.write(2)
        self.restart()
        self.write(1)
        verdict = self.good()
        self.assertEqual((verdict.lines, verdict.last_seq, verdict.whole), (3, 3, True))
        self.assertEqual(verdict.head, digest(self.path.read_bytes().splitlines()[-1]))
        self.assertEqual(self.reports, [])

    def test_mode(self) -> None:
        """0600, also for a file that was there."""
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.log.close()
        self.path.chmod(0o664)
        self.restart()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE((self.folder / ".audit.log.chain").stat().st_mode), 0o600)

    def test_one_writer(self) -> None:
        """A second one is told; after the first has closed, it may."""
        self.write()
        second = self.make()
        error = self.assertRaises(AuditError, second.open)
        self.assertIn("another process writes it", str(error))
        self.assertFalse(second.begin(ENTRY, NOW, rule="full"))
        self.log.close()
        second.open()
        self.assertTrue(second.begin(ENTRY, NOW, rule="full"))
        self.assertEqual(self.good().lines, 2)
        self.assertEqual(self.lines()[1]["lost"], 1)

    def test_no_place(self) -> None:
        """What cannot be opened is one clear error, and leaves no lock behind."""
        os.mkfifo(self.folder / "pipe")
        (self.folder / "sub").mkdir()
        for name, text in (
            ("pipe", "is not a regular file"),
            ("sub", os.strerror(errno.EISDIR)),
            ("none/audit.log", os.strerror(errno.ENOENT)),
        ):
            for _ in range(2):
                log = AuditLog(str(self.folder / name), True, mask=mask)
                error = self.assertRaises(AuditError, log.open)
                self.assertEqual(str(error), f"audit log {self.folder / name}: {text}")

    def test_fork(self) -> None:
        """A forked child does not write into its parent's chain."""
        self.write()
        pid = os.getpid()
        self.patch(os, "getpid", lambda: pid + 1)
        self.assertFalse(self.log.begin(ENTRY, NOW, rule="full"))
        self.assertIn("forked", self.reports[0])
        self.assertEqual(len(self.lines()), 1)

    def test_closed(self) -> None:
        """A log that is closed takes nothing; closing and opening twice is well."""
        self.log.open()
        self.log.close()
        self.log.close()
        self.assertFalse(self.log.only(ENTRY, NOW, allowed=True, rule="full"))
        self.assertEqual(self.log.lost, 1)


class RotationTests(LogCase):
    """The file is taken away in every way that there is."""

    def rotate(self, way: str, target: Path) -> None:
        if way == "copytruncate":
            shutil.copyfile(self.path, target)
            os.truncate(self.path, 0)
            return
        self.path.rename(target)
        if way == "create":
            self.path.touch(0o644)

    def test_rename_and_truncate(self) -> None:
        """While it runs and while it does not: nothing is lost, and the chain goes on."""
        for way in ("create", "rename", "copytruncate"):
            for running in (True, False):
                self.fresh()
                parts = [self.folder / f"audit.log.{number}" for number in range(3)]
                for part in parts:
                    self.write(2)
                    if not running:
                        self.log.close()
                    self.rotate(way, part)
                    if not running:
                        self.restart()
                self.write(2)
                verdict = self.good(self.path, *parts)
                self.assertEqual((verdict.lines, verdict.whole), (8, True), (way, running))
                self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
                last = parts[-1].read_bytes().splitlines()[-1]
                self.assertEqual(self.lines()[0]["previous"], digest(last))
        self.assertEqual((self.log.lost, self.reports), (0, []))

    def test_twice_without_a_line(self) -> None:
        """An empty part changes nothing."""
        self.write()
        self.rotate("create", self.folder / "1")
        self.restart()
        self.rotate("create", self.folder / "2")
        self.restart()
        self.write()
        self.assertEqual(self.good(self.folder / "1", self.folder / "2", self.path).lines, 2)

    def test_delete(self) -> None:
        """The log comes back; verification says that its beginning is elsewhere."""
        self.write(2)
        self.path.unlink()
        self.write()
        verdict = self.good()
        self.assertEqual((verdict.lines, verdict.first_seq, verdict.whole), (1, 3, False))

    def test_signal(self) -> None:
        """SIGHUP stays with the host."""
        heard: list[int] = []
        before = signal.signal(signal.SIGHUP, lambda number, frame: heard.append(number))
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.write()
        self.rotate("create", self.folder / "1")
        os.kill(os.getpid(), signal.SIGHUP)
        self.write()
        self.assertEqual(heard, [signal.SIGHUP])
        self.assertEqual(self.good(self.path, self.folder / "1").lines, 2)

    def test_part_lost(self) -> None:
        """A part that is not given is named by the line after it."""
        for number in range(3):
            self.write(2)
            self.rotate("rename", self.folder / str(number))
        verdict = self.verify(self.folder / "0", self.folder / "2")
        fault = Fault(str(self.folder / "2"), 1, "removed", "lines are missing before it: 2")
        self.assertEqual(verdict.fault, fault)

    def test_compressed(self) -> None:
        """Parts that were packed are read; broken ones are an error with their name."""
        self.write(4)
        packed = gzip.compress(self.path.read_bytes())
        self.path.unlink()
        self.write(1)
        part = self.folder / "audit.log.1.gz"
        part.write_bytes(packed)
        self.assertEqual(self.good(self.path, part).lines, 5)
        for broken in (packed[:40], packed[:5], packed[:30] + b"\xff" * 30 + packed[60:]):
            part.write_bytes(broken)
            error = self.assertRaises(OSError, self.verify, self.path, part)
            self.assertEqual(error.filename, str(part))
