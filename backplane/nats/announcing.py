"""Telling listeners what happened: in order, one thing at a time."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

__all__ = ["Announcer"]


class Announcer:
    """Tells the listeners of one client.

    What happens while a listener is called is told when he and the others have
    returned, so that everybody hears everything in the same order.

    :param log: told of listeners that fail, which harms nobody else.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._listeners: list[Callable[[object], object]] = []
        self._events: deque[object] = deque()
        self._telling = False

    def add(self, listener: Callable[[object], object]) -> None:
        """Tell ``listener`` of each event from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Callable[[object], object]) -> None:
        """Undo :meth:`add`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, event: object) -> None:
        """Tell of an event, now or after those that are being told."""
        self._events.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._events:
                self._tell(self._events.popleft())
        finally:
            self._telling = False

    def _tell(self, event: object) -> None:
        for listener in list(self._listeners):
            try:
                result = listener(event)
            except Exception:
                self._log.failure("a listener failed")
                continue
            if inspect.iscoroutine(result):
                result = Deferred.fromCoroutine(result)
            if isinstance(result, Deferred):
                result.addErrback(lambda failure: self._log.failure("a listener failed", failure))
