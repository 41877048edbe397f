"""Levels of ``logging`` and ``twisted.logger``, set by operators and put back exactly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, Final, Protocol

import attrs
from twisted.logger import LogLevel as TwistedLevel
from twisted.logger import LogLevelFilterPredicate
from zope.interface import implementer

from backplane.interfaces import ILogLevelSetable, LogLevel

__all__ = ["LogLevels"]

_STANDARD: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.CRITICAL: logging.CRITICAL,
}

_TWISTED: Final[dict[LogLevel, Any]] = {
    LogLevel.DEBUG: TwistedLevel.debug,
    LogLevel.INFO: TwistedLevel.info,
    LogLevel.WARN: TwistedLevel.warn,
    LogLevel.CRITICAL: TwistedLevel.critical,
}


class _Dial(Protocol):
    """Something that has a level, in its own terms."""

    def read(self) -> Any:
        """Return what it is set to."""

    def write(self, value: Any) -> None:
        """Set it."""

    def wanted(self, level: LogLevel, base: Any) -> Any:
        """Return what it has to be set to; ``base`` is what the program had set."""


@attrs.frozen
class _OfLogger:
    logger: logging.Logger

    def read(self) -> int:
        return self.logger.level

    def write(self, value: int) -> None:
        self.logger.setLevel(value)

    def wanted(self, level: LogLevel, base: int) -> int:
        return _STANDARD[level]

    def level(self) -> LogLevel:
        return _nearest(self.logger.getEffectiveLevel(), _STANDARD)


@attrs.frozen
class _OfHandler:
    handler: logging.Handler

    def read(self) -> int:
        return self.handler.level

    def write(self, value: int) -> None:
        self.handler.setLevel(value)

    def wanted(self, level: LogLevel, base: int) -> int:
        return min(_STANDARD[level], base)


@attrs.frozen
class _OfPredicate:
    """The level of namespaces that have none of their own."""

    predicate: LogLevelFilterPredicate

    def read(self) -> Any:
        return self.predicate.logLevelForNamespace("")

    def write(self, value: Any) -> None:
        self.predicate.setLogLevelForNamespace("", value)

    def wanted(self, level: LogLevel, base: Any) -> Any:
        return _TWISTED[level]

    def level(self) -> LogLevel:
        return _nearest(self.read(), _TWISTED)


@attrs.frozen
class _Change:
    base: Any
    ours: Any


@implementer(ILogLevelSetable)
class LogLevels:
    """The level of some loggers, all of which are set together.

    What the program itself sets afterwards is the program's: it is not put back to what was
    before. Levels of other loggers, such as children with a level of their own, are left alone.

    Every method may be called in any thread.

    :param loggers: loggers or names of ``logging``, and
        :class:`~twisted.logger.LogLevelFilterPredicate` objects, which the program must
        have in its log; by default the root logger.
    :param handlers: whether handlers through which these loggers write let through what the
        loggers do, until all loggers are at the program's own levels again; without it a
        handler with a level of its own keeps it.
    """

    def __init__(
        self,
        *loggers: str | logging.Logger | LogLevelFilterPredicate,
        handlers: bool = False,
    ) -> None:
        self._of = [_dial(each) for each in loggers or ("",)]
        self._handlers = handlers
        self._changes: dict[_Dial, _Change] = {}
        self._lock = threading.Lock()

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`~backplane.interfaces.ILogLevelSetable`.

        :raises ValueError: for what is no level.
        """
        level = LogLevel(level)
        with self._lock:
            back = True  # all loggers, which come first, are as the program had them
            for dial in self._dials():
                present = dial.read()
                change = self._changes.get(dial)
                base = change.base if change and present == change.ours else present
                ours = dial.wanted(level, base)
                if isinstance(dial, _OfHandler) and back:
                    ours = base
                back = back and ours == base
                dial.write(ours)
                self._changes[dial] = _Change(base, ours)

    def get_log_level(self) -> LogLevel:
        """See :class:`~backplane.interfaces.ILogLevelSetable`.

        :returns: the level in force; where the loggers differ, the one that logs most. A level
            between the four is the next less talkative one, so ``ERROR`` is ``CRITICAL``.
        """
        return min(each.level() for each in self._of)

    @property
    def changed(self) -> bool:
        """Whether there is anything to put back."""
        with self._lock:
            return any(
                dial.read() == change.ours != change.base for dial, change in self._changes.items()
            )

    def restore(self) -> None:
        """Put everything back as it was before the first change; twice does nothing."""
        with self._lock:
            for dial, change in self._changes.items():
                if dial.read() == change.ours:
                    dial.write(change.base)
            self._changes.clear()

    def _dials(self) -> Iterator[_Dial]:
        yield from self._of
        if self._handlers:
            for each in self._of:
                if isinstance(each, _OfLogger):
                    yield from map(_OfHandler, _handlers(each.logger))


def _dial(of: str | logging.Logger | LogLevelFilterPredicate) -> _OfLogger | _OfPredicate:
    if isinstance(of, LogLevelFilterPredicate):
        return _OfPredicate(of)
    return _OfLogger(logging.getLogger(of) if isinstance(of, str) else of)


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Return what a logger writes through: its own handlers, and those it hands on to."""
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


def _nearest(value: Any, levels: dict[LogLevel, Any]) -> LogLevel:
    for level, limit in levels.items():
        if value <= limit:
            return level
    return LogLevel.CRITICAL
