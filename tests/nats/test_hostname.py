"""Connecting by a name that has several addresses."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.nats.hostname import ATTEMPT_DELAY, HostEndpoint


class Connector:
    """One attempt."""

    def __init__(self, host: str, port: int, factory: Any, timeout: float) -> None:
        self.host = host
        self.port = port
        self.factory = factory
        self.timeout = timeout
        self.cancelled = False
        self.transport = StringTransport()

    def stopConnecting(self) -> None:
        self.cancelled = True

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, self.port)

    def connected(self) -> Any:
        """Let it succeed."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", self.host, self.port))
        if protocol is not None:
            protocol.makeConnection(self.transport)
        return protocol

    def refused(self) -> None:
        """Let it fail."""
        self.factory.clientConnectionFailed(self, Failure(ConnectionRefusedError(self.host)))


class Reactor(Clock):
    """Time, names and TCP, as a test wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.connectors: list[Connector] = []
        self.receiver: Any = None
        self.cancelled = False

    def resolveHostName(self, receiver: Any, host: str, port: int = 0) -> None:
        self.receiver, self.port = receiver, port
        receiver.resolutionBegan(self)

    def cancel(self) -> None:
        self.cancelled = True

    def resolved(self, *hosts: str) -> None:
        """Let the name have these addresses."""
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            self.receiver.addressResolved(kind("TCP", host, self.port))
        self.receiver.resolutionComplete()

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Connector:
        connector = Connector(host, port, factory, timeout)
        self.connectors.append(connector)
        factory.startedConnecting(connector)
        return connector

    def tried(self) -> list[str]:
        """Return the addresses so far."""
        return [each.host for each in self.connectors]


class HostTests(SynchronousTestCase):
    """From a name to a connection, or to what is wrong."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.made: list[Protocol] = []

    def connect(self) -> Deferred[Any]:
        """Connect."""

        def make() -> Protocol:
            self.made.append(Protocol())
            return self.made[-1]

        endpoint = HostEndpoint(self.reactor, "b.example.net", 4222, 5.0)
        verifyObject(IStreamClientEndpoint, endpoint)
        return endpoint.connect(Factory.forProtocol(make))

    def nothing_left(self) -> None:
        """Check that all is over."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_first(self) -> None:
        """The first address answers: nobody else is asked."""
        connecting = self.connect()
        self.reactor.resolved("192.0.2.1", "192.0.2.2")
        (connector,) = self.reactor.connectors
        self.assertEqual((connector.port, connector.timeout), (4222, 5.0))
        connector.connected()
        self.assertEqual(self.successResultOf(connecting), self.made[0])
        self.nothing_left()

    def test_turns(self) -> None:
        """Families take turns, one after the other, in the order of the resolver."""
        connecting = self.connect()
        self.reactor.resolved("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        for _ in range(6):
            self.reactor.advance(ATTEMPT_DELAY)
        wanted = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]
        self.assertEqual(self.reactor.tried(), wanted)
        self.reactor.connectors[3].connected()
        self.successResultOf(connecting)
        cancelled = [each.cancelled for each in self.reactor.connectors]
        self.assertEqual(cancelled, [True, True, True, False, True])
        self.nothing_left()

    def test_refused(self) -> None:
        """One that is refused is followed at once; in the end the first error is told."""
        connecting = self.connect()
        self.reactor.resolved("192.0.2.1", "192.0.2.2", "192.0.2.3")
        for place in range(3):
            self.assertNoResult(connecting)
            self.reactor.connectors[place].refused()
        error = self.failureResultOf(connecting, ConnectionRefusedError)
        self.assertIn("192.0.2.1", str(error.value))
        self.nothing_left()

    def test_unknown(self) -> None:
        """A name without an address."""
        connecting = self.connect()
        self.reactor.resolved()
        error = self.failureResultOf(connecting, DNSLookupError)
        self.assertIn("b.example.net", str(error.value))
        self.nothing_left()

    def test_cancelled(self) -> None:
        """While the name is looked up, and while addresses are tried."""
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.reactor.cancelled)
        self.reactor.resolved("192.0.2.1")
        self.assertEqual(self.reactor.connectors, [])
        connecting = self.connect()
        self.reactor.resolved("192.0.2.1", "192.0.2.2")
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.reactor.connectors[0].cancelled)
        self.nothing_left()
        self.assertEqual(len(self.reactor.connectors), 1)

    def test_cannot_be_cancelled(self) -> None:
        """Twisted's own resolver cannot give a name up; that is its own affair."""

        def cancel() -> None:
            raise NotImplementedError

        self.patch(self.reactor, "cancel", cancel)
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.reactor.resolved("192.0.2.1")
        self.assertEqual(self.reactor.connectors, [])
        self.nothing_left()
