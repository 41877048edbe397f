"""Time in tests: a clock and a network in memory, which go on together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from backplane.testing.network import MemoryNetwork

__all__ = ["Timeline"]

STEP: Final = 0.05
"""Seconds that the clock goes on at once."""

_T = TypeVar("_T")


class Timeline:
    """A clock and a network.

    :param start: Unix time at which it begins.
    :ivar clock: goes on only by :meth:`advance` and :meth:`result_of`.
    :ivar network: the :class:`~backplane.testing.network.MemoryNetwork`, for faults.
    """

    def __init__(self, start: float) -> None:
        self.clock = Clock()
        self.clock.rightNow = start
        self.network = MemoryNetwork(self.clock)

    def advance(self, seconds: float) -> None:
        """Let time go by, in small steps."""
        end = self.clock.seconds() + seconds
        self.network.flush()
        while self.clock.seconds() < end:
            self.clock.advance(min(STEP, end - self.clock.seconds()))
            self.network.flush()

    def result_of(self, waiting: Deferred[_T], patience: float = 60.0) -> _T:
        """Let time go by until a Deferred fires; return its result or raise its error.

        :raises AssertionError: when it has not after ``patience`` seconds.
        """
        ended: list[Any] = []
        waiting.addCallbacks(ended.append, lambda failure: ended.append(failure))
        end = self.clock.seconds() + patience
        self.network.flush()
        while not ended:
            if self.clock.seconds() >= end:
                raise AssertionError(f"nothing came of it within {patience:g} s: {waiting}")
            self.advance(STEP)
        raising: Callable[[], None] | None = getattr(ended[0], "raiseException", None)
        if raising is not None:
            raising()
        result: _T = ended[0]
        return result
