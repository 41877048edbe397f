"""The subscriptions of a client."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.counts import Counts
from backplane.nats.delivery import Delivery, Limits
from backplane.nats.errors import ConnectionClosed, NatsError, PermissionDenied
from backplane.nats.events import HandlerFailed, ServerError, SlowConsumer
from backplane.nats.message import Message
from backplane.nats.waiters import Waiters

__all__ = ["Limits", "Message", "Subscription", "Subscriptions"]


@attrs.define(eq=False)
class Subscription:
    """Made by :meth:`backplane.nats.client.NatsClient.subscribe`.

    :ivar sid: never used again within the client's life.
    :ivar limit: messages to deliver in all, or ``None``.
    :ivar denied: the server's words, when it does not allow the subject.
    :ivar active: whether messages may still come from the server.
    :ivar dropped: messages that were not delivered because too many waited.
    :ivar slow: the last message was dropped.
    """

    subject: str
    queue: str | None
    sid: str
    _table: Subscriptions = attrs.field(repr=False)
    _on_error: Callable[[Exception], object] | None = attrs.field(repr=False)
    limit: int | None = None
    denied: str | None = None
    active: bool = True
    dropped: int = 0
    slow: bool = False
    _delivery: Delivery = attrs.field(init=False, repr=False)
    _came: int = 0  # from servers, in all
    _before: int = 0  # of these over earlier connections, which this server does not count
    _again: bool = False  # there was more than one connection
    _drained: Waiters | None = attrs.field(default=None, repr=False)

    @property
    def delivered(self) -> int:
        """Messages that the callback was called with."""
        return self._delivery.handled

    @property
    def pending(self) -> tuple[int, int]:
        """Messages, and their bytes, that the callback has not finished."""
        return self._delivery.messages, self._delivery.size

    @property
    def left(self) -> int | None:
        """Messages still to come, or ``None`` without a limit."""
        return None if self.limit is None else self.limit - self._came

    def unsubscribe(self, max_messages: int | None = None) -> None:
        """End the subscription; no message is delivered after this returns. Twice does nothing.

        :param max_messages: end it after so many, counted from its start.
        :raises TypeError: for what is no whole number.
        """
        if not isinstance(max_messages, int | None):
            kind = type(max_messages).__name__
            raise TypeError(f"max_messages is a whole number, not {kind}")
        delivery = self._delivery
        if max_messages is None or delivery.handled >= max_messages:
            delivery.keep(0)
            self._table.end(self)
        elif self._came >= max_messages:
            delivery.keep(max_messages - delivery.handled)
            self._table.end(self)
        elif self.active and self._drained is None:
            self.limit = max_messages
            self._table.limited(self)

    def drain(self) -> Deferred[None]:
        """End it without loss: what the server has sent is delivered, and nothing more.

        :returns: fires when the callback has finished the last message; at once when there
            is none. It can be cancelled, which changes nothing for the subscription.
        """
        return self._table.drain([self])


class Subscriptions:
    """All of a client, by sid.

    :param send: sends a control line, or drops it while there is no connection:
        :meth:`lines` says it all to the next one.
    :param counts: what is delivered is counted there.
    :param log: told of subscribers that fail.
    :param emit: told what :mod:`backplane.nats.events` has for it.
    :param flush: fires when the server has answered all that was sent.
    :ivar closed: why nothing is taken any more, or ``None``.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        counts: Counts,
        log: Logger,
        *,
        emit: Callable[[object], None] = lambda event: None,
        flush: Callable[[], Deferred[None]] = Deferred,
    ) -> None:
        self.closed: str | None = None
        self._send = send
        self._counts = counts
        self._log = log
        self._emit = emit
        self._flush = flush
        self._by_sid: dict[str, Subscription] = {}
        self._ended: set[Subscription] = set()  # whose callback is not done
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_sid)

    def add(
        self,
        subject: str,
        callback: Callable[[Message], Any],
        queue: str | None = None,
        *,
        limits: Limits | None = None,
        on_error: Callable[[Exception], object] | None = None,
        concurrent: bool = False,
    ) -> Subscription:
        """Subscribe; subject, queue group and callback are checked already.

        :raises ConnectionClosed: when nothing more is taken.
        """
        if self.closed is not None:
            raise ConnectionClosed(self.closed)
        self._last += 1
        one = Subscription(subject, queue, str(self._last), self, on_error)
        one._delivery = Delivery(
            callback,
            lambda failure: self._failed(failure, one),
            limits if limits is not None else Limits(),
            concurrent,
        )
        self._by_sid[one.sid] = one
        self._send(parser.encode_sub(subject, one.sid, queue))
        return one

    def refuse(self, why: str) -> None:
        """Take nothing any more."""
        self.closed = why

    @property
    def all(self) -> list[Subscription]:
        """Those that may get messages, and those whose callback is not done."""
        return [*self._by_sid.values(), *self._ended]

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
            one._before = one._came
            one._again = True
            if one._drained is not None:
                continue
            yield parser.encode_sub(one.subject, one.sid, one.queue)
            if one.left is not None:
                yield parser.encode_unsub(one.sid, one.left)

    def deliver(self, message: parser.Msg) -> None:
        """Call the subscriber; a message that came after the end of its subscription is dropped."""
        one = self._by_sid.get(message.sid)
        if one is None:
            return
        size = len(message.payload)
        counts = self._counts
        counts.in_msgs += 1
        counts.in_bytes += size
        one._came += 1
        if one.limit is not None and one._came >= one.limit:
            # What came over two connections at a time, no server has counted right.
            self._gone(one, tell=one._again and one._drained is None)
        if message.headers is not None:
            size += len(message.headers)
        if one._delivery.put(message, size):
            one.slow = False
        else:
            self._overflow(one)
        if not one.active and one._delivery.messages:
            self._finish(one)

    def deny(self, error: ServerError) -> ServerError:
        """Mark what the server does not allow.

        :returns: the error, with its subject where the server did not say it.
        """
        if error.subject is not None:
            for one in list(self._by_sid.values()):
                if (one.subject, one.queue) == (error.subject, error.queue) and (
                    error.sid is None or one.sid == error.sid
                ):
                    self._deny(one, error.text)
            return error
        # Too many of them. Servers take them in order, so it is the first that is not taken;
        # which that is cannot be known, but those that came last were refused.
        for one in reversed(self._by_sid.values()):
            if one.denied is None:
                self._deny(one, error.text)
                return attrs.evolve(error, subject=one.subject, queue=one.queue, sid=one.sid)
        return error

    def drain(self, some: Collection[Subscription]) -> Deferred[None]:
        """End some without loss, see :meth:`Subscription.drain`; what is done is left out."""
        begun = [one for one in some if one.active and one._drained is None]
        for one in begun:
            one._drained = Waiters()
        if begun:
            self._send(b"".join(parser.encode_unsub(one.sid) for one in begun))
            self._flush().addBoth(self._flushed, begun)
        return Deferred.fromCoroutine(_idle(some))

    def end(self, one: Subscription) -> None:
        """Tell the server that it is over, if it was not."""
        if one.active:
            self._gone(one, tell=one._drained is None)
            if one._delivery.messages:
                self._finish(one)

    def limited(self, one: Subscription) -> None:
        """Tell the server of its limit."""
        assert one.limit is not None
        here = one.limit - one._before
        self._send(parser.encode_unsub(one.sid, here))

    def _gone(self, one: Subscription, *, tell: bool) -> None:
        one.active = False
        if self._by_sid.pop(one.sid, None) is not None and tell:
            self._send(parser.encode_unsub(one.sid))
        if one._drained is not None:
            one._drained.end()

    def _finish(self, one: Subscription) -> None:
        if one not in self._ended:
            self._ended.add(one)
            one._delivery.when_idle().addBoth(lambda _: self._ended.discard(one))

    def _flushed(self, result: object, begun: list[Subscription]) -> None:
        if isinstance(result, Failure) and not result.check(NatsError):
            self._log.failure("a drain failed", result)
        for one in begun:
            if one.active:
                self._gone(one, tell=False)
                if one._delivery.messages:
                    self._finish(one)

    def _overflow(self, one: Subscription) -> None:
        one.dropped += 1
        self._counts.dropped += 1
        if not one.slow:
            one.slow = True
            self._emit(SlowConsumer(one.subject, one.sid, one.dropped))

    def _deny(self, one: Subscription, text: str) -> None:
        one.denied = text
        if one._on_error is not None:
            try:
                one._on_error(PermissionDenied(text, one.subject))
            except Exception:
                self._log.failure("the error callback of {subject} failed", subject=one.subject)

    def _failed(self, failure: Failure, one: Subscription) -> None:
        self._log.failure("the subscriber of {subject} failed", failure, subject=one.subject)
        if failure.value is not None:
            self._emit(HandlerFailed(one.subject, one.sid, failure.value))


async def _idle(some: Collection[Subscription]) -> None:
    for one in some:
        if one.active and one._drained is not None:
            await one._drained.wait()
        await one._delivery.when_idle()
