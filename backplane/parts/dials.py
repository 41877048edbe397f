"""What has a level, each in its own terms: loggers, handlers, namespaces of Twisted's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import attrs
from twisted.logger import LogLevel as TwistedLevel
from twisted.logger import LogLevelFilterPredicate

from backplane.interfaces import LogLevel

__all__ = ["Changed", "Dial", "Found", "OfHandler", "OfLogger", "OfNamespace", "handlers_of"]

ROOT: Final = "root"
"""What ``logging`` calls its root logger; Twisted's default namespace has no name."""

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

Found = tuple[LogLevel | None, LogLevel]
"""The level that a logger was given, if any, and the one in force."""


class Dial(Protocol):
    """Something that has a level."""

    def read(self) -> Any:
        """Return what it is set to, in its own terms."""

    def write(self, value: Any) -> None:
        """Set it, in its own terms."""


class Leveled(Dial, Protocol):
    """A dial of a logger."""

    def wanted(self, level: LogLevel) -> Any:
        """Return what it has to be set to for a level."""

    def found(self) -> Found:
        """Return its levels."""


@attrs.frozen
class OfLogger:
    """A logger of ``logging``."""

    logger: logging.Logger

    def read(self) -> int:
        return self.logger.level

    def write(self, value: int) -> None:
        self.logger.setLevel(value)

    def wanted(self, level: LogLevel) -> int:
        return _STANDARD[level]

    def found(self) -> Found:
        own = self.logger.level
        return (
            None if own == logging.NOTSET else _nearest(own, _STANDARD),
            _nearest(self.logger.getEffectiveLevel(), _STANDARD),
        )


@attrs.frozen
class OfHandler:
    """A handler of ``logging``."""

    handler: logging.Handler

    def read(self) -> int:
        return self.handler.level

    def write(self, value: int) -> None:
        self.handler.setLevel(value)


@attrs.frozen
class OfNamespace:
    """A namespace of ``twisted.logger``; the empty one is what the others have by default."""

    predicate: LogLevelFilterPredicate
    namespace: str = ""

    @property
    def _own(self) -> dict[str, Any]:
        # Twisted has no other way to tell a level that was given from one that is inherited,
        # nor to take one away.
        return self.predicate._logLevelsByNamespace

    def read(self) -> Any:
        return self._own.get(self.namespace)

    def write(self, value: Any) -> None:
        if value is None:
            self._own.pop(self.namespace, None)
        else:
            self.predicate.setLogLevelForNamespace(self.namespace, value)

    def wanted(self, level: LogLevel) -> Any:
        return _TWISTED[level]

    def found(self) -> Found:
        own = self.read()
        return (
            None if own is None else _nearest(own, _TWISTED),
            _nearest(self.predicate.logLevelForNamespace(self.namespace), _TWISTED),
        )


class Changed:
    """What a dial was set to, and by which of our changes: the newest decides.

    :ivar base: what the program had set.
    """

    def __init__(self, base: Any) -> None:
        self.base = base
        self._values: dict[str, Any] = {}  # by change, the oldest first

    @property
    def value(self) -> Any:
        """What it has to be set to."""
        for value in reversed(self._values.values()):
            return value
        return self.base

    @property
    def active(self) -> bool:
        """Whether that is something else than the program had set."""
        return bool(self.value != self.base)

    def put(self, change: str, value: Any) -> None:
        self._values.pop(change, None)
        self._values[change] = value

    def take(self, change: str) -> bool:
        """Take a change away; return whether any is left."""
        self._values.pop(change, None)
        return bool(self._values)

    def has(self, change: str) -> bool:
        return change in self._values


def loggers_of(logger: logging.Logger) -> Iterator[tuple[str, Leveled]]:
    """Return the loggers of the family of one, by name; none is made for that."""
    manager = logger.manager
    yield ROOT, OfLogger(manager.root)
    for name, each in manager.loggerDict.copy().items():
        if isinstance(each, logging.Logger):  # a placeholder stands where only children are
            yield name, OfLogger(each)


def namespaces_of(predicate: LogLevelFilterPredicate) -> Iterator[tuple[str, Leveled]]:
    """Return the namespaces of Twisted's that were given levels, by name."""
    for name in OfNamespace(predicate)._own.copy():
        yield name or ROOT, OfNamespace(predicate, name)


def merged(found: Iterable[tuple[str, Leveled]]) -> dict[str, Found]:
    """Return the levels by name; where one name has several, those that log most."""
    levels: dict[str, Found] = {}
    for name, dial in found:
        own, effective = dial.found()
        if name in levels:
            known, other = levels[name]
            own = known if own is None else own if known is None else min(own, known)
            effective = min(effective, other)
        levels[name] = (own, effective)
    return levels


def handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
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
