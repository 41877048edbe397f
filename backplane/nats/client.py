"""A NATS client that stays connected: the connection as a Twisted Service.

It walks its servers in random order, and round again after a delay that grows
from 0.5 to 20 s with jitter, for ever. Names are resolved anew on each try.
Subscriptions survive; what is published while there is no connection is kept
within a bound. What was handed to a connection that then broke is lost: core
NATS delivers at most once, see :meth:`NatsClient.flush`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import parser
from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.errors import (
    BufferFull,
    ConnectionClosed,
    ConnectionFailed,
    FlushTimeout,
    NatsError,
    NotConnected,
    PayloadTooLarge,
)
from backplane.nats.events import (
    Connected,
    ConnectFailed,
    Disconnected,
    ServerError,
    read_error,
)
from backplane.nats.outage import OutageLog
from backplane.nats.servers import Server, ServerPool, parse_servers
from backplane.nats.subscription import Message, Subscription
from backplane.nats.validators import (
    check_publish_subject,
    check_queue,
    check_subscribe_subject,
)

__all__ = [
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Message",
    "NatsClient",
    "ServerError",
    "Subscription",
]

MAX_SUBJECT: Final = 3500
"""Longest subject and reply together, in bytes: servers close the connection
after a control line of more than 4,096."""

FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 20.0
STEPS: Final = 44
"""The delay grows from the first to the last in so many steps, as Choria's does."""

LASTING: Final = 5.0
"""Seconds that a connection must live for the next loss to be tried again at once."""


@attrs.define
class _Counts:
    in_msgs: int = 0
    out_msgs: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    reconnects: int = 0
    connects: int = 0
    failed: int = 0
    lost: int = 0
    errors: Counter[str] = attrs.field(factory=Counter)


class NatsClient(Service, Owner):
    """A connection to one of several servers.

    :param servers: addresses, see :func:`backplane.nats.servers.parse_server`.
    :param reactor: provides time and, unless ``endpoint`` is given, TCP and name resolution.
    :param name: shown by servers in their list of connections.
    :param user, password, token: credentials; they win over those in addresses.
    :param endpoint: makes the endpoint for a server; TCP by default.
    :param rng: for the order of servers and the jitter.
    :param randomize: whether servers are tried in random order.
    :param retry: keep trying; otherwise one walk through the servers, see :meth:`when_connected`.
    :param connect_timeout: seconds for the socket, and again for the handshake.
    :param ping_interval: seconds between keep-alive PINGs; twice unanswered is stale.
    :param buffer_size: bytes of publishes that are kept while there is no connection.
    :param stop_timeout: seconds for the last flush when the service stops.
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
    ) -> None:
        self._clock: IReactorTime = reactor
        self._reactor = reactor
        self._rng = rng if rng is not None else random.SystemRandom()
        self._pool = ServerPool(parse_servers(servers), self._rng if randomize else None)
        self._randomize = randomize
        self._name = name
        self._user, self._password, self._token = user, password, token
        self._endpoint = endpoint if endpoint is not None else self._tcp
        self._log = log if log is not None else Logger(namespace="backplane.nats")
        self._outage = OutageLog(self._log, self._clock.seconds)
        self._retry = retry
        self._verbose = verbose
        self._connect_timeout = connect_timeout
        self._ping_interval = ping_interval
        self._max_unanswered = max_unanswered
        self._buffer_size = buffer_size
        self._stop_timeout = stop_timeout
        self._version = version
        self._listeners: list[Callable[[object], None]] = []
        self._subscriptions: dict[str, Subscription] = {}
        self._next_sid = 1
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._counts = _Counts()
        self._server: Server | None = None
        self._connection: NatsConnection | None = None
        self._up = False
        self._since = 0.0
        self._tries = 0
        self._round = 0
        self._slow = False
        self._attempt: Deferred[Any] | None = None
        self._wait: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []
        self._closing = False
        self._closed = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection after its handshake."""
        return self._up

    @property
    def connected_url(self) -> str | None:
        """URL of the connected server without credentials, or ``None``."""
        return self._server.url if self._up and self._server is not None else None

    @property
    def max_payload(self) -> int | None:
        """Bytes that the connected server takes, or ``None``."""
        return self._connection.session.max_payload if self._up and self._connection else None

    def options(self) -> dict[str, Any]:
        """Return the settings, with the names that Choria's agents show."""
        return {
            "servers": [server.url for server in self._pool.servers],
            "dont_randomize_servers": not self._randomize,
            "name": self._name,
            "pedantic": False,
            "secure": False,
            "allow_reconnect": self._retry,
            "max_reconnect_attempts": -1 if self._retry else 0,
            "reconnect_time_wait": FIRST_DELAY,
            "connect_timeout": self._connect_timeout,
            "ping_interval": self._ping_interval,
            "max_outstanding_pings": self._max_unanswered,
        }

    def counts(self) -> dict[str, int]:
        """Return counts since the start, with the names that Choria's agents show.

        ``lost``: publishes that were kept back for a connection that then broke.
        """
        counts = self._counts
        names = ("in_msgs", "out_msgs", "in_bytes", "out_bytes", "reconnects")
        more = ("connects", "failed", "lost")
        return {
            **{name: getattr(counts, name) for name in (*names, *more)},
            **{f"error_{kind}": count for kind, count in counts.errors.items()},
        }

    def add_listener(self, listener: Callable[[object], None]) -> None:
        """Tell ``listener`` of each event from now on."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[object], None]) -> None:
        """Undo :meth:`add_listener`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def startService(self) -> None:
        """Begin to connect; returns at once."""
        super().startService()
        self._closing = self._closed = False
        self._try_next()

    def stopService(self) -> Deferred[None]:
        """Flush within :attr:`stop_timeout` and close."""
        if self.running:
            super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._closed:
            return
        self._closing = True
        if self._wait is not None and self._wait.active():
            self._wait.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        connection = self._connection
        if connection is not None:
            if self._up:
                try:
                    await connection.flush(self._stop_timeout)
                except (FlushTimeout, NotConnected) as error:
                    self._log.warn("the last flush failed: {reason}", reason=error)
            await connection.close()
        self._closed = True
        self._drop_buffer()
        self._fail_waiters(ConnectionClosed("the client was closed"))

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection.

        :returns: fails with :class:`ConnectionClosed`, or, without ``retry``, with
            :class:`ConnectionFailed` when no server could be reached.
        """
        if self._up:
            return succeed(None)
        if self._closing:
            return fail(ConnectionClosed("the client was closed"))
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def subscribe(
        self, subject: str, callback: Callable[[Message], Any], queue: str | None = None
    ) -> Subscription:
        """Subscribe, now or as soon as there is a connection.

        :param callback: called with each message; what it raises is logged.
        :param queue: queue group.
        :raises BadSubject: for a subject or queue group that cannot be.
        :raises ConnectionClosed: after the client was closed.
        """
        check_subscribe_subject(subject)
        if queue is not None:
            check_queue(queue)
        self._check_open()
        sid = str(self._next_sid)
        self._next_sid += 1
        subscription = Subscription(subject, queue, sid, callback, self._remove, self._limited)
        self._subscriptions[sid] = subscription
        if self._up and self._connection is not None:
            self._connection.send(parser.encode_sub(subject, sid, queue))
        return subscription

    def publish(
        self, subject: str, payload: bytes, reply: str | None = None, headers: bytes | None = None
    ) -> None:
        """Publish, now or as soon as there is a connection.

        :param headers: a block made by :func:`backplane.nats.headers.encode_headers`.
        :raises BadSubject: for a subject or reply that cannot be.
        :raises PayloadTooLarge: for more than the server takes.
        :raises BufferFull: when too much is kept already; the message was not taken.
        :raises ConnectionClosed: after the client was closed.
        """
        check_publish_subject(subject)
        if reply is not None:
            check_publish_subject(reply, "the reply")
        if len(subject.encode("utf-8", "surrogateescape")) + len(reply or "") > MAX_SUBJECT:
            raise PayloadTooLarge(f"subject and reply have more than {MAX_SUBJECT} bytes")
        self._check_open()
        size = len(payload) + (len(headers) if headers is not None else 0)
        limit = self.max_payload
        if limit is not None and size > limit:
            raise PayloadTooLarge(f"{size} bytes, the server takes at most {limit}")
        data = parser.encode_pub(subject, payload, reply, headers)
        if self._up and self._connection is not None:
            self._connection.publish(data)
        else:
            if self._buffered + len(data) > self._buffer_size:
                raise BufferFull(f"{self._buffered} bytes wait for a connection already")
            self._buffer.append(data)
            self._buffered += len(data)
        self._counts.out_msgs += 1
        self._counts.out_bytes += size

    def flush(self, timeout: float | None = 10.0) -> Deferred[None]:
        """Fire when the server has everything that was published so far.

        :param timeout: seconds, or ``None`` to wait as long as the connection lives.
        :returns: fails with :class:`FlushTimeout` or :class:`NotConnected`.
        """
        if not self._up or self._connection is None:
            return fail(NotConnected("there is no connection"))
        return self._connection.flush(timeout)

    def force_reconnect(self) -> None:
        """Drop the connection, or end the wait, and connect at once."""
        if self._connection is not None:
            self._connection.abort(NotConnected("a reconnect was asked for"))
        elif self._wait is not None and self._wait.active():
            self._wait.reset(0)

    # What the connection tells.

    def established(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        server = self._server
        assert server is not None
        self._up = True
        self._since = self._clock.seconds()
        self._slow = False
        first = not self._counts.connects
        self._counts.connects += 1
        if not first:
            self._counts.reconnects += 1
        for subscription in self._subscriptions.values():
            subscription.denied = None
            connection.send(b"".join(_subscribed(subscription)))
        buffer, self._buffer, self._buffered = self._buffer, deque(), 0
        for data in buffer:
            try:
                connection.publish(data)
            except BufferFull:
                self._counts.lost += 1
        self._learn(connection, server)
        self._outage.connected(server.url)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self._emit(Connected(server.url, first))

    def message(self, message: parser.Msg) -> None:
        """See :class:`Owner`."""
        subscription = self._subscriptions.get(message.sid)
        if subscription is None:
            return  # it came after the end of its subscription
        self._counts.in_msgs += 1
        self._counts.in_bytes += len(message.payload)
        subscription.delivered += 1
        if subscription.left == 0:
            subscription.active = False
            del self._subscriptions[message.sid]
        try:
            result = subscription.callback(
                Message(message.subject, message.payload, message.reply, message.headers)
            )
        except Exception:
            self._callback_failed(Failure(), subscription)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self._callback_failed, subscription)

    def info_changed(self, connection: NatsConnection) -> None:
        """See :class:`Owner`."""
        if self._server is not None:
            self._learn(connection, self._server)

    def refused(self, connection: NatsConnection, text: str) -> None:
        """See :class:`Owner`."""
        kind, subject = read_error(text)
        self._counts.errors[kind] += 1
        if kind == "auth":
            self._slow = True
        elif kind == "subscribe":
            for subscription in self._subscriptions.values():
                if subscription.subject == subject:
                    subscription.denied = text
        if connection.session.established:
            self._log.debug("the server says: {text}", text=text[:300])
            self._emit(ServerError(kind, text, subject))

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        """See :class:`Owner`."""
        server = self._server
        assert server is not None
        was_up, self._up = self._up, False
        self._connection = None
        self._counts.lost += connection.dropped
        if self._closing:
            return
        if was_up:
            if self._clock.seconds() - self._since >= LASTING:
                self._tries = 0
            self._round = 0
            self._outage.lost(server.url, str(reason))
            self._emit(Disconnected(server.url, reason))
            if self._tries == 0 and not self._slow:
                self._try_next()
            else:
                self._later()
        else:
            self._failed(server, reason)

    # Connecting.

    def _tcp(self, server: Server) -> IStreamClientEndpoint:
        return HostnameEndpoint(
            self._reactor, server.host, server.port, timeout=self._connect_timeout
        )

    def _try_next(self) -> None:
        self._wait = None
        if self._closing or self._connection is not None or self._attempt is not None:
            return
        server = self._server = self._pool.take()
        self._round += 1
        connection = NatsConnection(
            self,
            self._clock,
            lambda info: self._connect_fields(info, server),
            address=server.address,
            handshake_timeout=self._connect_timeout,
            ping_interval=self._ping_interval,
            max_unanswered=self._max_unanswered,
            backlog=self._buffer_size,
        )
        if server.scheme == "tls":
            self._failed(
                server, ConnectionFailed("TLS is not supported yet", server.address, "tls")
            )
            return
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        self._attempt = attempt = self._endpoint(server).connect(factory)
        attempt.addCallbacks(
            self._opened, self._not_opened, callbackArgs=(connection,), errbackArgs=(server,)
        )

    def _opened(self, protocol: object, connection: NatsConnection) -> None:
        self._attempt = None
        if self._closing:
            connection.abort(ConnectionClosed("the client was closed"))
            return
        self._connection = connection

    def _not_opened(self, failure: Failure, server: Server) -> None:
        self._attempt = None
        if self._closing or failure.check(CancelledError):
            return
        text = failure.getErrorMessage() or type(failure.value).__name__
        self._failed(server, ConnectionFailed(text, server.address, "connect"))

    def _failed(self, server: Server, reason: Exception) -> None:
        self._counts.failed += 1
        self._outage.failed(server.address, str(reason))
        self._emit(ConnectFailed(server.address, reason))
        if self._round < len(self._pool):
            # The others of the pool are tried without waiting.
            self._wait = self._clock.callLater(0, self._try_next)
            return
        self._round = 0
        if not self._retry:
            error = ConnectionFailed(
                f"{server.address}: {reason}", server.address, getattr(reason, "phase", "")
            )
            self._fail_waiters(error)
            return
        self._later()

    def _later(self) -> None:
        """Wait, longer each time, and try again."""
        step = STEPS if self._slow else min(self._tries, STEPS)
        self._tries += 1
        self._round = 0
        delay = FIRST_DELAY + (LAST_DELAY - FIRST_DELAY) * step / STEPS
        jittered = delay * (0.5 + self._rng.random())
        self._wait = self._clock.callLater(jittered, self._try_next)

    def _connect_fields(self, info: Mapping[str, Any], server: Server) -> dict[str, Any]:
        if info.get("tls_required"):
            raise ConnectionFailed("the broker wants TLS", server.address, "tls")
        fields: dict[str, Any] = {
            "verbose": self._verbose,
            "pedantic": False,
            "tls_required": False,
            "name": self._name,
            "lang": "python-twisted",
            "version": self._version,
            "protocol": 1,
            "echo": True,
        }
        if info.get("headers") is True:
            fields["headers"] = fields["no_responders"] = True
        token = self._token or server.token
        user = self._user or server.user
        if token:
            fields["auth_token"] = token
        elif user:
            fields["user"] = user
            fields["pass"] = self._password if self._user else server.password
        return fields

    def _learn(self, connection: NatsConnection, server: Server) -> None:
        urls = connection.session.info.get("connect_urls")
        if isinstance(urls, list):
            for new in self._pool.learn(urls, server):
                self._log.debug("the broker names another one: {url}", url=new.url)

    # Small things.

    def _remove(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.sid, None)
        if self._up and self._connection is not None:
            self._connection.send(parser.encode_unsub(subscription.sid))

    def _limited(self, subscription: Subscription) -> None:
        if self._up and self._connection is not None:
            self._connection.send(parser.encode_unsub(subscription.sid, subscription.limit))

    def _callback_failed(self, failure: Failure, subscription: Subscription) -> None:
        self._log.failure(
            "the subscriber of {subject} failed", failure, subject=subscription.subject
        )

    def _emit(self, event: object) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                self._log.failure("a listener failed")

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed("the client was closed")

    def _drop_buffer(self) -> None:
        self._counts.lost += len(self._buffer)
        self._buffer.clear()
        self._buffered = 0

    def _fail_waiters(self, error: NatsError) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(Failure(error))


def _subscribed(subscription: Subscription) -> Iterator[bytes]:
    yield parser.encode_sub(subscription.subject, subscription.sid, subscription.queue)
    if subscription.left is not None:
        yield parser.encode_unsub(subscription.sid, subscription.left)
