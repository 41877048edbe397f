"""Commands of the outside process, each within its bounds.

A command has a time limit, past which its whole group is ended: SIGTERM, a second
later SIGKILL. What it prints is kept up to a bound and thrown away after it; a
flood ends it at once. It is done when the program ends, whoever else holds its pipes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from backplane.config.sidecarvalues import CommandConfig
from backplane.sidecar.answers import shown
from backplane.sidecar.errors import CommandError
from backplane.sidecar.group import how_it_ended
from backplane.sidecar.running import Running, Stream

__all__ = ["Commands", "Outcome"]

MAX_OUTPUT: Final = 64 * 1024
"""Bytes of standard output that are used."""

MAX_ERRORS: Final = 4096
"""Bytes of standard error that are kept for the log."""

MAX_FLOOD: Final = 1024 * 1024
"""Bytes of both after which a command is killed."""

GRACE: Final = 1.0
"""Seconds from SIGTERM to SIGKILL, and from there to giving up."""


@attrs.frozen
class Outcome:
    """A command that has ended by itself.

    :ivar code: less than 0 for a signal.
    :ivar out: standard output, up to a bound.
    :ivar cut: whether there was more of it.
    :ivar err: standard error, up to a bound.
    """

    code: int
    out: bytes = b""
    cut: bool = False
    err: bytes = b""

    def check(self) -> Outcome:
        """Return itself; :raises CommandError: when the code is not 0."""
        if self.code != 0:
            said = shown(self.err) or shown(self.out)
            raise CommandError(f"{how_it_ended(self.code)}" + (f": {said}" if said else ""))
        return self


class Commands:
    """Runs commands, one of a kind at a time.

    :param folder: where they run.
    :param environment: what is added to ours.
    :param output: gets what they write to standard error.
    """

    def __init__(
        self,
        reactor: Any,
        folder: str,
        environment: Mapping[str, str],
        log: Logger,
        output: Logger,
    ) -> None:
        self.reactor = reactor
        self.log = log
        self.output = output
        self.folder = folder
        self._environment = environment
        self._running: dict[str, _Execution] = {}
        self._idle: list[Deferred[None]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a program."""
        return {**os.environ, **self._environment, **more}

    def run(
        self, kind: str, command: CommandConfig, level: str | None = None, **more: str
    ) -> Deferred[Outcome]:
        """Run a command; cancelling ends it.

        :param kind: ``pause`` and the like.
        :param level: what stands for ``{level}`` in its arguments.
        :param more: variables for its environment.
        :returns: fails with :class:`CommandError` when it cannot be run or is ended by us.
        """
        before = self._running.get(kind)
        if before is not None:
            age = self.reactor.seconds() - before.started
            return fail(CommandError(f"{kind}, run {age:.0f} s ago, has not ended"))
        argv = command.argv
        if level is not None:
            argv = (argv[0], *(word.replace("{level}", level) for word in argv[1:]))
            more["SIDECAR_LEVEL"] = level
        environment = self.environment(SIDECAR_COMMAND=kind, **more)
        try:
            execution = _Execution(self, kind, attrs.evolve(command, argv=argv), environment)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return fail(CommandError(f"{kind}: {argv[0]} cannot be run: {reason}"))
        self._running[kind] = execution
        return execution.done

    def stop(self) -> Deferred[None]:
        """Kill what runs; fires when it has ended, or cannot be ended."""
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        for execution in list(self._running.values()):
            execution.kill("the service stops")
        self._tell_idle()
        return done

    def forget(self, kind: str, *, ended: bool) -> None:
        """A command has ended, or is given up and keeps its kind."""
        if ended:
            del self._running[kind]
        self._tell_idle()

    def _tell_idle(self) -> None:
        if all(execution.given_up for execution in self._running.values()):
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)


class _Execution:
    """One run of a command."""

    def __init__(
        self,
        commands: Commands,
        kind: str,
        command: CommandConfig,
        environment: Mapping[str, str],
    ) -> None:
        self._commands = commands
        self._kind = kind
        self._command = command
        self._out = bytearray()
        self._err = bytearray()
        self._size = {"out": 0, "err": 0}
        self._why: str | None = None
        self.given_up = False
        self.done: Deferred[Outcome] = Deferred(self._cancelled)
        self.started = commands.reactor.seconds()
        self._running = Running(
            commands.reactor,
            command.argv,
            commands.folder,
            environment,
            self._received,
            self._ended,
        )
        self._next: IDelayedCall | None = None
        self._later(command.timeout, self._overdue)

    def kill(self, why: str) -> None:
        """End it at once."""
        self._why = self._why or why
        self._running.read(False)
        self._running.signal_group(signal.SIGKILL)
        self._later(GRACE, self._give_up)

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = self._commands.reactor.callLater(delay, call)

    def _overdue(self) -> None:
        self._terminate(f"had not ended after {self._command.timeout:g} s and was killed")

    def _terminate(self, why: str) -> None:
        if self._why is None:
            self._why = why
            self._running.signal_group(signal.SIGTERM)
            self._later(GRACE, lambda: self.kill(why))

    def _cancelled(self, done: Deferred[Outcome]) -> None:
        self._terminate("is not waited for any more")
        done.errback(CancelledError())

    def _received(self, stream: Stream, data: bytes) -> None:
        kept, limit = (self._out, MAX_OUTPUT) if stream == "out" else (self._err, MAX_ERRORS)
        kept += data[: limit - len(kept)]
        self._size[stream] += len(data)
        if sum(self._size.values()) > MAX_FLOOD and self._why is None:
            self.kill(f"printed more than {MAX_FLOOD} bytes and was killed")

    def _give_up(self) -> None:
        """Even SIGKILL did not end it; a disk or a file server may hold it."""
        self.given_up = True
        self._commands.log.error(
            "{kind}: process {pid} cannot be killed", kind=self._kind, pid=self._running.pid
        )
        self._commands.forget(self._kind, ended=False)
        self._fail(f"{self._why}, but does not end")

    def _fail(self, why: str) -> None:
        if not self.done.called:
            self.done.errback(CommandError(f"{self._kind}: {self._command.argv[0]} {why}"))

    def _ended(self, code: int | None) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._commands.forget(self._kind, ended=True)
        self._write_down(code)
        if self._why is None and code is None:
            self._why = how_it_ended(None)
        if self._why is not None or code is None:
            self._fail(self._why or "")
        elif not self.done.called:
            cut = self._size["out"] > MAX_OUTPUT
            self.done.callback(Outcome(code, bytes(self._out), cut, bytes(self._err)))

    def _write_down(self, code: int | None) -> None:
        said = shown(bytes(self._err), 1000)
        if said:
            good = code == 0 and self._why is None
            write = self._commands.output.info if good else self._commands.output.warn
            write("{kind} wrote: {said}", kind=self._kind, said=said)
        if self._why is not None:
            self._commands.log.warn(
                "{kind}: {program} {why}",
                kind=self._kind,
                program=self._command.argv[0],
                why=self._why,
            )
