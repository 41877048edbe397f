"""Deferreds of several who wait for one thing."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Waiters"]


class Waiters:
    """Whoever waits; one who cancels his Deferred disturbs nobody."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Return a Deferred that fires at the next :meth:`end`."""
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def end(self, error: BaseException | None = None) -> None:
        """Let all go that wait now, or fail."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if waiter.called:
                continue  # cancelled by one before it
            if error is None:
                waiter.callback(None)
            else:
                waiter.errback(Failure(error))

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
