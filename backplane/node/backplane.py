"""The ``backplane`` agent: what an application lets operators see and do.

Actions, their outputs and texts are those of choria-io's Go backplane; what
ours adds has names of its own (``threaddump``; ``health_state``, ``health_age``, ``secure``
and what is changed in ``info``; the actions of :mod:`backplane.node.changing`). An action
whose interface the application does not provide does not exist.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane._version import __version__
from backplane.choria.ddl import Metadata
from backplane.choria.durations import format_duration
from backplane.interfaces import LogLevel
from backplane.node.agent import Action, ActionRequest, Agent, action
from backplane.node.auditing import Auditor
from backplane.node.calling import MethodCalls
from backplane.node.changes import Changes
from backplane.node.changing import ChangeActions, asked
from backplane.node.description import describe
from backplane.node.facts import FactSnapshots
from backplane.node.health import Health, HealthChecks
from backplane.node.history import History
from backplane.node.keeping import LedgerKeeper
from backplane.node.outputs import DUMP, INFO, LEVEL, PAUSED, STALLS, output, summary
from backplane.node.remembering import Remembering
from backplane.node.stopping import Stopping
from backplane.node.targets import APP, LEVEL_WORDS, LOG, Targets, level_word

__all__ = ["BackplaneAgent", "Provided"]

TIMEOUT: Final = 10
"""Seconds an action may take; the number in the DDL that clients have."""

CALL_DEADLINE: Final = TIMEOUT - 1.25
"""Seconds that one method of the application may take: the caller hears of it
before the action's own deadline."""

INFO_PATIENCE: Final = 0.8
"""Seconds that ``info`` waits for the health check and the facts: it answers within one."""

SOON: Final = 10.0
"""A shutdown within so many seconds, and the longest random delay, is what is asked for."""

NOT_CHECKED: Final = Health(None, False, "unknown", None)
"""The health of what cannot be checked."""


@attrs.frozen(kw_only=True)
class Provided:
    """Calls of what the application provides; ``None`` for what it does not."""

    info_source: MethodCalls | None = None
    pausable: MethodCalls | None = None
    health: MethodCalls | None = None
    stopable: MethodCalls | None = None
    log_level: MethodCalls | None = None
    breakers: MethodCalls | None = None
    drainable: MethodCalls | None = None
    loggers: MethodCalls | None = None

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


class BackplaneAgent(ChangeActions, Agent):
    """The ``backplane`` agent of one service.

    :param provided: what the application provides.
    :param facts: its facts.
    :param clock: for the delay of a shutdown and the age of health results.
    :param dump: makes a thread dump; ``stalled`` tells in what the reactor was stuck.
    :param on_shutdown: called when the application's ``shutdown()`` has been called.
    :param max_stop_delay: upper bound in seconds of the random part of that delay.
    :param rng: source of that delay.
    :param secure: whether callers are verified, for ``info``.
    :param service: the application's name, for texts.
    :param now: wall-clock time.
    :param auditor: writes down what is done without a request.
    :param remembering: the state file's, where changes are kept.
    :param lease: seconds after which a log level ``debug`` is taken back, or ``None``.
    """

    checks_inputs = False
    _provided: Provided
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
        "loggers": "loggers",
    }

    def __init__(
        self,
        provided: Provided,
        facts: FactSnapshots,
        clock: IReactorTime,
        dump: Callable[[], dict[str, Any]],
        stalled: Callable[[], dict[str, Any]],
        log: Logger,
        *,
        max_stop_delay: float = 10.0,
        rng: random.Random | None = None,
        secure: bool = False,
        service: str = "the application",
        now: Callable[[], float] = time.time,
        auditor: Auditor | None = None,
        remembering: Remembering | None = None,
        lease: float | None = None,
    ) -> None:
        self._provided = provided
        self._secure = secure
        self._facts = facts
        self._clock = clock
        self._dump = dump
        self._stalled = stalled
        self._log = log
        self._max_stop_delay = max_stop_delay
        self._rng = rng if rng is not None else random.SystemRandom()
        self._checks = (
            HealthChecks(provided.health, facts, clock, log, deadline=CALL_DEADLINE)
            if provided.health is not None
            else None
        )
        self._stopping = Stopping(clock, self._shut_down)
        self.may = lambda caller: []
        self.lease = lease
        self.book = Changes(
            lambda held: Targets(
                provided, service, held, self._stopping, lambda text: float(text) - now()
            ),
            clock,
            now,
            log,
            History(now, log, auditor or Auditor(None, now, secure), LedgerKeeper(remembering)),
        )

    def provides(self, action: str) -> bool:
        """Say whether the application provides what ``action`` needs."""
        if action in ("change", "end", "amend"):
            return any(getattr(self._provided, each) is not None for each in _CHANGEABLE)
        need = self._NEEDS.get(action)
        return need is None or getattr(self._provided, need) is not None

    def actions(self) -> Mapping[str, Action]:
        """Return the actions; the inputs of those that have any are checked."""
        if self._actions is None:
            self._actions = {
                name: attrs.evolve(each, checked=bool(each.declaration.inputs))
                for name, each in super().actions().items()
            }
        return self._actions

    def stop_delay(self) -> float:
        """Draw the delay of a shutdown."""
        return 1.0 + self._rng.random() * self._max_stop_delay

    def stopService(self) -> Deferred[Any] | None:
        """Stop; a shutdown that was announced and is not due is called off."""
        self._stopping.cancel()
        self.book.stop()
        super().stopService()
        return None

    @action(
        "Checks the connection to the backplane",
        role="read_only",
        outputs=[output("version", "Choria Backplane", "string", "Version of the backplane")],
        aggregate=summary("version"),
    )
    def ping(self, request: ActionRequest) -> dict[str, Any]:
        """Answer at once."""
        return {"version": __version__}

    @action(
        "Information about the managed service",
        role="read_only",
        display="always",
        outputs=INFO,
        aggregate=(*summary("version"), *summary("paused"), *summary("healthy")),
    )
    async def info(self, request: ActionRequest) -> dict[str, Any]:
        """Features, facts and state; waits little for health check and facts."""
        provided = self._provided
        facts = self._facts.refresh(INFO_PATIENCE)
        health = self._checks.look(INFO_PATIENCE) if self._checks is not None else None
        level = self._level(INFO_PATIENCE)
        paused = self._paused(INFO_PATIENCE)
        overview = Deferred.fromCoroutine(self.overview())
        await facts
        checked = await health if health is not None else NOT_CHECKED
        age = None
        if checked.at is not None:
            age = int((self._clock.seconds() - checked.at) * 1000) / 1000
        changed = await overview
        return {
            "backplane_version": __version__,
            "version": self._facts.version,
            "paused": await paused,
            "facts": self._facts.application,
            "healthy": checked.healthy,
            "loglevel": await level,
            "healthcheck_feature": provided.health is not None,
            "pause_feature": provided.pausable is not None,
            "shutdown_feature": provided.stopable is not None,
            "facts_feature": provided.info_source is not None,
            "loglevel_feature": provided.log_level is not None,
            "health_state": checked.state,
            "health_age": age,
            "secure": self._secure,
            "state": changed["state"],
            "in_flight": changed["in_flight"],
            "breakers": changed["breakers"],
            "changes": self.live(),
        }

    @action(
        "Checks the health of the managed service",
        role="read_only",
        outputs=[
            output("result", "Result", "string", "Result of the health check"),
            output("healthy", "Healthy", "boolean", "Health of the application"),
        ],
        aggregate=summary("healthy"),
    )
    async def health(self, request: ActionRequest) -> dict[str, Any]:
        """Run the health check."""
        assert self._checks is not None
        checked = await self._checks.run()
        return {"result": checked.result, "healthy": checked.healthy}

    @action("Pauses the service", display="always", outputs=[PAUSED], aggregate=summary("paused"))
    def pause(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Open the circuit breaker."""
        return self._change_pause("pause", request)

    @action("Resumes the service", display="always", outputs=[PAUSED], aggregate=summary("paused"))
    def resume(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Close the circuit breaker."""
        return self._change_pause("resume", request)

    @action(
        "Pauses a running service, resumes a paused one",
        display="always",
        outputs=[PAUSED],
        aggregate=summary("paused"),
    )
    def flip(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Change the circuit breaker to its other state."""
        return self._change_pause("flip", request)

    @action(
        "Shuts the service down after a short random delay",
        outputs=[output("delay", "Delay", "string", "How long until the shutdown")],
        aggregate=summary("delay"),
    )
    async def shutdown(self, request: ActionRequest) -> dict[str, Any]:
        """Schedule the shutdown; a second request within the delay schedules nothing new.

        Where one is scheduled for much later it is refused.
        """
        if self._stopping.scheduled and self._stopping.left > SOON + self._max_stop_delay:
            raise self.scheduled_already()  # it would be told as done, and be done much later
        if not self._stopping.scheduled:
            delay = self.stop_delay()
            await self.shut_down_in(asked(request), delay)
            self._log.warn(
                "Scheduling shutdown after {delay} delay, asked by {caller}",
                delay=format_duration(round(delay * 1e9)),
                caller=request.caller_id,
            )
        return {"delay": format_duration(round(self._stopping.left * 1e9))}

    @action(
        "Sets the log level to debug",
        display="always",
        outputs=[LEVEL],
        aggregate=summary("level"),
    )
    def debuglvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to debug."""
        return self._set_level(LogLevel.DEBUG, request)

    @action(
        "Sets the log level to info",
        display="always",
        outputs=[LEVEL],
        aggregate=summary("level"),
    )
    def infolvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to info."""
        return self._set_level(LogLevel.INFO, request)

    @action(
        "Sets the log level to warning",
        display="always",
        outputs=[LEVEL],
        aggregate=summary("level"),
    )
    def warnlvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to warning."""
        return self._set_level(LogLevel.WARN, request)

    @action(
        "Sets the log level to critical",
        display="always",
        outputs=[LEVEL],
        aggregate=summary("level"),
    )
    def critlvl(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Set the application's level to critical."""
        return self._set_level(LogLevel.CRITICAL, request)

    @action("Shows in what the reactor was stuck", changes=False, outputs=STALLS)
    def stalls(self, request: ActionRequest) -> dict[str, Any]:
        """Places and source lines, of the time since somebody looks."""
        return self._stalled()

    @action("Shows every thread's stack and what the reactor holds", changes=False, outputs=DUMP)
    def threaddump(self, request: ActionRequest) -> dict[str, Any]:
        """Stacks without local variables."""
        return self._dump()

    async def _change_pause_steps(self, method: str, request: ActionRequest) -> dict[str, Any]:
        pausable = self._provided.pausable
        assert pausable is not None
        to = {"pause": "paused", "resume": "running"}.get(method, "flip")
        made = await self.book.make(asked(request), APP, to, method=method, lenient=True)
        if made.shown is None:  # it fails in its own words
            paused = bool(await pausable.read("paused", deadline=CALL_DEADLINE))
        else:
            paused = made.shown != "running"
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
            seconds = self.lease if level is LogLevel.DEBUG else None
            to = LEVEL_WORDS[level]
            made = await self.book.make(asked(request), LOG, to, seconds=seconds, lenient=True)
            now = made.shown if made.shown is not None else await self._level(None)
            self._log.info("log level set to {to} by {caller}", to=now, caller=request.caller_id)
            return {"level": now}

        return Deferred.fromCoroutine(steps())

    def _level(self, patience: float | None) -> Deferred[str]:
        calls = self._provided.log_level
        if calls is None:
            return succeed("unknown")
        level = calls.read("get_log_level", deadline=CALL_DEADLINE, patience=patience)
        level.addCallback(level_word)
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

    def _shut_down(self) -> Deferred[Any]:
        self._log.warn("Shutting down after shutdown action invoked by the backplane")
        calls = self._provided.stopable
        assert calls is not None
        return calls.change("shutdown", deadline=CALL_DEADLINE).addErrback(self._not_shut_down)

    def _not_shut_down(self, failure: Failure) -> Failure:
        self._log.failure("shutdown() of the application failed", failure)
        self.book.history.not_shut_down(describe(failure))
        return failure


_CHANGEABLE: Final = ("pausable", "breakers", "log_level", "stopable")
"""What brings the actions that change by the ledger."""
