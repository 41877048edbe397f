"""The error tree of the NATS client; its root is txnats's ``NatsError``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BadCredentials",
    "BadSubject",
    "BufferFull",
    "ConnectionClosed",
    "ConnectionFailed",
    "DrainTimeout",
    "FlushTimeout",
    "HeadersError",
    "HeadersUnsupported",
    "JetStreamError",
    "NatsError",
    "NoResponders",
    "NoStream",
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
    :ivar phase: ``connect``, ``info``, ``tls``, ``login`` (ours could not be made), ``handshake``.
    :ivar refused: the server does not take our certificate, which will not change soon.
    """

    def __init__(
        self, message: str, server: str = "", phase: str = "", *, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.server = server
        self.phase = phase
        self.refused = refused


class BadCredentials(NatsError, ValueError):
    """Credentials that cannot be used; nothing secret is in the text.

    :ivar found: what is there instead.
    :ivar wanted: what would be right.
    :ivar path: of the file, where they come from one.
    """

    def __init__(self, found: str, wanted: str, path: str | None = None) -> None:
        where = f"{path}: " if path else ""
        super().__init__(f"{where}found {found}, wanted {wanted}")
        self.found = found
        self.wanted = wanted
        self.path = path


class HeadersError(NatsError, ValueError):
    """A header block or field that is not well-formed."""


class HeadersUnsupported(NatsError):
    """The server, or somebody between, takes no headers."""


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


class NoStream(NatsError):
    """No stream has taken a message, or there is no JetStream."""


class JetStreamError(NatsError):
    """JetStream has refused something.

    :ivar code: as in HTTP.
    :ivar err_code: what exactly, a number of its own for each reason.
    :ivar description: its words.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class PermissionDenied(NatsError):
    """The server does not allow this subject.

    :ivar subject: which one.
    """

    def __init__(self, message: str, subject: str) -> None:
        super().__init__(message)
        self.subject = subject
