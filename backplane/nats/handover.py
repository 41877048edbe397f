"""From one connection to the next without a gap, as when certificates were renewed.

The new connection is up and a PONG has confirmed all its subscriptions before the
old one unsubscribes; that is drained then, so that what the server had for it and
what was written to it arrive, and closed. In between a message may come over both.
Queue groups and inboxes miss nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.counts import Counts
from backplane.nats.errors import ConnectionClosed, ConnectionFailed, NatsError
from backplane.nats.events import read_error
from backplane.nats.opening import Opener
from backplane.nats.servers import Server
from backplane.nats.verdict import Verdict

__all__ = ["Leaving", "Move", "Mover"]

DRAIN_TIMEOUT: Final = 5.0
"""Seconds that the old connection has to answer, each of two times."""


class Mover(Protocol):
    """What both connections are told to, and asked for."""

    def message(self, message: parser.Msg) -> None:
        """A message came."""

    def refused(self, text: str, established: bool) -> Verdict:
        """``-ERR`` came; return what follows from it."""

    def subscribing(self) -> bytes:
        """Return what makes a connection deliver what is wanted."""

    def unsubscribing(self) -> bytes:
        """Return what ends that."""

    @property
    def any_denied(self) -> bool:
        """Whether a server has denied a subscription that we have."""

    def taken_over(self) -> None:
        """The new connection is the one; nothing is denied on it until that is told."""

    def emit(self, event: object) -> None:
        """Something of :mod:`backplane.nats.events` happened."""


class Move(Owner):
    """One move, from its first try until the new connection can take over.

    :param servers: tried in this order; not empty.
    :param done: called once, with this move, when it succeeded.
    :param failed: called once, with the server and the reason, when none of them will do.
    :ivar connection: the new one.
    :ivar server: where it leads.
    :ivar complaints: what the server said against it, of which nobody was told.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        opener: Opener,
        mover: Mover,
        done: Callable[[Move], None],
        failed: Callable[[Server, Exception], None],
    ) -> None:
        self.connection: NatsConnection | None = None
        self.server = servers[0]
        self.complaints: list[str] = []
        self._left = list(servers)
        self._opener = opener
        self._mover = mover
        self._done = done
        self._failed = failed
        self._attempt: Deferred[Any] | None = None
        self._subscribed = False

    def start(self) -> None:
        """Try the next server."""
        self.server = server = self._left.pop(0)
        self._subscribed = False
        self.complaints.clear()
        try:
            connection = self.connection = self._opener.prepare(server, self)
        except ConnectionFailed as error:
            self._next(error)
            return
        self._attempt = attempt = self._opener.open(connection, server)
        attempt.addCallbacks(self._opened, self._not_opened, errbackArgs=(connection,))

    def cancel(self) -> None:
        """Give it up; nothing is called any more."""
        connection, self.connection = self.connection, None
        self._left.clear()
        if self._attempt is not None:
            self._attempt.cancel()
        if connection is not None and connection.transport is not None:
            connection.abort(ConnectionClosed("the move was given up"))

    def send(self, data: bytes) -> None:
        """Send a control line that came after the subscriptions."""
        if self._subscribed and self.connection is not None:
            self.connection.send(data)

    # What the new connection tells.

    def established(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        if connection is not self.connection:
            connection.abort(ConnectionClosed("nobody waits for this connection any more"))
            return
        connection.send(self._mover.subscribing())
        self._subscribed = True
        connection.flush(self._opener.manners.connect_timeout).addCallbacks(
            lambda _: self._confirmed(connection),
            lambda failure: self._unconfirmed(failure, connection),
        )

    def message(self, message: parser.Msg) -> None:
        """See :class:`Owner`."""
        self._mover.message(message)

    def refused(self, connection: NatsConnection, text: str) -> None:
        """See :class:`Owner`."""
        self.complaints.append(text)

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        """See :class:`Owner`."""
        if connection is self.connection:
            self._next(reason)

    def _opened(self, protocol: object) -> None:
        self._attempt = None

    def _not_opened(self, failure: Failure, connection: NatsConnection) -> None:
        if connection is self.connection:
            self._attempt = None
            text = failure.getErrorMessage() or type(failure.value).__name__
            self._next(ConnectionFailed(text, self.server.address, "connect"))

    def _confirmed(self, connection: NatsConnection) -> None:
        if connection is not self.connection:
            return
        denied = [text for text in self.complaints if read_error(text).kind == "subscribe"]
        if denied and not self._mover.any_denied:
            # Of the old connection more is to be had.
            connection.abort(ConnectionFailed(denied[0], self.server.address, "subscribe"))
        else:
            self._done(self)

    def _unconfirmed(self, failure: Failure, connection: NatsConnection) -> None:
        if connection is self.connection and connection.usable:
            connection.abort(
                ConnectionFailed(failure.getErrorMessage(), self.server.address, "subscribe")
            )

    def _next(self, reason: Exception) -> None:
        self.connection = None
        if self._left:
            self.start()
        else:
            self._failed(self.server, reason)


class Leaving(Owner):
    """A connection that another one has taken over from, until it is drained.

    :param gone: called with this when all that was written to it was taken, or it was lost.
    """

    def __init__(
        self,
        connection: NatsConnection,
        mover: Mover,
        counts: Counts,
        gone: Callable[[Leaving], None],
        caught_up: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._caught_up = caught_up
        self._mover = mover
        self._counts = counts
        self._gone = gone

    def start(self) -> Deferred[None]:
        """Unsubscribe, and close when everything is through; fires then."""
        self.connection.owner = self
        self.connection.send(self._mover.unsubscribing())
        return Deferred.fromCoroutine(self._drain())

    def message(self, message: parser.Msg) -> None:
        """See :class:`Owner`."""
        self._mover.message(message)

    def refused(self, connection: NatsConnection, text: str) -> None:
        """See :class:`Owner`."""
        if read_error(text).kind == "publish":
            self._mover.refused(text, True)

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        """See :class:`Owner`."""
        self._counts.lost += connection.dropped

    async def _drain(self) -> None:
        connection = self.connection
        try:
            # Twice, as the first answer may come before subscribers have what was published.
            try:
                await connection.flush(DRAIN_TIMEOUT)
            finally:  # what was published before has arrived, or never will
                self._caught_up()
            await connection.flush(DRAIN_TIMEOUT)
            self._gone(self)
            if connection.session.pending:  # somebody else waits for a PONG
                await connection.flush(DRAIN_TIMEOUT)
        except NatsError as error:
            connection.abort(error)
        self._gone(self)
        await connection.close()
