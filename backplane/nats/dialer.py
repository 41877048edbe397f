"""Getting a connection, and getting one again: servers in turn, with delays between rounds.

After a lost connection every server of the pool is tried at once, then round and
round with a delay that grows from 0.5 to 20 s with jitter, for ever. It begins
anew once a connection has lasted. A server that lets us in and drops us again is not
tried in a fast loop, and less and less often if it does not even take our
subscriptions. After an authentication error the delay is the longest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.backoff import Delays
from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.counts import Counts
from backplane.nats.errors import ConnectionClosed, ConnectionFailed, NatsError, NotConnected
from backplane.nats.events import Connected, ConnectFailed, Disconnected
from backplane.nats.layer import Creator
from backplane.nats.login import Login
from backplane.nats.outage import OutageLog
from backplane.nats.servers import Server, ServerPool

__all__ = ["Caller", "Dialer", "Manners"]

LASTING: Final = 5.0
"""Seconds that a connection must live to count as one that works."""


@attrs.frozen(kw_only=True)
class Manners:
    """How connections are made and kept.

    :ivar retry: keep trying; otherwise one walk through the servers.
    :ivar connect_timeout: seconds for the handshake.
    :ivar ping_interval: seconds between keep-alive PINGs.
    :ivar max_unanswered: keep-alive PINGs that may be unanswered.
    :ivar backlog: bytes of publishes kept while a socket does not drain.
    :ivar tls_first: TLS before INFO.
    """

    retry: bool
    connect_timeout: float
    ping_interval: float
    max_unanswered: int
    backlog: int
    tls_first: bool = False


class Caller(Protocol):
    """What a dialer tells; it is :class:`backplane.nats.client.NatsClient`'s part."""

    def connected(self, connection: NatsConnection) -> None:
        """There is a connection: send what must come first on it."""

    def message(self, message: parser.Msg) -> None:
        """A message came."""

    def refused(self, text: str, established: bool) -> bool:
        """``-ERR`` came; return whether it says that the credentials are wrong."""

    def emit(self, event: object) -> None:
        """Something of :mod:`backplane.nats.events` happened."""


class Dialer(Owner):
    """Keeps one connection to one of several servers.

    :param endpoint: makes the endpoint for a server.
    :param rng: for the jitter.
    :param tls: makes the security of a connection to a server, ``None`` for none.
    :ivar server: the one that is connected, or was tried last.
    """

    def __init__(
        self,
        caller: Caller,
        pool: ServerPool,
        clock: IReactorTime,
        *,
        endpoint: Callable[[Server], IStreamClientEndpoint],
        login: Login,
        manners: Manners,
        counts: Counts,
        log: Logger,
        rng: random.Random,
        tls: Callable[[Server], Creator | None] | None = None,
    ) -> None:
        self.server: Server | None = None
        self._caller = caller
        self._pool = pool
        self._clock = clock
        self._endpoint = endpoint
        self._login = login
        self._tls = tls
        self._manners = manners
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
            security = None if self._tls is None else self._tls(server)
        except Exception as error:
            text = f"TLS cannot be set up: {error}"
            self._failed(server, ConnectionFailed(text, server.address, "tls"))
            return
        if server.scheme == "tls" and security is None:
            text = "tls:// needs certificates, and none are configured"
            self._failed(server, ConnectionFailed(text, server.address, "tls"))
            return
        connection = self._connection = NatsConnection(
            self,
            self._clock,
            lambda info: self._login.fields(info, server, security is not None),
            address=server.address,
            handshake_timeout=self._manners.connect_timeout,
            ping_interval=self._manners.ping_interval,
            max_unanswered=self._manners.max_unanswered,
            backlog=self._manners.backlog,
            security=security,
            tls_first=self._manners.tls_first,
        )
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        self._attempt = attempt = self._endpoint(server).connect(factory)
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
        elif self._manners.retry:
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
