"""The outside process as a provider of the interfaces, as far as it is configured."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import alsoProvides

from backplane.config.sidecarvalues import CommandConfig, HttpConfig, SidecarConfig
from backplane.errors import ConfigError
from backplane.interfaces import (
    IHealthCheckable,
    IInfoSource,
    ILogLevelSetable,
    IPausable,
    IStopable,
    IStopCheckable,
    LogLevel,
)
from backplane.logs import printable
from backplane.sidecar.answers import level_from, paused_from, shown, value_from, word_for
from backplane.sidecar.child import Child
from backplane.sidecar.commands import Commands, Outcome
from backplane.sidecar.errors import CommandError, SidecarError
from backplane.sidecar.factsfile import FactsFile
from backplane.sidecar.group import how_it_ended
from backplane.sidecar.pidfile import ABSENT, ManagedProcess, PidFile, Seen
from backplane.sidecar.table import ProcessTable
from backplane.sidecar.web import ask

__all__ = ["Sidecar"]

MAX_TOLD: Final = 100
"""Causes of missing facts that are remembered, so that each is logged once."""


class Sidecar(Service):
    """Everything that ``sidecar:`` says; provides the interfaces that have something there.

    :param reactor: the reactor to use; the global one by default, asked for at start.
    :param log: gets what the sidecar has to say.
    :param output: gets what child and commands print; ``log`` by default.
    :param now: wall-clock time, Unix seconds.
    :param table: tells processes apart. For tests.
    """

    def __init__(
        self,
        config: SidecarConfig,
        *,
        reactor: Any = None,
        log: Logger | None = None,
        output: Logger | None = None,
        now: Callable[[], float] = time.time,
        table: ProcessTable | None = None,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._log = log if log is not None else Logger(namespace="backplane.sidecar")
        self._output = output if output is not None else self._log
        self._now = now
        self._table = table if table is not None else ProcessTable()
        self._commands: Commands | None = None
        self._process: ManagedProcess | None = None
        self._child: Child | None = None
        self._facts: FactsFile | None = None
        self._waiting: list[Deferred[bool]] = []
        self._asked_pause: tuple[object, bool] | None = None
        self._asked_level: tuple[object, LogLevel] | None = None
        self._told: set[str] = set()
        for face, there in (
            (IPausable, config.pause),
            (IHealthCheckable, config.health),
            (IStopable, config.shutdown),
            (IStopCheckable, isinstance(config.shutdown, str)),
            (ILogLevelSetable, config.loglevel),
            (IInfoSource, config.version or config.facts or config.process),
        ):
            if there:
                alsoProvides(self, face)

    def startService(self) -> None:
        """Start the child, if the process is one; :raises ProcessError: when it cannot be."""
        if self._reactor is None:
            from twisted.internet import reactor as default

            self._reactor = default
        reactor = self._reactor
        config, process = self._config, self._config.process
        commands = Commands(reactor, config.folder, config.environment, self._log, self._output)
        if config.facts is not None:
            self._facts = FactsFile(reactor, config.facts)
        if process is not None and process.pidfile is not None:
            self._table.check()
            self._process = PidFile(process.pidfile, self._table)
        elif process is not None:
            child = Child(
                reactor,
                process,
                config.folder,
                commands.environment,
                self._log,
                self._output,
                self._now,
            )
            child.start()
            self._process = self._child = child
        self._commands = commands
        super().startService()

    def stopService(self) -> Deferred[None]:
        """End commands that run, and the child."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._commands is not None:
            await self._commands.stop()
        if self._child is not None:
            await self._child.stop()

    # IPausable

    async def pause(self) -> None:
        """See :class:`IPausable`."""
        await self._set_paused(True)

    async def resume(self) -> None:
        """See :class:`IPausable`."""
        await self._set_paused(False)

    async def flip(self) -> None:
        """See :class:`IPausable`."""
        await self._set_paused(not await self.paused())

    async def paused(self) -> bool:
        """See :class:`IPausable`; what ``paused:`` says, else what was asked and confirmed."""
        command = self._config.paused
        if command is None:
            asked = self._asked_pause
            # A process that came anew has not been asked.
            return asked is not None and asked[0] == self._look().which and asked[1]
        waiter: Deferred[bool] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:  # the others share what it says
            Deferred.fromCoroutine(self._read_paused(command)).addBoth(self._paused_read)
        return await waiter

    async def _read_paused(self, command: CommandConfig) -> bool:
        outcome = await self._run("paused", command)
        try:
            return paused_from(outcome.code, outcome.out)
        except CommandError as error:
            raise _about("paused", command, error) from None

    def _paused_read(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    async def _set_paused(self, paused: bool) -> None:
        kind, which = "pause" if paused else "resume", self._look().which
        command = self._config.pause if paused else self._config.resume
        assert command is not None
        await self._do(kind, command)
        self._asked_pause = (which, paused)

    # IHealthCheckable

    async def health_check(self) -> tuple[Any, bool]:
        """See :class:`IHealthCheckable`; a check that cannot be done is an unhealthy one."""
        health = self._config.health
        assert health is not None
        try:
            if isinstance(health, HttpConfig):
                code, body = await ask(self._reactor, health)
                good, cut, said = 200 <= code < 300, False, f"answered with {code}"
            else:
                outcome = await self._run("health", health)
                body, cut, good = outcome.out, outcome.cut, outcome.code == 0
                said = how_it_ended(outcome.code)
        except CommandError as error:
            return {"error": str(error)}, False
        result = value_from(body, cut)
        return ({"error": said} if result is None and not good else result), good

    # IStopable

    def check_shutdown(self) -> None:
        """See :class:`IStopCheckable`: a signal needs a process that can get it."""
        assert self._process is not None
        self._process.check()

    async def shutdown(self) -> None:
        """See :class:`IStopable`."""
        how = self._config.shutdown
        if isinstance(how, str):
            assert self._process is not None
            self._process.shut_down(getattr(signal, f"SIG{how}"))
            return
        assert how is not None
        undo = self._child.expect_end() if self._child is not None else None
        try:
            await self._do("shutdown", how)
        except BaseException:
            if undo is not None:
                undo()
            raise

    # ILogLevelSetable

    async def set_log_level(self, level: LogLevel) -> None:
        """See :class:`ILogLevelSetable`."""
        config, which = self._config.loglevel, self._look().which
        assert config is not None
        await self._do("loglevel", config.change, word_for(level, config.words))
        self._asked_level = (which, level)

    async def get_log_level(self) -> LogLevel | None:
        """See :class:`ILogLevelSetable`; ``None``, shown as unknown, before it was set."""
        config = self._config.loglevel
        assert config is not None
        if config.get is not None:
            outcome = await self._do("loglevel.get", config.get)
            try:
                return level_from(outcome.out, config.words)
            except CommandError as error:
                raise _about("loglevel.get", config.get, error) from None
        asked = self._asked_level
        return asked[1] if asked is not None and asked[0] == self._look().which else None

    # IInfoSource

    async def version(self) -> str:
        """See :class:`IInfoSource`."""
        version = self._config.version
        if isinstance(version, CommandConfig):
            return shown((await self._do("version", version)).out)
        return version if version is not None else "unknown"

    async def fact_data(self) -> dict[str, Any]:
        """See :class:`IInfoSource`; what the file cannot tell does not hide the process."""
        facts: dict[str, Any] = {}
        if self._facts is not None:
            try:
                facts.update(await self._facts.read())
            except SidecarError as error:
                facts["sidecar_facts_error"] = self._tell_once(str(error))
            except ConfigError as error:
                self._tell_once(str(error))
                facts["sidecar_facts_error"] = f"{self._config.facts} is neither YAML nor JSON"
        if self._process is not None:
            seen = self._process.look()
            if seen.why is not None and self._child is None:
                self._tell_once(seen.why)
            facts["sidecar_pid"] = seen.pid
            facts["sidecar_running"] = seen.pid is not None
            facts["sidecar_started"] = _time(seen.started)
        return facts

    def _look(self) -> Seen:
        return self._process.look() if self._process is not None else ABSENT

    def _run(
        self, kind: str, command: CommandConfig, level: str | None = None
    ) -> Deferred[Outcome]:
        if self._commands is None:
            return fail(CommandError(f"{kind}: the sidecar is not started"))
        pid = self._look().pid
        more = {} if pid is None else {"SIDECAR_PID": str(pid)}
        return self._commands.run(kind, command, level, **more)

    async def _do(self, kind: str, command: CommandConfig, level: str | None = None) -> Outcome:
        """Run a command; :raises CommandError: when it does not confirm with exit code 0."""
        outcome = await self._run(kind, command, level)
        try:
            return outcome.check()
        except CommandError as error:
            raise _about(kind, command, error) from None

    def _tell_once(self, text: str) -> str:
        shown = printable(text, 300)
        if shown not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(shown)
            self._log.warn("{text}", text=shown)
        return shown


def _about(kind: str, command: CommandConfig, error: CommandError) -> CommandError:
    return CommandError(f"{kind}: {command.argv[0]} {error}")


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
