"""D1 to D6: draining and closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from backplane.nats.client import Closed, Disconnected, Draining, Message, NatsClient, State
from backplane.nats.errors import ConnectionClosed, DrainTimeout, NotConnected
from tests.nats.bench import numbers
from tests.nats.checklist.scripted import ScriptedCase


def later(seconds: float = 0.0) -> Deferred[None]:
    """Return a Deferred that fires in a while."""
    clock: Any = reactor
    done: Deferred[None] = deferLater(clock, seconds, lambda: None)
    return done


class SubscriptionTests(ScriptedCase):
    """D1: one subscription."""

    async def test_D1_subscription(self) -> None:
        """What has come is handled, by a slow handler, and nothing after it."""
        server = await self.server()
        client, other = await self.connected(server), await self.connected(server)
        got: list[bytes] = []

        async def slow(message: Message) -> None:
            await later()
            got.append(message.payload)

        subscription = client.subscribe("a", slow)
        rest = self.collect(client, "b")
        await client.flush()
        for payload in numbers(100):
            other.publish("a", payload)
        await other.flush()
        drained = subscription.drain()
        again = subscription.drain()
        self.assertNoResult(drained)
        await drained
        self.assertEqual(got, numbers(100))
        self.assertEqual((subscription.active, subscription.pending), (False, (0, 0)))
        await again
        await subscription.drain()
        self.assertEqual(client.statistics().subscriptions, 1)
        other.publish("a", b"late")
        other.publish("b", b"1")
        await other.flush()
        await client.flush()
        self.assertEqual((len(got), rest), (100, [b"1"]))

    async def test_D1_reconnect(self) -> None:
        """A connection that is lost meanwhile ends it; it is not subscribed again."""
        f = await self.scripted()
        client = await self.connected(f.url)
        gate: Deferred[None] = Deferred()
        got: list[bytes] = []

        def slow(message: Message) -> Deferred[None] | None:
            got.append(message.payload)
            return gate if len(got) == 1 else None

        subscription = client.subscribe("a", slow)
        f.end.send(b"MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n")
        await self.until(lambda: got)
        f.end.answering = False
        drained = subscription.drain()
        await self.until(lambda: b"UNSUB 1\r\n" in f.end.received)
        f.end.hang_up()
        await self.until(lambda: client.counts()["reconnects"] == 1)
        self.assertNoResult(drained)
        gate.callback(None)
        await drained
        self.assertEqual(got, [b"1", b"2"])
        await client.flush()
        self.assertNotIn(b"SUB", f.end.received)

    async def test_D1_not_connected(self) -> None:
        """Without a connection there is nothing to wait for."""
        client = self.client("127.0.0.1:1")
        subscription = client.subscribe("a", lambda message: None)
        self.successResultOf(subscription.drain())
        self.assertFalse(subscription.active)


class DrainTests(ScriptedCase):
    """D2 to D4: a client."""

    async def test_D2_connection(self) -> None:
        """Fifty requests that are being answered are; then it closes."""
        server = await self.server()
        client, other = await self.connected(server), await self.connected(server)
        events: list[Any] = []
        client.add_listener(events.append)
        states: list[State] = []
        asked = 0
        gates: list[Deferred[None]] = []

        async def answer(message: Message) -> None:
            nonlocal asked
            asked += 1
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            await gate
            states.append(client.state)
            assert message.reply is not None
            client.publish(message.reply, message.payload)

        client.subscribe("ask", answer, concurrent=True)
        await client.flush()
        requests = [other.request("ask", payload, timeout=20) for payload in numbers(50)]
        await self.until(lambda: asked == 50)
        drained = client.drain()
        self.assertIs(client.state, State.DRAINING_SUBS)
        self.assertRaises(ConnectionClosed, client.subscribe, "new", print)
        client.publish("allowed", b"")
        await client.flush()
        for gate in gates:
            gate.callback(None)
        await self.until(lambda: client.state is not State.DRAINING_SUBS)
        self.assertIs(client.state, State.DRAINING_PUBS)
        self.assertRaises(ConnectionClosed, client.publish, "refused", b"")
        await drained
        answers = [(await request).payload for request in requests]
        self.assertEqual(answers, numbers(50))
        self.assertEqual(set(states), {State.DRAINING_SUBS})
        self.assertIs(client.state, State.CLOSED)
        self.assertEqual([type(event) for event in events], [Draining, Disconnected, Closed])
        self.assertEqual(events[-1], Closed(None))
        self.assertFalse(client.running)

    async def test_D2_own_requests(self) -> None:
        """A request of its own that waits for its answer gets it."""
        server = await self.server()
        client, other = await self.connected(server), await self.connected(server)

        async def answer(message: Message) -> None:
            await later(0.05)
            assert message.reply is not None
            other.publish(message.reply, b"here")

        other.subscribe("ask", answer)
        await other.flush()
        request = client.request("ask", b"", timeout=10)
        await client.drain()
        self.assertEqual(self.successResultOf(request).payload, b"here")

    async def test_D3_timeout(self) -> None:
        """A handler that is stuck ends in an error, and the client is closed all the same."""
        client = await self.connected(await self.server())
        stuck: Deferred[None] = Deferred()
        client.subscribe("a", lambda message: stuck)
        client.publish("a", b"")
        await client.flush()
        await client.flush()
        error = await self.failure(client.drain(0.02), DrainTimeout)
        self.assertEqual(str(error), "not drained within 0.02 s")
        self.assertIs(client.state, State.CLOSED)
        self.assertIsInstance(self.events[-1], Closed)
        stuck.callback(None)

    async def test_D3_silent_server(self) -> None:
        """A server that does not answer is not waited for longer than that either."""
        f = await self.scripted()
        client = await self.connected(f.url)
        client.subscribe("a", lambda message: None)
        f.end.answering = False
        await self.failure(client.drain(0.05), DrainTimeout)
        self.assertIs(client.state, State.CLOSED)

    async def test_D4_reconnecting(self) -> None:
        """Without a connection it closes at once, with an error."""
        f = await self.scripted()
        client = await self.connected(f.url)
        await f.close()
        await self.until(lambda: client.state is State.RECONNECTING)
        await self.failure(client.drain(), NotConnected)
        self.assertIs(client.state, State.CLOSED)
        self.assertIsInstance(self.events[-1], Closed)

    async def test_D4_lost(self) -> None:
        """A connection that is lost meanwhile ends it; nobody reconnects."""
        f = await self.scripted()
        client = await self.connected(f.url)
        client.subscribe("a", lambda message: None)
        f.end.answering = False
        drained = client.drain()
        await self.until(lambda: b"UNSUB" in f.end.received)
        f.end.hang_up()
        await self.failure(drained, NotConnected)
        self.assertIs(client.state, State.CLOSED)
        self.assertEqual(len(f.ends), 1)
        self.assertEqual(self.event_names(), ["Connected", "Draining", "Disconnected", "Closed"])

    async def test_D4_twice(self) -> None:
        """The same outcome for both; afterwards an error; a stop changes nothing."""
        client = await self.connected(await self.server())
        first, second = client.drain(), client.drain()
        await first
        await second
        await self.failure(client.drain(), ConnectionClosed)
        await client.stopService()
        self.assertEqual(self.event_names().count("Closed"), 1)
        never = self.client("127.0.0.1:1")
        await self.failure(never.drain(), NotConnected)

    async def test_D4_stopped(self) -> None:
        """A stop does not wait for the drain; it can be started again."""
        server = await self.server()
        client = await self.connected(server)
        stuck: Deferred[None] = Deferred()
        client.subscribe("a", lambda message: stuck)
        client.publish("a", b"")
        await client.flush()
        await client.flush()
        drained = client.drain()
        self.assertRaises(RuntimeError, client.startService)
        await client.stopService()
        await self.failure(drained, ConnectionClosed)
        self.assertEqual(self.event_names().count("Closed"), 1)
        stuck.callback(None)
        client.startService()
        await client.when_connected()
        await client.drain()


class CloseTests(ScriptedCase):
    """D5, D6: the end."""

    async def test_D5_close(self) -> None:
        """Disconnected, then closed; afterwards everything raises."""
        client = await self.connected(await self.server())
        waiting = client.request("nobody.answers", b"", timeout=30)
        client.subscribe("nobody.answers", lambda message: None)
        await client.stopService()
        await self.failure(waiting, ConnectionClosed)
        self.assertEqual(self.event_names(), ["Connected", "Disconnected", "Closed"])
        self.assertIsInstance(self.events[1].reason, ConnectionClosed)
        tried: list[Callable[[], object]] = [
            lambda: client.publish("a", b""),
            lambda: client.subscribe("a", print),
        ]
        for each in tried:
            self.assertRaises(ConnectionClosed, each)
        for done in (client.flush(), client.rtt(), client.when_connected(), client.drain()):
            await self.failure(done, ConnectionClosed)
        self.assertIs(client.state, State.CLOSED)

    async def test_D6_service(self) -> None:
        """A service that stops with a thousand publishes just made loses none of them."""
        server = await self.server()
        other = await self.connected(server)
        got = self.collect(other, "a")
        await other.flush()
        parent = MultiService()
        client = NatsClient(server.url, reactor)
        client.setServiceParent(parent)
        self.addCleanup(client.stopService)
        parent.startService()
        await client.when_connected()
        payloads = [payload * 500 for payload in numbers(1000)]
        for payload in payloads:
            client.publish("a", payload)
        await parent.stopService()
        self.assertIs(client.state, State.CLOSED)
        await other.flush()
        self.assertEqual(got, payloads)
        self.assertEqual(client.statistics().lost, 0)
