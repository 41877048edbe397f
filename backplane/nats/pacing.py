"""When to try again: at once, or after how long."""

from __future__ import annotations

import random
from typing import Final

from backplane.nats.backoff import Delays
from backplane.nats.verdict import Verdict

__all__ = ["Pace"]

LASTING: Final = 5.0
"""Seconds that a connection must live to count as one that works."""


class Pace:
    """The pace of one client's tries.

    :param rng: for the jitter.
    :ivar tried: servers tried since the last delay.
    :ivar urgent: a reconnect was asked for.
    """

    def __init__(self, rng: random.Random) -> None:
        self._delays = Delays(rng)
        self._since = 0.0
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._delays.tries = 0
        self.tried = 0
        self.urgent = False
        self._slow = False  # the credentials are wrong
        self._full = False  # the server wants to be left alone for a while
        self._hasty = False  # a loss was followed by a try at once

    def established(self, now: float) -> None:
        """A connection is up, or has taken over from another one."""
        self._since = now
        self._slow = self._full = False

    def judged(self, verdict: Verdict) -> None:
        """Take what a server's words mean."""
        if verdict is Verdict.SLOWLY:
            self._slow = True
        elif verdict is not Verdict.GO_ON:
            self._full = True

    def lost(self, now: float, proven: bool) -> None:
        """Take the loss of a connection.

        :param proven: its server took our subscriptions.
        """
        lasted = now - self._since >= LASTING
        if lasted or proven:
            self._delays.tries = 0
        if lasted:
            self._hasty = False
        self.tried = 0

    def at_once(self) -> bool:
        """Return whether the first try after a loss is made without a delay."""
        # Credentials may be new by now, so not even their end makes the first try wait.
        found = self.urgent or not (self._full or self._hasty or self._delays.tries)
        if found:
            self.urgent = False
            self._hasty = True
        return found

    def delay(self) -> float:
        """Return the seconds to wait now, which are more each time."""
        self.tried = 0
        return self._delays.next(self._slow)
