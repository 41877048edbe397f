"""What a stream's answer to a durable item means, and how long a subject is waited for."""

from __future__ import annotations

import enum
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from backplane.nats.errors import (
    BadSubject,
    JetStreamError,
    NoStream,
    NotConnected,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
)

__all__ = ["ACK_TIMEOUT", "FIRST_PAUSE", "Hold", "Publisher", "Verdict", "judge", "told"]

ACK_TIMEOUT: Final = 5.0
"""Seconds that the acknowledgement of one item is waited for."""

FIRST_PAUSE: Final = 0.25
"""Seconds until a subject is tried again; each time twice as long."""

LONGEST_PAUSE: Final = 30.0
"""The most of it."""

PASSING: Final = (408, 429)
"""Codes below 500 that a later try may not get: no answer in time, too many requests."""


class Publisher(Protocol):
    """What durable items need (:class:`backplane.nats.jetstream.JetStream`)."""

    def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        timeout: float = 5.0,
        retries: int = 2,
    ) -> Deferred[Any]: ...


class Verdict(enum.Enum):
    """What becomes of an item that was not acknowledged.

    ``DISCONNECTED``: sent again with the next connection. ``LATER``: its subject waits.
    ``NEVER``: it is dropped.
    """

    DISCONNECTED = enum.auto()
    LATER = enum.auto()
    NEVER = enum.auto()


def judge(error: Exception, subject: str) -> Verdict:
    """Return what becomes of an item.

    :param error: what came instead of the acknowledgement.
    :param subject: the item's.
    """
    if isinstance(error, NotConnected):
        return Verdict.DISCONNECTED
    if isinstance(error, BadSubject | PayloadTooLarge):
        return Verdict.NEVER
    if isinstance(error, PermissionDenied):
        # One for the inbox says nothing of the item.
        return Verdict.NEVER if error.subject == subject else Verdict.LATER
    if isinstance(error, JetStreamError) and 400 <= error.code < 500:
        return Verdict.LATER if error.code in PASSING else Verdict.NEVER
    return Verdict.LATER


def told(error: Exception) -> str:
    """Return an error in words for an administrator."""
    if isinstance(error, NoStream):
        return "no stream takes it"
    if isinstance(error, RequestTimeout):
        return "its stream does not answer"
    return str(error) or repr(error)


@attrs.define(eq=False)
class Hold:
    """A subject that is waited for.

    :ivar reason: why.
    :ivar pause: seconds until the next try.
    :ivar trying: the number of the entry that is tried now.
    """

    reason: str
    pause: float = FIRST_PAUSE
    trying: int | None = None
    timer: IDelayedCall | None = None

    def wait(self, clock: IReactorTime, function: Any, *args: Any) -> None:
        """Call a function after the pause; the next one is longer."""
        self.cancel()
        self.timer = clock.callLater(self.pause, function, *args)
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def cancel(self) -> None:
        """Do not."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None
