"""Something that is done again and again; unlike Twisted's, on no other reactor's time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Ticker"]


class Ticker:
    """Calls a function at once and then after each interval, but never while it still runs.

    :param interval: seconds from its end to its next beginning.
    :param failed: called with what it raised; it goes on all the same.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        function: Callable[[], object],
        failed: Callable[[Failure], object],
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._function = function
        self._failed = failed
        self._call: IDelayedCall | None = None
        self.running = False

    def start(self) -> None:
        """Call it from now on."""
        self.running = True
        self._tick()

    def stop(self) -> None:
        """Call it no more; one that is under way goes on."""
        self.running = False
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _tick(self) -> None:
        done: Deferred[Any] = maybeDeferred(self._function)
        done.addErrback(self._failed)
        done.addCallback(self._again)

    def _again(self, result: object) -> None:
        if self.running:
            self._call = self._clock.callLater(self._interval, self._tick)
