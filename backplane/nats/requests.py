"""Requests: a publish with a reply subject, and whoever waits for what comes there.

All single requests share one subscription, ``PREFIX.NAME.*``, made at the first and kept;
each has a token of its own there. A request for many answers has a subscription of its
own, so that a server sends no more of them once they are enough.

What can be known to be in vain fails at once: nobody listens, the server forbids the
subject, or the connection was lost on which the answer would have come. A request that
is made while there is no connection is kept like any publish, and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import urandom
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from backplane.nats.answers import Enough, Many, One, Waiting, check_positive
from backplane.nats.errors import NotConnected, PermissionDenied
from backplane.nats.events import Disconnected, ServerError
from backplane.nats.headers import Headers
from backplane.nats.inbox import check_prefix, new_inbox
from backplane.nats.message import Message
from backplane.nats.subscription import Subscription
from backplane.nats.waiters import Waiters

__all__ = ["GivenHeaders", "Requests"]

GivenHeaders = bytes | Headers | Mapping[str, str | Sequence[str]]
"""Headers as they may be given: a block that is made already, or names and values."""

_TOKEN: Final = 9  # bytes; whoever guesses must know the inbox as well


class Requests:
    """The requests of one client.

    :param publish, subscribe: those of :class:`backplane.nats.client.NatsClient`.
    :param withdraw: takes back what was published for an inbox and waits for a connection.
    :param prefix: of all inboxes.
    :raises BadSubject: for a prefix that cannot be.
    """

    def __init__(
        self,
        publish: Callable[[str, bytes, str, GivenHeaders | None], None],
        subscribe: Callable[[str, Callable[[Message], Any]], Subscription],
        withdraw: Callable[[str], None],
        clock: IReactorTime,
        prefix: str,
    ) -> None:
        self.prefix = check_prefix(prefix)
        self._publish = publish
        self._subscribe = subscribe
        self._withdraw = withdraw
        self._clock = clock
        self._base = new_inbox(prefix)
        self._inbox: Subscription | None = None
        self._waiting: dict[str, Waiting] = {}
        self._idle = Waiters()

    @property
    def inbox(self) -> Subscription | None:
        """The subscription that single requests share, or ``None`` before the first."""
        return self._inbox

    @property
    def count(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def owns(self, subscription: Subscription) -> bool:
        """Whether answers come there."""
        return subscription is self._inbox or subscription.subject in self._waiting

    def one(
        self, subject: str, payload: bytes, *, timeout: float, headers: GivenHeaders | None
    ) -> Deferred[Message]:
        """Ask for one answer, see :meth:`backplane.nats.client.NatsClient.request`."""
        check_positive(timeout, "timeout")
        inbox = self._inbox
        if inbox is None or not inbox.active:
            inbox = self._inbox = self._subscribe(f"{self._base}.*", self._answered)
        if inbox.denied is not None:
            return fail(PermissionDenied(inbox.denied, inbox.subject))
        reply = f"{self._base}.{urandom(_TOKEN).hex()}"
        waiting = One(subject, timeout, self._clock, lambda: self._forget(reply))
        self._send(waiting, payload, reply, headers)
        return waiting.done

    def many(
        self,
        subject: str,
        payload: bytes,
        enough: Enough,
        *,
        headers: GivenHeaders | None,
        each: Callable[[Message], Any] | None,
    ) -> Deferred[list[Message]]:
        """Ask for many answers, see :meth:`backplane.nats.client.NatsClient.request_many`."""
        reply = new_inbox(self.prefix)
        subscription = self._subscribe(reply, lambda message: waiting.take(message))

        def over() -> None:
            self._forget(reply)
            subscription.unsubscribe()

        waiting = Many(subject, enough, self._clock, over, each)
        self._send(waiting, payload, reply, headers)
        return waiting.done

    def _send(
        self, waiting: Waiting, payload: bytes, reply: str, headers: GivenHeaders | None
    ) -> None:
        self._waiting[reply] = waiting
        try:
            self._publish(waiting.subject, payload, reply, headers)
        except BaseException:
            waiting.abandon()
            raise

    def when_idle(self) -> Deferred[None]:
        """Fire when no request waits."""
        return self._idle.wait() if self._waiting else succeed(None)

    def heard(self, event: object) -> None:
        """Take an event of the client: some are the end of requests."""
        if isinstance(event, Disconnected):
            self.end(NotConnected(f"the connection was lost: {event.reason}"))
        elif isinstance(event, ServerError) and event.subject is not None:
            self._denied(event, event.subject)

    def end(self, error: Exception) -> None:
        """Let all fail that wait; those that are made meanwhile are not meant."""
        for waiting in list(self._waiting.values()):
            waiting.fail(error)

    def _denied(self, event: ServerError, subject: str) -> None:
        inbox = event.kind == "subscribe" and subject == f"{self._base}.*"
        for reply, waiting in list(self._waiting.items()):
            if (
                (event.kind == "publish" and waiting.subject == subject)
                or (event.kind in ("subscribe", "publish") and reply == subject)
                or (inbox and isinstance(waiting, One))
            ):
                waiting.fail(PermissionDenied(event.text, subject))

    def _answered(self, message: Message) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None:
            waiting.take(message)

    def _forget(self, reply: str) -> None:
        self._waiting.pop(reply, None)
        self._withdraw(reply)
        if not self._waiting:
            self._idle.end()
