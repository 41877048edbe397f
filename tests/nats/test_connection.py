"""One connection, on a scripted server: what its owner is told, and what is left behind."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.nats import parser
from backplane.nats.connection import CLOSE_PATIENCE, NatsConnection, Owner
from backplane.nats.errors import BufferFull, FlushTimeout, NotConnected
from backplane.nats.outflow import Outflow
from backplane.testing.network import MemoryNetwork, advance
from tests.nats.bench import HELLO, Script


class Diary(Owner):
    """Notes what a connection tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def established(self, connection: NatsConnection) -> None:
        self.told.append(("established", connection.session.established))

    def message(self, message: parser.Msg) -> None:
        self.told.append(("message", message.payload))

    def info_changed(self, connection: NatsConnection) -> None:
        self.told.append(("info", connection.session.info["n"]))

    def refused(self, connection: NatsConnection, text: str) -> None:
        self.told.append(("refused", text))

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        self.told.append(("lost", str(reason)))


class ConnectionTests(SynchronousTestCase):
    """A connection to a scripted server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.script = Script()
        self.network.listen("f", 1, self.script)
        self.owner = Diary()
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        """End the connections, and check that no timer is left."""
        for end in self.script.ends:
            end.wire.abortConnection()
        self.network.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connection(self, said: bytes = b"PONG\r\n", **options: Any) -> NatsConnection:
        """Return a connection whose server said this after INFO."""
        settings: dict[str, Any] = {
            "address": "f:1",
            "handshake_timeout": 5,
            "ping_interval": 100,
            "max_unanswered": 2,
            "backlog": 100,
        }
        connection = NatsConnection(
            self.owner, self.clock, lambda info: {}, **{**settings, **options}
        )
        connectProtocol(self.network.endpoint("f", 1), connection)
        self.network.flush()
        self.script.ends[-1].send(said)
        self.network.flush()
        return connection

    def say(self, data: bytes) -> None:
        """Let the server say something."""
        self.script.ends[-1].send(data)
        self.network.flush()

    def test_told_in_order(self) -> None:
        """Everything of one read, in its order."""
        self.connection(b"PONG\r\nINFO {\"n\":1}\r\nMSG a 1 1\r\nx\r\n-ERR 'Invalid Subject'\r\n")
        self.script.ends[0].hang_up()
        self.network.flush()
        self.assertEqual(
            self.owner.told,
            [
                ("established", True),
                ("info", 1),
                ("message", b"x"),
                ("refused", "Invalid Subject"),
                ("lost", "closed by the server"),
            ],
        )

    def producer(self, connection: NatsConnection) -> Outflow:
        """Return what its transport pauses."""
        transport: Any = connection.transport
        found = transport.producer
        assert isinstance(found, Outflow)
        return found

    def test_writable(self) -> None:
        """Whoever publishes much hears when it is taken again, or that it never will be."""
        connection = self.connection()
        producer = self.producer(connection)
        self.assertTrue(connection.writable)
        self.successResultOf(connection.when_writable())
        producer.pauseProducing()
        self.assertFalse(connection.writable)
        waiting = connection.when_writable()
        connection.publish(b"1")
        self.assertNoResult(waiting)
        producer.resumeProducing()
        self.successResultOf(waiting)
        self.assertTrue(connection.writable)
        producer.pauseProducing()
        waiting = connection.when_writable()
        self.network.cut()
        self.network.flush()
        self.failureResultOf(waiting, NotConnected)

    def test_producer(self) -> None:
        """It has a push producer of its transport."""
        connection = self.connection()
        producer = self.producer(connection)
        verifyObject(IPushProducer, producer)
        producer.stopProducing()
        self.assertTrue(connection.usable)

    def test_nothing_after_abort(self) -> None:
        """What comes after it was given up, even in the same read, is not told."""
        connection = self.connection()
        self.owner.message = (  # type: ignore[method-assign]
            lambda message: connection.abort(NotConnected("enough"))
        )
        self.say(b"MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n-ERR 'x'\r\n")
        self.assertEqual(self.owner.told, [("established", True), ("lost", "enough")])
        self.assertFalse(connection.usable)
        connection.abort(NotConnected("again"))
        connection.send(b"PUB a 0\r\n\r\n")
        self.network.flush()
        self.assertEqual(len(self.owner.told), 2)

    def test_first_reason_counts(self) -> None:
        """A second abort does not change why."""
        connection = self.connection()
        connection.abort(NotConnected("first"))
        connection.abort(NotConnected("second"))
        self.network.flush()
        self.assertEqual(self.owner.told[-1], ("lost", "first"))

    def test_held(self) -> None:
        """While the socket does not drain, publishes and the flushes between them keep order."""
        connection = self.connection()
        self.producer(connection).pauseProducing()
        connection.publish(b"1" * 40)
        flush = connection.flush(None)
        late = connection.flush(3)
        connection.publish(b"2" * 60)
        self.assertRaises(BufferFull, connection.publish, b"3")
        self.clock.advance(3)
        self.failureResultOf(late, FlushTimeout)
        end = self.script.ends[0]
        end.received = b""
        self.producer(connection).resumeProducing()
        connection.publish(b"4")
        self.network.flush()
        self.assertEqual(end.received, b"1" * 40 + b"PING\r\n" + b"2" * 60 + b"4")
        self.say(b"PONG\r\n")
        self.successResultOf(flush)

    def test_held_again(self) -> None:
        """A socket that fills up again while it is drained stops the draining."""
        connection = self.connection()
        self.producer(connection).pauseProducing()
        for letter in (b"a", b"b", b"c"):
            connection.publish(letter)
        producer = self.producer(connection)
        write = producer.transport.write

        def write_and_fill_up(data: bytes) -> None:
            write(data)
            producer.pauseProducing()

        producer.transport.write = write_and_fill_up
        self.producer(connection).resumeProducing()
        self.network.flush()
        self.assertTrue(self.script.ends[0].received.endswith(b"PING\r\na"))
        self.producer(connection).resumeProducing()
        self.network.flush()
        self.assertTrue(self.script.ends[0].received.endswith(b"PING\r\nab"))

    def test_dropped(self) -> None:
        """What was held when the connection is lost is counted when the owner hears of it."""
        counted: list[int] = []
        connection = self.connection()
        self.owner.lost = (  # type: ignore[method-assign]
            lambda connection, reason: counted.append(connection.dropped)
        )
        self.producer(connection).pauseProducing()
        connection.publish(b"1")
        flush = connection.flush(None)
        connection.publish(b"2")
        self.network.cut()
        self.network.flush()
        self.assertEqual(counted, [2])
        self.failureResultOf(flush, NotConnected)

    def test_close(self) -> None:
        """It fires when the connection is gone, for everybody who asks."""
        connection = self.connection()
        connection.send(b"last")
        first, second = connection.close(), connection.close()
        self.assertNoResult(first)
        self.network.flush()
        for closed in (first, second, connection.close()):
            self.successResultOf(closed)
        self.assertTrue(self.script.ends[0].received.endswith(b"last"))

    def test_close_patience(self) -> None:
        """A peer that takes nothing is not waited for."""
        connection = self.connection()
        self.network.stall("f")
        self.script.ends[0].wire.pauseProducing()
        connection.send(b"x" * 200_000)
        closed = connection.close()
        advance(self.clock, CLOSE_PATIENCE - 0.05)
        self.assertNoResult(closed)
        advance(self.clock, 0.1)
        self.successResultOf(closed)
        self.network.release()

    def test_flush_is_answered_once(self) -> None:
        """A flush that was given up is not fired by its late PONG."""
        connection = self.connection()
        flush: Deferred[None] = connection.flush(1)
        self.clock.advance(1)
        self.failureResultOf(flush, FlushTimeout)
        self.say(b"PONG\r\n")
        after = connection.flush(1)
        self.say(b"PONG\r\n")
        self.successResultOf(after)

    def test_reasons(self) -> None:
        """Why it was lost, in words."""
        for lose, words in (
            (lambda: self.network.cut(), "reset by the server"),
            (lambda: self.say(b"MSG a 1 1\r\nxyz\r\n"), "a payload is not followed by CR LF"),
            (lambda: self.say(b"-ERR 'Stale Connection'\r\n"), None),
        ):
            self.owner.told.clear()
            self.connection()
            lose()
            if words is None:
                self.script.ends[-1].hang_up()
                words = "Stale Connection"
            self.network.flush()
            self.assertEqual(self.owner.told[-1], ("lost", words))

    def test_handshake(self) -> None:
        """It has one deadline, and the hello is a single piece."""
        self.connection(b"")
        self.assertEqual(self.script.ends[0].received, b"CONNECT {}\r\nPING\r\n")
        advance(self.clock, 5.1)
        self.assertEqual(
            self.owner.told,
            [("lost", "the PONG that ends the handshake did not come within 5 s")],
        )
        self.assertEqual(HELLO[:5], b"INFO ")
