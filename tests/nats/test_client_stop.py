"""Stopping and starting again; staying alive in between."""

from __future__ import annotations

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from backplane.nats.client import Closed, Connected, ConnectFailed, Disconnected, NatsClient
from backplane.nats.errors import ConnectionClosed
from backplane.testing.network import MemoryNetwork
from tests.nats.bench import HELLO, ClientCase, Script, numbers


class StopTests(ClientCase):
    """D5, D6: a clean stop."""

    def test_flushes(self) -> None:
        """What was published is with the server before the connection ends."""
        self.network.chunk = 7
        client = self.start()
        payloads = numbers(1000)
        for payload in payloads:
            client.publish("n", payload)
        stopped = client.stopService()
        self.assertNoResult(stopped)
        self.result(stopped)
        self.assertEqual([payload for _, payload in self.broker.published], payloads)
        self.assertEqual(self.broker.clients, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(client.counts()["lost"], 0)
        self.assertEqual(self.event_names(), ["Connected", "Disconnected", "Closed"])
        self.assertRaises(ConnectionClosed, client.publish, "n", b"")

    def test_server_does_not_answer(self) -> None:
        """The last flush is given up in time, and said so."""
        client = self.start(stop_timeout=2)
        self.broker.silent_ping = True
        stopped = client.stopService()
        self.advance(1.8)
        self.assertNoResult(stopped)
        self.advance(0.4)
        self.successResultOf(stopped)
        self.assertIn("the last flush failed: no answer to a PING within 2 s", self.lines())

    def test_server_does_not_read(self) -> None:
        """A socket that does not drain is closed in the end; what it held is counted."""
        client = self.start(stop_timeout=2)
        peer = self.broker.clients[0].transport
        assert peer is not None
        peer.pauseProducing()  # type: ignore[attr-defined]
        for _ in range(400):
            client.publish("n", b"x" * 1000)
        stopped = client.stopService()
        self.advance(3.8)
        self.assertNoResult(stopped)
        self.advance(0.4)
        self.successResultOf(stopped)
        self.assertGreater(client.counts()["lost"], 200)

    def test_connection_breaks(self) -> None:
        """A loss during the last flush ends it; nobody reconnects."""
        client = self.start()
        self.broker.silent_ping = True
        stopped = client.stopService()
        self.network.flush()
        self.broker.drop_all()
        self.result(stopped)
        self.assertEqual(len(self.tried), 1)
        self.advance(60)
        self.assertEqual(len(self.tried), 1)

    def test_twice(self) -> None:
        """Stopping twice, at once or later, or without a start, is no different."""
        client = self.start()
        first, second = client.stopService(), client.stopService()
        self.result(first)
        self.result(second)
        self.result(client.stopService())
        never = self.client()
        self.result(never.stopService())
        self.assertRaises(ConnectionClosed, never.publish, "n", b"")

    def test_while_connecting(self) -> None:
        """The try is given up; whoever waits is told."""
        client = self.client()
        waiting = client.when_connected()
        client.startService()
        self.result(client.stopService())
        self.failure(waiting, ConnectionClosed)
        self.assertEqual(self.broker.clients, [])

    def test_parent(self) -> None:
        """It is a service among others."""
        parent = MultiService()
        client = self.client()
        client.setServiceParent(parent)
        parent.startService()
        self.network.flush()
        self.assertTrue(client.is_connected)
        self.result(parent.stopService())
        self.assertFalse(client.is_connected)

    def test_stopped_by_a_listener(self) -> None:
        """Whoever stops it when he hears of a loss or of a failed try is obeyed."""
        for ending in (Disconnected, ConnectFailed):
            client = self.client()

            def listener(
                event: object, client: NatsClient = client, ending: type[object] = ending
            ) -> None:
                if isinstance(event, ending):
                    client.stopService()

            client.add_listener(listener)
            client.startService()
            self.network.flush()
            self.assertTrue(client.is_connected)
            self.absent()
            self.advance(60)
            tried = len(self.tried)
            self.present()
            self.advance(60)
            self.assertEqual(len(self.tried), tried)
            self.assertFalse(client.is_connected)

    def test_endpoint_goes_on(self) -> None:
        """A connection that an endpoint makes after its try was given up is dropped."""
        client = self.client(endpoint=lambda server: Stubborn(self.network))
        client.startService()
        self.result(client.stopService())
        self.assertEqual(self.broker.connections, 1)
        self.assertEqual(self.broker.clients, [])
        self.assertEqual(self.events, [Closed()])
        self.assertFalse(client.is_connected)


@implementer(IStreamClientEndpoint)
class Stubborn:
    """An endpoint that does not hear of a cancellation."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        made: Deferred[IProtocol] = Deferred()
        self.network.connect("a", 4222, protocolFactory).chainDeferred(made)
        return made


class RestartTests(ClientCase):
    """A stopped client can be started again."""

    def test_again(self) -> None:
        """Subscriptions are there again; the first connection is no reconnect."""
        client = self.start()
        got = self.collect(client, "n")
        self.stop(client)
        client.startService()
        self.result(client.when_connected())
        client.publish("n", b"1")
        self.result(client.flush())
        self.assertEqual(got, [b"1"])
        connected = [event for event in self.events if isinstance(event, Connected)]
        self.assertEqual(connected, [Connected("nats://a:4222", True)] * 2)
        counts = client.counts()
        self.assertEqual((counts["connects"], counts["reconnects"]), (2, 0))

    def test_forgets_the_outage(self) -> None:
        """It begins with short delays again."""
        self.absent()
        client = self.start()
        self.advance(3600, 1)
        self.stop(client)
        self.tried.clear()
        client.startService()
        self.advance(1)
        self.assertEqual(len(self.tried), 2)

    def test_before_the_stop_is_done(self) -> None:
        """A start during the last flush wins."""
        client = self.start()
        got = self.collect(client, "n")
        self.broker.silent_ping = True
        stopped = client.stopService()
        self.network.flush()
        self.assertNoResult(stopped)
        client.startService()
        self.broker.silent_ping = False
        self.advance(10)
        self.successResultOf(stopped)
        self.assertTrue(client.is_connected)
        client.publish("n", b"1")
        self.result(client.flush())
        self.assertEqual(got, [b"1"])

    def test_while_the_socket_is_opened(self) -> None:
        """A start right after a stop makes one connection."""
        client = self.client()
        client.startService()
        client.stopService()
        client.startService()
        self.result(client.when_connected())
        self.assertEqual(len(self.broker.clients), 1)


class KeepAliveTests(ClientCase):
    """K1, K2, K3, K6: PINGs in both directions."""

    def test_idle(self) -> None:
        """A connection without traffic stays; the server's PINGs are answered."""
        client = self.start(ping_interval=10)
        for _ in range(100):
            self.broker.send_ping()
            self.advance(10, 1)
        self.assertTrue(client.is_connected)
        (server,) = self.broker.clients
        self.assertEqual((server.pongs, server.pings), (100, 101))
        self.assertEqual(self.event_names(), ["Connected"])

    def test_stale(self) -> None:
        """Two unanswered PINGs, and at the next tick the connection is given up."""
        client = self.start(ping_interval=10)
        self.broker.silent_ping = True
        self.advance(29.8)
        self.assertTrue(client.is_connected)
        self.broker.silent_ping = False
        self.advance(0.4)
        self.assertTrue(client.is_connected)
        self.assertEqual(self.event_names(), ["Connected", "Disconnected", "Connected"])
        lost = self.events[1]
        assert isinstance(lost, Disconnected)
        self.assertEqual(str(lost.reason), "stale connection: a:4222 did not answer 2 PINGs")

    def test_limit(self) -> None:
        """The number of unanswered PINGs can be chosen."""
        client = self.start(ping_interval=10, max_unanswered=5)
        self.broker.silent_ping = True
        self.advance(59.8)
        self.assertEqual(self.event_names(), ["Connected"])
        self.advance(0.4)
        self.assertEqual(self.event_names()[:2], ["Connected", "Disconnected"])
        self.assertEqual(client.options()["max_outstanding_pings"], 5)

    def test_any_answer(self) -> None:
        """One PONG, whose ever, shows that the server lives; unasked ones do no harm."""
        client = self.start(ping_interval=10)
        self.broker.silent_ping = True
        for _ in range(20):
            self.broker.send_raw(b"PONG\r\nPONG\r\n")
            self.advance(20)
        self.assertTrue(client.is_connected)
        self.assertEqual(self.event_names(), ["Connected"])

    def test_unplugged(self) -> None:
        """A dead network is noticed in the same time."""
        self.start(ping_interval=10)
        self.network.stall("a")
        self.advance(30.4)
        self.assertEqual(self.event_names()[:2], ["Connected", "Disconnected"])
        self.network.release()
        self.network.flush()

    def test_flood(self) -> None:
        """Each of many PINGs is answered, and messages still come."""
        client = self.start()
        got = self.collect(client, "n")
        self.network.flush()
        self.broker.send_raw(b"PING\r\n" * 10_000 + b"MSG n 1 1\r\nx\r\n")
        self.network.flush()
        self.assertEqual(self.broker.clients[0].pongs, 10_000)
        self.assertEqual(got, [b"x"])

    def test_answer_waits_for_nobody(self) -> None:
        """A PING is answered also while publishes are held back."""
        script = Script()
        self.network.listen("f", 4222, script)
        self.start("f")
        (end,) = script.ends
        end.send(b"PONG\r\n")
        self.network.flush()
        end.received = b""
        end.send(b"PING\r\nping\r\n" + HELLO)
        self.network.flush()
        self.assertEqual(end.received, b"PONG\r\nPONG\r\n")
