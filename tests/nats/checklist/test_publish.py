"""S1 to S14: publishing and subscribing."""

from __future__ import annotations

from itertools import chain
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from backplane.nats.client import (
    Connected,
    Disconnected,
    Message,
    NatsClient,
    ServerError,
    SlowConsumer,
)
from backplane.nats.errors import BadSubject, BufferFull, PayloadTooLarge, PermissionDenied
from backplane.nats.headers import encode_headers
from backplane.testing.natsserver import NatsServer
from tests.nats.bench import numbers
from tests.nats.checklist.scripted import ScriptedCase
from tests.nats.checklist.servers import R0, RPERM, RSLOW, rlim


class PublishTests(ScriptedCase):
    """Clients and one server."""

    async def pair(self, config: str = R0, **options: Any) -> tuple[NatsClient, NatsClient]:
        """Return two clients of one server."""
        self.here: NatsServer = await self.server(config)
        return await self.connected(self.here, **options), await self.connected(self.here)

    async def settled(self, *clients: NatsClient) -> None:
        """Wait until what was published has been delivered."""
        for _ in range(2):
            for client in clients:
                await client.flush()

    def of_client(self, client: NatsClient) -> list[Any]:
        """Return the list to which events of just this client are added."""
        events: list[Any] = []
        client.add_listener(events.append)
        return events

    async def test_S1_overlapping(self) -> None:
        """Each of several subscriptions to one subject gets its copy."""
        client, other = await self.pair()
        got = {
            name: self.collect(client, name.partition("#")[0])
            for name in ("a.b", "a.b#again", "a.*", "*.b", "a.>", ">", "a.c", "a", "*.*.*")
        }
        await client.flush()
        other.publish("a.b", b"1")
        await self.settled(other, client)
        heard = {name for name, payloads in got.items() if payloads == [b"1"]}
        self.assertEqual(heard, {"a.b", "a.b#again", "a.*", "*.b", "a.>", ">"})
        self.assertEqual(sum(map(len, got.values())), 6)

    async def test_S2_queue_group(self) -> None:
        """A group shares the messages, a plain subscriber gets all."""
        client, other = await self.pair()
        members = [self.collect(client, "jobs", "workers") for _ in range(3)]
        plain = self.collect(client, "jobs")
        await client.flush()
        for payload in numbers(300):
            other.publish("jobs", payload)
        await self.settled(other, client)
        self.assertEqual(plain, numbers(300))
        self.assertEqual(sorted(chain.from_iterable(members)), sorted(numbers(300)))
        self.assertTrue(all(members), [len(member) for member in members])

    async def test_S3_unsubscribe(self) -> None:
        """Nothing is delivered after it, though messages are in flight; twice does nothing."""
        client, _ = await self.pair()
        got: list[bytes] = []
        subscription = client.subscribe("a", lambda message: got.append(message.payload))
        await client.flush()
        for payload in numbers(100):
            client.publish("a", payload)
        subscription.unsubscribe()
        subscription.unsubscribe()
        await self.settled(client)
        self.assertEqual(got, [])
        self.assertFalse(subscription.active)

    async def test_S4_limit(self) -> None:
        """A limit is exact, set before, too late, or from inside."""
        client, _ = await self.pair()
        got: dict[str, list[bytes]] = {name: [] for name in ("before", "late", "inside")}

        def inside(message: Message) -> None:
            got["inside"].append(message.payload)
            if len(got["inside"]) == 3:
                subscription.unsubscribe(5)

        before = client.subscribe("before", lambda message: got["before"].append(message.payload))
        late = client.subscribe("late", lambda message: got["late"].append(message.payload))
        subscription = client.subscribe("inside", inside)
        before.unsubscribe(5)
        for payload in numbers(10):
            client.publish("before", payload)
            client.publish("inside", payload)
        for payload in numbers(7):
            client.publish("late", payload)
        await self.settled(client)
        late.unsubscribe(3)
        self.assertFalse(late.active)
        client.publish("late", b"no")
        await self.settled(client)
        self.assertEqual(got["before"], numbers(5))
        self.assertEqual(got["inside"], numbers(5))
        self.assertEqual(got["late"], numbers(7))
        self.assertEqual(client.statistics().subscriptions, 0)

    async def test_S4_limit_of_a_slow_handler(self) -> None:
        """It counts what the handler gets, not what waits for it."""
        client, _ = await self.pair()
        got: list[bytes] = []
        gate: Deferred[None] = Deferred()

        def slow(message: Message) -> Deferred[None] | None:
            got.append(message.payload)
            return gate if len(got) == 1 else None

        subscription = client.subscribe("a", slow)
        for payload in numbers(10):
            client.publish("a", payload)
        await self.settled(client)
        self.assertEqual((got, subscription.pending[0]), ([b"0"], 10))
        subscription.unsubscribe(4)
        gate.callback(None)
        self.assertEqual(got, numbers(4))
        self.assertEqual((subscription.pending, subscription.active), ((0, 0), False))

    async def test_S5_limit_over_a_restart(self) -> None:
        """A limit of 10 is 10 in all, whatever server delivers them."""
        client, _ = await self.pair()
        got: list[bytes] = []
        client.subscribe("a", lambda message: got.append(message.payload)).unsubscribe(10)
        for payload in numbers(5):
            client.publish("a", payload)
        await self.settled(client)
        await self.restart(self.here)
        await client.when_connected()
        for payload in numbers(30):
            client.publish("a", payload)
        await self.settled(client)
        self.assertEqual(got, [*numbers(5), *numbers(5)])

    async def test_S6_no_echo(self) -> None:
        """Own messages do not come back, those of others do."""
        client, other = await self.pair(echo=False)
        got = self.collect(client, "a")
        await client.flush()
        client.publish("a", b"mine")
        await client.flush()
        other.publish("a", b"theirs")
        await self.settled(other, client)
        self.assertEqual(got, [b"theirs"])

    async def test_S7_bad_subjects(self) -> None:
        """They are errors of the caller, and nothing is on the wire."""
        f = await self.scripted()
        client = await self.connected(f.url)
        before = f.end.received
        for bad in ("foo bar", "foo..bar", ".foo", "foo.", "a\tb", "a\r\nPING", "", "a\x00"):
            self.assertRaises(BadSubject, client.publish, bad, b"")
            self.assertRaises(BadSubject, client.publish, "a", b"", bad)
            self.assertRaises(BadSubject, client.subscribe, bad, lambda message: None)
        for bad in ("grp\t1", "a b", "", "x\r\n"):
            self.assertRaises(BadSubject, client.subscribe, "a", lambda message: None, bad)
        await client.flush()
        self.assertEqual(f.end.received, before + b"PING\r\n")

    async def test_S8_payload_limit(self) -> None:
        """What is too large is an error of the caller, headers included, and harms nothing."""
        for config, limit in ((R0, 1048576), (rlim(max_payload=64), 64)):
            client, _ = await self.pair(config)
            self.assertEqual(client.max_payload, limit)
            got = self.collect(client, "a")
            block = encode_headers({"K": "v"})
            client.publish("a", b"x" * limit)
            client.publish("a", b"x" * (limit - len(block)), headers=block)
            self.assertRaises(PayloadTooLarge, client.publish, "a", b"x" * (limit + 1))
            self.assertRaises(
                PayloadTooLarge, client.publish, "a", b"x" * (limit - len(block) + 1), None, block
            )
            await self.settled(client)
            self.assertEqual([len(payload) for payload in got], [limit, limit - len(block)])
        self.assertEqual(self.of(Disconnected), [])

    async def test_S9_too_many_subscriptions(self) -> None:
        """The third of two is an event and an error of that subscription; two live on."""
        client, _ = await self.pair(rlim(max_subscriptions=2))
        errors: list[Exception] = []
        got = [self.collect(client, subject) for subject in ("a", "b")]
        third = client.subscribe("c", lambda message: None, on_error=errors.append)
        await client.flush()
        for subject in "abc":
            client.publish(subject, b"x")
        await self.settled(client)
        self.assertEqual(got, [[b"x"], [b"x"]])
        (event,) = self.of(ServerError)
        self.assertEqual((event.kind, event.subject, event.sid), ("subscribe", "c", third.sid))
        self.assertIsNotNone(third.denied)
        self.assertEqual([type(error) for error in errors], [PermissionDenied])
        self.assertTrue(client.is_connected)

    async def test_S9_permission(self) -> None:
        """A denied subscription is told to its owner, and to nobody else."""
        server = await self.server(RPERM)
        client = await self.connected(server, user="u", password="p")
        errors: list[Any] = []
        others: list[Any] = []
        denied = client.subscribe("no", lambda message: None, on_error=errors.append)
        good = client.subscribe("ok.a", lambda message: None, on_error=others.append)
        await client.flush()
        (error,) = errors
        self.assertEqual((error.subject, str(error)), ("no", denied.denied))
        self.assertEqual((others, good.denied), ([], None))

    async def test_S10_control_line(self) -> None:
        """A subject that is too long for the server ends in slow tries, not in a fast loop."""
        server = await self.server(rlim(max_control_line=512))
        client = await self.connected(server)
        clock: Any = reactor
        times: list[float] = []
        client.add_listener(
            lambda event: (
                times.append(clock.seconds())
                if isinstance(event, Connected | Disconnected)
                else None
            )
        )
        client.subscribe("a" * 600, lambda message: None)
        await self.until(lambda: len(times) >= 6)
        # A loss and a connection, by turns; the shortest delay is 0.25 s.
        waits = [up - down for down, up in zip(times[::2], times[1::2], strict=False)]
        self.assertGreater(min(waits), 0.24)
        self.assertIn("maximum control line exceeded", str(self.of(Disconnected)[0].reason))
        self.assertTrue(any("our fault" in line for line in self.lines()))

    async def test_S11_many(self) -> None:
        """100,000 messages arrive, in order, and are not all kept at a time."""
        client, other = await self.pair()
        got = 0
        wrong = 0

        def handler(message: Message) -> None:
            nonlocal got, wrong
            wrong += int(message.payload[:8]) != got
            got += 1

        client.subscribe("a", handler)
        await client.flush()
        held = 0
        for number in range(100_000):
            try:
                other.publish("a", b"%08d" % number + b"x" * 120)
            except BufferFull:
                await other.flush()
                other.publish("a", b"%08d" % number + b"x" * 120)
            if number % 1000 == 0:
                held = max(held, other.statistics().buffered_bytes)
                await self.turn()
        await self.settled(other, client)
        self.assertEqual((got, wrong), (100_000, 0))
        self.assertLessEqual(held, 2 * 1024 * 1024)

    async def test_S12_slow_handler(self) -> None:
        """Of 1,000 messages 100 are kept, in order, and the others counted, with one event."""
        f = await self.scripted()
        client = await self.connected(f.url)
        got: list[bytes] = []
        gates: list[Deferred[None]] = []

        def slow(message: Message) -> Deferred[None]:
            got.append(message.payload)
            gates.append(Deferred())
            return gates[-1]

        subscription = client.subscribe("a", slow, pending_messages=100)
        for payload in numbers(1000):
            f.end.send(b"MSG a 1 %d\r\n%b\r\nPING\r\n" % (len(payload), payload))
        await self.until(lambda: f.end.received.count(b"PONG") == 1000)
        self.assertEqual(self.of(SlowConsumer), [SlowConsumer("a", subscription.sid, 1)])
        self.assertEqual((subscription.pending[0], subscription.dropped), (100, 900))
        self.assertEqual(client.statistics().dropped, 900)
        self.assertEqual(got, [b"0"])
        while len(gates) < 100:
            gates[-1].callback(None)
        gates[-1].callback(None)
        self.assertEqual((got, subscription.pending), (numbers(100), (0, 0)))
        f.end.send(b"MSG a 1 1\r\nx\r\n" * 102)
        await self.until(lambda: subscription.dropped == 902)
        self.assertEqual([event.dropped for event in self.of(SlowConsumer)], [1, 901])

    async def test_S12_bytes(self) -> None:
        """Bytes are limited, too; one message is taken whatever its size."""
        f = await self.scripted()
        client = await self.connected(f.url)
        gate: Deferred[None] = Deferred()
        subscription = client.subscribe("a", lambda message: gate, pending_bytes=10)
        f.end.send(b"MSG a 1 20\r\n" + b"x" * 20 + b"\r\n" + b"MSG a 1 1\r\nx\r\n")
        await self.until(lambda: subscription.dropped)
        self.assertEqual(subscription.pending, (1, 20))
        gate.callback(None)
        self.assertEqual(subscription.pending, (0, 0))

    async def test_S13_paused(self) -> None:
        """A client that does not read is cut off; it comes back with its subscriptions."""
        client, other = await self.pair(RSLOW)
        got = self.collect(client, "a")
        await client.flush()
        connection = client._dialer.connection
        assert connection is not None
        transport: Any = connection.transport
        transport.pauseProducing()
        for _ in range(400):
            other.publish("a", b"x" * 90_000)
            await self.turn()
            await other.flush()
            if "Slow Consumer" in self.here.log():
                break
        await self.until(lambda: "Slow Consumer" in self.here.log())
        transport.resumeProducing()
        await self.until(lambda: client.counts()["reconnects"] == 1)
        await client.when_connected()
        await client.flush()
        got.clear()
        other.publish("a", b"again")
        await self.settled(other, client)
        self.assertEqual(got[-1], b"again")

    async def test_S14_reads_slowly(self) -> None:
        """A server that does not drain bounds what is kept by an error; the reactor goes on."""
        f = await self.scripted()
        client = await self.connected(f.url, buffer_size=100_000)
        f.end.wire.pauseProducing()
        taken = 0
        turns = 0
        try:
            for taken in range(1_000_000):
                client.publish("a", b"x" * 1000)
                if taken % 50 == 0:
                    await self.turn()
                    turns += 1
        except BufferFull:
            pass
        self.assertLess(taken, 100_000)
        self.assertGreater(turns, 1)
        self.assertLessEqual(client.statistics().buffered_bytes, 100_000)
        f.end.wire.resumeProducing()
        await client.flush()
        self.assertEqual(f.end.received.count(b"PUB a 1000\r\n"), taken)
