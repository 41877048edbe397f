"""The client moves to a new connection, and nothing is missed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from backplane.nats.client import Connected, Disconnected, Message, Moved, NatsClient
from backplane.nats.errors import ConnectionClosed
from backplane.testing.broker import FakeBroker
from tests.nats.bench import ClientCase, Script

URL = "nats://a:4222"


class MoveTests(ClientCase):
    """One server, or two."""

    def said(self) -> list[str]:
        """Return what was logged about moves."""
        return [line for line in self.lines() if "renewed" in line]

    def steps(self, client: NatsClient, each: Any, most: int = 200) -> int:
        """Move, and call ``each`` before every step of the network; return how many."""
        moves = client.counts()["moves"]
        client.move("renewed")
        for number in range(most):
            each()
            self.network.step()
            if client.counts()["moves"] > moves and len(self.broker.clients) == 1:
                return number
        raise AssertionError("the move did not end")

    def test_move(self) -> None:
        """The new connection is subscribed before the old one goes; events and counts say it."""
        client = self.start()
        got: list[Message] = []
        client.subscribe("x", got.append)
        self.network.flush()
        old = self.broker.clients[0]
        client.move("renewed")
        self.assertTrue(client.is_moving)
        self.network.flush()
        self.assertEqual(len(self.broker.clients), 1)
        self.assertIsNot(self.broker.clients[0], old)
        self.assertEqual(self.events, [Connected(URL, True), Moved(URL, URL)])
        self.assertEqual(self.said(), [f"renewed: moved to a new connection to {URL}"])
        counts = client.counts()
        self.assertEqual((counts["connects"], counts["reconnects"], counts["moves"]), (1, 0, 1))
        self.broker.publish("x", b"after")
        self.network.flush()
        self.assertEqual([message.payload for message in got], [b"after"])
        self.assertTrue(client.is_moving)
        self.advance(6)
        self.assertFalse(client.is_moving)

    def test_nothing_missed(self) -> None:
        """At whatever step something is published to us, it arrives, once or twice."""
        client = self.start()
        got: list[bytes] = []
        client.subscribe("x", lambda message: got.append(message.payload))
        client.subscribe("x", lambda message: got.append(b"q" + message.payload), queue="q")
        self.network.flush()
        sent: list[bytes] = []

        def publish() -> None:
            sent.append(b"%d" % len(sent))
            self.broker.publish("x", sent[-1])

        for _ in range(20):
            self.steps(client, publish)
        publish()
        self.network.flush()
        self.assertEqual(set(got), {*sent, *(b"q" + name for name in sent)})
        self.assertLessEqual(max(got.count(name) for name in sent), 2)
        # A queue group hands each of them to one connection.
        self.assertEqual(max(got.count(b"q" + name) for name in sent), 1)
        self.assertGreater(len(sent), 100)

    def test_published(self) -> None:
        """What we publish meanwhile arrives, once and in order."""
        client = self.start()
        count = 0
        confirmed = 0

        def publish() -> None:
            nonlocal count
            client.publish("y", b"%d" % count)
            count += 1

            def answered(_: object, number: int = count) -> None:
                nonlocal confirmed
                found = [payload for subject, payload in self.broker.published if subject == "y"]
                self.assertGreaterEqual(len(found), number)
                confirmed += 1

            client.flush().addCallback(answered)

        for _ in range(5):
            self.steps(client, publish)
        self.network.flush()
        found = [int(payload) for subject, payload in self.broker.published if subject == "y"]
        self.assertEqual(found, list(range(count)))
        self.assertEqual(confirmed, count)

    def test_subscribed_meanwhile(self) -> None:
        """A subscription that is made, or ended, at any step of a move is there, or gone."""
        client = self.start()
        got: list[str] = []
        live: list[str] = []
        made: list[Any] = []

        def change() -> None:
            name = f"s{len(made)}"
            made.append(client.subscribe(name, lambda message: got.append(message.subject)))
            live.append(name)
            if len(made) % 3 == 0:
                made[-2].unsubscribe()
                live.remove(made[-2].subject)

        self.steps(client, change)
        self.network.flush()
        for one in made:
            self.broker.publish(one.subject, b"")
        self.network.flush()
        self.assertEqual(got, live)

    def test_limited(self) -> None:
        """A subscription with a limit delivers so many, over both connections together."""
        client = self.start()
        got: list[bytes] = []
        one = client.subscribe("x", lambda message: got.append(message.payload))
        one.unsubscribe(7)
        self.network.flush()
        self.steps(client, lambda: self.broker.publish("x", b"-"))
        for _ in range(10):
            self.broker.publish("x", b"+")
        self.network.flush()
        self.assertEqual(len(got), 7)
        self.assertFalse(one.active)
        self.assertFalse(self.broker.publish("x", b"nobody"))

    def test_other_server(self) -> None:
        """The server of now does not take us anew: another one of the pool does."""
        other = FakeBroker()
        self.network.listen("b", 4222, other)
        self.addCleanup(other.drop_all)
        client = self.start("a,b", randomize=False)
        self.broker.refuse = True
        client.move("renewed")
        self.network.flush()
        self.assertEqual((len(self.broker.clients), len(other.clients)), (0, 1))
        self.assertEqual(self.events[-1], Moved("nats://b:4222", URL))
        self.assertEqual(client.connected_url, "nats://b:4222")

    def test_refused(self) -> None:
        """Nobody takes us: the old connection stays, one line says why, and it is tried again."""
        client = self.start()
        got: list[bytes] = []
        client.subscribe("x", lambda message: got.append(message.payload))
        self.broker.refuse = True
        client.move("renewed")
        self.advance(120)
        self.assertEqual(len(self.said()), 1)
        self.assertIn(
            "renewed, but there is no new connection, the old one stays: a:4222:", str(self.said())
        )
        self.assertGreater(len(self.tried), 10)
        self.broker.publish("x", b"old")
        self.network.flush()
        self.assertEqual(got, [b"old"])
        self.broker.refuse = False
        self.advance(40)
        self.assertEqual(client.counts()["moves"], 1)
        self.assertEqual(len(self.broker.clients), 1)
        self.assertEqual([type(event) for event in self.events], [Connected, Moved])

    def test_silent(self) -> None:
        """A server that says nothing to the new connection does not hold us for ever."""
        client = self.start(ping_interval=1000)
        self.broker.silent = True
        client.move("renewed")
        self.advance(8)
        self.assertEqual(len(self.said()), 1)
        self.assertIn("5 s", self.said()[0])
        self.broker.silent = False
        self.advance(10)
        self.assertEqual(client.counts()["moves"], 1)

    def test_denied(self) -> None:
        """The new connection may not subscribe what the old one may: it is not used."""
        client = self.start()
        client.subscribe("x", lambda message: None)
        self.network.flush()
        self.broker.deny_subscribe = ["x"]
        client.move("renewed")
        self.advance(3)
        self.assertEqual(client.counts()["moves"], 0)
        self.assertIn("Permissions Violation for Subscription", self.said()[0])
        self.assertEqual(len(self.broker.clients), 1)
        self.assertTrue(self.broker.publish("x", b""))
        self.assertEqual([type(event) for event in self.events], [Connected])
        self.broker.deny_subscribe = []
        self.advance(10)
        self.assertEqual(client.counts()["moves"], 1)

    def test_denied_before(self) -> None:
        """What the old one may not either is no reason to stay, and is told once more."""
        self.broker.deny_subscribe = ["x"]
        client = self.start()
        one = client.subscribe("x", lambda message: None)
        self.network.flush()
        self.assertIsNotNone(one.denied)
        client.move("renewed")
        self.network.flush()
        self.assertEqual(client.counts()["moves"], 1)
        self.assertIsNotNone(one.denied)
        self.broker.deny_subscribe = []
        client.move("renewed")
        self.network.flush()
        self.assertIsNone(one.denied)

    def test_lost_meanwhile(self) -> None:
        """The old connection is lost at any step: there is one connection in the end."""
        for step in range(12):
            client = self.start()
            got = self.collect(client, f"x{step}")
            self.network.flush()
            client.move("renewed")
            for _ in range(step):
                self.network.step()
            self.broker.clients[0].close()
            self.advance(30)
            self.assertTrue(client.is_connected)
            self.assertEqual(len(self.broker.clients), 1, step)
            self.broker.publish(f"x{step}", b"")
            self.network.flush()
            self.assertEqual(got, [b""])
            self.stop(client)

    def test_stop_meanwhile(self) -> None:
        """Stopped at any step of a move: nothing is left, and the last publish arrived."""
        for step in range(14):
            client = self.start()
            client.move("renewed")
            for _ in range(step):
                self.network.step()
            client.publish("last", b"%d" % step)
            self.stop(client)
            self.assertEqual(self.broker.published[-1], ("last", b"%d" % step))
            self.nothing_left()

    def test_again(self) -> None:
        """A move that is asked for during another one takes its place."""
        client = self.start()
        for step in range(12):
            client.move("renewed")
            for _ in range(step):
                self.network.step()
        self.network.flush()
        self.advance(10)
        self.assertEqual(len(self.broker.clients), 1)
        self.assertTrue(client.is_connected)

    def test_not_connected(self) -> None:
        """Without a connection it ends the wait for the next try; without a start it is nothing."""
        client = self.client()
        client.move()
        self.absent()
        client.startService()
        self.advance(60)
        self.present()
        tries = len(self.tried)
        client.move()
        self.network.flush()
        self.advance(0.1)
        self.assertEqual(len(self.tried), tries + 1)
        self.assertTrue(client.is_connected)
        self.stop(client)
        client.move()
        self.assertFalse(client.is_connected)
        with self.assertRaises(ConnectionClosed):
            client.publish("x", b"")

    def test_stuck(self) -> None:
        """An old connection that answers no more is closed within a bound; a flush says so."""
        script = Script()
        self.port = self.network.listen("c", 4222, script)
        client = self.client("c")
        client.startService()
        self.network.flush()
        script.ends[0].send(b"PONG\r\n")
        self.network.flush()
        client.move("renewed")
        self.network.flush()
        script.ends[1].send(b"PONG\r\n")
        self.network.flush()
        script.ends[1].send(b"PONG\r\n")
        self.network.flush()
        self.assertEqual(client.counts()["moves"], 1)
        flushed: Deferred[None] = client.flush(3)
        script.ends[1].send(b"PONG\r\n")
        self.network.flush()
        self.assertNoResult(flushed)
        self.advance(4)
        self.failureResultOf(flushed)
        self.advance(4)
        self.assertTrue(script.ends[0].lost)
        self.assertFalse(script.ends[1].lost)
        self.assertEqual([type(event) for event in self.events], [Connected, Moved])
        script.ends[1].hang_up()
        self.network.flush()
        self.assertEqual(type(self.events[2]), Disconnected)
