"""The file of the audit log when things go wrong: full disks, killed writers, strangers."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from backplane.security.audit import AuditError
from backplane.security.auditchain import MAX_LINE
from backplane.security.auditverify import verify
from tests.security.auditing import ENTRY, NOW, LogCase


class FailureTests(LogCase):
    """Disks that are full, writers that die, strangers who write."""

    def setUp(self) -> None:
        super().setUp()
        self.caps: list[int] = []
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if not self.caps:
                return real(descriptor, data)
            cap = self.caps.pop(0)
            if cap < 0:
                return 0
            if cap == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data[:cap])

        self.patch(os, "write", write)

    def test_disk_full(self) -> None:
        """Counted, reported once, and told of by the next line."""
        self.write()
        self.caps = [0, 0, 0]
        self.assertFalse(self.log.begin(ENTRY, NOW, rule="full"))
        self.assertFalse(self.log.only(ENTRY, NOW, allowed=True, rule="full"))
        self.assertFalse(self.log.begin(ENTRY, NOW, rule="full"))
        self.assertEqual(self.log.lost, 3)
        self.assertEqual(self.log.failing, os.strerror(errno.ENOSPC))
        self.assertEqual(len(self.reports), 1)
        self.write(2)
        self.assertIsNone(self.log.failing)
        self.assertEqual([line.get("lost") for line in self.lines()], [None, 3, None])
        self.assertEqual(len(self.reports), 2)
        self.assertIn("lines lost: 3", self.reports[1])
        self.assertEqual(self.good().lost, 3)

    def test_folder_gone(self) -> None:
        """A path that cannot be opened any more is the same case, and comes back."""
        self.write()
        away = self.folder.with_name("away")
        self.folder.rename(away)
        self.addCleanup(shutil.rmtree, away, True)
        self.assertFalse(self.log.begin(ENTRY, NOW, rule="full"))
        self.folder.mkdir()
        self.write()
        self.assertEqual(self.good(away / "audit.log", self.path).lines, 2)

    @given(st.lists(st.integers(-1, 700), max_size=8), st.sets(st.integers(0, 8)))
    @settings(max_examples=60, deadline=None)
    def test_cut_short(self, caps: list[int], rotations: set[int]) -> None:
        """Whatever part of a line gets to the disk, and rotated or not: the chain holds."""
        self.fresh()
        self.write()
        self.caps = list(caps)
        parts, written = [self.path], 1
        for number in range(len(caps)):
            if number in rotations:
                parts.append(self.folder / f"part{number}")
                self.path.rename(parts[-1])
            written += self.log.begin(ENTRY, NOW, rule="full")
        self.caps = []
        self.write(2)
        # A part may be empty of whole lines; the order is that of rotation.
        ordered = [*parts[1:], parts[0]]
        contents = [(str(path), path.read_bytes().splitlines(keepends=True)) for path in ordered]
        verdict = verify(contents)
        self.assertIsNone(verdict.fault)
        self.assertEqual(verdict.lines, written + 2)
        self.assertEqual(verdict.lost, len(caps) - written + 1)

    def test_killed(self) -> None:
        """Killed in the middle of a line, at any byte: noticed, noted, and the chain holds."""
        self.write(2)
        before = self.path.read_bytes()
        state = (self.folder / ".audit.log.chain").read_bytes()
        self.write()
        line = self.path.read_bytes()[len(before) :]
        for size in [*range(1, len(line), 13), len(line) - 2, len(line) - 1, len(line)]:
            self.log.close()
            self.path.write_bytes(before + line[:size])
            (self.folder / ".audit.log.chain").write_bytes(state)
            self.restart()
            self.write(2)
            verdict = self.good()
            whole = size >= len(line) - 1
            self.assertEqual((verdict.torn, verdict.lines), (not whole, 4 + whole), size)

    def test_torn_first_line(self) -> None:
        self.log.close()
        (self.folder / ".audit.log.chain").unlink()
        self.path.write_bytes(b'{"timestamp":"20')
        self.restart()
        self.write(2)
        self.assertEqual(self.good().torn, 1)

    def test_torn_and_not_noted(self) -> None:
        """A tear that the writer does not tell of is a fault, also at the end."""
        self.write(2)
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:-20])
        fault = self.verify().fault
        assert fault is not None
        self.assertEqual((fault.line, fault.kind), (2, "torn"))

    def test_state_gone(self) -> None:
        """Without the state, or with a damaged one, the log itself says how to go on."""
        self.write(2)
        for state in (b"", b"x" * 86, b"%020d %s\n" % (9, b"f" * 63), b"\xff" * 500):
            self.log.close()
            (self.folder / ".audit.log.chain").write_bytes(state)
            self.restart()
            self.write()
        self.assertEqual(self.good().lines, 6)
        self.assertEqual(self.reports, [])

    def test_state_cannot_be_written(self) -> None:
        """Then the log goes on all the same."""

        def refuse(descriptor: int, data: bytes, offset: int) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(os, "pwrite", refuse)
        self.write(2)
        self.restart()
        self.write()
        self.assertEqual((self.good().lines, self.reports), (3, []))

    def test_mode_cannot_be_changed(self) -> None:
        """Somebody else's file with a wide mode is used, and reported."""

        def refuse(descriptor: int, mode: int) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        self.patch(os, "fchmod", refuse)
        self.path.chmod(0o644)
        self.restart()
        self.write()
        self.assertEqual(len(self.reports), 1)
        self.assertIn("has mode 0644, and cannot have 0600", self.reports[0])

    def test_no_locks(self) -> None:
        """Where files cannot be locked, it says so when it is opened."""
        self.log.close()
        with patch.dict(sys.modules, {"fcntl": None}):
            error = self.assertRaises(AuditError, self.make().open)
        self.assertIn("needs a Unix", str(error))
        failing = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        with patch("fcntl.flock", side_effect=failing):
            error = self.assertRaises(AuditError, self.make().open)
        self.assertIn(os.strerror(errno.ENOLCK), str(error))

    def test_line_end_cut(self) -> None:
        """A last line that lacks its end only is whole."""
        self.write(2)
        self.path.write_bytes(self.path.read_bytes()[:-1])
        self.assertEqual(self.good().lines, 2)

    def test_intruder(self) -> None:
        """What somebody else appends is named, and no line of ours is torn by it."""
        for running in (True, False):
            for junk in (b"hello\n", b"hello"):
                self.fresh()
                self.write(2)
                if not running:
                    self.log.close()
                with self.path.open("ab") as file:
                    file.write(junk)
                if not running:
                    self.restart()
                self.write(2)
                if running:
                    self.assertEqual(len(self.reports), 1)
                fault = self.verify().fault
                if not running and not junk.endswith(b"\n"):
                    # The same as a line that was torn when its writer was killed.
                    self.assertIsNone(fault)
                else:
                    self.assertEqual(fault and (fault.line, fault.kind), (3, "torn"))
                self.assertEqual(len(self.path.read_bytes().splitlines()), 5)

    def test_altered_while_stopped(self) -> None:
        """The last line edited or cut off between two runs: the chain tells."""
        for kind in ("edited", "removed"):
            self.fresh()
            self.write(3)
            self.log.close()
            first, second, last = self.path.read_bytes().splitlines(keepends=True)
            altered = last.replace(b"late", b"soon") if kind == "edited" else b""
            self.path.write_bytes(first + second + altered)
            self.restart()
            self.assertIn("does not end with the line that was written last", self.reports[0])
            self.write()
            fault = self.verify().fault
            self.assertEqual(fault and (fault.line, fault.kind), (3, kind))

    def test_foreign_file(self) -> None:
        """A large file without any of our lines is appended to, and named."""
        self.log.close()
        self.path.write_bytes(b"x" * (5 * MAX_LINE))
        self.restart()
        self.write()
        fault = self.verify().fault
        self.assertEqual(fault and (fault.line, fault.kind), (1, "torn"))
