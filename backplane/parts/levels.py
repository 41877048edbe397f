"""Levels of ``logging`` and ``twisted.logger``, set by operators and put back exactly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from twisted.logger import LogLevelFilterPredicate
from zope.interface import implementer

from backplane.interfaces import ILoggerLevels, LogLevel
from backplane.parts.dials import (
    ROOT,
    Changed,
    Dial,
    Found,
    Leveled,
    OfHandler,
    OfLogger,
    OfNamespace,
    handlers_of,
    loggers_of,
    merged,
    namespaces_of,
)

__all__ = ["LogLevels"]

MAX_NAME: Final = 200
"""Letters of a logger's name; a logger that is named is kept by ``logging`` for ever."""

_WHOLE: Final = ""
# The change of all loggers together; those of single ones have their names.


@implementer(ILoggerLevels)
class LogLevels:
    """The level of some loggers, all of which are set together, and of any logger by itself.

    What the program itself sets afterwards is the program's: it is not put back to what was
    before. Setting all of them leaves other loggers alone, such as children with a level of
    their own. Where a logger is one of these and was set by itself as well, what was
    set last decides, and what was set before is in force again when that is put back.

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
        self._changes: dict[Leveled, Changed] = {}
        self._handled: dict[OfHandler, Changed] = {}
        self._lock = threading.Lock()

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`~backplane.interfaces.ILogLevelSetable`.

        :raises ValueError: for what is no level.
        """
        level = LogLevel(level)
        with self._lock:
            for dial in self._of:
                self._put(dial, _WHOLE, level)
            self._open_handlers()

    def get_log_level(self) -> LogLevel:
        """See :class:`~backplane.interfaces.ILogLevelSetable`.

        :returns: the level in force; where the loggers differ, the one that logs most. A level
            between the four is the next less talkative one, so ``ERROR`` is ``CRITICAL``.
        """
        return min(each.found()[1] for each in self._of)

    def restore_log_level(self) -> None:
        """See :class:`~backplane.interfaces.ILoggerLevels`; twice does nothing."""
        self._end(_WHOLE)

    def loggers(self) -> dict[str, Found]:
        """See :class:`~backplane.interfaces.ILoggerLevels`.

        :returns: every logger that the program has made, and namespaces of Twisted's that have
            a level in a predicate that was given here; both roots are ``root``.
        """
        return merged(self._found())

    def set_logger_level(self, name: str, level: LogLevel | None) -> None:
        """See :class:`~backplane.interfaces.ILoggerLevels`.

        :param name: of a logger, which is made if there is none, or a namespace of Twisted's;
            of both where there are both.
        :raises ValueError: for what is no level, or no name.
        """
        if not isinstance(name, str) or not name or len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"{name!r} is no name of a logger")
        if level is None:
            self._end(name)
            return
        level = LogLevel(level)
        with self._lock:
            for dial in self._named(name):
                self._put(dial, name, level)
            self._open_handlers()

    @property
    def changed(self) -> bool:
        """Whether there is anything to put back."""
        with self._lock:
            return any(
                change.active and dial.read() == change.value
                for changes in (self._changes, self._handled)
                for dial, change in _pairs(changes)
            )

    def restore(self) -> None:
        """Put everything back as it was before the first change; twice does nothing."""
        with self._lock:
            for changes in (self._changes, self._handled):
                for dial, change in _pairs(changes):
                    if dial.read() == change.value:
                        dial.write(change.base)
            self._changes.clear()
            self._handled.clear()

    def _put(self, dial: Leveled, name: str, level: LogLevel) -> None:
        change = _kept(self._changes, dial)
        change.put(name, dial.wanted(level))
        dial.write(change.value)
        self._changes[dial] = change

    def _end(self, name: str) -> None:
        """Take one change away wherever it is."""
        with self._lock:
            for dial, change in list(self._changes.items()):
                if not change.has(name):
                    continue
                ours = dial.read() == change.value
                if not change.take(name) or not ours:
                    del self._changes[dial]
                if ours:
                    dial.write(change.value)
            self._open_handlers()

    def _open_handlers(self) -> None:
        """Set each handler to the lowest level that is needed, and no higher than it was."""
        needed: dict[OfHandler, int] = {}
        for logger, level in self._demands() if self._handlers else ():
            for handler in map(OfHandler, handlers_of(logger)):
                needed[handler] = min(level, needed.get(handler, level))
        for handler in {**self._handled, **needed}:
            change = _kept(self._handled, handler)
            level = min(change.base, needed.get(handler, change.base))
            change.put(_WHOLE, level)
            handler.write(level)
            self._handled[handler] = change
            if handler not in needed:
                del self._handled[handler]

    def _demands(self) -> Iterator[tuple[logging.Logger, int]]:
        """Return loggers, and the level from which on their handlers have to write."""
        whole = any(change.active for change in self._changes.values() if change.has(_WHOLE))
        for dial, change in self._changes.items():
            if isinstance(dial, OfLogger) and (change.active or (whole and change.has(_WHOLE))):
                yield dial.logger, change.value

    def _families(self) -> tuple[list[logging.Logger], list[LogLevelFilterPredicate]]:
        """Return a logger of each tree of loggers, and the predicates."""
        loggers = {
            id(each.logger.manager): each.logger for each in self._of if isinstance(each, OfLogger)
        }
        predicates = [each.predicate for each in self._of if isinstance(each, OfNamespace)]
        return list(loggers.values()), predicates

    def _found(self) -> Iterator[tuple[str, Leveled]]:
        loggers, predicates = self._families()
        for logger in loggers:
            yield from loggers_of(logger)
        for predicate in predicates:
            yield from namespaces_of(predicate)

    def _named(self, name: str) -> Iterator[Leveled]:
        loggers, predicates = self._families()
        for logger in loggers:
            manager = logger.manager
            yield OfLogger(manager.root if name == ROOT else manager.getLogger(name))
        for predicate in predicates:
            yield OfNamespace(predicate, "" if name == ROOT else name)


def _dial(of: str | logging.Logger | LogLevelFilterPredicate) -> OfLogger | OfNamespace:
    if isinstance(of, LogLevelFilterPredicate):
        return OfNamespace(of)
    return OfLogger(logging.getLogger(of) if isinstance(of, str) else of)


def _kept(changes: Mapping[Any, Changed], dial: Dial) -> Changed:
    """Return what we know of a dial; if the program has set it meanwhile, that is the base."""
    present = dial.read()
    change = changes.get(dial)
    return change if change is not None and change.value == present else Changed(present)


def _pairs(changes: Mapping[Any, Changed]) -> Iterable[tuple[Dial, Changed]]:
    return changes.items()
