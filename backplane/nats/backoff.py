"""How long to wait before the next try: txnats's way, and Choria's."""

from __future__ import annotations

import random
from typing import Final

import attrs

__all__ = ["Backoff", "Delays"]

FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 20.0
STEPS: Final = 44
"""Choria's delays grow from the first to the last, in seconds, in so many equal steps."""

# txnats's values, and Twisted's: e, and the molar Planck constant times the speed of light.
_FACTOR: Final = 2.718281828459045
_JITTER: Final = 0.11962656472


def _first(backoff: Backoff) -> float:
    return backoff.initial_delay


@attrs.define(slots=False)
class Backoff:
    """Delays that grow by a factor, with jitter.

    :ivar max_delay: longest delay, in seconds.
    :ivar initial_delay: first delay, in seconds.
    :ivar delay: the current one, :attr:`initial_delay` unless given.
    :ivar factor: each delay is so many times the one before.
    :ivar jitter: standard deviation as a part of the delay.
    :ivar retries: delays since the last success.
    :ivar rng: where the jitter comes from.
    """

    max_delay: float = 3600
    initial_delay: float = 1.0
    delay: float = attrs.field(default=attrs.Factory(_first, takes_self=True))
    factor: float = _FACTOR
    jitter: float = _JITTER
    retries: int = 0
    rng: random.Random = attrs.field(
        factory=random.SystemRandom, kw_only=True, repr=False, eq=False
    )

    def get_delay(self) -> float:
        """Return the seconds to wait now."""
        self.retries += 1
        if self.retries > 1:
            delay = min(self.delay * self.factor, self.max_delay)
            if self.jitter:
                delay = self.rng.normalvariate(delay, delay * self.jitter)
            self.delay = max(0.0, delay)
        self.delay = min(self.delay, self.max_delay)
        return self.delay

    def reset_delay(self) -> None:
        """Begin anew, after a success."""
        self.delay = self.initial_delay
        self.retries = 0


class Delays:
    """Choria's delays: 0.5 to 20 s in 44 steps, each times 0.5 to 1.5.

    :param rng: where the jitter comes from.
    :ivar tries: delays since the last success.
    """

    def __init__(self, rng: random.Random) -> None:
        self.tries = 0
        self._rng = rng

    def next(self, slow: bool = False) -> float:
        """Return the seconds to wait now.

        :param slow: as long as it gets.
        """
        step = STEPS if slow else min(self.tries, STEPS)
        self.tries += 1
        delay = FIRST_DELAY + (LAST_DELAY - FIRST_DELAY) * step / STEPS
        return delay * (0.5 + self._rng.random())
