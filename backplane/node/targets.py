"""What can be changed in an application: each target, how it is read, how it is set.

Names and values are those of :mod:`backplane.ledger`. Nothing here remembers what was
asked for; it asks the application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from backplane.choria.rpc import ActionError, StatusCode
from backplane.interfaces import IStopCheckable, LogLevel
from backplane.ledger import SHUTDOWN
from backplane.logs import printable
from backplane.node.calling import MethodCalls
from backplane.node.stopping import Stopping

__all__ = ["APP", "BREAKER", "LEVELS", "LEVEL_WORDS", "LOG", "Targets", "level_word"]

APP: Final = "app"
LOG: Final = "log:"
BREAKER: Final = "breaker:"
UNSET: Final = "unset"

CALL_DEADLINE: Final = 8.75
"""Seconds that a look at the application may take, so that the caller hears of it before
the action's own deadline."""

MAX_NAME: Final = 200
"""Characters of a logger's name."""

MAX_BREAKERS: Final = 200
"""Breakers that are looked at; an application has some."""

LEVEL_WORDS: Final[Mapping[LogLevel, str]] = {
    LogLevel.DEBUG: "debug",
    LogLevel.INFO: "info",
    LogLevel.WARN: "warning",
    LogLevel.CRITICAL: "critical",
}
LEVELS: Final = {word: level for level, word in LEVEL_WORDS.items()}

_BREAKER_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def level_word(level: object) -> str:
    """Return the word of a level; ``unknown`` for what is none."""
    try:
        return LEVEL_WORDS[LogLevel(level)]  # type: ignore[arg-type]
    except ValueError:
        return "unknown"


@attrs.frozen
class Breaker:
    """A named breaker's calls, and the object that they are of."""

    of: object
    calls: MethodCalls


class Targets:
    """The targets of one application.

    :param provided: has, by name, the calls of what the application provides.
    :param service: the application's name, for texts.
    :param held: returns what the ledger holds for a target.
    :param stopping: the shutdown that is scheduled.
    :param delay_until: returns in how many seconds it is as late as a text says.
    """

    def __init__(
        self,
        provided: Any,
        service: str,
        held: Callable[[str], str | None],
        stopping: Stopping,
        delay_until: Callable[[str], float],
    ) -> None:
        self._provided = provided
        self._service = service
        self._held = held
        self._stopping = stopping
        self._delay_until = delay_until
        self._breakers: dict[str, Breaker] = {}
        self._drained_shows = True  # what paused() is while it drains
        self.delays: dict[str, float] = {}  # of shutdowns that are about to be scheduled

    def check(self, target: str, to: str | None = None) -> None:
        """Say what is wrong with a target, or a value for it.

        :raises ActionError: ``INVALID_DATA`` for what is none anywhere, ``ABORTED`` for what
            this application lacks.
        """
        kind, values, lacks = self._kind(target)
        if not kind:
            raise ActionError(
                f"there is no target {printable(target, 80)!r}: it is app, breaker:NAME, log:, "
                "log:LOGGER or shutdown",
                StatusCode.INVALID_DATA,
            )
        if to is not None and values and to not in values:
            raise ActionError(
                f"{printable(target)} cannot become {printable(to, 80)!r}: "
                f"it is one of {', '.join(values)}",
                StatusCode.INVALID_DATA,
            )
        if lacks:
            raise ActionError(f"{self._service} {lacks}", data={"reason": "lacks"})
        if to == "draining" and self._provided.drainable is None:
            raise ActionError(
                f"{self._service} does not say how much work is under way, so it cannot be "
                "drained; it can be paused",
                data={"reason": "lacks"},
            )

    def _kind(self, target: str) -> tuple[str, tuple[str, ...], str]:
        """Return the kind of a target, its values, and what the application lacks for it."""
        provided = self._provided
        if target == APP:
            lacks = "" if provided.pausable is not None else "cannot be paused"
            return APP, ("running", "draining", "paused"), lacks
        if target == SHUTDOWN:
            return SHUTDOWN, (), "" if provided.stopable is not None else "cannot be shut down"
        if target == LOG:
            return LOG, tuple(LEVELS), "" if provided.log_level is not None else "has no log level"
        if target.startswith(LOG) and _is_logger(target[len(LOG) :]):
            lacks = "" if provided.loggers is not None else "has no levels of single loggers"
            return LOG, (*LEVELS, UNSET), lacks
        name = target[len(BREAKER) :]
        if target.startswith(BREAKER) and _is_breaker(name):
            # Whether there is one of this name is known once the application was asked.
            lacks = "" if provided.breakers is not None else f"has no breaker {name}"
            return BREAKER, ("closed", "open"), lacks
        return "", (), ""

    # Reading.

    async def read(
        self,
        target: str,
        deadline: float,
        patience: float | None = None,
        taken_for: str | None = None,
    ) -> str:
        """Return what the application shows a target to be.

        :param taken_for: what it was just set to, when the ledger does not hold that yet.
        :raises ActionError: when it has no such target; also what its methods raise.
        """
        if target == SHUTDOWN:
            return self._stopping.shown
        how: Any = {"deadline": deadline, "patience": patience}
        if target == APP:
            paused = bool(await self._provided.pausable.read("paused", **how))
            return self._app(paused, taken_for or self._held(APP))
        if target == LOG:
            level = level_word(await self._provided.log_level.read("get_log_level", **how))
            if level == "unknown":
                raise ActionError(f"{self._service} shows no log level that is known")
            return level
        if target.startswith(LOG):
            found = (await self._provided.loggers.read("loggers", **how)).get(target[len(LOG) :])
            return UNSET if found is None or found[0] is None else level_word(found[0])
        breaker = await self.breaker(target[len(BREAKER) :], deadline, patience)
        return "open" if await breaker.read("paused", **how) else "closed"

    def _app(self, paused: bool, held: str | None) -> str:
        if held == "draining" and paused is self._drained_shows:
            return "draining"
        return "paused" if paused else "running"

    async def breaker(
        self, name: str, deadline: float, patience: float | None = None
    ) -> MethodCalls:
        """Return the calls of a named breaker.

        :raises ActionError: when there is none of this name.
        """
        found = (await self.breakers(deadline, patience)).get(name)
        if found is None:
            raise ActionError(f"{self._service} has no breaker {name}", data={"reason": "lacks"})
        return found

    async def breakers(
        self, deadline: float, patience: float | None = None
    ) -> dict[str, MethodCalls]:
        """Return the calls of each named breaker."""
        calls = self._provided.breakers
        if calls is None:
            return {}
        found = await calls.read("breakers", deadline=deadline, patience=patience)
        known, self._breakers = self._breakers, {}
        for name in sorted(filter(_is_breaker, found))[:MAX_BREAKERS]:
            # One that was replaced is another breaker, and has calls of its own.
            kept = known.get(name)
            if kept is None or kept.of is not found[name]:
                kept = Breaker(found[name], calls.of(found[name]))
            self._breakers[name] = kept
        return {name: each.calls for name, each in self._breakers.items()}

    async def names(self, patience: float) -> list[str]:
        """Return the names of breakers; none where the application does not say."""
        try:
            return list(await self.breakers(CALL_DEADLINE, patience))
        except Exception:
            return []

    async def counted(self, patience: float) -> int | None:
        """Return how much work is under way; ``None`` where the application does not say."""
        calls = self._provided.drainable
        if calls is None:
            return None
        try:
            count = await calls.read("in_flight", deadline=CALL_DEADLINE, patience=patience)
        except Exception:
            return None
        return count if isinstance(count, int) and not isinstance(count, bool) else None

    async def loggers(self) -> dict[str, dict[str, str]]:
        """Return the loggers' levels as words."""
        found = await self._provided.loggers.read("loggers", deadline=CALL_DEADLINE)
        return {
            str(name): {
                "level": UNSET if own is None else level_word(own),
                "effective": level_word(effective),
            }
            for name, (own, effective) in found.items()
        }

    async def check_shutdown(self) -> None:
        """Ask whether the application can be ended; :raises BaseException: what it raises."""
        calls = self._provided.stopable
        if IStopCheckable.providedBy(calls.provided):
            await calls.read("check_shutdown", deadline=CALL_DEADLINE)

    # Setting.

    async def apply(
        self, target: str, to: str, deadline: float, *, method: str = "", restores: bool = False
    ) -> bool:
        """Let the application make a target what it is to be.

        :param method: of the breaker of the whole, where another one than usual is called.
        :param restores: whether that is what the application had at first.
        :returns: whether the application has put back what it had by itself.
        :raises BaseException: what its methods raise.
        """
        if target == SHUTDOWN:
            self._set_shutdown(to)
            return False
        if target == APP:
            if to == "draining":
                await self._provided.drainable.change("drain", deadline=deadline)
                shows = await self._provided.pausable.read("paused", deadline=deadline)
                self._drained_shows = bool(shows)
                return False
            method = method or {"paused": "pause"}.get(to, "resume")
            await self._provided.pausable.change(method, deadline=deadline)
            return False
        if target.startswith(BREAKER):
            breaker = await self.breaker(target[len(BREAKER) :], deadline)
            await breaker.change("pause" if to == "open" else "resume", deadline=deadline)
            return False
        return await self._set_level(target[len(LOG) :], to, restores, deadline)

    async def _set_level(self, logger: str, to: str, restores: bool, deadline: float) -> bool:
        loggers = self._provided.loggers
        restored = restores and loggers is not None
        if logger:
            level = None if restores or to == UNSET else LEVELS[to]
            await loggers.change("set_logger_level", logger, level, deadline=deadline)
        elif restored:
            await loggers.change("restore_log_level", deadline=deadline)
        elif to in LEVELS:
            calls = self._provided.log_level
            await calls.change("set_log_level", LEVELS[to], deadline=deadline)
        else:
            raise ActionError(f"{self._service} had no log level that is known")
        return restored

    def _set_shutdown(self, to: str) -> None:
        if self._stopping.begun and to == "none":
            raise ActionError(f"the shutdown of {self._service} has begun")
        if to == "none":
            self._stopping.cancel()
        else:
            delay = self.delays.pop(to, None)
            self._stopping.schedule(self._delay_until(to) if delay is None else delay, to)

    def cancel(self) -> None:
        """Cancel the calls of named breakers; for stopping."""
        for each in self._breakers.values():
            each.calls.cancel()


def _is_breaker(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= 64 and _BREAKER_LETTERS.issuperset(name)


def _is_logger(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()
