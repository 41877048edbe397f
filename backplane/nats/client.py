"""A NATS client that stays connected: the connection as a Twisted Service.

Servers are walked in random order for ever, see :mod:`backplane.nats.dialer`; names
are resolved anew on each try. Subscriptions survive; what is published while there
is no connection is kept within a bound. What was handed to a connection that then
broke is lost: core NATS delivers at most once, see :meth:`NatsClient.flush`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from backplane.nats import parser
from backplane.nats.backoff import FIRST_DELAY
from backplane.nats.buffer import PublishBuffer
from backplane.nats.connection import NatsConnection
from backplane.nats.counts import Counts
from backplane.nats.dialer import Dialer
from backplane.nats.errors import ConnectionClosed, NotConnected, PayloadTooLarge
from backplane.nats.events import (
    Connected,
    ConnectFailed,
    Disconnected,
    Moved,
    ServerError,
    read_error,
)
from backplane.nats.hostname import HostEndpoint
from backplane.nats.layer import Creator
from backplane.nats.login import Login
from backplane.nats.opening import Manners, Opener
from backplane.nats.servers import Server, ServerPool, parse_servers
from backplane.nats.subscription import Message, Subscription, Subscriptions
from backplane.nats.validators import (
    check_length,
    check_publish_subject,
    check_queue,
    check_subscribe_subject,
)

__all__ = [
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Message",
    "Moved",
    "NatsClient",
    "ServerError",
    "Subscription",
]


class NatsClient(Service):
    """A connection to one of several servers.

    :param servers: addresses, see :func:`backplane.nats.servers.parse_server`.
    :param reactor: provides time and, unless ``endpoint`` is given, TCP and name resolution.
    :param name: shown by servers in their list of connections.
    :param user, password, token: credentials; they win over those in addresses.
    :param endpoint: makes the endpoint for a server; TCP by default.
    :param rng: for the order of servers and the jitter.
    :param randomize: whether servers are tried in random order.
    :param retry: keep trying; otherwise one walk through the servers, see :meth:`when_connected`.
    :param verbose: let the server acknowledge each command.
    :param connect_timeout: seconds for the socket, and again for the handshake.
    :param ping_interval: seconds between keep-alive PINGs; a tick with ``max_unanswered``
        of them unanswered ends the connection.
    :param buffer_size: bytes of publishes that are kept while there is no connection.
    :param stop_timeout: seconds for the last flush when the service stops.
    :param tls: makes the security of each connection to a server, which then must speak
        TLS, see :data:`backplane.nats.layer.Creator`; or ``None`` for a plain one.
    :param tls_first: TLS before the server says INFO, where it wants that.
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
        buffer_size: int = 2 * 1024 * 1024,
        stop_timeout: float = 5.0,
        version: str = "0",
        tls: Callable[[Server], Creator | None] | None = None,
        tls_first: bool = False,
    ) -> None:
        rng = rng if rng is not None else random.SystemRandom()
        log = log if log is not None else Logger(namespace="backplane.nats")
        self._reactor = reactor
        self._randomize = randomize
        self._log = log
        self._pool = ServerPool(parse_servers(servers), rng if randomize else None)
        self._login = Login(name, user, password, token, verbose, version)
        self._manners = Manners(
            retry=retry,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            max_unanswered=max_unanswered,
            backlog=buffer_size,
            tls_first=tls_first,
        )
        self._counts = Counts()
        self._dialer = Dialer(
            self,
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
        self._subscriptions = Subscriptions(self._dialer.send, self._counts, log)
        self._buffer = PublishBuffer(buffer_size)
        self._stop_timeout = stop_timeout
        self._listeners: list[Callable[[object], None]] = []
        self._closed = False

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

    def options(self) -> dict[str, Any]:
        """Return the settings, with the names that Choria's agents show."""
        manners = self._manners
        return {
            "servers": [server.url for server in self._pool.servers],
            "dont_randomize_servers": not self._randomize,
            "name": self._login.name,
            "pedantic": False,
            "secure": self._secure,
            "allow_reconnect": manners.retry,
            "max_reconnect_attempts": -1 if manners.retry else 0,
            "reconnect_time_wait": FIRST_DELAY,
            "connect_timeout": manners.connect_timeout,
            "ping_interval": manners.ping_interval,
            "max_outstanding_pings": manners.max_unanswered,
        }

    def counts(self) -> dict[str, int]:
        """Return counts since the client was made; see :class:`backplane.nats.counts.Counts`."""
        return self._counts.as_dict()

    def add_listener(self, listener: Callable[[object], None]) -> None:
        """Tell ``listener`` of each event from now on."""
        _check_callable(listener)
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[object], None]) -> None:
        """Undo :meth:`add_listener`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def startService(self) -> None:
        """Begin to connect; returns at once."""
        super().startService()
        self._closed = False
        self._dialer.start()

    def stopService(self) -> Deferred[None]:
        """Flush within ``stop_timeout`` and close."""
        if self.running:
            super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._closed:
            return
        await self._dialer.stop(self._stop_timeout)
        if not self.running:
            self._closed = True
            self._counts.lost += len(self._buffer.take())

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection.

        :returns: fails with :class:`ConnectionClosed`, or, without ``retry``, with
            :class:`ConnectionFailed` when no server could be reached.
        """
        return self._dialer.when_connected()

    def subscribe(
        self, subject: str, callback: Callable[[Message], Any], queue: str | None = None
    ) -> Subscription:
        """Subscribe, now or as soon as there is a connection.

        :param callback: called with each message, may return a Deferred or be a coroutine
            function; what it raises is logged.
        :param queue: queue group.
        :raises BadSubject: for a subject or queue group that cannot be.
        :raises ConnectionClosed: after the client was closed.
        """
        check_subscribe_subject(subject)
        if queue is not None:
            check_queue(queue)
        check_length(subject, queue)
        _check_callable(callback)
        self._check_open()
        return self._subscriptions.add(subject, callback, queue)

    def publish(
        self, subject: str, payload: bytes, reply: str | None = None, headers: bytes | None = None
    ) -> None:
        """Publish, now or as soon as there is a connection.

        :param headers: a block made by :func:`backplane.nats.headers.encode_headers`.
        :raises BadSubject: for a subject or reply that cannot be.
        :raises TypeError: for a payload or headers that are not bytes.
        :raises PayloadTooLarge: for more than the server takes. While there is no connection
            this cannot be known; such a message is dropped later, and counted as lost.
        :raises BufferFull: when too much is kept already; the message was not taken.
        :raises ConnectionClosed: after the client was closed.
        """
        check_publish_subject(subject)
        if reply is not None:
            check_publish_subject(reply, "the reply")
        check_length(subject, reply)
        if not isinstance(payload, bytes):
            # The length of a memoryview is that of its items, which need not be bytes.
            payload = bytes(memoryview(payload))
        if not isinstance(headers, bytes | None):
            raise TypeError(f"headers are made by encode_headers(), not {type(headers).__name__}")
        self._check_open()
        size = len(payload) + (len(headers) if headers is not None else 0)
        limit = self.max_payload
        if limit is not None and size > limit:
            raise PayloadTooLarge(f"{size} bytes, the server takes at most {limit}")
        data = parser.encode_pub(subject, payload, reply, headers)
        connection = self._dialer.connection
        if connection is not None:
            connection.publish(data)
        else:
            self._buffer.add(data, size)
        self._counts.out_msgs += 1
        self._counts.out_bytes += size

    def flush(self, timeout: float | None = 10.0) -> Deferred[None]:
        """Fire when the server has everything that was published so far.

        :param timeout: seconds, or ``None`` to wait as long as the connection lives.
        :returns: fails with :class:`FlushTimeout` or :class:`NotConnected`.
        """
        if not self.is_connected:
            return fail(NotConnected("there is no connection"))
        flushes = [connection.flush(timeout) for connection in self._dialer.connections]
        if len(flushes) == 1:
            return flushes[0]
        # What was published before a move is on its way over the old connection.
        return gatherResults(flushes, consumeErrors=True).addCallbacks(
            lambda _: None, lambda failure: failure.value.subFailure
        )

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

    # What the dialer tells.

    def connected(self, connection: NatsConnection) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        self._subscriptions.forget_denials()
        connection.send(self._subscriptions.lines())
        limit = connection.session.max_payload
        for kept in self._buffer.take():
            if kept.size > limit:
                # The server would close the connection, and the rest be lost with it.
                self._counts.lost += 1
                self._log.error(
                    "a message of {size} bytes is dropped: the server takes at most {limit}",
                    size=kept.size,
                    limit=limit,
                )
            else:
                connection.publish(kept.data)

    def subscribing(self) -> bytes:
        """See :class:`backplane.nats.handover.Mover`."""
        return self._subscriptions.lines()

    def unsubscribing(self) -> bytes:
        """See :class:`backplane.nats.handover.Mover`."""
        return self._subscriptions.ends()

    def taken_over(self) -> None:
        """See :class:`backplane.nats.handover.Mover`."""
        self._subscriptions.forget_denials()

    @property
    def any_denied(self) -> bool:
        """See :class:`backplane.nats.handover.Mover`."""
        return self._subscriptions.any_denied

    def message(self, message: parser.Msg) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        self._subscriptions.deliver(message)

    def refused(self, text: str, established: bool) -> bool:
        """See :class:`backplane.nats.dialer.Caller`."""
        error = read_error(text)
        self._counts.errors[error.kind] += 1
        if error.kind == "subscribe":
            error = self._subscriptions.deny(error)
        if established:
            self._log.debug("the server says: {text}", text=text[:300])
            self.emit(error)
        return error.kind == "auth"

    def emit(self, event: object) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                self._log.failure("a listener failed")

    # Small things.

    def _tcp(self, server: Server) -> IStreamClientEndpoint:
        return HostEndpoint(self._reactor, server.host, server.port, self._manners.connect_timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed("the client was closed")


def _check_callable(given: object) -> None:
    if not callable(given):
        raise TypeError(f"{type(given).__name__} cannot be called")
