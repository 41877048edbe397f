"""A program in a session and process group of its own, which can be ended as a whole.

``subprocess`` and not the reactor's ``spawnProcess``, for two reasons. The latter has
no way to start a session but a terminal, which changes what programs print. And it
has reaped a process before it tells of the end; from then on the number of the
process, and of its group, may be somebody else's, and what is left of the group
can no longer be ended safely. Here the end is noticed first, what is left is
killed, and only then is the process reaped. That also needs no SIGCHLD handler.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

__all__ = ["ProcessGroup", "how_it_ended", "signal_name"]

_CAN_PEEK: Final = hasattr(os, "waitid")
"""Whether an end can be noticed without reaping; not on macOS before Python 3.13,
where what is left of a group is not killed therefore."""

_PEEK: Final = os.WEXITED | os.WNOWAIT | os.WNOHANG if _CAN_PEEK else 0


class ProcessGroup(subprocess.Popen[bytes]):
    """A program that runs.

    Its standard input is empty; standard output and error are pipes that do not block.

    :param argv: program and arguments; a program without a slash is looked for on
        the ``PATH`` of ``environment``.
    :raises OSError: when it cannot be started.
    """

    def __init__(self, argv: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
        super().__init__(
            list(argv),
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        for pipe in self.pipes:
            os.set_blocking(pipe, False)

    @property
    def pipes(self) -> tuple[int, int]:
        """Standard output and standard error, as descriptors."""
        assert self.stdout is not None
        assert self.stderr is not None
        return self.stdout.fileno(), self.stderr.fileno()

    def has_ended(self) -> bool:
        """Say whether the program has ended; it is not reaped yet, where that can be."""
        if self.returncode is not None:
            return True
        if not _CAN_PEEK:
            return self.poll() is not None
        try:
            return os.waitid(os.P_PID, self.pid, _PEEK) is not None
        except ChildProcessError:
            return True

    def signal_program(self, number: int) -> None:
        """Send a signal to the program alone."""
        # Not `send_signal`, which reaps.
        if self._is_ours():
            _send(os.kill, self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the program and to all that it has started in its group."""
        if self._is_ours():
            _send(os.killpg, self.pid, number)

    def finish(self) -> int | None:
        """Kill what is left of the group and reap the program, which has ended.

        :returns: the exit code, less than 0 for a signal; ``None`` when it is not known.
        """
        self.signal_group(signal.SIGKILL)
        if self.returncode is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:
                self.returncode = 0  # for `Popen`, which would wait as well
                return None
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def _is_ours(self) -> bool:
        """Say whether the number is that of the program: it is, until it is reaped."""
        if self.returncode is not None:
            return False
        if _CAN_PEEK:
            try:
                os.waitid(os.P_PID, self.pid, _PEEK)
            except ChildProcessError:  # the host ignores SIGCHLD: the system has reaped
                return False
        return True

    def close(self) -> None:
        """Close the pipes, which others that the program has started may still hold."""
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()


def _send(send: Callable[[int, int], None], target: int, number: int) -> None:
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or has become another user's


def signal_name(number: int) -> str:
    """Return ``SIGTERM`` and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_it_ended(code: int | None) -> str:
    """Say in words what an exit code means."""
    if code is None:
        return "ended, nobody knows how"
    return f"was ended by {signal_name(-code)}" if code < 0 else f"ended with {code}"
