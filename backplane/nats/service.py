"""A connection that lasts, as a Twisted Service: made of its parts, started, ended, watched."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from backplane.nats.announcing import Announcer
from backplane.nats.backoff import FIRST_DELAY
from backplane.nats.counts import Counts, Statistics
from backplane.nats.credentials import Credentials
from backplane.nats.dialer import Dialer
from backplane.nats.draining import Drainer
from backplane.nats.errors import ConnectionClosed, NatsError, NotConnected
from backplane.nats.events import Closed
from backplane.nats.hostname import HostEndpoint
from backplane.nats.hub import Hub
from backplane.nats.inbox import DEFAULT_PREFIX
from backplane.nats.layer import Creator
from backplane.nats.login import Login
from backplane.nats.opening import Manners, Opener
from backplane.nats.publishing import Publisher
from backplane.nats.requests import Requests
from backplane.nats.servers import Server, ServerPool, parse_servers
from backplane.nats.state import State
from backplane.nats.subscription import Subscriptions
from backplane.nats.validators import check_callable

__all__ = ["BUFFER_SIZE", "ConnectionService"]

BUFFER_SIZE: Final = 2 * 1024 * 1024
"""Bytes of publishes that are kept by default."""


class ConnectionService(Service):
    """A connection to one of several servers.

    :param servers: addresses, see :func:`backplane.nats.servers.parse_server`.
    :param reactor: provides time and, unless ``endpoint`` is given, TCP and name resolution.
    :param name: shown by servers in their list of connections.
    :param user, password, token: credentials; they win over those in addresses.
    :param endpoint: makes the endpoint for a server; TCP by default.
    :param rng: for the order of servers and the jitter.
    :param randomize: whether servers, and the addresses of one, are tried in random order.
    :param retry: keep trying; otherwise one walk through the servers, see :meth:`when_connected`.
    :param verbose: let the server acknowledge each command.
    :param echo: what is published comes back to subscriptions of this client, too.
    :param pedantic: let the server check subjects strictly, and complain.
    :param gossip: use also servers of the cluster that are not among ``servers``.
    :param max_attempts: failed tries in a row after which a server is given up, and with
        the last one everything; for ever when negative.
    :param connect_timeout: seconds for the socket, and again for the handshake.
    :param ping_interval: seconds between keep-alive PINGs; a tick with ``max_unanswered``
        of them unanswered ends the connection.
    :param buffer_size: bytes of publishes that are kept while there is no connection,
        none when 0 or negative.
    :param stop_timeout: seconds for the last flush when the service stops.
    :param tls: makes the security of each connection to a server, which then must speak
        TLS, see :data:`backplane.nats.layer.Creator`; or ``None`` for a plain one.
    :param tls_first: TLS before the server says INFO, where it wants that.
    :param credentials: another way to log in, see :mod:`backplane.nats.credentials`.
    :raises BadCredentials: for several ways at once.
    :param inbox_prefix: what the reply subjects of requests begin with.
    :raises BadSubject: for such a prefix that cannot be.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        reactor: Any,
        *,
        name: str = "",
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        endpoint: Callable[[Server], IStreamClientEndpoint] | None = None,
        log: Logger | None = None,
        rng: random.Random | None = None,
        randomize: bool = True,
        retry: bool = True,
        verbose: bool = False,
        connect_timeout: float = 5.0,
        ping_interval: float = 30.0,
        max_unanswered: int = 2,
        buffer_size: int = BUFFER_SIZE,
        stop_timeout: float = 5.0,
        version: str = "0",
        tls: Callable[[Server], Creator | None] | None = None,
        tls_first: bool = False,
        echo: bool = True,
        pedantic: bool = False,
        gossip: bool = True,
        max_attempts: int = -1,
        inbox_prefix: str = DEFAULT_PREFIX,
        credentials: Credentials | None = None,
    ) -> None:
        rng = rng if rng is not None else random.SystemRandom()
        log = log if log is not None else Logger(namespace="backplane.nats")
        self._reactor = reactor
        self._randomize = randomize
        self._log = log
        self._shuffler = rng if randomize else None
        self._pool = ServerPool(parse_servers(servers), self._shuffler)
        self._login = Login(
            name,
            user,
            password,
            token,
            verbose,
            version,
            credentials=credentials,
            echo=echo,
            pedantic=pedantic,
        )
        self._manners = Manners(
            retry=retry,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            max_unanswered=max_unanswered,
            backlog=buffer_size if buffer_size > 0 else BUFFER_SIZE,
            tls_first=tls_first,
            gossip=gossip,
            max_attempts=max_attempts,
        )
        self._counts = Counts()
        self._announcer = Announcer(log)
        self._hub = hub = Hub(self._announcer, self._counts, log)
        self._dialer = Dialer(
            hub,
            self._pool,
            Opener(
                clock=reactor,
                endpoint=endpoint if endpoint is not None else self._tcp,
                login=self._login,
                manners=self._manners,
                tls=tls,
            ),
            counts=self._counts,
            log=log,
            rng=rng,
        )
        self._secure = tls is not None
        self._subscriptions = Subscriptions(
            self._dialer.send, self._counts, log, emit=hub.emit, flush=self.flush
        )
        self._publisher = Publisher(self._dialer, self._counts, log, buffer_size)
        self._requests = Requests(
            self._publisher.publish,
            self._subscriptions.add,
            self._publisher.withdraw,
            reactor,
            inbox_prefix,
        )
        self._drainer = Drainer(
            self._subscriptions,
            self._requests,
            reactor,
            flush=self.flush,
            close=lambda: Deferred.fromCoroutine(self._stop(None)),
            refuse=self._publisher.refuse,
            emit=hub.emit,
        )
        hub.subscriptions, hub.publisher = self._subscriptions, self._publisher
        hub.requests, hub.drainer, hub.over = self._requests, self._drainer, self._shut
        self._stop_timeout = stop_timeout
        self._rtt: float | None = None
        self._closed = False

    @property
    def reactor(self) -> Any:
        """Provides time, as it was given."""
        return self._reactor

    @property
    def state(self) -> State:
        """What it is doing."""
        if self._closed:
            return State.CLOSED
        phase = self._drainer.phase
        return phase if phase is not None else self._dialer.state

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection after its handshake."""
        return self._dialer.connection is not None

    @property
    def connected_url(self) -> str | None:
        """URL of the connected server without credentials, or ``None``."""
        server = self._dialer.server
        return server.url if self.is_connected and server is not None else None

    @property
    def max_payload(self) -> int | None:
        """Bytes that the connected server takes, or ``None``."""
        connection = self._dialer.connection
        return connection.session.max_payload if connection is not None else None

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the connected server has said of itself in INFO; empty without a connection."""
        connection = self._dialer.connection
        return MappingProxyType(connection.session.info if connection is not None else {})

    def options(self) -> dict[str, Any]:
        """Return the settings, with the names that Choria's agents show."""
        manners = self._manners
        return {
            "servers": [server.url for server in self._pool.servers],
            "dont_randomize_servers": not self._randomize,
            "name": self._login.name,
            "pedantic": self._login.pedantic,
            "secure": self._secure,
            "allow_reconnect": manners.retry,
            "max_reconnect_attempts": manners.max_attempts if manners.retry else 0,
            "reconnect_time_wait": FIRST_DELAY,
            "connect_timeout": manners.connect_timeout,
            "ping_interval": manners.ping_interval,
            "max_outstanding_pings": manners.max_unanswered,
        }

    def counts(self) -> dict[str, int]:
        """Return counts since the client was made; see :class:`backplane.nats.counts.Counts`."""
        return self._counts.as_dict()

    def statistics(self) -> Statistics:
        """Return how it fares at the moment."""
        connection = self._dialer.connection
        pending = [one.pending for one in self._subscriptions.all]
        return Statistics(
            **attrs.asdict(self._counts, recurse=False),
            subscriptions=len(self._subscriptions),
            pending_msgs=sum(messages for messages, _ in pending),
            pending_bytes=sum(size for _, size in pending),
            buffered_bytes=self._publisher.kept + (connection.held if connection else 0),
            pings_outstanding=connection.session.outstanding if connection else 0,
            rtt=self._rtt,
            last_error=self._dialer.last_error,
        )

    def add_listener(self, listener: Callable[[object], object]) -> None:
        """Tell ``listener`` of each event of :mod:`backplane.nats.events` from now on.

        Events are told in order, one at a time: what happens inside a listener is told
        when all have returned. What one raises is logged.
        """
        check_callable(listener)
        self._announcer.add(listener)

    def remove_listener(self, listener: Callable[[object], object]) -> None:
        """Undo :meth:`add_listener`."""
        self._announcer.remove(listener)

    def startService(self) -> None:
        """Begin to connect; returns at once. :raises RuntimeError: while it drains."""
        if self._drainer.phase is not None:
            raise RuntimeError("the client is draining")
        super().startService()
        self._closed = False
        self._publisher.closed = self._subscriptions.closed = None
        self._dialer.start()

    def stopService(self) -> Deferred[None]:
        """Flush within ``stop_timeout`` and close; what waits for callbacks is delivered.

        Requests that wait fail. A drain that is under way ends here, too.
        """
        if self.running:
            super().stopService()
        self._drainer.end(ConnectionClosed("the client was closed"))
        return Deferred.fromCoroutine(self._stop(self._stop_timeout))

    def drain(self, timeout: float = 30.0) -> Deferred[None]:
        """Close without loss.

        Nothing can be subscribed any more. What servers have sent is handled, also where
        callbacks return Deferreds, and so are the answers to requests; then nothing can be
        published any more, what was is flushed, and the client closes.

        :param timeout: seconds for all that.
        :returns: fires when the client is closed; fails, when it is closed, with
            :class:`DrainTimeout`, with :class:`NotConnected` without a connection or when it
            is lost, and with :class:`ConnectionClosed` when it was or is closed. A second
            call while it drains has the same outcome.
        """
        state = self.state
        if self.running:
            super().stopService()
        return self._drainer.drain(timeout, state)

    async def _stop(self, flush_timeout: float | None) -> None:
        if self._closed:
            return
        self._requests.end(ConnectionClosed("the client was closed"))
        await self._dialer.stop(flush_timeout)
        if not self.running:
            self._shut(None)

    def _shut(self, reason: NatsError | None) -> None:
        if not self._closed:
            self._closed = True
            why = "the client was closed"
            self._requests.end(ConnectionClosed(why))
            self._subscriptions.refuse(why)
            self._publisher.refuse(why)
            self._publisher.abandon()
            self._hub.emit(Closed(reason))

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection.

        :returns: fails with :class:`ConnectionClosed`, or, without ``retry``, with
            :class:`ConnectionFailed` when no server could be reached.
        """
        return self._dialer.when_connected()

    def flush(self, timeout: float | None = 10.0) -> Deferred[None]:
        """Fire when the server has everything that was published so far.

        :param timeout: seconds, or ``None`` to wait as long as the connection lives.
        :returns: fails with :class:`FlushTimeout` or :class:`NotConnected`.
        """
        if not self.is_connected:
            return fail(self._no_connection())
        flushes = [connection.flush(timeout) for connection in self._dialer.connections]
        if len(flushes) == 1:
            return flushes[0]
        # What was published before a move is on its way over the old connection.
        return gatherResults(flushes, consumeErrors=True).addCallbacks(
            lambda _: None, lambda failure: failure.value.subFailure
        )

    @property
    def writable(self) -> bool:
        """Whether what is published is on its way at once, and not kept back."""
        connection = self._dialer.connection
        return connection is not None and connection.writable

    def when_writable(self) -> Deferred[None]:
        """Fire when it is :attr:`writable`: who publishes much waits for it in between.

        :returns: fails as :meth:`when_connected` does.
        """
        return Deferred.fromCoroutine(self._drains())

    async def _drains(self) -> None:
        while not self.writable:
            await self.when_connected()
            connection = self._dialer.connection
            if connection is not None:
                with suppress(NotConnected):  # there will be another one
                    await connection.when_writable()

    def rtt(self, timeout: float | None = 10.0) -> Deferred[float]:
        """Measure how long a PING and its PONG take.

        :param timeout: seconds, or ``None`` to wait as long as the connection lives.
        :returns: seconds; fails as :meth:`flush` does.
        """
        connection = self._dialer.connection
        if connection is None:
            return fail(self._no_connection())
        began = self._reactor.seconds()

        def measured(_: None) -> float:
            self._rtt = found = float(self._reactor.seconds() - began)
            return found

        return connection.flush(timeout).addCallback(measured)

    def _tcp(self, server: Server) -> IStreamClientEndpoint:
        timeout = self._manners.connect_timeout
        return HostEndpoint(self._reactor, server.host, server.port, timeout, self._shuffler)

    def _no_connection(self) -> NotConnected:
        if self._closed:
            return ConnectionClosed("the client was closed")
        return NotConnected("there is no connection")
