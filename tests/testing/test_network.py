"""The network in memory does what TCP under Twisted does, and what a test wants of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.testing import network as network_module
from backplane.testing.network import MemoryNetwork, advance
from backplane.testing.transport import WINDOW, MemoryTransport


class End(Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: Failure | None = None
        self.when_made: Callable[[End], object] = lambda end: None
        self.when_data: Callable[[bytes], object] = lambda data: None
        self.when_lost: Callable[[], object] = lambda: None

    @property
    def wire(self) -> MemoryTransport:
        """The transport, by its type."""
        assert isinstance(self.transport, MemoryTransport)
        return self.transport

    @property
    def received(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.pieces)

    def connectionMade(self) -> None:
        self.when_made(self)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.when_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None, "told twice"
        self.lost = reason
        self.when_lost()


class Ends(Factory):
    """Makes an :class:`End` for each connection and keeps it."""

    noisy = False

    def __init__(self, when_made: Callable[[End], object] = lambda end: None) -> None:
        self.ends: list[End] = []
        self.when_made = when_made
        self.running = 0

    def doStart(self) -> None:
        self.running += 1

    def doStop(self) -> None:
        self.running -= 1

    def buildProtocol(self, addr: Any) -> End:
        end = End()
        end.when_made = self.when_made
        self.ends.append(end)
        return end


class Producer:
    """A producer that remembers what it was told."""

    def __init__(self, pull: Callable[[], object] = lambda: None) -> None:
        self.calls: list[str] = []
        self.pull = pull

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.pull()

    def stopProducing(self) -> None:
        self.calls.append("stop")


class NetworkCase(SynchronousTestCase):
    """A network with one listener; nothing may be left over on the clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.servers = Ends()
        self.clients = Ends()
        self.port = self.network.listen("broker", 4222, self.servers)

    def tearDown(self) -> None:
        self.network.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self) -> tuple[End, End]:
        """Return both ends of a new connection."""
        done = self.network.connect("broker", 4222, self.clients)
        self.network.flush()
        client = self.successResultOf(done)
        assert isinstance(client, End)
        return client, self.servers.ends[-1]

    def assertLost(self, end: End, kind: type[Exception]) -> None:
        """Check that an end was told that it is lost, and why."""
        assert end.lost is not None
        self.assertIs(end.lost.type, kind)


class ConnectTests(NetworkCase):
    """Making connections, and failing to."""

    def test_interfaces(self) -> None:
        """The objects provide what Twisted's do."""
        client, _ = self.connect()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, client.wire)
        verifyObject(IListeningPort, self.port)
        verifyObject(IStreamClientEndpoint, self.network.endpoint("broker", 4222))

    def test_endpoint(self) -> None:
        """An endpoint connects, in a later turn, without the test's help."""
        done = self.network.endpoint("broker", 4222).connect(self.clients)
        self.assertNoResult(done)
        self.clock.advance(0)
        self.assertIs(self.successResultOf(done), self.clients.ends[0])

    def test_addresses(self) -> None:
        """Both ends know both addresses."""
        client, server = self.connect()
        there = IPv4Address("TCP", "broker", 4222)
        self.assertEqual((client.wire.getPeer(), server.wire.getHost()), (there, there))
        self.assertEqual(client.wire.getHost(), server.wire.getPeer())
        other, _ = self.connect()
        self.assertNotEqual(client.wire.getHost(), other.wire.getHost())

    def test_order(self) -> None:
        """The protocol is connected before the Deferred fires."""
        order: list[str] = []
        self.clients.when_made = lambda end: order.append("made")
        done = self.network.connect("broker", 4222, self.clients)
        done.addCallback(lambda _: order.append("fired"))
        self.network.flush()
        self.assertEqual(order, ["made", "fired"])

    def test_refused(self) -> None:
        """Where nothing listens, or no more, the connection is refused at once."""
        wrong = self.network.connect("broker", 4223, self.clients)
        self.network.flush()
        self.failureResultOf(wrong, ConnectionRefusedError)
        self.port.stopListening()
        late = self.network.connect("broker", 4222, self.clients)
        self.network.flush()
        self.failureResultOf(late, ConnectionRefusedError)
        self.port.startListening()
        self.connect()

    def test_stopped_listener_keeps_connections(self) -> None:
        """Who is connected stays so."""
        client, server = self.connect()
        self.successResultOf(self.port.stopListening())
        client.wire.write(b"x")
        self.network.flush()
        self.assertEqual(server.received, b"x")

    def test_names(self) -> None:
        """A name that does not resolve fails until it does."""
        self.network.fail_dns("broker")
        done = self.network.connect("broker", 4222, self.clients)
        self.network.flush()
        self.failureResultOf(done, DNSLookupError)
        self.network.fail_dns("broker", False)
        self.connect()

    def test_any_host_any_port(self) -> None:
        """A listener may stand for every host, and be given a free port."""
        port = self.network.listen("", 0, self.servers).getHost().port
        done = self.network.connect("somewhere", port, self.clients)
        self.network.flush()
        self.successResultOf(done)

    def test_taken(self) -> None:
        """Two cannot listen in one place."""
        with self.assertRaises(CannotListenError):
            self.network.listen("broker", 4222, self.servers)

    def test_timeout(self) -> None:
        """In a stall a connection is not made; after the time-out it fails."""
        self.network.stall("broker")
        done = self.network.connect("broker", 4222, self.clients, timeout=5)
        advance(self.clock, 4.9)
        self.assertNoResult(done)
        advance(self.clock, 0.2)
        self.failureResultOf(done, TimeoutError)
        self.network.release()
        self.network.flush()
        self.assertEqual(self.servers.ends, [])

    def test_late(self) -> None:
        """A connection that waits for the end of a stall is made then."""
        self.network.stall(port=4222)
        done = self.network.connect("broker", 4222, self.clients)
        advance(self.clock, 1)
        self.network.release()
        self.network.flush()
        self.successResultOf(done)

    def test_cancel(self) -> None:
        """A connection that is being made can be given up."""
        done = self.network.connect("broker", 4222, self.clients)
        done.cancel()
        self.network.flush()
        self.failureResultOf(done, ConnectingCancelledError)
        self.assertEqual((self.servers.ends, self.network.attempts), ([], []))

    def test_no_protocol(self) -> None:
        """A client factory without a protocol fails; one of a server closes."""

        class Nobody(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        done = self.network.connect("broker", 4222, Nobody())
        self.network.listen("closed", 1, Nobody())
        closed = self.network.connect("closed", 1, self.clients)
        self.network.flush()
        self.failureResultOf(done, NoProtocol)
        client = self.successResultOf(closed)
        assert isinstance(client, End)
        self.assertLost(client, ConnectionDone)

    def test_factories(self) -> None:
        """Factories are started and stopped as Twisted does it."""
        self.assertEqual(self.servers.running, 1)
        client, _ = self.connect()
        self.assertEqual(self.clients.running, 1)
        client.wire.loseConnection()
        self.network.connect("broker", 1, self.clients).addErrback(lambda _: None)
        self.network.flush()
        self.assertEqual(self.clients.running, 0)
        self.port.stopListening()
        self.assertEqual(self.servers.running, 0)


class BytesTests(NetworkCase):
    """How bytes travel."""

    def test_write(self) -> None:
        """Bytes arrive in order, those of one turn in one piece."""
        client, server = self.connect()
        client.wire.write(b"a")
        client.wire.writeSequence([b"b", b"c"])
        self.assertEqual(server.pieces, [])
        self.network.flush()
        self.assertEqual(server.pieces, [b"abc"])
        with self.assertRaises(TypeError):
            client.wire.write("text")  # type: ignore[arg-type]

    def test_greeting(self) -> None:
        """What a server writes when it is connected arrives."""
        self.servers.when_made = lambda end: end.wire.write(b"INFO")
        client, _ = self.connect()
        self.assertEqual(client.received, b"INFO")

    def test_no_recursion(self) -> None:
        """Two ends may answer each other thousands of times."""
        client, server = self.connect()
        server.when_data = server.wire.write

        def answer(data: bytes) -> None:
            if len(client.pieces) < 5000:
                client.wire.write(data)

        client.when_data = answer
        client.wire.write(b"x")
        self.network.flush()
        self.assertEqual(len(server.pieces), 5000)

    def test_endless(self) -> None:
        """Two that never stop are an error, not a hanging test."""
        self.patch(network_module, "MAX_TURNS", 100)
        client, server = self.connect()
        server.when_data, client.when_data = server.wire.write, client.wire.write
        client.wire.write(b"x")
        with self.assertRaises(RuntimeError):
            self.network.pump()
        client.when_data = lambda data: None

    def test_flush_from_inside(self) -> None:
        """Flushing from inside a protocol does nothing."""
        client, server = self.connect()
        server.when_data = lambda data: self.network.flush()
        client.wire.write(b"x")
        self.network.flush()
        self.assertEqual(server.pieces, [b"x"])

    @given(st.lists(st.binary(max_size=200), max_size=8), st.integers(1, 50))
    def test_chunks(self, writes: list[bytes], chunk: int) -> None:
        """With ``chunk`` every piece is at most so long, and nothing is lost."""
        client, server = self.connect()
        self.network.chunk = chunk
        for data in writes:
            client.wire.write(data)
        self.network.flush()
        self.assertEqual(server.received, b"".join(writes))
        self.assertTrue(all(0 < len(piece) <= chunk for piece in server.pieces))

    def test_stall(self) -> None:
        """In a stall bytes and closes are held, in both directions, and arrive after it."""
        client, server = self.connect()
        self.network.stall("broker", 4222)
        client.wire.write(b"up")
        server.wire.write(b"down")
        server.wire.loseConnection()
        advance(self.clock, 60)
        self.assertEqual((client.received, server.received, client.lost), (b"", b"", None))
        self.network.release()
        self.network.flush()
        self.assertEqual(client.received, b"down")
        self.assertLost(client, ConnectionDone)

    def test_stall_of_others(self) -> None:
        """A stall of another address does not matter."""
        client, server = self.connect()
        self.network.stall("other")
        self.network.stall("broker", 1)
        client.wire.write(b"x")
        self.network.flush()
        self.assertEqual(server.received, b"x")

    def test_options(self) -> None:
        """Socket options are remembered."""
        client, _ = self.connect()
        self.assertFalse(client.wire.getTcpNoDelay() or client.wire.getTcpKeepAlive())
        client.wire.setTcpNoDelay(True)
        client.wire.setTcpKeepAlive(True)
        self.assertTrue(client.wire.getTcpNoDelay() and client.wire.getTcpKeepAlive())


class CloseTests(NetworkCase):
    """How connections end."""

    def test_lose_connection(self) -> None:
        """What was written arrives before the end; then both ends are lost, cleanly."""
        client, server = self.connect()
        client.wire.write(b"bye")
        client.wire.loseConnection()
        self.assertIsNone(client.lost)
        self.network.flush()
        self.assertEqual(server.received, b"bye")
        self.assertLost(client, ConnectionDone)
        self.assertLost(server, ConnectionDone)
        self.assertEqual(self.network.transports, [])
        client.wire.write(b"more")
        client.wire.loseConnection()
        client.wire.abortConnection()

    def test_closing_end_hears_nothing(self) -> None:
        """Who closes reads no more."""
        client, server = self.connect()
        server.wire.write(b"x")
        client.wire.loseConnection()
        self.network.flush()
        self.assertEqual(client.pieces, [])

    def test_both_close(self) -> None:
        """Both may close at once."""
        client, server = self.connect()
        client.wire.loseConnection()
        server.wire.loseWriteConnection()
        self.network.flush()
        self.assertLost(client, ConnectionDone)
        self.assertLost(server, ConnectionDone)

    def test_abort(self) -> None:
        """Who aborts is told so, in a later turn; the other end sees a reset."""
        client, server = self.connect()
        client.wire.write(b"lost")
        client.wire.abortConnection()
        self.assertIsNone(client.lost)
        self.network.flush()
        self.assertEqual(server.received, b"")
        self.assertLost(client, ConnectionAborted)
        self.assertLost(server, ConnectionLost)

    def test_abort_in_a_stall(self) -> None:
        """The other end of a stalled connection learns of it after the stall."""
        client, server = self.connect()
        self.network.stall()
        client.wire.write(b"held")
        client.wire.loseConnection()
        self.network.flush()
        self.assertIsNone(client.lost)
        client.wire.abortConnection()
        self.network.flush()
        self.assertLost(client, ConnectionAborted)
        self.assertIsNone(server.lost)
        self.network.release()
        self.network.flush()
        self.assertLost(server, ConnectionLost)

    def test_cut(self) -> None:
        """A cut takes both ends of every connection to an address, stalled or not."""
        pairs = [self.connect(), self.connect()]
        other = self.network.listen("other", 4222, self.servers)
        kept = self.network.connect("other", 4222, self.clients)
        self.network.flush()
        self.network.stall("broker")
        pairs[0][0].wire.write(b"lost")
        self.network.cut("broker", 4222)
        self.network.flush()
        for pair in pairs:
            for end in pair:
                self.assertLost(end, ConnectionLost)
                self.assertEqual(end.received, b"")
        self.assertIs(self.successResultOf(kept), self.clients.ends[-1])
        self.assertIsNone(self.clients.ends[-1].lost)
        other.stopListening()

    def test_protocol_that_raises(self) -> None:
        """An exception is logged and closes the connection, as under a reactor."""
        client, server = self.connect()
        server.when_data = lambda data: 1 // 0
        client.wire.write(b"x")
        self.network.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(server, ZeroDivisionError)
        self.assertLost(client, ConnectionDone)

    def test_protocol_that_raises_at_once(self) -> None:
        """So does one in ``connectionMade``."""
        self.servers.when_made = lambda end: 1 // 0
        client, server = self.connect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(server, ZeroDivisionError)
        self.assertLost(client, ConnectionDone)

    def test_others_that_raise(self) -> None:
        """So do a listener's factory and ``connectionLost``: logged, and nobody else is harmed."""

        class Worst(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                raise ZeroDivisionError

        self.network.listen("worst", 1, Worst())
        done = self.network.connect("worst", 1, self.clients)
        self.network.flush()
        self.assertLost(self.clients.ends[-1], ConnectionDone)
        self.successResultOf(done)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        client, server = self.connect()
        client.when_lost = lambda: 1 // 0
        client.wire.loseConnection()
        self.network.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(server, ConnectionDone)

    def test_close_from_inside(self) -> None:
        """A protocol may close from inside ``dataReceived``; it gets nothing more."""
        client, server = self.connect()
        self.network.chunk = 1
        server.when_data = lambda data: server.wire.abortConnection()
        client.wire.write(b"abc")
        self.network.flush()
        self.assertEqual(server.pieces, [b"a"])


class ProducerTests(NetworkCase):
    """Back-pressure in both directions."""

    def test_paused_reader(self) -> None:
        """Who pauses gets nothing, not even the end, until it resumes."""
        client, server = self.connect()
        server.wire.pauseProducing()
        client.wire.write(b"x")
        client.wire.loseConnection()
        self.network.flush()
        self.assertLost(client, ConnectionDone)
        self.assertEqual((server.received, server.lost), (b"", None))
        server.wire.resumeProducing()
        self.network.flush()
        self.assertEqual(server.received, b"x")
        self.assertLost(server, ConnectionDone)

    def test_push_producer(self) -> None:
        """A producer is paused when the reader's side is full, and resumed after it."""
        client, server = self.connect()
        producer = Producer()
        client.wire.registerProducer(producer, True)
        server.wire.pauseProducing()
        client.wire.write(b"x" * WINDOW)
        self.network.flush()
        self.assertEqual(producer.calls, [])
        client.wire.write(b"x" * (WINDOW + 1))
        self.assertEqual(producer.calls, ["pause"])
        self.network.flush()
        self.assertEqual(producer.calls, ["pause"])
        server.wire.resumeProducing()
        self.network.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertEqual(len(server.received), 2 * WINDOW + 1)
        with self.assertRaises(RuntimeError):
            client.wire.registerProducer(producer, True)

    def test_producer_and_close(self) -> None:
        """A close waits for a producer that is paused only; a loss stops it."""
        client, server = self.connect()
        producer = Producer()
        client.wire.registerProducer(producer, True)
        server.wire.pauseProducing()
        client.wire.write(b"x" * (3 * WINDOW))
        client.wire.loseConnection()
        self.network.flush()
        self.assertIsNone(client.lost)
        self.assertEqual(producer.calls, ["pause"])
        server.wire.resumeProducing()
        self.network.flush()
        self.assertEqual(len(server.received), 3 * WINDOW)
        self.assertEqual(producer.calls[1], "resume")
        client.wire.unregisterProducer()
        self.network.flush()
        self.assertLost(client, ConnectionDone)
        producer.calls.clear()
        client, server = self.connect()
        client.wire.registerProducer(producer, True)
        client.wire.write(b"rest")
        client.wire.loseConnection()
        self.network.flush()
        self.assertEqual(server.received, b"rest")
        self.assertLost(client, ConnectionDone)
        self.assertEqual(producer.calls, ["stop"])
        producer.calls.clear()
        client.wire.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop"])
        client, server = self.connect()
        client.wire.registerProducer(producer, True)
        server.wire.abortConnection()
        self.network.flush()
        self.assertEqual(producer.calls, ["stop", "stop"])

    def test_pull_producer(self) -> None:
        """A pull producer is asked again each time all is sent."""
        client, server = self.connect()
        left = [b"c", b"b", b"a"]

        def pull() -> None:
            client.wire.write(left.pop())
            if not left:
                client.wire.unregisterProducer()

        client.wire.registerProducer(Producer(pull), False)
        self.network.flush()
        self.assertEqual(server.received, b"abc")


class TimeTests(SynchronousTestCase):
    """Letting time pass."""

    def test_advance(self) -> None:
        """Time passes in steps, up to and with what is due at the end."""
        clock = Clock()
        seen: list[float] = []
        clock.callLater(0.25, lambda: clock.callLater(0.25, lambda: seen.append(clock.seconds())))
        clock.callLater(1.0, lambda: seen.append(clock.seconds()))
        advance(clock, 1.0)
        self.assertEqual([round(moment, 6) for moment in seen], [0.6, 1.0])
        self.assertEqual(clock.getDelayedCalls(), [])
