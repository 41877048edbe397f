"""Two worlds in which the same cases run: one in memory, one with a real nats-server.

A case starts a broker by the name of a recipe, makes clients, and waits for conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from backplane.nats.client import Message, NatsClient, ServerError
from backplane.testing.broker import FakeBroker
from backplane.testing.natsserver import NatsServer
from backplane.testing.network import MemoryNetwork, MemoryPort

__all__ = ["FakeWorld", "RawClient", "RealWorld", "Recipe", "World"]

reactor: Any = _reactor

PATIENCE = 15.0
"""Seconds, of whichever clock, after which a condition will not come true."""


@attrs.frozen
class Recipe:
    """One broker, described twice.

    :ivar real: configuration of the real server.
    :ivar fake: arguments of the fake one.
    """

    real: str = ""
    fake: dict[str, Any] = attrs.field(factory=dict)


def _allow_publish(client: object, subject: str) -> bool:
    return subject.startswith(("ok.", "_INBOX."))


def _allow_subscribe(client: object, subject: str, queue: str | None) -> bool:
    return subject.startswith(("ok.", "_INBOX.")) or (subject, queue) == ("q", "work")


RECIPES = {
    "plain": Recipe(),
    "user": Recipe("authorization { user: u, password: p }", {"user": "u", "password": "p"}),
    "token": Recipe("authorization { token: t }", {"token": "t"}),
    "small": Recipe("max_payload: 64", {"max_payload": 64}),
    "few": Recipe("max_subscriptions: 2", {"max_subscriptions": 2}),
    "short": Recipe("max_control_line: 512", {"max_control_line": 512}),
    "rights": Recipe(
        "authorization { users: [ { user: u, password: p, permissions: "
        '{ publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "q work", "_INBOX.>"] } } ] }',
        {
            "user": "u",
            "password": "p",
            "may_publish": _allow_publish,
            "may_subscribe": _allow_subscribe,
        },
    ),
}


class RawClient(Protocol):
    """Sends and collects bytes.

    :ivar received: all so far.
    :ivar lost: the connection has ended.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def send(self, data: bytes) -> None:
        """Say something."""
        assert self.transport is not None
        self.transport.write(data)


class World(TestCase):
    """What the cases need; a subclass says where brokers and connections come from."""

    timeout = 60
    clock: Any

    def setUp(self) -> None:
        self.recipe = RECIPES["plain"]

    async def broker(self, recipe: str = "plain") -> None:
        """Start the broker; it ends with the test."""
        raise NotImplementedError

    async def drop(self) -> None:
        """Let the broker be gone, with all connections."""
        raise NotImplementedError

    async def back(self) -> None:
        """Let the broker be there again."""
        raise NotImplementedError

    async def pause(self) -> None:
        """Let a moment pass."""
        raise NotImplementedError

    def endpoint(self) -> IStreamClientEndpoint:
        """Return the way to the broker."""
        raise NotImplementedError

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait for a condition."""
        end = self.clock.seconds() + PATIENCE
        while not condition():
            if self.clock.seconds() > end:
                self.fail(f"in vain: {what}")
            await self.pause()

    async def result(self, deferred: Deferred[Any]) -> Any:
        """Wait for a result; raise its failure."""
        await self.until(lambda: deferred.called, repr(deferred))
        return await deferred

    def new(self, **options: Any) -> NatsClient:
        """Return a client that is started; it is stopped with the test."""
        client = NatsClient(
            "broker", self.clock, endpoint=lambda server: self.endpoint(), **options
        )
        client.startService()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.result(client.stopService())))
        return client

    async def client(self, **options: Any) -> NatsClient:
        """Return a client that is connected."""
        if "user" in self.recipe.fake and not options:
            options = {"user": "u", "password": "p"}
        client = self.new(**options)
        await self.result(client.when_connected())
        return client

    async def raw(self) -> RawClient:
        """Return a connection that has been greeted."""
        factory = Factory.forProtocol(RawClient)
        factory.noisy = False
        made = await self.result(self.endpoint().connect(factory))
        assert isinstance(made, RawClient)
        self.addCleanup(lambda: Deferred.fromCoroutine(self._hang_up(made)))
        await self.until(lambda: made.received.endswith(b"\r\n"))
        made.received = b""
        return made

    async def last_words(self, client: RawClient) -> bytes:
        """Wait until the broker closes; return what it said."""
        await self.until(lambda: client.lost, "the broker closes")
        return client.received

    async def settled(self, client: RawClient) -> None:
        """Wait until the broker has answered a PING, or closes."""
        await self.until(lambda: client.received.endswith(b"PONG\r\n") or client.lost)

    async def _hang_up(self, client: RawClient) -> None:
        assert client.transport is not None
        client.transport.loseConnection()
        await self.until(lambda: client.lost)

    async def flush(self, *clients: NatsClient) -> None:
        """Wait until the broker has done what these clients said, and they have heard of it."""
        for client in clients:
            await self.result(client.flush())

    def collect(self, client: NatsClient, subject: str, queue: str | None = None) -> list[Message]:
        """Subscribe; return the list to which messages are added."""
        got: list[Message] = []
        client.subscribe(subject, got.append, queue)
        return got

    def complaints(self, client: NatsClient) -> list[ServerError]:
        """Return the list to which complaints of the server are added."""
        found: list[ServerError] = []
        client.add_listener(
            lambda event: found.append(event) if isinstance(event, ServerError) else None
        )
        return found


class FakeWorld(World):
    """In memory, on a clock of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.fake: FakeBroker | None = None
        self.port: MemoryPort | None = None
        self.addCleanup(self._nothing_left)

    def _nothing_left(self) -> None:
        if self.fake is not None:
            self.fake.drop_all()
        self.network.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.network.transports, [])

    async def broker(self, recipe: str = "plain") -> None:
        self.recipe = RECIPES[recipe]
        self.fake = FakeBroker(**self.recipe.fake)
        self.port = self.network.listen("broker", 4222, self.fake)

    async def drop(self) -> None:
        assert self.port is not None
        assert self.fake is not None
        self.port.stopListening()
        self.fake.drop_all()
        self.network.flush()

    async def back(self) -> None:
        assert self.port is not None
        self.port.startListening()

    async def pause(self) -> None:
        self.clock.advance(0.05)
        self.network.flush()

    def endpoint(self) -> IStreamClientEndpoint:
        return self.network.endpoint("broker", 4222)


class RealWorld(World):
    """A nats-server of its own for each test, over TCP."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = reactor
        self.server: NatsServer | None = None

    async def broker(self, recipe: str = "plain") -> None:
        self.recipe = RECIPES[recipe]
        self.server = NatsServer(config=self.recipe.real)
        self.addCleanup(self.server.close)
        self.server.start()
        await self.server.when_ready(reactor)

    async def drop(self) -> None:
        assert self.server is not None
        self.server.kill()

    async def back(self) -> None:
        assert self.server is not None
        self.server.start()
        await self.server.when_ready(reactor)

    async def pause(self) -> None:
        await deferLater(reactor, 0.005)

    def endpoint(self) -> IStreamClientEndpoint:
        assert self.server is not None
        return HostnameEndpoint(reactor, "127.0.0.1", self.server.port, timeout=5)
