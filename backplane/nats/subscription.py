"""The subscriptions of a client."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.counts import Counts
from backplane.nats.events import ServerError

__all__ = ["Message", "Subscription", "Subscriptions"]


@attrs.frozen
class Message:
    """A message as a subscriber gets it.

    :ivar headers: the header block as it came, or ``None``; see
        :func:`backplane.nats.headers.decode_headers`.
    """

    subject: str
    payload: bytes
    reply: str | None = None
    headers: bytes | None = None


@attrs.define(eq=False)
class Subscription:
    """Made by :meth:`backplane.nats.client.NatsClient.subscribe`.

    :ivar sid: never used again within the client's life.
    :ivar limit: messages to deliver in all, or ``None``.
    :ivar delivered: messages so far.
    :ivar denied: the server's words, when it does not allow the subject.
    :ivar active: whether messages may still come.
    """

    subject: str
    queue: str | None
    sid: str
    callback: Callable[[Message], Any] = attrs.field(repr=False)
    _remove: Callable[[Subscription], None] = attrs.field(repr=False)
    _limited: Callable[[Subscription], None] = attrs.field(repr=False)
    limit: int | None = None
    delivered: int = 0
    denied: str | None = None
    active: bool = True
    _before: int = 0  # delivered over earlier connections, which this server does not count
    _again: bool = False  # there was more than one connection

    def unsubscribe(self, max_messages: int | None = None) -> None:
        """End the subscription; no message is delivered after this returns. Twice does nothing.

        :param max_messages: end it after so many, counted from its start.
        """
        if not self.active:
            return
        if max_messages is None or self.delivered >= max_messages:
            self.active = False
            self._remove(self)
            return
        self.limit = max_messages
        self._limited(self)

    @property
    def left(self) -> int | None:
        """Messages still to come, or ``None`` without a limit."""
        return None if self.limit is None else self.limit - self.delivered


class Subscriptions:
    """All of a client, by sid.

    :param send: sends a control line, or drops it while there is no connection:
        :meth:`lines` says it all to the next one.
    :param counts: what is delivered is counted there.
    :param log: told of subscribers that fail.
    """

    def __init__(self, send: Callable[[bytes], None], counts: Counts, log: Logger) -> None:
        self._send = send
        self._counts = counts
        self._log = log
        self._by_sid: dict[str, Subscription] = {}
        self._last = 0

    def add(
        self, subject: str, callback: Callable[[Message], Any], queue: str | None
    ) -> Subscription:
        """Subscribe."""
        self._last += 1
        subscription = Subscription(
            subject, queue, str(self._last), callback, self._remove, self._limited
        )
        self._by_sid[subscription.sid] = subscription
        self._send(parser.encode_sub(subject, subscription.sid, queue))
        return subscription

    def lines(self) -> bytes:
        """Return what makes a new connection deliver what is still wanted."""
        return b"".join(self._lines())

    def forget_denials(self) -> None:
        """Take it that the next server allows everything, until it says otherwise."""
        for one in self._by_sid.values():
            one.denied = None

    @property
    def any_denied(self) -> bool:
        """Whether a server has denied one of them."""
        return any(one.denied is not None for one in self._by_sid.values())

    def ends(self) -> bytes:
        """Return what makes a connection deliver nothing more."""
        return b"".join(map(parser.encode_unsub, self._by_sid))

    def _lines(self) -> Iterator[bytes]:
        for one in self._by_sid.values():
            one._before = one.delivered
            one._again = True
            yield parser.encode_sub(one.subject, one.sid, one.queue)
            if one.left is not None:
                yield parser.encode_unsub(one.sid, one.left)

    def deliver(self, message: parser.Msg) -> None:
        """Call the subscriber; a message that came after the end of its subscription is dropped."""
        subscription = self._by_sid.get(message.sid)
        if subscription is None:
            return
        self._counts.in_msgs += 1
        self._counts.in_bytes += len(message.payload)
        subscription.delivered += 1
        if subscription.left == 0:
            subscription.active = False
            if subscription._again:
                # What came over two connections at a time, no server has counted right.
                self._remove(subscription)
            else:
                del self._by_sid[message.sid]
        try:
            result = subscription.callback(
                Message(message.subject, message.payload, message.reply, message.headers)
            )
            if inspect.iscoroutine(result):
                result = Deferred.fromCoroutine(result)
        except Exception:
            self._failed(Failure(), subscription)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self._failed, subscription)

    def deny(self, error: ServerError) -> ServerError:
        """Mark what the server does not allow.

        :returns: the error, with its subject where the server did not say it.
        """
        if error.subject is not None:
            for one in self._by_sid.values():
                if (one.subject, one.queue) == (error.subject, error.queue) and (
                    error.sid is None or one.sid == error.sid
                ):
                    one.denied = error.text
            return error
        # Too many of them. Servers take them in order, so it is the first that is not taken;
        # which that is cannot be known, but those that came last were refused.
        for one in reversed(self._by_sid.values()):
            if one.denied is None:
                one.denied = error.text
                return attrs.evolve(error, subject=one.subject, queue=one.queue, sid=one.sid)
        return error

    def _remove(self, subscription: Subscription) -> None:
        self._by_sid.pop(subscription.sid, None)
        self._send(parser.encode_unsub(subscription.sid))

    def _limited(self, subscription: Subscription) -> None:
        assert subscription.limit is not None
        here = subscription.limit - subscription._before
        self._send(parser.encode_unsub(subscription.sid, here))

    def _failed(self, failure: Failure, subscription: Subscription) -> None:
        self._log.failure(
            "the subscriber of {subject} failed", failure, subject=subscription.subject
        )
