"""What a log says of a broker that is away: few lines, each with news.

One line with the cause when it begins, one for each new cause, rare reminders
with duration and count, one at its end. Every try is in the debug log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

__all__ = ["OutageLog"]

REMINDERS: Final = (60.0, 600.0, 3600.0)
"""Seconds after which an outage is mentioned again; then once for each of the last."""

MAX_CAUSES: Final = 8
"""Causes of one outage that get a line of their own."""


class OutageLog:
    """The log lines of one connection.

    :param seconds: the clock.
    :param retry: whether trying goes on.
    """

    def __init__(self, log: Logger, seconds: Callable[[], float], retry: bool = True) -> None:
        self._retry = retry
        self._log = log
        self._seconds = seconds
        self._began: float | None = None
        self._tries = 0
        self._causes: set[tuple[str, str]] = set()
        self._next = 0.0
        self._reminder = 0
        self._connected_before = False

    def lost(self, server: str, reason: str) -> None:
        """A connection was lost."""
        self._begin()
        self._log.warn(
            "connection to {server} lost: {reason}; reconnecting", server=server, reason=reason
        )

    def failed(self, server: str, reason: str) -> None:
        """A try failed."""
        first = self._began is None
        self._begin()
        self._tries += 1
        self._log.debug("cannot connect to {server}: {reason}", server=server, reason=reason)
        cause = (server, reason)
        if cause not in self._causes and len(self._causes) < MAX_CAUSES:
            self._causes.add(cause)
            self._log.warn(
                "cannot connect to {server}: {reason}{tail}",
                server=server,
                reason=reason,
                tail="; trying for ever" if first and self._retry else "",
            )
        age = self._age()
        if age >= self._next:
            self._log.warn(
                "not connected for {age}, {tries} tries; last: {server}: {reason}",
                age=_words(age),
                tries=self._tries,
                server=server,
                reason=reason,
            )
            self._reminder = min(self._reminder + 1, len(REMINDERS) - 1)
            step = REMINDERS[self._reminder]
            self._next = step if age < step else age + step

    def connected(self, url: str) -> None:
        """A handshake was done."""
        if self._began is None:
            self._log.info("connected to {url}", url=url)
        else:
            self._log.warn(
                "connected to {url} after {age}, {tries} failed tries",
                url=url,
                age=_words(self._age()),
                tries=self._tries,
            )
        self._began = None
        self._tries = 0
        self._causes.clear()
        self._reminder = 0

    def _begin(self) -> None:
        if self._began is None:
            self._began = self._seconds()
            self._next = REMINDERS[0]

    def _age(self) -> float:
        assert self._began is not None
        return self._seconds() - self._began


def _words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
