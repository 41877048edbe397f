"""The system's processes, as far as they must be told from one another.

A process is its number *and* when it started: numbers are used again. Linux tells
the start in ``/proc/PID/stat``, field 22, in ticks since the machine started, which
steps of the wall clock do not change.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import attrs

from backplane.sidecar.errors import ProcessError

__all__ = ["Handle", "ProcessTable", "Status", "parse_stat", "parse_user"]


@attrs.frozen
class Status:
    """What the system says of a process.

    :ivar ticks: when it started, since the machine did.
    :ivar started: the same as Unix time in seconds, by the present wall clock.
    :ivar user: its effective user.
    :ivar alive: whether it has not ended; one that nobody has reaped has.
    """

    ticks: int
    started: float
    user: int
    alive: bool


def parse_stat(data: bytes) -> tuple[str, int]:
    """Return state and start, in ticks, of a ``/proc/PID/stat``.

    :raises ValueError: when it is none.
    """
    # The name in parentheses may have blanks and parentheses in it.
    fields = data.rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ValueError("too few fields")
    return fields[0].decode("ascii"), int(fields[19])


def parse_user(data: bytes) -> int:
    """Return the effective user of a ``/proc/PID/status``; :raises ValueError: without one.

    Not the owner of the folder, which is root's where the process has changed its user.
    """
    for line in data.splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[2])
    raise ValueError("no user")


class Handle:
    """One process, whichever gets its number later; :meth:`close` lets go of it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        opener = getattr(os, "pidfd_open", None)
        self._descriptor: int | None = None
        try:
            self._descriptor = opener(pid) if opener is not None else None
        except ProcessLookupError:
            raise
        except OSError:
            pass  # an old kernel: the number must do, checked a moment before

    def send(self, number: int) -> None:
        """Send a signal; :raises OSError: when there is no such process, or none of ours."""
        if self._descriptor is not None:
            signal.pidfd_send_signal(self._descriptor, number)
        else:
            os.kill(self._pid, number)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ProcessTable:
    """The processes of this machine.

    :param root: where the system shows them.
    """

    def __init__(self, root: str = "/proc") -> None:
        self._root = Path(root)

    def check(self) -> None:
        """:raises ProcessError: where the system does not say when a process started."""
        try:
            parse_stat((self._root / "self" / "stat").read_bytes())
        except (OSError, ValueError):
            raise ProcessError(
                f"this system has no {self._root}/PID/stat, which says when a process started; "
                "what a pid file names could be a stranger: use process: {run: [...]}"
            ) from None

    def status(self, pid: int) -> Status:
        """Return what is known of a process.

        :raises ProcessLookupError: when there is none.
        :raises ProcessError: when the system does not say.
        """
        folder = self._root / str(pid)
        try:
            state, ticks = parse_stat((folder / "stat").read_bytes())
            user = parse_user((folder / "status").read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessLookupError(pid) from None
        except (OSError, ValueError, IndexError) as error:
            raise ProcessError(f"nothing is known of process {pid}: {error}") from None
        since = ticks / os.sysconf("SC_CLK_TCK")
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return Status(ticks, boot + since, user, state not in ("Z", "X", "x"))

    def open(self, pid: int) -> Handle:
        """Take hold of a process; :raises ProcessLookupError: when there is none."""
        return Handle(pid)
