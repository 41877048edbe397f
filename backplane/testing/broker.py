"""A broker for tests: real NATS, spoken by the client's own parser in its other role.

:class:`FakeBroker` is an ordinary server factory: it works on a
:class:`~backplane.testing.network.MemoryNetwork` and on a reactor's TCP port
alike. It answers as nats-server 2.15 was seen to answer, errors included; one
set of tests runs against both. It has no timers: it sends a PING, or closes a
client that does not log in, only when a test says so. Its end of one connection is
in :mod:`backplane.testing.brokerclient`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from backplane.nats.parser import Pub
from backplane.nats.validators import subject_matches
from backplane.testing.brokerclient import BrokerClient, BrokerSubscription

__all__ = ["BrokerClient", "BrokerSubscription", "FakeBroker"]

MAX_PUBLISHED: Final = 10_000
"""Messages that :attr:`FakeBroker.published` remembers."""

_MAX_ROUTES: Final = 1024
# Subjects whose subscriptions are remembered until one of those changes.


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
