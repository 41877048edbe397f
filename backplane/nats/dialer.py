"""Getting a connection, and getting one again: servers in turn, with delays between rounds.

After a lost connection every server of the pool is tried at once, then round and
round with a delay that grows from 0.5 to 20 s with jitter, for ever. It begins
anew once a connection has lasted. A server that lets us in and drops us again is not
tried in a fast loop, and less and less often if it does not even take our
subscriptions. After an authentication error the delay is the longest. A server that
failed as often as is allowed is given up, and with the last of them everything.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.counts import Counts
from backplane.nats.errors import ConnectionClosed, ConnectionFailed, NatsError, NotConnected
from backplane.nats.events import Connected, ConnectFailed, Disconnected
from backplane.nats.gossip import Gossip
from backplane.nats.handover import Move, Mover
from backplane.nats.moving import Moves
from backplane.nats.opening import Opener
from backplane.nats.outage import OutageLog
from backplane.nats.pacing import Pace
from backplane.nats.servers import Server, ServerPool
from backplane.nats.state import State
from backplane.nats.verdict import Verdict
from backplane.nats.waiters import Waiters

__all__ = ["Caller", "Dialer"]


class Caller(Mover, Protocol):
    """What a dialer tells; it is :class:`backplane.nats.client.NatsClient`'s part."""

    def connected(self, connection: NatsConnection) -> None:
        """There is a connection: send what must come first on it."""

    def over(self, reason: NatsError) -> None:
        """There will be no connection: no server is left to try."""


class Dialer(Owner):
    """Keeps one connection to one of several servers.

    :param opener: makes the connections.
    :param rng: for the jitter.
    :ivar server: the one that is connected, or was tried last.
    :ivar last_error: why a connection or try failed, or what a server complained of.
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
        self.last_error: str | None = None
        self._caller = caller
        self.message = caller.message  # type: ignore[method-assign]  # not a call more for each
        self._pool = pool
        self._opener = opener
        self._clock = clock = opener.clock
        self._counts = counts
        self._log = log
        self._outage = OutageLog(log, clock.seconds, opener.manners.retry)
        self._pace = Pace(rng)
        self._connection: NatsConnection | None = None  # from the first try of its socket on
        self._attempt: Deferred[Any] | None = None
        self._wait: IDelayedCall | None = None
        self._up = False
        self._waiters = Waiters()
        self._moves = Moves(opener, caller, self._take_over, counts=counts, log=log, rng=rng)
        self._gossip = Gossip(pool, caller.emit, self._leave, enabled=opener.manners.gossip)
        self._over: NatsError | None = None  # why there are no more tries
        self._started = False
        self._first = True

    @property
    def connection(self) -> NatsConnection | None:
        """The connection after its handshake, as long as it is of use."""
        connection = self._connection
        return connection if self._up and connection is not None and connection.usable else None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._over = None
        self._started = True
        self._pool.restore()
        self._first = True
        self._pace.forget()
        self._try_next()

    async def stop(self, flush_timeout: float | None) -> None:
        """Flush, and close; no more tries.

        :param flush_timeout: in seconds; ``None`` for no flush.
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
            if self._up and flush_timeout is not None:
                try:
                    await connection.flush(flush_timeout)
                except NatsError as error:
                    self._log.warn("the last flush failed: {reason}", reason=error)
            await connection.close()
        if self._over is over:  # not started again meanwhile
            self._waiters.end(over)

    @property
    def state(self) -> State:
        """What it does, as far as it knows."""
        if self.connection is not None:
            return State.CONNECTED
        if self._over is not None:
            return State.CLOSED
        if not self._started:
            return State.DISCONNECTED
        return State.CONNECTING if self._first else State.RECONNECTING

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection.

        :returns: fails with :class:`ConnectionClosed`, or, where there is one walk only, with
            :class:`ConnectionFailed` when no server could be reached.
        """
        if self.connection is not None:
            return succeed(None)
        if self._over is not None:
            return fail(self._over)
        return self._waiters.wait()

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

    def _leave(self, why: str) -> None:
        """Move to another server: the one that is connected will end."""
        if not self._moves.trying:
            self._moves.begin(self._move_targets, why)

    def _move_targets(self) -> list[Server]:
        here, connection = self.server, self._connection
        assert here is not None
        assert connection is not None
        others = self._gossip.others(here)
        return list(others) if others and self._gossip.is_lame(connection) else [here, *others]

    def _take_over(self, move: Move) -> tuple[NatsConnection, Server]:
        old, before, new = self._connection, self.server, move.connection
        assert old is not None
        assert before is not None
        assert new is not None
        self._connection, self.server = new, move.server
        new.owner = self
        self._pace.established(self._clock.seconds())
        self._pool.works(move.server)
        self._gossip.greeted(new, move.server)
        return old, before

    def force_reconnect(self) -> None:
        """Drop the connection, or end the wait, and connect at once; a try under way goes on."""
        if self._up and self._connection is not None:
            self._pace.urgent = True
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
        self._pace.established(self._clock.seconds())
        first, self._first = self._first, False
        self._counts.connects += 1
        if not first:
            self._counts.reconnects += 1
        self._pool.works(server)
        self._caller.connected(connection)
        self._outage.connected(server.url)
        self._caller.emit(Connected(server.url, first))
        if connection is self._connection and connection.usable:
            self._waiters.end()
        if connection is self._connection and connection.usable:
            self._gossip.greeted(connection, server)

    def info_changed(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        if self._up and self.server is not None:
            self._gossip.heard(connection, self.server)

    def refused(self, connection: NatsConnection, text: str) -> None:
        """See :class:`Owner`."""
        self.last_error = text
        self._pace.judged(self._caller.refused(text, connection.session.established))

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
            if was_up:
                self._caller.emit(Disconnected(server.url, self._over))
            return
        self.last_error = str(reason)
        if not was_up:
            self._failed(server, reason)
            return
        self._pace.lost(self._clock.seconds(), connection.session.proven)
        self._outage.lost(server.url, str(reason))
        self._caller.emit(Disconnected(server.url, reason))
        if self._over is not None:  # a listener stopped us
            return
        if self._pace.at_once():
            self._try_next()
        else:
            self._later()

    # Trying.

    def _try_next(self) -> None:
        self._wait = None
        if self._over is not None or self._connection is not None:
            return
        server = self.server = self._pool.take()
        self._pace.tried += 1
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
        if getattr(reason, "refused", False):
            self._pace.judged(Verdict.SLOWLY)
        self.last_error = f"{server.address}: {reason}"
        self._outage.failed(server.address, str(reason))
        self._caller.emit(ConnectFailed(server.address, reason))
        if self._over is not None:  # a listener stopped us
            return
        if self._pool.failed(server, self._opener.manners.max_attempts):
            self._pace.tried -= 1
            self._log.warn("{server} is given up", server=server.address)
        retry = self._opener.manners.retry and len(self._pool)
        if self._pace.tried < len(self._pool):
            # The others of the pool are tried without waiting.
            self._wait = self._clock.callLater(0, self._try_next)
        elif retry:
            self._later()
        else:
            phase = getattr(reason, "phase", "")
            self._over = over = ConnectionFailed(self.last_error, server.address, phase)
            self._caller.over(over)
            self._waiters.end(over)

    def _later(self) -> None:
        """Wait, longer each time, and try again."""
        self._wait = self._clock.callLater(self._pace.delay(), self._try_next)
