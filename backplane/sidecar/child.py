"""The outside process as our child: started, watched, started again, ended in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from backplane.config.sidecarvalues import ProcessConfig
from backplane.sidecar.errors import ProcessError
from backplane.sidecar.group import how_it_ended
from backplane.sidecar.lines import Lines
from backplane.sidecar.pidfile import Seen
from backplane.sidecar.running import Running, Stream

__all__ = ["Child"]

FIRST_DELAY: Final = 1.0
"""Seconds from an end to the next start; doubled each time."""

LAST_DELAY: Final = 60.0
"""Longest such delay; a child that ran for as long begins anew with the first."""

GIVE_UP: Final = 2.0
"""Seconds from SIGKILL until the child is left alone."""

MAX_READ: Final = 1024 * 1024
"""Bytes that are read of its output before it must wait."""

REST: Final = 0.25
"""Seconds that it then waits: a flood may not take all of our time."""


class Child:
    """The child.

    :param environment: all of it, made at each start.
    :param now: wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        reactor: Any,
        config: ProcessConfig,
        folder: str,
        environment: Callable[[], Mapping[str, str]],
        log: Logger,
        output: Logger,
        now: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._folder = folder
        self._environment = environment
        self._log = log
        self._output = output
        self._now = now
        self._running: Running | None = None
        self._lines: dict[str, Lines] = {}
        self._since = 0.0
        self._started = 0.0
        self._starts = 0
        self._delay = FIRST_DELAY
        self._unread = MAX_READ
        self._wanted = False
        self._next: IDelayedCall | None = None
        self._resting: IDelayedCall | None = None
        self._stopping: list[Deferred[None]] = []
        self._killing: IDelayedCall | None = None

    def look(self) -> Seen:
        """See :class:`~backplane.sidecar.pidfile.ManagedProcess`."""
        if self._running is None:
            return Seen(which=self._starts, why="the process does not run")
        return Seen(self._running.pid, self._started, self._starts)

    def start(self) -> None:
        """Start it; :raises ProcessError: when it cannot be."""
        self._wanted = True
        try:
            self._start()
        except (OSError, ValueError) as error:
            self._wanted = False
            raise ProcessError(self._cannot(error)) from None

    def check(self) -> None:
        """See :class:`~backplane.sidecar.pidfile.ManagedProcess`."""
        if self._running is None and self._next is None:
            raise ProcessError("the process does not run")

    def shut_down(self, number: int) -> None:
        """End it, and let it stay so. See :class:`~backplane.sidecar.pidfile.ManagedProcess`."""
        self.check()
        self._end(number)

    def expect_end(self) -> Callable[[], None]:
        """Do not start it again; what is returned takes that back."""
        before, self._wanted = self._wanted, False

        def undo() -> None:
            self._wanted = before

        return undo

    def stop(self) -> Deferred[None]:
        """End it: the signal, patience, and the end of its whole group."""
        self._end(getattr(signal, f"SIG{self._config.signal}"))
        if self._running is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopping.append(done)
        return done

    def _start(self) -> None:
        self._lines = {"out": self._log_lines("out"), "err": self._log_lines("err")}
        self._running = Running(
            self._reactor,
            self._config.run,
            self._folder,
            self._environment(),
            self._received,
            self._ended,
        )
        self._since, self._started = self._reactor.seconds(), self._now()
        self._starts += 1
        self._unread = MAX_READ
        self._log.info(
            "{program} runs as process {pid}", program=self._config.run[0], pid=self._running.pid
        )

    def _start_again(self) -> None:
        self._next = None
        if not self._wanted:
            return
        try:
            self._start()
        except (OSError, ValueError) as error:
            self._log.error("{why}", why=self._cannot(error))
            self._schedule()

    def _cannot(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or str(error)
        return f"{self._config.run[0]} cannot be run: {reason}"

    def _log_lines(self, stream: Stream) -> Lines:
        def write(line: str) -> None:
            self._output.info("[{stream}] {line}", stream=stream, line=line)

        def left_out(count: int) -> None:
            self._output.warn("[{stream}] {count} lines left out", stream=stream, count=count)

        return Lines(write, left_out, self._reactor.seconds)

    def _received(self, stream: Stream, data: bytes) -> None:
        self._lines[stream].received(data)
        self._unread -= len(data)
        if self._resting is None and self._running is not None:
            # Counted over a time that begins with its first piece.
            self._resting = self._reactor.callLater(REST, self._rested)
        if self._unread <= 0 and self._running is not None:
            self._running.read(False)

    def _rested(self) -> None:
        self._resting = None
        self._unread = MAX_READ
        if self._running is not None:
            self._running.read(True)

    def _end(self, number: int) -> None:
        self._wanted = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._running is not None:
            self._running.signal(number)
            if self._killing is None:
                self._killing = self._reactor.callLater(self._config.patience, self._kill)

    def _kill(self) -> None:
        assert self._running is not None
        self._log.warn(
            "process {pid} has not ended after {patience} s and is killed",
            pid=self._running.pid,
            patience=self._config.patience,
        )
        self._running.signal_group(signal.SIGKILL)
        self._killing = self._reactor.callLater(GIVE_UP, self._give_up)

    def _give_up(self) -> None:
        assert self._running is not None
        self._killing = None
        self._log.error("process {pid} cannot be killed", pid=self._running.pid)
        self._tell()

    def _tell(self) -> None:
        waiting, self._stopping = self._stopping, []
        for each in waiting:
            each.callback(None)

    def _ended(self, code: int | None) -> None:
        assert self._running is not None
        pid, self._running = self._running.pid, None
        for delayed in (self._killing, self._resting):
            if delayed is not None and delayed.active():
                delayed.cancel()
        self._killing = self._resting = None
        for lines in self._lines.values():
            lines.close()
        ran = self._reactor.seconds() - self._since
        write = self._log.warn if self._wanted else self._log.info
        write("process {pid} {how} after {ran:.0f} s", pid=pid, how=how_it_ended(code), ran=ran)
        if ran >= LAST_DELAY:
            self._delay = FIRST_DELAY
        if self._wanted and self._config.restart:
            self._schedule()
        self._tell()

    def _schedule(self) -> None:
        self._log.info("started again in {delay} s", delay=self._delay)
        self._next = self._reactor.callLater(self._delay, self._start_again)
        self._delay = min(LAST_DELAY, 2 * self._delay)
