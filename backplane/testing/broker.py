"""A broker for tests: real NATS, spoken by the client's own parser in its other role.

:class:`FakeBroker` is an ordinary server factory: it works on a
:class:`~backplane.testing.network.MemoryNetwork` and on a reactor's TCP port
alike. It answers as nats-server 2.15 was seen to answer, errors included; one
set of tests runs against both. It has no timers: it sends a PING, or closes a
client that does not log in, only when a test says so.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from backplane.nats.errors import BadSubject, ProtocolError
from backplane.nats.layer import start_tls
from backplane.nats.parser import (
    Connect,
    Limits,
    Parser,
    Ping,
    Pong,
    Pub,
    Sub,
    Unsub,
    encode_err,
    encode_info,
    encode_msg,
)
from backplane.nats.validators import (
    check_publish_subject,
    check_subscribe_subject,
    subject_matches,
)

__all__ = ["BrokerClient", "BrokerSubscription", "FakeBroker"]

MAX_PUBLISHED: Final = 10_000
"""Messages that :attr:`FakeBroker.published` remembers."""

_MAX_ROUTES: Final = 1024
# Subjects whose subscriptions are remembered until one of those changes.

_UNKNOWN: Final = "Unknown Protocol Operation"
# How the parser words what a server answers with that; the rest it closes on without a word.
_UNKNOWN_STARTS: Final = (
    "unknown operation", "no operation", "an empty line", "a payload is not", "UNSUB with 0",
)  # fmt: skip


@attrs.define(eq=False)
class BrokerSubscription:
    """One interest in a subject.

    :ivar client: whose; ``None`` for one of the test's own.
    :ivar sid: the client's name for it.
    :ivar limit: it ends with this message, counted from its start.
    :ivar delivered: messages so far.
    """

    subject: str
    queue: str | None
    deliver: Callable[[BrokerSubscription, Pub], object]
    client: BrokerClient | None = None
    sid: str = ""
    limit: int | None = None
    delivered: int = 0


class BrokerClient(Protocol):
    """The broker's end of one connection.

    :ivar client_id: a number, counted from 1.
    :ivar fields: what the last ``CONNECT`` said, with the server's defaults.
    :ivar subscriptions: by sid.
    :ivar pings: how many PINGs came.
    :ivar pongs: how many PONGs came.
    :ivar connected_once: whether it said ``CONNECT``, with the right credentials.
    """

    def __init__(self, broker: FakeBroker, client_id: int) -> None:
        self.client_id = client_id
        self.fields: dict[str, Any] = {"verbose": True, "pedantic": True, "echo": True}
        self.subscriptions: dict[str, BrokerSubscription] = {}
        self.pings = 0
        self.pongs = 0
        self.connected_once = False
        self._broker = broker
        self._closing = False
        self._told = False  # that it is connected
        line = broker.max_control_line
        self._parser = Parser("server", Limits(line=line, document=line))

    # Protocol

    def connectionMade(self) -> None:
        """Greet it."""
        broker = self._broker
        broker.clients.append(self)
        if broker.tls_first:
            self._start_tls()
        if not broker.silent:
            self.send_info()
        if not broker.tls_first:
            self._start_tls()

    def _start_tls(self) -> None:
        if self._broker.tls is not None:
            self.transport = start_tls(
                self.transport, self._broker.tls, self._broker.clock, client=False
            )

    def dataReceived(self, data: bytes) -> None:
        """Do what it says."""
        if self._closing or self._broker.silent:
            return
        try:
            events = self._parser.feed(data)
        except ProtocolError as error:
            for event in error.events:
                self._event(event)
            self._refuse(error)
            return
        for event in events:
            self._event(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it and its subscriptions."""
        self._closing = True
        self._broker.clients.remove(self)
        self._drop_subscriptions()

    # What tests and broker say to it

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, be they NATS or not."""
        if not self._closing and self.transport is not None:
            self.transport.write(data)

    def send_info(self, **fields: Any) -> None:
        """Send ``INFO``; the fields are for this once and this client only."""
        self.send_raw(encode_info({**self._broker.info, "client_id": self.client_id, **fields}))

    def fail(self, text: str, *, close: bool = True) -> None:
        """Send ``-ERR``, and close the connection."""
        self.send_raw(encode_err(text))
        if close:
            self.close()

    def close(self) -> None:
        """Close the connection; it is neither heard nor served from now on."""
        self._closing = True
        self._drop_subscriptions()
        if self.transport is not None:
            self.transport.loseConnection()

    # What it says

    def _event(self, event: object) -> None:
        if self._closing:
            return
        if isinstance(event, Connect):
            self._connect(event.fields)
        elif self._broker.auth_required and not self.connected_once:
            self.fail("Authorization Violation")
        elif isinstance(event, Ping):
            self._ping()
        elif isinstance(event, Pong):
            self.pongs += 1
        elif isinstance(event, Pub):
            self._publish(event)
        elif isinstance(event, Sub):
            self._subscribe(event)
        elif isinstance(event, Unsub):
            self._unsubscribe(event)

    def _refuse(self, error: ProtocolError) -> None:
        text = str(error)
        if text.startswith("a line of"):
            self.fail("maximum control line exceeded")
        elif text.startswith(_UNKNOWN_STARTS):
            self.fail(_UNKNOWN)
        else:
            self.close()

    def _ok(self) -> None:
        if self.fields["verbose"]:
            self.send_raw(b"+OK\r\n")

    def _connect(self, fields: Mapping[str, Any]) -> None:
        # A second CONNECT is not checked again, as seen.
        if not self.connected_once and not self._broker.knows(fields):
            self.fail("Authorization Violation")
            return
        self._drop_subscriptions()
        self.fields = {"verbose": True, "pedantic": True, "echo": True, **fields}
        if self.fields.get("protocol", 0) not in (0, 1):
            self.fail("invalid client protocol")
        elif self.fields.get("no_responders") and not self.headers:
            self.fail("no responders requires headers support")
        else:
            self.connected_once = True
            self._ok()

    @property
    def headers(self) -> bool:
        """Whether both sides understand headers."""
        return bool(self.fields.get("headers")) and bool(self._broker.info.get("headers"))

    def _ping(self) -> None:
        self.pings += 1
        if self._broker.silent_ping:
            return
        self.send_raw(b"PONG\r\n")
        if self.fields.get("protocol") == 1 and not self._told:
            self._told = True
            self.send_info(connect_info=True, remote_account="$G")

    def _publish(self, message: Pub) -> None:
        headers = message.headers
        if headers is not None and not self.headers:
            self.close()
            return
        if len(headers or b"") + len(message.payload) > self._broker.max_payload:
            self.fail("Maximum Payload Violation")
            return
        if not self._broker.allows_publish(self, message.subject):
            self.fail(f'Permissions Violation for Publish to "{message.subject}"', close=False)
            return
        if self.fields["pedantic"]:
            try:
                check_publish_subject(message.subject)
            except BadSubject:
                self.fail("Invalid Publish Subject", close=False)
        self._ok()
        self._broker.published.append((message.subject, message.payload))
        if not self._broker.route(message, self):
            self._no_responders(message)

    def _no_responders(self, message: Pub) -> None:
        # Only to its own subscription: the owner of a foreign reply subject hears nothing.
        if message.reply is None or not self.fields.get("no_responders"):
            return
        for subscription in self.subscriptions.values():
            if subject_matches(subscription.subject, message.reply):
                block = f"NATS/1.0 503\r\nNats-Subject: {message.subject}\r\n\r\n".encode()
                self.send_raw(encode_msg(message.reply, subscription.sid, b"", None, block))
                return

    def _subscribe(self, wanted: Sub) -> None:
        subject, queue = wanted.subject, wanted.queue
        try:
            check_subscribe_subject(subject)
        except BadSubject:
            self.fail("Invalid Subject", close=False)
            return
        if not self._broker.allows_subscribe(self, subject, queue):
            group = "" if queue is None else f' using queue "{queue}"'
            text = f'Permissions Violation for Subscription to "{subject}"{group}'
            self.fail(text, close=False)
            return
        most = self._broker.max_subscriptions
        if most is not None and len(self.subscriptions) >= most:
            self.fail("maximum subscriptions exceeded", close=False)
            return
        if wanted.sid not in self.subscriptions:
            subscription = BrokerSubscription(subject, queue, self._deliver, self, wanted.sid)
            self.subscriptions[wanted.sid] = subscription
            self._broker.add(subscription)
        self._ok()

    def _unsubscribe(self, unwanted: Unsub) -> None:
        subscription = self.subscriptions.get(unwanted.sid)
        if subscription is not None:
            subscription.limit = unwanted.max_messages or 0
            if subscription.delivered >= subscription.limit:
                self._remove(subscription)
        self._ok()

    def _deliver(self, subscription: BrokerSubscription, message: Pub) -> None:
        block = message.headers if self.headers else None
        self.send_raw(
            encode_msg(message.subject, subscription.sid, message.payload, message.reply, block)
        )
        if subscription.limit is not None and subscription.delivered >= subscription.limit:
            self._remove(subscription)

    def _remove(self, subscription: BrokerSubscription) -> None:
        del self.subscriptions[subscription.sid]
        self._broker.remove(subscription)

    def _drop_subscriptions(self) -> None:
        for subscription in list(self.subscriptions.values()):
            self._remove(subscription)


class FakeBroker(ServerFactory):
    """The broker.

    All settings are attributes too and may be changed at any time; ``info``
    reaches those who are connected by :meth:`send_info`.

    :param info: fields of ``INFO``, over the usual ones.
    :param user: with ``password``: what a client must say.
    :param token: what a client must say.
    :param max_payload: bytes of headers and payload.
    :param max_control_line: bytes of a line.
    :param max_subscriptions: how many one client may have.
    :param deny_publish: subjects, with wildcards, that may not be published to.
    :param deny_subscribe: subjects, with wildcards, that may not be subscribed to.
    :param may_publish: ``(client, subject)``, asked when nothing denies it.
    :param may_subscribe: ``(client, subject, queue)``, likewise.
    :param rng: chooses in queue groups; they take turns when ``None``.
    :param tls: an ``IOpenSSLServerConnectionCreator``, such as
        :meth:`backplane.testing.PKI.broker_tls` makes: TLS after ``INFO``, for everybody.
    :param tls_first: TLS before ``INFO``.
    :param clock: runs the writes under TLS; wanted with ``tls``.
    :ivar clients: the connections, oldest first.
    :ivar published: ``(subject, payload)`` of what clients published, the latest 10,000.
    :ivar connections: how many there have been.
    :ivar refuse: close new connections without a word.
    :ivar silent: take connections and bytes, but say nothing, not even ``INFO``.
    :ivar silent_ping: do not answer ``PING``.
    """

    noisy = False

    def __init__(
        self,
        *,
        info: Mapping[str, Any] | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        max_payload: int = 1024 * 1024,
        max_control_line: int = 4096,
        max_subscriptions: int | None = None,
        deny_publish: Sequence[str] = (),
        deny_subscribe: Sequence[str] = (),
        may_publish: Callable[[BrokerClient, str], bool] | None = None,
        may_subscribe: Callable[[BrokerClient, str, str | None], bool] | None = None,
        rng: random.Random | None = None,
        tls: Any = None,
        tls_first: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        if tls is not None and clock is None:
            raise TypeError("a broker with tls wants a clock")
        self.tls = tls
        self.tls_first = tls_first
        self.clock: Any = clock
        self.user = user
        self.password = password
        self.token = token
        self.max_payload = max_payload
        self.max_control_line = max_control_line
        self.max_subscriptions = max_subscriptions
        self.deny_publish = list(deny_publish)
        self.deny_subscribe = list(deny_subscribe)
        self.may_publish = may_publish
        self.may_subscribe = may_subscribe
        self.refuse = False
        self.silent = False
        self.silent_ping = False
        self.connections = 0
        self.clients: list[BrokerClient] = []
        self.published: deque[tuple[str, bytes]] = deque(maxlen=MAX_PUBLISHED)
        self.info: dict[str, Any] = {
            "server_id": "FAKE",
            "server_name": "fake",
            "version": "2.15.1",
            "proto": 1,
            "host": "127.0.0.1",
            "port": 4222,
            "headers": True,
            "max_payload": max_payload,
            **({"auth_required": True} if self.auth_required else {}),
            **({"tls_required": True} if tls is not None else {}),
            **({"tls_verify": True} if getattr(tls, "verifies", False) else {}),
            **(info or {}),
        }
        self._rng = rng
        self._subscriptions: dict[BrokerSubscription, None] = {}  # in order
        self._routes: dict[str, list[BrokerSubscription]] = {}
        self._turns: Counter[str] = Counter()  # by queue group

    def buildProtocol(self, addr: IAddress | None) -> BrokerClient | None:
        """Take a connection, unless ``refuse`` is set."""
        if self.refuse:
            return None
        self.connections += 1
        client = BrokerClient(self, self.connections)
        client.factory = self
        return client

    # What a test does

    def publish(
        self, subject: str, payload: bytes, reply: str | None = None, headers: bytes | None = None
    ) -> bool:
        """Publish as another client would; say whether anybody got it."""
        return self.route(Pub(subject, reply, payload, headers), None)

    def subscribe(
        self, subject: str, callback: Callable[[Pub], object], queue: str | None = None
    ) -> BrokerSubscription:
        """Subscribe as another client would; ended by :meth:`remove`."""
        subscription = BrokerSubscription(subject, queue, lambda _, message: callback(message))
        self.add(subscription)
        return subscription

    def send_raw(self, data: bytes) -> None:
        """Send bytes, be they NATS or not, to every client."""
        for client in list(self.clients):
            client.send_raw(data)

    def send_ping(self) -> None:
        """Ask every client for a PONG."""
        self.send_raw(b"PING\r\n")

    def send_info(self, **fields: Any) -> None:
        """Change ``info`` and tell every client."""
        self.info.update(fields)
        for client in list(self.clients):
            client.send_info()

    def lame_duck(self, connect_urls: Sequence[str] = ()) -> None:
        """Announce the end and the other servers; :meth:`drop_all` is the end."""
        self.send_info(ldm=True, connect_urls=list(connect_urls))

    def drop_all(self) -> None:
        """Close every connection without a word, as a server does that is stopped."""
        for client in list(self.clients):
            client.close()

    # What its clients need

    @property
    def auth_required(self) -> bool:
        """Whether a client must say who it is."""
        return (self.user, self.password, self.token) != (None, None, None)

    def knows(self, fields: Mapping[str, Any]) -> bool:
        """Say whether a ``CONNECT`` has the right credentials."""
        if self.token is not None and fields.get("auth_token") != self.token:
            return False
        return all(
            wanted is None or fields.get(name) == wanted
            for name, wanted in (("user", self.user), ("pass", self.password))
        )

    def allows_publish(self, client: BrokerClient, subject: str) -> bool:
        """Say whether a client may publish to a subject."""
        if any(subject_matches(pattern, subject) for pattern in self.deny_publish):
            return False
        return self.may_publish is None or self.may_publish(client, subject)

    def allows_subscribe(self, client: BrokerClient, subject: str, queue: str | None) -> bool:
        """Say whether a client may subscribe to a subject."""
        if any(subject_matches(pattern, subject) for pattern in self.deny_subscribe):
            return False
        return self.may_subscribe is None or self.may_subscribe(client, subject, queue)

    def add(self, subscription: BrokerSubscription) -> None:
        """Take a subscription."""
        self._subscriptions[subscription] = None
        self._routes.clear()

    def remove(self, subscription: BrokerSubscription) -> None:
        """Forget a subscription; any number of times."""
        self._subscriptions.pop(subscription, None)
        self._routes.clear()

    def route(self, message: Pub, origin: BrokerClient | None) -> bool:
        """Deliver a message, to one member of each queue group; say whether anybody got it."""
        chosen: list[BrokerSubscription] = []
        groups: dict[str, list[BrokerSubscription]] = {}
        for subscription in self._interested(message.subject):
            if subscription.client is origin is not None and not origin.fields["echo"]:
                continue
            if subscription.queue is None:
                chosen.append(subscription)
            else:
                groups.setdefault(subscription.queue, []).append(subscription)
        for queue, members in groups.items():
            chosen.append(self._choose(queue, members))
        for subscription in chosen:
            # A callback of the test's may have ended others meanwhile.
            if subscription in self._subscriptions:
                subscription.delivered += 1
                subscription.deliver(subscription, message)
        return bool(chosen)

    def _choose(self, queue: str, members: list[BrokerSubscription]) -> BrokerSubscription:
        if self._rng is not None:
            return self._rng.choice(members)
        self._turns[queue] += 1
        return members[(self._turns[queue] - 1) % len(members)]

    def _interested(self, subject: str) -> list[BrokerSubscription]:
        found = self._routes.get(subject)
        if found is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            # A subject with an empty token is delivered to nobody.
            found = self._routes[subject] = [
                subscription
                for subscription in self._subscriptions
                if "" not in subject.split(".") and subject_matches(subscription.subject, subject)
            ]
        return found
