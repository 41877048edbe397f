"""The client comes back: when it tries again, and what it does on the new connection."""

from __future__ import annotations

import itertools
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.backoff import Delays
from backplane.nats.client import Connected, ConnectFailed, Disconnected
from backplane.nats.errors import NotConnected
from backplane.testing.broker import FakeBroker
from tests.nats.bench import ClientCase, Even, Script


class DelayTests(SynchronousTestCase):
    """The delays between rounds."""

    def test_growth(self) -> None:
        """From 0.5 s in 44 equal steps to 20 s, and no further."""
        delays = Delays(Even())
        found = [delays.next() for _ in range(60)]
        self.assertEqual((found[0], found[44], found[59]), (0.5, 20.0, 20.0))
        steps = [b - a for a, b in itertools.pairwise(found[:45])]
        for step in steps:
            self.assertAlmostEqual(step, 19.5 / 44)

    @given(st.integers(0, 2**32), st.integers(0, 100), st.booleans())
    def test_jitter(self, seed: int, tries: int, slow: bool) -> None:
        """Each is 50 to 150 % of what it would be without jitter."""
        delays, even = Delays(random.Random(seed)), Delays(Even())
        delays.tries = even.tries = tries
        middle = even.next(slow)
        self.assertTrue(0.5 * middle <= delays.next(slow) <= 1.5 * middle)
        if slow:
            self.assertEqual(middle, 20)

    def test_spread(self) -> None:
        """R7: many clients do not come back at the same time."""
        firsts = sorted(Delays(random.Random(seed)).next() for seed in range(200))
        self.assertLess(firsts[10], 0.3)
        self.assertGreater(firsts[190], 0.7)
        self.assertEqual(len(set(firsts)), 200)


class WaitTests(ClientCase):
    """R2: when a lost server is tried."""

    def gaps(self) -> list[float]:
        """Return the seconds between one try and the next."""
        times = [when for when, _ in self.tried]
        return [b - a for a, b in itertools.pairwise(times)]

    def check(self, gaps: list[float], delays: Delays) -> None:
        """Check the gaps, as far as the step of the clock allows."""
        for number, gap in enumerate(gaps):
            self.assertTrue(0 <= gap - delays.next() <= 0.13, (number, gap))

    def test_for_ever(self) -> None:
        """At once, then after growing delays, as long as it takes."""
        self.start()
        self.advance(10, 1)
        self.tried.clear()
        self.absent()
        self.advance(3600, 0.125)
        self.assertEqual(self.tried[0], (10.0, "a"))
        self.check(self.gaps(), Delays(Even()))
        self.assertGreater(len(self.gaps()), 150)
        self.assertEqual(self.event_names()[:3], ["Connected", "Disconnected", "ConnectFailed"])
        self.assertEqual(self.event_names().count("Disconnected"), 1)
        self.present()
        self.advance(21)
        self.assertEqual(self.events[-1], Connected("nats://a:4222", False))

    def test_jittered(self) -> None:
        """The jitter is that of the generator."""
        self.absent()
        self.start(rng=random.Random(5))
        self.advance(60, 0.125)
        self.check(self.gaps(), Delays(random.Random(5)))
        self.assertGreater(len(self.gaps()), 10)

    def test_rounds(self) -> None:
        """Between delays all servers are tried, each once."""
        self.absent()
        self.start("a,b,c", randomize=False)
        self.advance(3, 0.125)
        rounds = [self.tried[n : n + 3] for n in range(0, len(self.tried), 3)]
        self.assertEqual(len(rounds), 4)
        for tries in rounds:
            self.assertEqual([host for _, host in tries], ["a", "b", "c"])
            self.assertEqual(len({when for when, _ in tries}), 1)

    def test_flapping(self) -> None:
        """S10: a server that lets us in and drops us is not tried in a fast loop."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f")
        for _ in range(6000):
            end = script.ends[-1]
            if not end.lost:
                end.send(b"PONG\r\n")
                end.hang_up()
            self.clock.advance(0.1)
        self.network.flush()
        self.assertTrue(40 < len(script.ends) < 60, len(script.ends))
        self.assertGreater(client.counts()["reconnects"], 38)

    def test_lasting(self) -> None:
        """Once a connection has lasted, its loss is followed by a try at once again."""
        client = self.start()
        for lived, wait in ((1, 0.0), (1, 0.5), (1, 0.94), (10, 0.0), (1, 0.5), (5, 0.0)):
            self.advance(lived, 0.125)
            lost = self.clock.seconds()
            self.broker.drop_all()
            self.network.flush()
            while not client.is_connected:
                self.clock.advance(0.125)
                self.network.flush()
            waited = self.clock.seconds() - lost
            self.assertTrue(0 <= waited - wait <= 0.13, (lived, wait, waited))

    def test_short_but_good(self) -> None:
        """After connections that worked, if briefly, the delay does not grow."""
        client = self.start()
        for number in range(10):
            self.result(client.flush())
            lost = self.clock.seconds()
            self.broker.drop_all()
            self.network.flush()
            while not client.is_connected:
                self.clock.advance(0.125)
                self.network.flush()
            self.assertEqual(self.clock.seconds() - lost, 0.5 if number else 0.0)

    def test_force_reconnect(self) -> None:
        """R8: the connection is dropped, or the wait ends, and it connects at once."""
        client = self.start()
        for _ in range(3):
            client.force_reconnect()
            self.assertFalse(client.is_connected)
            self.network.flush()
            self.assertTrue(client.is_connected)
        lost = [event for event in self.events if isinstance(event, Disconnected)]
        self.assertEqual(str(lost[0].reason), "a reconnect was asked for")
        self.absent()
        self.advance(600)
        self.present()
        client.force_reconnect()
        self.advance(0)
        self.assertTrue(client.is_connected)

    def test_force_reconnect_early(self) -> None:
        """Before the start, and while a try is under way, it changes nothing."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.client("f")
        client.force_reconnect()
        self.assertEqual(self.tried, [])
        client.startService()
        client.force_reconnect()
        self.network.flush()
        client.force_reconnect()
        self.network.flush()
        script.ends[0].send(b"PONG\r\n")
        self.network.flush()
        self.assertTrue(client.is_connected)
        self.assertEqual(self.tried, [(0.0, "f")])


class ResubscribeTests(ClientCase):
    """R1, R5, S5: a new connection has exactly what is wanted."""

    def wanted(self) -> set[tuple[str, str | None, str, int | None]]:
        """Return subject, queue, sid and limit of what the broker has."""
        (server,) = self.broker.clients
        return {
            (one.subject, one.queue, one.sid, one.limit) for one in server.subscriptions.values()
        }

    def test_all(self) -> None:
        """Subjects, groups and sids are the same as before; the limited ones get the rest."""
        client = self.start()
        for subject in ("a", "b.*", "c.>"):
            self.collect(client, subject)
        self.collect(client, "jobs", "workers")
        limited: list[bytes] = []
        some = client.subscribe("some", lambda message: limited.append(message.payload))
        some.unsubscribe(10)
        for _ in range(5):
            client.publish("some", b"x")
        self.result(client.flush())
        before = self.wanted()
        self.assertIn(("some", None, "5", 10), before)
        self.broker.drop_all()
        self.network.flush()
        self.assertEqual(
            self.wanted(), before - {("some", None, "5", 10)} | {("some", None, "5", 5)}
        )
        for _ in range(30):
            client.publish("some", b"x")
        self.result(client.flush())
        self.assertEqual(len(limited), 10)
        self.assertNotIn("some", {subject for subject, *_ in self.wanted()})

    def test_limited_later(self) -> None:
        """A limit counts from the start, though the new server does not know what was before."""
        client = self.start()
        got: list[bytes] = []
        subscription = client.subscribe("x", lambda message: got.append(message.payload))
        self.network.flush()
        for _ in range(3):
            self.broker.publish("x", b"")
        self.network.flush()
        client.force_reconnect()
        self.network.flush()
        subscription.unsubscribe(5)
        self.result(client.flush())
        self.assertEqual(self.wanted(), {("x", None, "1", 2)})
        delivered = [self.broker.publish("x", b"") for _ in range(4)]
        self.network.flush()
        self.assertEqual((len(got), delivered), (5, [True, True, False, False]))

    def test_changed_while_away(self) -> None:
        """What is subscribed and unsubscribed meanwhile holds."""
        client = self.start()
        gone = client.subscribe("gone", lambda message: None)
        self.collect(client, "kept")
        self.absent()
        gone.unsubscribe()
        self.collect(client, "new", "q")
        client.subscribe("brief", lambda message: None).unsubscribe()
        client.subscribe("short", lambda message: None).unsubscribe(2)
        self.present()
        self.advance(2)
        self.assertEqual(
            {entry[:2] for entry in self.wanted()},
            {("kept", None), ("new", "q"), ("short", None)},
        )

    def test_before_the_start(self) -> None:
        """Subscriptions of a client that is not started are sent when it is."""
        client = self.client()
        got = self.collect(client, "x")
        client.startService()
        self.network.flush()
        self.broker.publish("x", b"1")
        self.network.flush()
        self.assertEqual(got, [b"1"])

    def test_no_duplicates(self) -> None:
        """R4, R17: over many restarts nothing comes twice, or in another order."""
        client = self.start()
        got: list[int] = []
        client.subscribe("n", lambda message: got.append(int(message.payload)))
        for number in range(2000):
            client.publish("n", str(number).encode())
            self.network.flush()
            if number % 10 == 9:
                self.broker.drop_all()
                self.advance(0.5, 0.5)
            if number % 100 == 99:
                self.advance(30, 1)
        self.result(client.flush())
        self.assertEqual(got, sorted(set(got)))
        self.assertGreater(len(got), 1000)
        counts = client.counts()
        self.assertEqual(counts["out_msgs"], 2000)
        self.assertEqual(counts["in_msgs"], len(got))
        self.assertEqual(counts["connects"], self.broker.connections)
        self.assertEqual(counts["reconnects"], counts["connects"] - 1)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.network.transports), 2)


class GossipTests(ClientCase):
    """R9, R10: servers that servers tell of."""

    def servers(self, client: Any) -> list[str]:
        """Return the pool."""
        return [url.removeprefix("nats://") for url in client.options()["servers"]]

    def test_pool(self) -> None:
        """It grows and shrinks; what was configured stays; no list is no news."""
        client = self.start("a,z", randomize=False)
        configured = ["a:4222", "z:4222"]
        for urls, pool in (
            (["a:4222", "b:1"], [*configured, "b:1"]),
            (["c:1", "b:1", "[::1]:5"], [*configured, "b:1", "c:1", "[::1]:5"]),
            ([], [*configured, "b:1", "c:1", "[::1]:5"]),
            (["c:1", "no:port", 7, "c:1"], [*configured, "c:1", "7:4222"]),
        ):
            self.broker.send_info(connect_urls=urls)
            self.network.flush()
            self.assertEqual(self.servers(client), pool)
        del self.broker.info["connect_urls"]
        self.broker.send_info()
        self.network.flush()
        self.assertEqual(self.servers(client), [*configured, "c:1", "7:4222"])

    def test_moves_on(self) -> None:
        """A server that was only heard of is used when the known one dies, with its credentials."""
        other = FakeBroker(user="u", password="p")
        self.network.listen("b", 1, other)
        self.broker.user, self.broker.password = "u", "p"
        self.broker.info["connect_urls"] = ["b:1"]
        client = self.start("nats://u:p@a")
        got = self.collect(client, "x")
        self.absent()
        self.assertEqual(client.connected_url, "nats://b:1")
        other.publish("x", b"1")
        self.network.flush()
        self.assertEqual(got, [b"1"])
        other.drop_all()
        self.network.flush()

    def test_lame_duck(self) -> None:
        """R12: the client moves to another server, once, before the end comes."""
        other = FakeBroker()
        self.network.listen("b", 1, other)
        client = self.start()
        self.broker.lame_duck(["b:1"])
        self.network.flush()
        self.assertEqual(client.connected_url, "nats://b:1")
        self.broker.lame_duck(["b:1"])
        self.absent()
        self.assertEqual(self.event_names(), ["Connected", "Discovered", "LameDuck", "Moved"])
        self.assertEqual(client.counts()["moves"], 1)
        other.drop_all()
        self.network.flush()

    def test_lame_duck_later(self) -> None:
        """R12: where the others become known only after the words, it moves then."""
        client = self.start()
        self.broker.lame_duck([])
        self.advance(60)
        self.assertEqual(self.event_names(), ["Connected", "LameDuck"])
        other = FakeBroker()
        self.network.listen("b", 1, other)
        self.broker.lame_duck(["b:1"])
        self.network.flush()
        self.assertEqual(client.connected_url, "nats://b:1")
        self.assertEqual(self.event_names()[2:], ["Discovered", "Moved"])
        other.drop_all()
        self.network.flush()

    def test_lame_ducks(self) -> None:
        """Two servers that both are about to end do not play ball with the client."""
        other = FakeBroker()
        self.network.listen("b", 1, other)
        other.info["ldm"] = True
        client = self.start("a,b:1", randomize=False)
        self.broker.lame_duck(["b:1"])
        self.advance(30)
        self.assertEqual(client.counts()["moves"], 1)
        self.assertEqual(client.connected_url, "nats://b:1")
        other.drop_all()
        self.network.flush()

    def test_off(self) -> None:
        """R11: without gossip the pool is what was configured."""
        client = self.start(gossip=False)
        self.broker.send_info(connect_urls=["b:1", "c:1"])
        self.network.flush()
        self.assertEqual(self.servers(client), ["a:4222"])
        self.assertEqual(self.event_names(), ["Connected"])


class CrowdTests(ClientCase):
    """R7: many clients lose one of three servers."""

    def test_spread(self) -> None:
        """Those who were there go to both others, and nobody else moves."""
        others = [FakeBroker(), FakeBroker()]
        for host, broker in zip("bc", others, strict=True):
            self.network.listen(host, 4222, broker)
        clients = [self.start("a,b,c", rng=random.Random(seed)) for seed in range(60)]
        here = len(self.broker.clients)
        before = [len(broker.clients) for broker in others]
        self.assertTrue(all(10 <= count <= 30 for count in (here, *before)), (here, before))
        self.absent()
        self.assertTrue(all(client.is_connected for client in clients))
        after = [len(broker.clients) for broker in others]
        self.assertEqual(sum(after), 60)
        for old, new in zip(before, after, strict=True):
            self.assertGreaterEqual(new - old, here // 4)
        self.assertEqual(sum(client.counts()["reconnects"] for client in clients), here)
        for client in clients:
            self.stop(client)


class LossTests(ClientCase):
    """Why a connection is gone, as events tell it."""

    def reason(self, lose: Any) -> str:
        """Return why, when the test does this."""
        client = self.start()
        self.events.clear()
        lose()
        self.network.flush()
        (event,) = [event for event in self.events if isinstance(event, Disconnected)]
        self.assertEqual(event.url, "nats://a:4222")
        self.assertIsInstance(event.reason, NotConnected)
        self.stop(client)
        return str(event.reason)

    def test_reasons(self) -> None:
        """Closed, reset, garbage, an error of the server."""
        self.assertEqual(self.reason(self.broker.drop_all), "closed by the server")
        self.assertEqual(self.reason(self.network.cut), "reset by the server")
        self.assertEqual(
            self.reason(lambda: self.broker.clients[0].fail("Stale Connection")),
            "Stale Connection",
        )

    def test_garbage(self) -> None:
        """What is not NATS ends the connection; what came before it is delivered."""
        client = self.start()
        got = self.collect(client, "x")
        self.network.flush()
        self.broker.send_raw(b"MSG x 1 1\r\n1\r\nMSG x 1 1\r\n2\r\nPOO\r\nMSG x 1 1\r\n3\r\n")
        self.network.flush()
        self.assertEqual(got, [b"1", b"2"])
        (lost,) = [event for event in self.events if isinstance(event, Disconnected)]
        self.assertIn("unknown operation", str(lost.reason))
        self.assertTrue(client.is_connected)
        self.assertEqual(client.counts()["reconnects"], 1)

    def test_one_event_each(self) -> None:
        """A loss and a return are one event each, a failed try another."""
        self.start()
        self.broker.drop_all()
        self.network.flush()
        self.assertEqual(self.event_names(), ["Connected", "Disconnected", "Connected"])
        self.absent()
        self.assertFalse(any(isinstance(event, ConnectFailed) for event in self.events))
        self.advance(1)
        self.assertEqual(self.event_names()[3:5], ["Disconnected", "ConnectFailed"])
