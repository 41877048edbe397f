"""Getting a connection, and getting one again: servers in turn, with delays between rounds.

After a lost connection every server of the pool is tried at once, then round and
round with a delay that grows from 0.5 to 20 s with jitter, for ever. It begins
anew once a connection has lasted. A server that lets us in and drops us again is not
tried in a fast loop, and less and less often if it does not even take our
subscriptions. After an authentication error the delay is the longest.
"""

from __future__ import annotations

import random
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.backoff import Delays
from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.counts import Counts
from backplane.nats.errors import ConnectionClosed, ConnectionFailed, NatsError, NotConnected
from backplane.nats.events import Connected, ConnectFailed, Disconnected
from backplane.nats.handover import Move, Mover
from backplane.nats.moving import Moves
from backplane.nats.opening import Opener
from backplane.nats.outage import OutageLog
from backplane.nats.servers import Server, ServerPool

__all__ = ["Caller", "Dialer"]

LASTING: Final = 5.0
"""Seconds that a connection must live to count as one that works."""


class Caller(Mover, Protocol):
    """What a dialer tells; it is :class:`backplane.nats.client.NatsClient`'s part."""

    def connected(self, connection: NatsConnection) -> None:
        """There is a connection: send what must come first on it."""


class Dialer(Owner):
    """Keeps one connection to one of several servers.

    :param opener: makes the connections.
    :param rng: for the jitter.
    :ivar server: the one that is connected, or was tried last.
    """

    def __init__(
        self,
        caller: Caller,
        pool: ServerPool,
        opener: Opener,
        *,
        counts: Counts,
        log: Logger,
        rng: random.Random,
    ) -> None:
        self.server: Server | None = None
        self._caller = caller
        self._pool = pool
        self._opener = opener
        self._clock = clock = opener.clock
        self._counts = counts
        self._log = log
        self._outage = OutageLog(log, clock.seconds)
        self._delays = Delays(rng)
        self._connection: NatsConnection | None = None  # from the first try of its socket on
        self._attempt: Deferred[Any] | None = None
        self._wait: IDelayedCall | None = None
        self._up = False
        self._since = 0.0
        self._waiters: list[Deferred[None]] = []
        self._moves = Moves(opener, caller, self._take_over, counts=counts, log=log, rng=rng)
        self._over: NatsError | None = None  # why there are no more tries
        self._first = True
        self._forget_trouble()

    def _forget_trouble(self) -> None:
        self._delays.tries = 0
        self._round = 0  # servers tried since the last delay
        self._slow = False  # the credentials are wrong
        self._hasty = False  # a loss was followed by a try at once
        self._urgent = False  # a reconnect was asked for

    @property
    def connection(self) -> NatsConnection | None:
        """The connection after its handshake, as long as it is of use."""
        connection = self._connection
        return connection if self._up and connection is not None and connection.usable else None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._over = None
        self._first = True
        self._forget_trouble()
        self._try_next()

    async def stop(self, flush_timeout: float) -> None:
        """Flush, and close; no more tries.

        :param flush_timeout: in seconds.
        """
        self._over = over = ConnectionClosed("the client was closed")
        if self._wait is not None and self._wait.active():
            self._wait.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        self._moves.end()
        await self._moves.drained()
        connection = self._connection
        if connection is not None:
            if self._up:
                try:
                    await connection.flush(flush_timeout)
                except NatsError as error:
                    self._log.warn("the last flush failed: {reason}", reason=error)
            await connection.close()
        if self._over is over:  # not started again meanwhile
            self._end_waiters(over)

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection.

        :returns: fails with :class:`ConnectionClosed`, or, where there is one walk only, with
            :class:`ConnectionFailed` when no server could be reached.
        """
        if self.connection is not None:
            return succeed(None)
        if self._over is not None:
            return fail(self._over)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    @property
    def connections(self) -> list[NatsConnection]:
        """The connection, and those that it has taken over from and that are not drained."""
        connection = self.connection
        return [*([] if connection is None else [connection]), *self._moves.leaving]

    @property
    def is_moving(self) -> bool:
        """Whether messages may come twice, because there are, or just were, two connections."""
        return self._moves.under_way

    def send(self, data: bytes) -> None:
        """Send a control line to what is connected, and what is about to take over."""
        if self.connection is not None:
            self.connection.send(data)
        self._moves.send(data)

    def move(self, why: str) -> None:
        """Go over to a new connection, and close the old one then.

        It is tried for as long as the old one lasts. Without a connection the next try
        is made at once.

        :param why: for the log.
        """
        if self.connection is None:
            self.force_reconnect()
        else:
            self._moves.begin(self._move_targets, why)

    def _move_targets(self) -> list[Server]:
        here = self.server
        assert here is not None
        return [here, *(server for server in self._pool.servers if server != here)]

    def _take_over(self, move: Move) -> tuple[NatsConnection, Server]:
        old, before, new = self._connection, self.server, move.connection
        assert old is not None
        assert before is not None
        assert new is not None
        self._connection, self.server = new, move.server
        new.owner = self
        self._since = self._clock.seconds()
        self._learn(new, move.server)
        return old, before

    def force_reconnect(self) -> None:
        """Drop the connection, or end the wait, and connect at once; a try under way goes on."""
        if self._up and self._connection is not None:
            self._urgent = True
            self._connection.abort(NotConnected("a reconnect was asked for"))
        elif self._wait is not None and self._wait.active():
            self._wait.reset(0)

    # What the connection tells.

    def established(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        if connection is not self._connection:
            # An endpoint went on after its try was given up.
            connection.abort(ConnectionClosed("nobody waits for this connection any more"))
            return
        server = self.server
        assert server is not None
        self._up = True
        self._since = self._clock.seconds()
        self._slow = False
        first, self._first = self._first, False
        self._counts.connects += 1
        if not first:
            self._counts.reconnects += 1
        self._caller.connected(connection)
        self._learn(connection, server)
        self._outage.connected(server.url)
        self._end_waiters(None)
        self._caller.emit(Connected(server.url, first))

    def message(self, message: parser.Msg) -> None:
        """See :class:`Owner`."""
        self._caller.message(message)

    def info_changed(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        if self.server is not None:
            self._learn(connection, self.server)

    def refused(self, connection: NatsConnection, text: str) -> None:
        """See :class:`Owner`."""
        if self._caller.refused(text, connection.session.established):
            self._slow = True

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        """See :class:`Owner`."""
        self._counts.lost += connection.dropped
        if connection is not self._connection:
            return
        server = self.server
        assert server is not None
        was_up, self._up = self._up, False
        self._connection = self._attempt = None
        self._moves.end()
        if self._over is not None:
            return
        if not was_up:
            self._failed(server, reason)
            return
        if self._clock.seconds() - self._since >= LASTING:
            self._delays.tries = 0
            self._hasty = False
        elif connection.session.proven:
            self._delays.tries = 0
        self._round = 0
        self._outage.lost(server.url, str(reason))
        self._caller.emit(Disconnected(server.url, reason))
        if self._over is not None:  # a listener stopped us
            return
        if self._urgent or not (self._slow or self._hasty or self._delays.tries):
            self._urgent = False
            self._hasty = True
            self._try_next()
        else:
            self._later()

    # Trying.

    def _try_next(self) -> None:
        self._wait = None
        if self._over is not None or self._connection is not None:
            return
        server = self.server = self._pool.take()
        self._round += 1
        try:
            connection = self._connection = self._opener.prepare(server, self)
        except ConnectionFailed as error:
            self._failed(server, error)
            return
        self._attempt = attempt = self._opener.open(connection, server)
        attempt.addCallbacks(
            self._opened,
            self._not_opened,
            callbackArgs=(connection,),
            errbackArgs=(server,),
        )

    def _opened(self, protocol: object, connection: NatsConnection) -> None:
        if connection is self._connection:
            self._attempt = None

    def _not_opened(self, failure: Failure, server: Server) -> None:
        self._attempt = self._connection = None
        if self._over is None:
            text = failure.getErrorMessage() or type(failure.value).__name__
            self._failed(server, ConnectionFailed(text, server.address, "connect"))

    def _failed(self, server: Server, reason: Exception) -> None:
        self._counts.failed += 1
        self._outage.failed(server.address, str(reason))
        self._caller.emit(ConnectFailed(server.address, reason))
        if self._over is not None:  # a listener stopped us
            return
        if self._round < len(self._pool):
            # The others of the pool are tried without waiting.
            self._wait = self._clock.callLater(0, self._try_next)
        elif self._opener.manners.retry:
            self._later()
        else:
            self._over = ConnectionFailed(
                f"{server.address}: {reason}", server.address, getattr(reason, "phase", "")
            )
            self._end_waiters(self._over)

    def _later(self) -> None:
        """Wait, longer each time, and try again."""
        self._round = 0
        self._wait = self._clock.callLater(self._delays.next(self._slow), self._try_next)

    def _learn(self, connection: NatsConnection, server: Server) -> None:
        urls = connection.session.info.get("connect_urls")
        if isinstance(urls, list):
            for new in self._pool.learn(urls, server):
                self._log.debug("the broker names another one: {url}", url=new.url)

    def _end_waiters(self, error: NatsError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.called:
                continue  # cancelled
            if error is None:
                waiter.callback(None)
            else:
                waiter.errback(Failure(error))
