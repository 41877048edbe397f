"""A shutdown that was asked for and is not due yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Stopping"]


class Stopping:
    """Calls a function after a delay, unless it is called off.

    :param clock: for the delay.
    :param act: shuts down; fails when that could not be done.
    """

    def __init__(self, clock: IReactorTime, act: Callable[[], Deferred[Any]]) -> None:
        self._clock = clock
        self._act = act
        self._call: IDelayedCall | None = None
        self._at = 0.0
        self._shown = "none"

    @property
    def shown(self) -> str:
        """What it was scheduled for, or ``none``; also when it has begun."""
        return self._shown

    @property
    def scheduled(self) -> bool:
        """Whether it is still to come."""
        return self._call is not None

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self._call is None and self._shown != "none"

    @property
    def left(self) -> float:
        """Seconds until it is due."""
        return 0.0 if self._call is None else max(0.0, self._at - self._clock.seconds())

    def schedule(self, delay: float, shown: str) -> None:
        """Schedule it, in place of what was scheduled before.

        :param shown: what :attr:`shown` is from now on.
        """
        self.cancel()
        self._shown = shown  # a second one may be scheduled when the first has come to nothing
        self._at = self._clock.seconds() + delay
        self._call = self._clock.callLater(delay, self._due)

    def cancel(self) -> None:
        """Call it off, if it is scheduled."""
        call, self._call = self._call, None
        self._shown = "none"
        if call is not None and call.active():
            call.cancel()

    def _due(self) -> None:
        self._call = None
        self._act().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if self._call is None:
            self._shown = "none"
