"""A process that a pid file names.

The file is read anew each time. That the number in it is still the process that
was meant is never taken for granted:

* a process that started after the file was written is another one;
* so is one that started at another time than the one seen before, while the file
  is what it was;
* a file that anyone may write, or a symbolic link, names nobody, and one that belongs to
  another user than root or us names processes of that user only.
"""

from __future__ import annotations

import os
import stat
from typing import Final, Protocol

import attrs

from backplane.logs import printable
from backplane.sidecar.errors import ProcessError, SidecarError
from backplane.sidecar.regular import read_regular
from backplane.sidecar.table import Handle, ProcessTable

__all__ = ["ABSENT", "ManagedProcess", "PidFile", "Seen", "parse_pid"]

MAX_FILE: Final = 4096
"""Bytes of a pid file; some programs write more than the number, in further lines."""

MAX_PID: Final = 2**31 - 1

SLACK: Final = 1.0
"""Seconds by which a process may seem younger than its file: clocks are coarse."""


@attrs.frozen
class Seen:
    """What is known of the process at this moment.

    :ivar pid: ``None`` when there is none.
    :ivar started: Unix time in seconds, or ``None``.
    :ivar which: tells one process from the next.
    :ivar why: what is in the way, where there is none.
    """

    pid: int | None = None
    started: float | None = None
    which: object = None
    why: str | None = None


ABSENT: Final = Seen()


class ManagedProcess(Protocol):
    """The outside process, of whichever kind."""

    def look(self) -> Seen:
        """Return what is known of it; never raises."""

    def check(self) -> None:
        """:raises ProcessError: when it could not be sent a signal now."""

    def shut_down(self, number: int) -> None:
        """Send it the signal that ends it; :raises ProcessError: when that cannot be."""


def parse_pid(data: bytes) -> int:
    """Return the number in a pid file.

    :raises ProcessError: when there is none that a managed process can have.
    """
    line = data.strip().split(b"\n", 1)[0].strip()
    if not line.isdigit() or len(line) > 10 or int(line) > MAX_PID:
        found = printable(line.decode("utf-8", "replace"), 20)
        raise ProcessError(f"holds {found!r}, which is no process id")
    pid = int(line)
    if pid <= 1 or pid == os.getpid():
        who = "ourselves" if pid == os.getpid() else "no process that can be managed"
        raise ProcessError(f"names process {pid}, {who}")
    return pid


@attrs.frozen
class _Known:
    """A process, and the state of the file that named it."""

    stamp: tuple[int, ...]
    pid: int
    ticks: int
    started: float


class PidFile:
    """The process that a pid file names.

    :param path: of the file.
    """

    def __init__(self, path: str, table: ProcessTable | None = None) -> None:
        self._path = path
        self._table = table if table is not None else ProcessTable()
        self._known: _Known | None = None

    def look(self) -> Seen:
        """See :class:`ManagedProcess`."""
        try:
            seen, handle = self._find()
        except SidecarError as error:
            return Seen(why=str(error))
        handle.close()
        return seen

    def check(self) -> None:
        """See :class:`ManagedProcess`."""
        self.shut_down(0)  # the signal that is none

    def shut_down(self, number: int) -> None:
        """See :class:`ManagedProcess`."""
        seen, handle = self._find()
        try:
            handle.send(number)
        except ProcessLookupError:
            raise ProcessError(f"process {seen.pid} has just ended") from None
        except OSError as error:
            raise ProcessError(f"process {seen.pid}: {error.strerror}") from None
        finally:
            handle.close()

    def _find(self) -> tuple[Seen, Handle]:
        """Return the process and a hold on it.

        :raises SidecarError: when there is none that is certainly the right one.
        """
        data, file = read_regular(self._path, MAX_FILE, links=False)
        try:
            pid = parse_pid(data)
            if file.st_mode & stat.S_IWOTH:
                raise ProcessError("may be written by anyone")
            # Held before it is looked at: what was looked at then is what gets the signal.
            handle = self._table.open(pid)
        except ProcessLookupError:
            raise ProcessError(f"{self._path} is stale: process {pid} does not run") from None
        except OSError as error:
            raise ProcessError(f"process {pid}: {error.strerror}") from None
        except ProcessError as error:
            raise ProcessError(f"{self._path} {error}") from None
        try:
            return self._checked(pid, file), handle
        except BaseException:
            handle.close()
            raise

    def _checked(self, pid: int, file: os.stat_result) -> Seen:
        try:
            status = self._table.status(pid)
        except ProcessLookupError:
            status = None
        if status is None or not status.alive:
            raise ProcessError(f"{self._path} is stale: process {pid} does not run")
        stamp = (file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size)
        before = self._known
        if before is not None and (before.stamp, before.pid) == (stamp, pid):
            another = before.ticks != status.ticks
        else:
            another = status.started > file.st_mtime + SLACK
        if another:
            raise ProcessError(
                f"{self._path} is stale: process {pid} started after it was written, "
                "and is another one"
            )
        if file.st_uid not in (0, os.geteuid(), status.user):
            raise ProcessError(
                f"{self._path} belongs to user {file.st_uid}, who may not name process {pid} "
                f"of user {status.user}"
            )
        started = status.started
        if before is not None and (before.pid, before.ticks) == (pid, status.ticks):
            started = before.started  # computed anew it differs by a hair, each time
        self._known = _Known(stamp, pid, status.ticks, started)
        return Seen(pid, started, (pid, status.ticks))
