"""The fake broker under TLS."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from backplane.nats.layer import start_tls
from backplane.testing import PKI, FakeBroker, MemoryNetwork


@implementer(IOpenSSLClientConnectionCreator)
class Trusting:
    """A client's end that checks nothing."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)


class Peer(Protocol):
    """Collects what it is told."""

    def __init__(self) -> None:
        self.said = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.said += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class BrokerTLSTests(SynchronousTestCase):
    """A broker with a certificate, and a peer that is no NATS client."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        pki = PKI(self.mktemp())
        self.tls = pki.broker_tls(pki.server("broker.example.net"), verify=False)
        self.verifying = pki.broker_tls(pki.server("broker.example.net"))

    def connect(self, broker: FakeBroker) -> Peer:
        peer = Peer()
        self.network.listen("a", 4222, broker)
        self.network.connect("a", 4222, Factory.forProtocol(lambda: peer))
        self.network.flush()
        return peer

    def test_interface(self) -> None:
        """Twisted takes it for what it is."""
        verifyObject(IOpenSSLServerConnectionCreator, self.tls)

    def test_after_info(self) -> None:
        """INFO comes in clear and says what is wanted; the rest is under TLS."""
        peer = self.connect(FakeBroker(tls=self.verifying, clock=self.clock))
        self.assertIn(b'"tls_required":true', peer.said.replace(b" ", b""))
        self.assertIn(b'"tls_verify":true', peer.said.replace(b" ", b""))
        peer = self.connect_again(FakeBroker(tls=self.tls, clock=self.clock))
        self.assertNotIn(b"tls_verify", peer.said)
        peer.said = b""
        layer = start_tls(peer.transport, Trusting(), self.clock)
        layer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        self.network.flush()
        self.assertEqual(peer.said, b"PONG\r\n")
        layer.loseConnection()
        self.network.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect_again(self, broker: FakeBroker) -> Peer:
        self.network.ports.clear()
        return self.connect(broker)

    def test_first(self) -> None:
        """INFO comes under TLS, after a silence."""
        peer = self.connect(FakeBroker(tls=self.tls, clock=self.clock, tls_first=True))
        self.assertEqual(peer.said, b"")
        start_tls(peer.transport, Trusting(), self.clock)
        self.network.flush()
        self.assertTrue(peer.said.startswith(b"INFO {"), peer.said)

    def test_plain(self) -> None:
        """Who goes on in clear is dropped, without -ERR."""
        broker = FakeBroker(tls=self.tls, clock=self.clock)
        peer = self.connect(broker)
        said = peer.said
        assert peer.transport is not None
        peer.transport.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        self.network.flush()
        self.assertIsNotNone(peer.lost)
        self.assertNotIn(b"-ERR", peer.said[len(said) :])
        self.assertNotIn(b"PONG", peer.said)
        self.assertEqual(broker.clients, [])

    def test_clock_wanted(self) -> None:
        """TLS without a clock would wait for the global reactor."""
        with self.assertRaises(TypeError):
            FakeBroker(tls=self.tls)
