"""JetStream: publishing with an acknowledgement of the stream that has stored the message.

A stream has no publish command of its own: it listens on subjects like any subscriber,
stores what comes, and answers. So a message that no stream listens for has no responders,
and one whose answer was lost may be stored. A message id makes repeating safe: within the
stream's window (two minutes by default) a second message of that id is not stored, and
the acknowledgement says that it is a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from backplane.nats.answers import check_positive
from backplane.nats.client import NatsClient
from backplane.nats.errors import (
    ConnectionClosed,
    JetStreamError,
    NoResponders,
    NoStream,
    NotConnected,
)
from backplane.nats.headers import Headers, fields_of
from backplane.nats.message import Message
from backplane.nats.requests import GivenHeaders
from backplane.nats.validators import check_publish_subject

__all__ = ["JetStream", "PubAck"]

MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_STREAM: Final = "Nats-Expected-Stream"
EXPECTED_LAST_SEQUENCE: Final = "Nats-Expected-Last-Sequence"


@attrs.frozen
class PubAck:
    """A stream has a message.

    :ivar stream: its name.
    :ivar sequence: number of the message in it.
    :ivar duplicate: it had the message before, by its id.
    :ivar domain: of the JetStream, where it has one.
    """

    stream: str
    sequence: int
    duplicate: bool = False
    domain: str | None = None


class JetStream:
    """JetStream by way of a client.

    :param prefix: of the subjects of its API, where an account imports it under another name.
    :param domain: of a JetStream that is not that of the server itself.
    :raises BadSubject: for a prefix or domain that cannot be.
    :raises ValueError: for both of them.
    """

    def __init__(
        self, client: NatsClient, *, prefix: str = "$JS.API", domain: str | None = None
    ) -> None:
        if domain is not None:
            if prefix != "$JS.API":
                raise ValueError("a domain has a prefix of its own")
            check_publish_subject(domain, "the domain")
            prefix = f"$JS.{domain}.API"
        check_publish_subject(prefix, "the prefix")
        self.prefix = prefix
        self._client = client

    def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expected_stream: str | None = None,
        expected_last_sequence: int | None = None,
        headers: GivenHeaders | None = None,
        timeout: float = 5.0,
        retries: int = 2,
        wait: float = 0.25,
    ) -> Deferred[PubAck]:
        """Publish, and fire when the stream has stored the message; can be cancelled.

        It is repeated when no stream listens, as while the leader of one is elected; and,
        where there is a ``message_id`` and no ``expected_last_sequence``, when the connection
        was lost before an answer came.

        :param message_id: the stream stores no second message with it.
        :param expected_stream: refuse the message in any other.
        :param expected_last_sequence: refuse the message when another is the last one.
        :param timeout: seconds in all.
        :param retries: times to repeat it.
        :param wait: seconds before it is repeated.
        :returns: fails with :class:`NoStream`; with :class:`JetStreamError` when the stream
            refuses; and as :meth:`backplane.nats.client.NatsClient.request` does, errors
            of the arguments included.
            After :class:`RequestTimeout` or :class:`NotConnected` it may be stored.
        """
        fields = [] if headers is None else fields_of(headers)
        for name, value in (
            (MESSAGE_ID, message_id),
            (EXPECTED_STREAM, expected_stream),
            (EXPECTED_LAST_SEQUENCE, expected_last_sequence),
        ):
            if value is not None:
                # Ours wins: a stream looks at the first of a name.
                fields = [(key, old) for key, old in fields if key != name]
                fields.append((name, str(value)))
        block = Headers(tuple(fields)) if fields else None
        names = {name for name, _ in fields}
        # A stream looks at the sequence first: it would refuse what it has stored.
        repeatable = MESSAGE_ID in names and EXPECTED_LAST_SEQUENCE not in names
        return Deferred.fromCoroutine(
            self._publish(subject, payload, block, timeout, retries, wait, repeatable)
        )

    async def _publish(
        self,
        subject: str,
        payload: bytes,
        headers: Headers | None,
        timeout: float,
        retries: int,
        wait: float,
        repeatable: bool,
    ) -> PubAck:
        check_positive(timeout, "timeout")
        clock = self._client.reactor
        end = clock.seconds() + timeout
        left = timeout
        while True:
            error: Exception
            try:
                answer = await self._client.request(subject, payload, timeout=left, headers=headers)
                return _read_ack(answer, subject)
            except NoResponders:
                error = NoStream(f"no stream listens on {subject}")
            except ConnectionClosed:
                raise
            except NotConnected as lost:
                if not repeatable:
                    raise
                error = lost
            if retries <= 0 or clock.seconds() + wait >= end:
                raise error
            retries -= 1
            await deferLater(clock, wait)
            left = end - clock.seconds()
            if left <= 0:  # the reactor was late
                raise error

    def ask(
        self, what: str, document: Mapping[str, Any] | None = None, *, timeout: float = 5.0
    ) -> Deferred[dict[str, Any]]:
        """Ask the API, and fire with its answer.

        :param what: such as ``INFO``, ``STREAM.CREATE.name`` or ``STREAM.INFO.name``.
        :param document: goes with it.
        :returns: fails with :class:`JetStreamError`, with :class:`NoStream` where there is no
            JetStream, and as :meth:`backplane.nats.client.NatsClient.request` does.
        """
        return Deferred.fromCoroutine(self._ask(what, document, timeout))

    async def _ask(
        self, what: str, document: Mapping[str, Any] | None, timeout: float
    ) -> dict[str, Any]:
        subject = f"{self.prefix}.{what}"
        body = b"" if document is None else json.dumps(dict(document)).encode()
        try:
            answer = await self._client.request(subject, body, timeout=timeout)
        except NoResponders:
            raise NoStream(f"no JetStream listens on {subject}") from None
        return _read(answer, subject)


def _read(answer: Message, subject: str) -> dict[str, Any]:
    try:
        found = json.loads(answer.payload)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NoStream(f"what answers on {subject} is not JetStream")
    error = found.get("error")
    if error is not None:
        if not isinstance(error, dict):
            error = {}
        raise JetStreamError(
            _number(error.get("code")),
            _number(error.get("err_code")),
            str(error.get("description") or "no reason given")[:300],
        )
    return found


def _read_ack(answer: Message, subject: str) -> PubAck:
    found = _read(answer, subject)
    stream, sequence, domain = (found.get(name) for name in ("stream", "seq", "domain"))
    if not (isinstance(stream, str) and stream and type(sequence) is int):
        raise NoStream(f"what answers on {subject} is not a stream")
    return PubAck(
        stream,
        sequence,
        found.get("duplicate") is True,
        domain if isinstance(domain, str) else None,
    )


def _number(value: object) -> int:
    return value if type(value) is int else 0
