"""The broker's end of one connection: what a client says, and how it is answered.

:class:`~backplane.testing.broker.FakeBroker` makes one for each client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from typing import Protocol as Interface

import attrs
from twisted.internet.protocol import Protocol, connectionDone
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

__all__ = ["BrokerClient", "BrokerSubscription"]

_UNKNOWN: Final = "Unknown Protocol Operation"
# How the parser words what a server answers with that; the rest it closes on without a word.
_UNKNOWN_STARTS: Final = (
    "unknown operation", "no operation", "an empty line", "a payload is not", "UNSUB with 0",
)  # fmt: skip


class _Broker(Interface):
    """What a connection needs of :class:`~backplane.testing.broker.FakeBroker`."""

    clients: list[BrokerClient]
    clock: Any
    info: dict[str, Any]
    max_control_line: int
    max_payload: int
    max_subscriptions: int | None
    published: deque[tuple[str, bytes]]
    silent: bool
    silent_ping: bool
    tls: Any
    tls_first: bool

    @property
    def auth_required(self) -> bool: ...

    def knows(self, fields: Mapping[str, Any]) -> bool: ...

    def allows_publish(self, client: BrokerClient, subject: str) -> bool: ...

    def allows_subscribe(self, client: BrokerClient, subject: str, queue: str | None) -> bool: ...

    def add(self, subscription: BrokerSubscription) -> None: ...

    def remove(self, subscription: BrokerSubscription) -> None: ...

    def route(self, message: Pub, origin: BrokerClient | None) -> bool: ...


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

    def __init__(self, broker: _Broker, client_id: int) -> None:
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
