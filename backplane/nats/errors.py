"""The error tree of the NATS client; its root is txnats's ``NatsError``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BadSubject",
    "BufferFull",
    "ConnectionClosed",
    "ConnectionFailed",
    "DrainTimeout",
    "FlushTimeout",
    "NatsError",
    "NoResponders",
    "NotConnected",
    "PayloadTooLarge",
    "PermissionDenied",
    "ProtocolError",
    "RequestTimeout",
]


class NatsError(Exception):
    """Base of every error of this package."""


class ProtocolError(NatsError):
    """The peer sent something that is not NATS; the connection must be dropped.

    :ivar events: what was complete before it in the same piece of input.
    :ivar kind: ``operation`` (no such one), ``line`` (too long), ``arguments`` (number or
        sizes), ``payload`` (not followed by CR LF), ``document`` (not a JSON object), or ``""``.
    """

    def __init__(self, message: str, events: Sequence[object] = (), kind: str = "") -> None:
        super().__init__(message)
        self.events = list(events)
        self.kind = kind


class BadSubject(NatsError, ValueError):
    """A subject or queue group that cannot be sent."""


class PayloadTooLarge(NatsError, ValueError):
    """Payload and headers exceed the ``max_payload`` that the server announced."""


class NotConnected(NatsError):
    """There is no connection at the moment."""


class ConnectionClosed(NotConnected):
    """The client was closed; nothing works any more."""


class ConnectionFailed(NatsError):
    """A connection could not be made.

    :ivar server: its address, without credentials.
    :ivar phase: ``connect``, ``info``, ``tls``, ``handshake``.
    """

    def __init__(self, message: str, server: str = "", phase: str = "") -> None:
        super().__init__(message)
        self.server = server
        self.phase = phase


class BufferFull(NatsError):
    """Too much was published while disconnected; this message was not taken."""


class FlushTimeout(NatsError):
    """The server did not answer a PING in time."""


class DrainTimeout(NatsError):
    """Draining took too long; the connection was closed all the same."""


class RequestTimeout(NatsError):
    """Nobody answered a request in time."""


class NoResponders(NatsError):
    """Nobody listens on the subject of a request."""


class PermissionDenied(NatsError):
    """The server does not allow this subject.

    :ivar subject: which one.
    """

    def __init__(self, message: str, subject: str) -> None:
        super().__init__(message)
        self.subject = subject
