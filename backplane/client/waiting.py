"""How a run waits: until something has come, it is stopped, or its time is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from backplane.client.accounting import Stop

__all__ = ["Waiting"]

FAR: Final = 1e6
"""Seconds that are as good as for ever."""

_T = TypeVar("_T")


class Waiting:
    """Part of :class:`backplane.client.asking.Run`.

    :param end: the clock's time at which all of it is over, perhaps infinite.
    """

    def __init__(self, clock: IReactorTime, end: float) -> None:
        self._clock = clock
        self._end = end
        self._stop: Stop | None = None
        self._reason = ""
        self._over: Callable[[], bool] = lambda: False
        self._woken: Deferred[None] = Deferred()
        self._waits_until = float("inf")

    @property
    def over(self) -> bool:
        """Whether it was stopped, or its time is over."""
        return self._stop is not None or self.late

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, by whomever."""
        return self._stop is not None

    @property
    def late(self) -> bool:
        """Whether nobody has stopped it, and its time is over."""
        return self._stop is None and self._clock.seconds() >= self._end

    def interrupt(self) -> None:
        """End the run; its result is what is known so far."""
        self._halt(Stop.INTERRUPTED, "interrupted")

    def stop(self, reason: str) -> None:
        """End it before anything is sent."""
        self._halt(Stop.NOT_SENT, reason)

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until the run is over."""
        until = min(self._clock.seconds() + seconds, self._end)
        await self._wait(lambda: until, lambda: False)

    async def wait_for(self, waited: Deferred[_T], *, counts: bool = True) -> _T | None:
        """Wait for something, which is cancelled when the run is over.

        :param counts: whether that is of the time that the run may take.
        :returns: ``None`` when the run is over.
        """
        done: list[_T | Failure] = []
        began = self._clock.seconds()

        def ended(result: _T | Failure) -> None:
            done.append(result)
            self._wake()

        waited.addBoth(ended)
        far = self._end if counts else float("inf")
        await self._wait(lambda: min(far, self._clock.seconds() + FAR), lambda: bool(done))
        if not counts:
            self._end += self._clock.seconds() - began
        if not done:
            waited.cancel()
            return None
        if isinstance(done[0], Failure):
            done[0].raiseException()
            raise AssertionError("a failure that does not raise")
        return done[0]

    async def _wait(self, until: Callable[[], float], over: Callable[[], bool]) -> None:
        """Wait until it is over, stopped, or time."""
        self._over = over
        while self._stop is None and not over():
            left = until() - self._clock.seconds()
            if left <= 0:
                return
            self._waits_until = until()
            timer = self._clock.callLater(left, self._wake)
            try:
                await self._woken
            except CancelledError:
                self._woken = Deferred()
                raise
            finally:
                if timer.active():
                    timer.cancel()
            self._woken = Deferred()

    def _wake(self) -> None:
        if not self._woken.called:
            self._woken.callback(None)

    def _halt(self, stop: Stop, reason: str) -> None:
        if self._stop is None:
            self._stop = stop
            self._reason = reason
            self._wake()
