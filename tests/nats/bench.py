"""What the tests of the client stand on: a clock, a network, brokers, one client."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.client import NatsClient
from backplane.nats.servers import Server
from backplane.testing.broker import FakeBroker
from backplane.testing.network import MemoryNetwork, advance
from backplane.testing.transport import MemoryTransport

HELLO = b'INFO {"server_id":"S","proto":1,"headers":true,"max_payload":64}\r\n'
"""A greeting of a scripted server."""


class Even(random.Random):
    """Jitter in the middle of its range: delays are what the policy says."""

    def random(self) -> float:
        return 0.5


class Scripted(Protocol):
    """The end of a server that does only what a test tells it."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.received = b""
        self.lost = False

    def connectionMade(self) -> None:
        self.send(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    @property
    def wire(self) -> MemoryTransport:
        """The transport, by its type."""
        assert isinstance(self.transport, MemoryTransport)
        return self.transport

    def send(self, data: bytes) -> None:
        """Say something."""
        if data:
            self.wire.write(data)

    def hang_up(self) -> None:
        """Close after what was said."""
        self.wire.loseConnection()


class Script(ServerFactory):
    """Makes scripted ends.

    :ivar ends: all so far, oldest first.
    """

    noisy = False

    def __init__(self, greeting: bytes = HELLO) -> None:
        self.greeting = greeting
        self.ends: list[Scripted] = []

    def buildProtocol(self, addr: IAddress | None) -> Scripted:
        end = Scripted(self.greeting)
        self.ends.append(end)
        return end


class ClientCase(SynchronousTestCase):
    """A test with a client and a broker at ``a:4222``.

    In the end every client is stopped, and the clock must be empty.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.broker = FakeBroker()
        self.port = self.network.listen("a", 4222, self.broker)
        self.log_events: list[LogEvent] = []
        self.events: list[Any] = []
        self.tried: list[tuple[float, str]] = []
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        """Check that neither timers nor connections are left."""
        self.broker.drop_all()
        self.network.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.network.transports, [])

    def endpoint(self, server: Server) -> IStreamClientEndpoint:
        """Return an endpoint on the network, and note the time of the try."""
        self.tried.append((self.clock.seconds(), server.host))
        return self.network.endpoint(server.host, server.port, 5)

    def client(self, servers: str | Sequence[str] = "a", **options: Any) -> NatsClient:
        """Return a client that is not started."""
        options = {"endpoint": self.endpoint, "rng": Even(1), "name": "c", **options}
        log = Logger("test", observer=self.log_events.append)  # type: ignore[arg-type]
        client = NatsClient(servers, self.clock, log=log, **options)
        client.add_listener(self.events.append)
        self.addCleanup(self.stop, client)
        return client

    def start(self, servers: str | Sequence[str] = "a", **options: Any) -> NatsClient:
        """Return a client that has had the time to connect."""
        client = self.client(servers, **options)
        client.startService()
        self.network.flush()
        return client

    def stop(self, client: NatsClient) -> None:
        """Stop a client, and wait for it."""
        stopped = client.stopService()
        self.network.flush()
        if not stopped.called:
            self.advance(10)
        self.successResultOf(stopped)

    def advance(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass."""
        advance(self.clock, seconds, step)
        self.network.flush()

    def absent(self) -> None:
        """Let the broker be gone: connections closed, nobody listens."""
        self.port.stopListening()
        self.broker.drop_all()
        self.network.flush()

    def present(self) -> None:
        """Let the broker listen again."""
        self.port.startListening()

    def event_names(self) -> list[str]:
        """Return the kinds of events so far."""
        return [type(event).__name__ for event in self.events]

    def lines(self, level: LogLevel = LogLevel.info) -> list[str]:
        """Return the log from a level on."""
        return [formatEvent(e) for e in self.log_events if e["log_level"] >= level]

    def collect(self, client: NatsClient, subject: str, queue: str | None = None) -> list[bytes]:
        """Subscribe; return the list to which payloads are added."""
        payloads: list[bytes] = []
        client.subscribe(subject, lambda message: payloads.append(message.payload), queue)
        return payloads

    def result(self, deferred: Deferred[Any]) -> Any:
        """Let the network run, and return the result."""
        self.network.flush()
        return self.successResultOf(deferred)

    def failure(self, deferred: Deferred[Any], *kinds: type[Exception]) -> str:
        """Let the network run, and return the words of the failure."""
        self.network.flush()
        text: str = self.failureResultOf(deferred, *kinds).getErrorMessage()
        return text


def numbers(count: int) -> list[bytes]:
    """Return so many different payloads."""
    return [str(number).encode() for number in range(count)]


def every(condition: Callable[[Any], bool], items: Sequence[Any]) -> list[Any]:
    """Return the items that fulfil a condition."""
    return [item for item in items if condition(item)]
