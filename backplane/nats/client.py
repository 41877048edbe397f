"""A NATS client that stays connected: the connection as a Twisted Service.

Servers are walked in random order for ever, see :mod:`backplane.nats.dialer`; names
are resolved anew on each try. Subscriptions survive; what is published while there
is no connection is kept within a bound. What was handed to a connection that then
broke is lost: core NATS delivers at most once, see :meth:`NatsClient.flush`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from backplane.nats.answers import Enough
from backplane.nats.counts import Statistics
from backplane.nats.events import (
    Closed,
    Connected,
    ConnectFailed,
    Disconnected,
    Discovered,
    Draining,
    LameDuck,
    Moved,
    ServerError,
    SlowConsumer,
)
from backplane.nats.inbox import new_inbox
from backplane.nats.message import Message
from backplane.nats.requests import GivenHeaders
from backplane.nats.service import ConnectionService
from backplane.nats.state import State
from backplane.nats.subscription import Limits, Subscription
from backplane.nats.validators import (
    check_callable,
    check_length,
    check_queue,
    check_subscribe_subject,
)

__all__ = [
    "Closed",
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Discovered",
    "Draining",
    "LameDuck",
    "Message",
    "Moved",
    "NatsClient",
    "ServerError",
    "SlowConsumer",
    "State",
    "Statistics",
    "Subscription",
]


class NatsClient(ConnectionService):
    """A connection to one of several servers, and what goes over it.

    How it is made, started and ended is said at
    :class:`backplane.nats.service.ConnectionService`.
    """

    def subscribe(
        self,
        subject: str,
        callback: Callable[[Message], Any],
        queue: str | None = None,
        *,
        pending_messages: int | None = 1000,
        pending_bytes: int | None = 16 * 1024 * 1024,
        on_error: Callable[[Exception], object] | None = None,
        concurrent: bool = False,
    ) -> Subscription:
        """Subscribe, now or as soon as there is a connection.

        Messages come in order, one after the other: while the Deferred of a callback has
        not fired, those after it wait. Beyond the limits they are dropped, which is told by
        :class:`backplane.nats.events.SlowConsumer`.

        :param callback: called with each message, may return a Deferred or be a coroutine
            function; what it raises is logged, and told as an event.
        :param queue: queue group.
        :param pending_messages: how many may wait, the one included that the callback works
            on; any number when ``None``.
        :param pending_bytes: how many bytes they may have; any number when ``None``.
        :param on_error: called with :class:`PermissionDenied` when the server does not allow it.
        :param concurrent: do not let messages wait for one another; the limits are for those
            that callbacks work on.
        :raises BadSubject: for a subject or queue group that cannot be.
        :raises ConnectionClosed: after the client was closed, or while it drains.
        """
        check_subscribe_subject(subject)
        if queue is not None:
            check_queue(queue)
        check_length(subject, queue)
        check_callable(callback)
        return self._subscriptions.add(
            subject,
            callback,
            queue,
            limits=Limits(messages=pending_messages, size=pending_bytes),
            on_error=on_error,
            concurrent=concurrent,
        )

    def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str | None = None,
        headers: GivenHeaders | None = None,
    ) -> None:
        """Publish, now or as soon as there is a connection.

        :param headers: names and values, a :class:`backplane.nats.headers.Headers`, or a block
            that :func:`backplane.nats.headers.encode_headers` has made.
        :raises BadSubject: for a subject or reply that cannot be.
        :raises TypeError: for a payload that is not bytes, and headers that are none.
        :raises HeadersError: for headers that cannot be.
        :raises HeadersUnsupported: when the server takes no headers. While there is no
            connection this cannot be known; such a message is dropped later, and counted as lost.
        :raises PayloadTooLarge: for more than the server takes. While there is no connection
            this cannot be known; such a message is dropped later, and counted as lost.
        :raises BufferFull: when too much is kept already; the message was not taken.
        :raises ConnectionClosed: after the client was closed.
        """
        self._publisher.publish(subject, payload, reply, headers)

    def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout: float,
        headers: GivenHeaders | None = None,
    ) -> Deferred[Message]:
        """Publish, and fire with the first answer; can be cancelled.

        A request that is made while there is no connection is sent when there is one, if
        that is in time. Subject, payload and headers are as with :meth:`publish`, whose
        errors are raised at once.

        :param timeout: seconds.
        :returns: fails with :class:`RequestTimeout`; and at once with :class:`NoResponders`,
            with :class:`PermissionDenied` when the server forbids the subject or the inbox, with
            :class:`NotConnected` when the connection is lost, where an answer could have
            come, and with :class:`ConnectionClosed` when the client is closed.
        """
        return self._requests.one(subject, payload, timeout=timeout, headers=headers)

    def request_many(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout: float,
        stall: float | None = None,
        most: int | None = None,
        sentinel: Callable[[Message], bool] | None = None,
        headers: GivenHeaders | None = None,
        each: Callable[[Message], Any] | None = None,
    ) -> Deferred[list[Message]]:
        """Publish, and fire with all answers that come until they are enough; can be cancelled.

        :param timeout: seconds in all; there may be no answer in that time.
        :param stall: seconds without an answer after one has come.
        :param most: number of answers.
        :param sentinel: says that a message is no answer but the end of them, as
            :func:`backplane.nats.answers.is_empty` does; what it raises is how this fails.
        :param each: called with each answer as it comes; what it raises is how this fails.
        :returns: fails as :meth:`request` does, except that the end of ``timeout`` is no failure.
        """
        enough = Enough(timeout=timeout, stall=stall, most=most, sentinel=sentinel)
        return self._requests.many(subject, payload, enough, headers=headers, each=each)

    def new_inbox(self) -> str:
        """Return a subject for answers that nobody can guess."""
        return new_inbox(self._requests.prefix)

    def move(self, why: str = "a move was asked for") -> None:
        """Go over to a new connection without a gap, and close the old one then.

        All that is subscribed and published goes on; a message may come twice, over both.
        When no server takes us anew the old connection stays, and the move is tried again.

        :param why: for the log.
        """
        self._dialer.move(why)

    @property
    def is_moving(self) -> bool:
        """Whether a move is under way, or so fresh that messages may still come twice."""
        return self._dialer.is_moving

    def force_reconnect(self) -> None:
        """Drop the connection, or end the wait, and connect at once; a try under way goes on."""
        self._dialer.force_reconnect()
