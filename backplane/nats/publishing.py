"""Publishing: what is checked before, and what is kept while there is no connection."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from backplane.nats import parser
from backplane.nats.buffer import PublishBuffer
from backplane.nats.connection import NatsConnection
from backplane.nats.counts import Counts
from backplane.nats.dialer import Dialer
from backplane.nats.errors import ConnectionClosed, HeadersUnsupported, PayloadTooLarge
from backplane.nats.headers import encode_headers
from backplane.nats.outflow import LARGE
from backplane.nats.requests import GivenHeaders
from backplane.nats.validators import check_length, check_publish_subject

__all__ = ["Publisher"]

MAX_HEADS: Final = 256
"""Subjects that are remembered to be good: most programs publish to a few again and again."""


class Publisher:
    """Publishes for one client.

    :param dialer: has the connection.
    :param bound: bytes of publishes that are kept while there is none.
    :ivar closed: why nothing is taken any more, or ``None``.
    """

    def __init__(self, dialer: Dialer, counts: Counts, log: Logger, bound: int) -> None:
        self.closed: str | None = None
        self._dialer = dialer
        self._counts = counts
        self._log = log
        self._buffer = PublishBuffer(bound)
        self._heads: dict[str, bytes] = {}

    @property
    def kept(self) -> int:
        """Bytes that wait for a connection."""
        return self._buffer.bytes

    def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str | None,
        headers: GivenHeaders | None,
    ) -> None:
        """See :meth:`backplane.nats.client.NatsClient.publish`."""
        head = self._heads.get(subject) if isinstance(subject, str) else None
        if head is None:
            head = self._head(subject)
        if reply is not None:
            check_publish_subject(reply, "the reply")
            check_length(subject, reply)
        if not isinstance(payload, bytes):
            # The length of a memoryview is that of its items, which need not be bytes.
            payload = bytes(_view(payload))
        if headers is not None and not isinstance(headers, bytes):
            headers = encode_headers(headers)
        if self.closed is not None:
            raise ConnectionClosed(self.closed)
        size = len(payload)
        if headers is not None:
            size += len(headers)
        connection = self._dialer.connection
        if connection is not None:
            limit = connection.session.max_payload
            if size > limit:
                raise PayloadTooLarge(f"{size} bytes, the server takes at most {limit}")
            if headers is not None and not connection.session.headers:
                raise HeadersUnsupported("the server takes no headers")
            if reply is not None or headers is not None:
                connection.publish(parser.encode_pub(subject, payload, reply, headers))
            elif size < LARGE:
                connection.outflow.publish(b"%b%d\r\n%b\r\n" % (head, size, payload))
            else:
                connection.outflow.publish_parts(b"%b%d\r\n" % (head, size), payload, b"\r\n")
        else:
            self._buffer.add(parser.encode_pub(subject, payload, reply, headers), size, reply)
        counts = self._counts
        counts.out_msgs += 1
        counts.out_bytes += size

    def withdraw(self, reply: str) -> None:
        """Do not send what asks for an answer there, if it still waits for a connection."""
        kept = self._buffer.drop(reply)
        if kept is not None:
            self._counts.out_msgs -= 1
            self._counts.out_bytes -= kept.size

    def _head(self, subject: str) -> bytes:
        """Check a subject; return what a publish to it begins with."""
        check_publish_subject(subject)
        check_length(subject, None)
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        head = self._heads[subject] = parser.encode_pub(subject, b"").partition(b"0\r\n\r\n")[0]
        return head

    def resume(self, connection: NatsConnection) -> None:
        """Send what was kept over a new connection; what it cannot take is dropped."""
        limit = connection.session.max_payload
        for kept in self._buffer.take():
            if kept.data.startswith(b"H") and not connection.session.headers:
                self._counts.lost += 1
                self._log.error("a message is dropped: the server takes no headers")
            elif kept.size > limit:
                # The server would close the connection, and the rest be lost with it.
                self._counts.lost += 1
                self._log.error(
                    "a message of {size} bytes is dropped: the server takes at most {limit}",
                    size=kept.size,
                    limit=limit,
                )
            else:
                connection.publish(kept.data)

    def refuse(self, why: str) -> None:
        """Take nothing any more."""
        self.closed = why

    def abandon(self) -> None:
        """Drop what is kept: there will be no connection."""
        self._counts.lost += len(self._buffer.take())


def _view(payload: object) -> memoryview:
    """Return what a payload holds.

    :raises TypeError: for what holds no bytes.
    """
    try:
        return memoryview(payload)  # type: ignore[arg-type]
    except TypeError:
        hint = "; encode it first" if isinstance(payload, str) else ""
        kind = type(payload).__name__
        raise TypeError(f"a payload is bytes, not {kind}{hint}") from None
