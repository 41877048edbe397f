"""Pid files, good and hostile: who gets the signal, and who never does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import attrs

from backplane.sidecar import table as tables
from backplane.sidecar.errors import ProcessError, SidecarError
from backplane.sidecar.pidfile import PidFile
from backplane.sidecar.table import Handle, ProcessTable, Status
from tests.sidecar.outside import OutsideCase, lives


class OtherTable(ProcessTable):
    """The system's processes, of which one may be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[int, dict[str, Any]] = {}

    def status(self, pid: int) -> Status:
        return attrs.evolve(super().status(pid), **self.changed.get(pid, {}))


class PidFileCase(OutsideCase):
    """A process, its pid file, and what reads it."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "app.pid"
        self.table = OtherTable()
        self.file = PidFile(str(self.path), self.table)

    def sleeper(self) -> subprocess.Popen[bytes]:
        """Start a process."""
        process = subprocess.Popen(["sleep", "1000"], cwd=self.folder)

        def end() -> None:
            if process.returncode is None:
                process.kill()
                process.wait()

        self.addCleanup(end)
        return process

    def name(self, pid: int) -> None:
        self.path.write_text(f"{pid}\n")

    def refused(self, process: subprocess.Popen[bytes] | None, *words: str) -> None:
        """Nobody is signalled, and both ways say why."""
        error = self.assertRaises(SidecarError, self.file.shut_down, signal.SIGTERM)
        seen = self.file.look()
        self.assertEqual((seen.pid, seen.why), (None, str(error)))
        for word in (str(self.path), *words):
            self.assertIn(word, str(error))
        if process is not None:
            self.assertTrue(lives(process.pid))


class GoodTests(PidFileCase):
    """The process that is meant."""

    def test_signal(self) -> None:
        """It is seen, and gets the signal."""
        process = self.sleeper()
        self.name(process.pid)
        seen = self.file.look()
        self.assertEqual(seen.pid, process.pid)
        assert seen.started is not None
        self.assertTrue(abs(seen.started - time.time()) < 60)
        self.assertEqual(self.file.look(), seen)
        self.file.shut_down(signal.SIGUSR1)
        self.assertEqual(process.wait(30), -signal.SIGUSR1)
        self.refused(None, "stale", "does not run")

    def test_comes_back(self) -> None:
        """The file is read anew each time: another process is another one."""
        first, second = self.sleeper(), self.sleeper()
        self.name(first.pid)
        before = self.file.look()
        self.name(second.pid)
        after = self.file.look()
        self.assertEqual((before.pid, after.pid), (first.pid, second.pid))
        self.assertNotEqual(before.which, after.which)
        self.file.shut_down(signal.SIGTERM)
        self.assertEqual(second.wait(30), -signal.SIGTERM)
        self.assertTrue(lives(first.pid))

    def test_same_number(self) -> None:
        """In a container it may come back under the same id, with a file of its own."""
        process = self.sleeper()
        self.name(process.pid)
        before = self.file.look()
        ticks = ProcessTable().status(process.pid).ticks
        self.table.changed[process.pid] = {"ticks": ticks + 500}
        self.refused(process, "stale")
        os.utime(self.path, (time.time() + 1, time.time() + 1))
        self.assertNotEqual(self.file.look().which, before.which)
        self.file.shut_down(signal.SIGTERM)
        self.assertEqual(process.wait(30), -signal.SIGTERM)

    def test_old_kernel(self) -> None:
        """Where processes cannot be held, the number is checked and used."""

        def refuse(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        self.patch(os, "pidfd_open", refuse)
        process = self.sleeper()
        self.name(process.pid)
        self.file.shut_down(signal.SIGTERM)
        self.assertEqual(process.wait(30), -signal.SIGTERM)

    def test_descriptors(self) -> None:
        """Looking leaves nothing open, whatever comes of it."""
        process = self.sleeper()
        self.name(process.pid)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            self.file.look()
        self.table.changed[process.pid] = {"started": time.time() + 100}
        os.utime(self.path, (1, 1))
        for _ in range(20):
            self.assertIsNone(self.file.look().pid)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class HostileTests(PidFileCase):
    """Whoever must not be signalled."""

    def test_number_used_again(self) -> None:
        """A process that started after the file was written is another one."""
        process = self.sleeper()
        self.name(process.pid)
        os.utime(self.path, (time.time() - 60, time.time() - 60))
        self.refused(process, "stale", "another one")

    def test_number_used_again_since(self) -> None:
        """So is one that started at another time than the one that was seen."""
        process = self.sleeper()
        self.name(process.pid)
        self.assertEqual(self.file.look().pid, process.pid)
        ticks = ProcessTable().status(process.pid).ticks
        self.table.changed[process.pid] = {"ticks": ticks + 1}
        self.refused(process, "another one")
        self.refused(process, "another one")  # and is not taken for known after that

    def test_clock_set_forward(self) -> None:
        """A step of the clock does not make a stranger of a process that was seen."""
        process = self.sleeper()
        self.name(process.pid)
        self.assertEqual(self.file.look().pid, process.pid)
        self.table.changed[process.pid] = {"started": time.time() + 7200}
        self.assertEqual(self.file.look().pid, process.pid)

    def test_replaced_while_looking(self) -> None:
        """What was held before it was looked at gets the signal, or nobody."""
        first, second = self.sleeper(), self.sleeper()
        self.name(first.pid)
        held = self.table.open(first.pid)
        first.kill()
        first.wait()
        # The number goes to another process: what is looked at is the second one.
        real = ProcessTable().status(second.pid)
        self.patch(self.table, "open", lambda pid: held)
        self.patch(self.table, "status", lambda pid: real)
        error = self.assertRaises(ProcessError, self.file.shut_down, signal.SIGTERM)
        self.assertIn("has just ended", str(error))
        self.assertTrue(lives(second.pid))

    def test_ended(self) -> None:
        """A process that nobody has reaped has ended."""
        process = self.sleeper()
        self.name(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.refused(None, "does not run")

    def test_never(self) -> None:
        """Process 1, ourselves, and what is no number."""
        for text in ("1", "0", str(os.getpid()), "-1", "-2", "all", "", "1" * 4000, "12 13"):
            self.path.write_text(text)
            self.refused(None)

    def test_huge(self) -> None:
        """A file without end is not read to its end."""
        process = self.sleeper()
        self.path.write_text(f"{process.pid}\n" + "x" * 10_000_000)
        self.refused(process, "more than 4096 bytes")

    def test_odd_files(self) -> None:
        """Nothing, a folder, a pipe that nobody writes to, a device, a link to a file of others."""
        self.refused(None, "No such file")
        self.path.mkdir()
        self.refused(None, "no regular file")
        self.path.rmdir()
        os.mkfifo(self.path)
        self.refused(None, "no regular file")
        self.path.unlink()
        process = self.sleeper()
        other = self.write("other.pid", str(process.pid))
        self.path.symlink_to(other)
        self.refused(process, "symbolic link")
        self.path.unlink()
        self.path.symlink_to("/dev/zero")
        self.refused(None, "symbolic link")

    def test_anyone_may_write(self) -> None:
        """A file that anyone may write names nobody."""
        process = self.sleeper()
        self.name(process.pid)
        self.path.chmod(0o666)
        self.refused(process, "anyone")

    def test_of_others(self) -> None:
        """Who owns the file must own the process, unless it is root or us."""
        process = self.sleeper()
        self.name(process.pid)
        self.patch(os, "geteuid", lambda: 4321)
        if os.getuid() == 0:
            os.chown(self.path, 65534, 65534)
        else:
            self.table.changed[process.pid] = {"user": 0}
        self.refused(process, "belongs to user")
        owner = self.path.stat().st_uid
        self.table.changed[process.pid] = {"user": owner}
        self.assertEqual(self.file.look().pid, process.pid)

    def test_not_ours(self) -> None:
        """A signal that may not be sent is an error, not a traceback."""
        process = self.sleeper()
        self.name(process.pid)

        def refuse(handle: Handle, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(Handle, "send", refuse)
        error = self.assertRaises(ProcessError, self.file.shut_down, signal.SIGTERM)
        self.assertIn("Operation not permitted", str(error))


class TableTests(OutsideCase):
    """The system's processes."""

    def test_self(self) -> None:
        """We run, since not long ago, as ourselves."""
        status = ProcessTable().status(os.getpid())
        self.assertEqual((status.alive, status.user), (True, os.geteuid()))
        self.assertTrue(0 < time.time() - status.started < 24 * 3600)
        ProcessTable().check()

    def test_none(self) -> None:
        """A system that does not say when processes started says so."""
        table = ProcessTable(str(self.folder))
        error = self.assertRaises(ProcessError, table.check)
        self.assertIn("when a process started", str(error))
        self.assertRaises(ProcessLookupError, table.status, os.getpid())

    def test_garbage(self) -> None:
        """What cannot be read is an error of ours."""
        folder = Path(self.folder, "7")
        folder.mkdir()
        for stat, status in (("7 (a) S 1", ""), ("7 (a) S" + " 1" * 30, "Uid:\n"), ("", "")):
            (folder / "stat").write_text(stat)
            (folder / "status").write_text(status)
            self.assertRaises(ProcessError, ProcessTable(str(self.folder)).status, 7)
        self.assertIs(tables.ProcessTable, ProcessTable)
