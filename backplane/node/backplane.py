"""The ``backplane`` agent: what an application lets operators see and do.

Actions, their outputs and texts are those of choria-io's Go backplane; what
ours adds has names of its own (``threaddump``; ``health_state`` and
``health_age`` in ``info``). An action whose interface the application does not
provide does not exist.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane._version import __version__
from backplane.choria.ddl import Aggregate, Metadata, Output
from backplane.choria.durations import format_duration
from backplane.choria.facts import clean
from backplane.interfaces import LogLevel
from backplane.node.agent import ActionRequest, Agent, action
from backplane.node.calling import CallError, MethodCalls
from backplane.node.description import describe
from backplane.node.facts import FactSnapshots

__all__ = ["BackplaneAgent", "Provided"]

TIMEOUT: Final = 10
"""Seconds an action may take; the number in the DDL that clients have."""

CALL_DEADLINE: Final = TIMEOUT - 1.25
"""Seconds that one method of the application may take: the caller hears of it
before the action's own deadline."""

INFO_PATIENCE: Final = 1.0
"""Seconds that ``info`` waits for the health check and the facts."""

HEALTH_KEPT: Final = 60.0
"""Seconds for which ``info`` may show the last health result."""

LEVEL_WORDS: Final[Mapping[LogLevel, str]] = {
    LogLevel.DEBUG: "debug",
    LogLevel.INFO: "info",
    LogLevel.WARN: "warning",
    LogLevel.CRITICAL: "critical",
}


@attrs.frozen(kw_only=True)
class Provided:
    """Calls of what the application provides; ``None`` for what it does not."""

    info_source: MethodCalls | None = None
    pausable: MethodCalls | None = None
    health: MethodCalls | None = None
    stopable: MethodCalls | None = None
    log_level: MethodCalls | None = None

    def own_facts(self) -> dict[str, Any]:
        """Return the facts that clients filter on."""
        return {
            "backplane_version": __version__,
            "backplane_name": "backplane",
            "backplane_pausable": self.pausable is not None,
            "backplane_stopable": self.stopable is not None,
            "backplane_healthcheckable": self.health is not None,
            "backplane_loglevelsetable": self.log_level is not None,
        }


@attrs.frozen
class _Health:
    result: Any
    healthy: bool
    state: str
    at: float | None


def _summary(name: str) -> tuple[Aggregate, ...]:
    return (Aggregate(function="summary", args=(name,)),)


_PAUSED: Final = Output(
    name="paused",
    description="Circuit Breaker pause state",
    display_as="Paused",
    type="boolean",
)
_LEVEL: Final = Output(
    name="level",
    description="Log level that was activated",
    display_as="Log Level",
    type="string",
)


def _output(name: str, display_as: str, type_: str, description: str) -> Output:
    return Output(name=name, description=description, display_as=display_as, type=type_)


_INFO: Final = (
    _output("backplane_version", "Choria Backplane", "string", "Version of the backplane"),
    _output("version", "Version", "string", "Version of the application"),
    _PAUSED,
    _output("facts", "Instance Facts", "Hash", "Facts of the application"),
    _output("healthy", "Healthy", "boolean", "Health of the application"),
    _output("loglevel", "Log Level", "string", "Active log level"),
    _output("healthcheck_feature", "Health Feature", "boolean", "If health can be checked"),
    _output("pause_feature", "Circuit Breaker Feature", "boolean", "If it can be paused"),
    _output("shutdown_feature", "Shutdown Feature", "boolean", "If it can be shut down"),
    _output("facts_feature", "Facts Feature", "boolean", "If it has facts"),
    _output("loglevel_feature", "Log Level Feature", "boolean", "If its log level can be set"),
    _output("health_state", "Health State", "string", "ok, failed, unknown or stale"),
    _output("health_age", "Health Age", "float", "Seconds since the health was checked"),
)

_DUMP: Final = (
    _output("threads", "Threads", "Array", "Every thread with its stack"),
    _output("thread_count", "Thread Count", "integer", "How many threads there are"),
    _output("delayed_calls", "Delayed Calls", "Array", "What the reactor will call"),
    _output("delayed_call_count", "Delayed Call Count", "integer", "How many of these"),
    _output("readers", "Readers", "Array", "What the reactor reads from"),
    _output("reader_count", "Reader Count", "integer", "How many of these"),
    _output("writers", "Writers", "Array", "What the reactor writes to"),
    _output("writer_count", "Writer Count", "integer", "How many of these"),
    _output("thread_pool", "Thread Pool", "Hash", "The reactor's thread pool"),
    _output("truncated", "Truncated", "boolean", "If some of it was left out"),
)


class BackplaneAgent(Agent):
    """The ``backplane`` agent of one service.

    :param provided: what the application provides.
    :param facts: its facts.
    :param clock: for the delay of a shutdown and the age of health results.
    :param dump: makes a thread dump.
    :param on_shutdown: called when the application's ``shutdown()`` has been called.
    :param max_stop_delay: upper bound in seconds of the random part of that delay.
    :param rng: source of that delay.
    """

    checks_inputs = False
    metadata = Metadata(
        name="backplane",
        description="Choria Management Backplane",
        author="R.I.Pienaar <rip@devco.net>",
        license="Apache-2.0",
        url="https://choria.io",
        version=__version__,
        timeout=TIMEOUT,
    )

    _NEEDS: Final[Mapping[str, str]] = {
        "pause": "pausable",
        "resume": "pausable",
        "flip": "pausable",
        "shutdown": "stopable",
        "health": "health",
        "debuglvl": "log_level",
        "infolvl": "log_level",
        "warnlvl": "log_level",
        "critlvl": "log_level",
    }

    def __init__(
        self,
        provided: Provided,
        facts: FactSnapshots,
        clock: IReactorTime,
        dump: Callable[[], dict[str, Any]],
        log: Logger,
        *,
        max_stop_delay: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        self._provided = provided
        self._facts = facts
        self._clock = clock
        self._dump = dump
        self._log = log
        self._max_stop_delay = max_stop_delay
        self._rng = rng if rng is not None else random.SystemRandom()
        self._health: _Health | None = None
        self._stopping: IDelayedCall | None = None
        self._stop_at = 0.0

    def provides(self, action: str) -> bool:
        """Say whether the application provides what ``action`` needs."""
        need = self._NEEDS.get(action)
        return need is None or getattr(self._provided, need) is not None

    def stopService(self) -> Deferred[Any] | None:
        """Stop; a shutdown that was announced and is not due is called off."""
        if self._stopping is not None and self._stopping.active():
            self._stopping.cancel()
        super().stopService()
        return None

    @action(
        "Checks the connection to the backplane",
        role="read_only",
        outputs=[_output("version", "Choria Backplane", "string", "Version of the backplane")],
        aggregate=_summary("version"),
    )
    def ping(self, request: ActionRequest) -> dict[str, Any]:
        """Answer at once."""
        return {"version": __version__}

    @action(
        "Information about the managed service",
        role="read_only",
        display="always",
        outputs=_INFO,
        aggregate=(*_summary("version"), *_summary("paused"), *_summary("healthy")),
    )
    async def info(self, request: ActionRequest) -> dict[str, Any]:
        """Features, facts and state; waits little for health check and facts."""
        provided = self._provided
        facts = self._facts.refresh(INFO_PATIENCE)
        health = self._check_health(INFO_PATIENCE)
        level = self._level(INFO_PATIENCE)
        paused = self._paused(INFO_PATIENCE)
        await facts
        checked = await health
        checked_at = checked.at if checked is not None else None
        return {
            "backplane_version": __version__,
            "version": self._facts.version,
            "paused": await paused,
            "facts": self._facts.application,
            "healthy": checked.healthy if checked is not None else False,
            "loglevel": await level,
            "healthcheck_feature": provided.health is not None,
            "pause_feature": provided.pausable is not None,
            "shutdown_feature": provided.stopable is not None,
            "facts_feature": provided.info_source is not None,
            "loglevel_feature": provided.log_level is not None,
            "health_state": checked.state if checked is not None else "unknown",
            "health_age": None if checked_at is None else self._clock.seconds() - checked_at,
        }

    @action(
        "Checks the health of the managed service",
        role="read_only",
        outputs=[
            _output("result", "Result", "string", "Result of the health check"),
            _output("healthy", "Healthy", "boolean", "Health of the application"),
        ],
        aggregate=_summary("healthy"),
    )
    async def health(self, request: ActionRequest) -> dict[str, Any]:
        """Run the health check."""
        assert self._provided.health is not None
        try:
            result = await self._provided.health.read("health_check", deadline=CALL_DEADLINE)
            checked = self._take_health(result)
        except (CallError, CancelledError):
            raise
        except Exception:
            checked = self._health_failed(Failure())
        return {"result": checked.result, "healthy": checked.healthy}

    @action("Pauses the service", display="always", outputs=[_PAUSED], aggregate=_summary("paused"))
    def pause(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Open the circuit breaker."""
        return self._change_pause("pause", request)

    @action(
        "Resumes the service", display="always", outputs=[_PAUSED], aggregate=_summary("paused")
    )
    def resume(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Close the circuit breaker."""
        return self._change_pause("resume", request)

    @action(
        "Pauses a running service, resumes a paused one",
        display="always",
        outputs=[_PAUSED],
        aggregate=_summary("paused"),
    )
    def flip(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Change the circuit breaker to its other state."""
        return self._change_pause("flip", request)

    @action(
        "Shuts the service down after a short random delay",
        outputs=[_output("delay", "Delay", "string", "How long until the shutdown")],
        aggregate=_summary("delay"),
    )
    def shutdown(self, request: ActionRequest) -> dict[str, Any]:
        """Schedule the shutdown; a second request within the delay schedules nothing new."""
        if self._stopping is None:
            delay = 1.0 + self._rng.random() * self._max_stop_delay
            self._stop_at = self._clock.seconds() + delay
            self._log.warn(
                "Scheduling shutdown after {delay} delay, asked by {caller}",
                delay=format_duration(round(delay * 1e9)),
                caller=request.caller_id,
            )
            self._stopping = self._clock.callLater(delay, self._shut_down)
        left = max(0.0, self._stop_at - self._clock.seconds())
        return {"delay": format_duration(round(left * 1e9))}

    @action(
        "Sets the log level to debug",
        display="always",
        outputs=[_LEVEL],
        aggregate=_summary("level"),
    )
    def debuglvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to debug."""
        return self._set_level(LogLevel.DEBUG, request)

    @action(
        "Sets the log level to info",
        display="always",
        outputs=[_LEVEL],
        aggregate=_summary("level"),
    )
    def infolvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to info."""
        return self._set_level(LogLevel.INFO, request)

    @action(
        "Sets the log level to warning",
        display="always",
        outputs=[_LEVEL],
        aggregate=_summary("level"),
    )
    def warnlvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to warning."""
        return self._set_level(LogLevel.WARN, request)

    @action(
        "Sets the log level to critical",
        display="always",
        outputs=[_LEVEL],
        aggregate=_summary("level"),
    )
    def critlvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to critical."""
        return self._set_level(LogLevel.CRITICAL, request)

    @action("Shows every thread's stack and what the reactor holds", changes=False, outputs=_DUMP)
    def threaddump(self, request: ActionRequest) -> dict[str, Any]:
        """Stacks without local variables."""
        return self._dump()

    async def _change_pause_steps(self, method: str, request: ActionRequest) -> dict[str, Any]:
        pausable = self._provided.pausable
        assert pausable is not None
        await pausable.change(method, deadline=CALL_DEADLINE)
        paused = bool(await pausable.read("paused", deadline=CALL_DEADLINE))
        self._log.info(
            "{method} by {caller}: paused is {paused}",
            method=method,
            caller=request.caller_id,
            paused=paused,
        )
        return {"paused": paused}

    def _change_pause(self, method: str, request: ActionRequest) -> Deferred[dict[str, Any]]:
        return Deferred.fromCoroutine(self._change_pause_steps(method, request))

    def _set_level(self, level: LogLevel, request: ActionRequest) -> Deferred[dict[str, Any]]:
        async def steps() -> dict[str, Any]:
            calls = self._provided.log_level
            assert calls is not None
            await calls.change("set_log_level", level, deadline=CALL_DEADLINE)
            now = await self._level(None)
            self._log.info("log level set to {to} by {caller}", to=now, caller=request.caller_id)
            return {"level": now}

        return Deferred.fromCoroutine(steps())

    def _level(self, patience: float | None) -> Deferred[str]:
        calls = self._provided.log_level
        if calls is None:
            return succeed("unknown")
        level = calls.read("get_log_level", deadline=CALL_DEADLINE, patience=patience)
        level.addCallback(_level_word)
        return level.addErrback(self._unknown, "unknown")

    def _paused(self, patience: float) -> Deferred[bool]:
        calls = self._provided.pausable
        if calls is None:
            return succeed(False)
        paused = calls.read("paused", deadline=CALL_DEADLINE, patience=patience)
        paused.addCallback(bool)
        return paused.addErrback(self._unknown, False)

    def _unknown(self, failure: Failure, instead: Any) -> Any:
        self._log.warn("the application's state is unknown: {why}", why=describe(failure))
        return instead

    def _check_health(self, patience: float) -> Deferred[_Health | None]:
        calls = self._provided.health
        if calls is None:
            return succeed(None)
        check = calls.read("health_check", deadline=CALL_DEADLINE, patience=patience)
        check.addCallback(self._take_health)
        return check.addErrback(self._health_failed)

    def _take_health(self, result: object) -> _Health:
        value: object = {"error": "health_check() must return (result, ok)"}
        healthy: object = False
        # Text of two characters, and a mapping of two keys, could be taken apart as well.
        if isinstance(result, (tuple, list)) and len(result) == 2:
            value, healthy = result
        shown, problems = clean(value)
        if problems:
            self._log.debug("health result: {problems}", problems=list(problems)[:5])
        self._health = _Health(
            self._facts.masked(shown),
            bool(healthy),
            "ok" if healthy else "failed",
            self._clock.seconds(),
        )
        return self._health

    def _health_failed(self, failure: Failure) -> _Health:
        now = self._clock.seconds()
        last = self._health
        if not failure.check(CallError):
            self._log.failure("the application's health check failed", failure)
            self._health = _Health({"error": describe(failure)}, False, "failed", now)
            return self._health
        at = last.at if last is not None else None
        if last is not None and at is not None and now - at < HEALTH_KEPT:
            return attrs.evolve(last, state="stale")
        return _Health(None, False, "unknown", at)

    def _shut_down(self) -> None:
        self._log.warn("Shutting down after shutdown action invoked by the backplane")
        self._stopping = None
        calls = self._provided.stopable
        assert calls is not None
        calls.change("shutdown", deadline=CALL_DEADLINE).addErrback(
            lambda failure: self._log.failure("shutdown() of the application failed", failure)
        )


def _level_word(level: object) -> str:
    try:
        return LEVEL_WORDS[LogLevel(level)]  # type: ignore[arg-type]
    except ValueError:
        return "unknown"
