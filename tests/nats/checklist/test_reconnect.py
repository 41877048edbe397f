"""R1 to R8 and R13 to R16: a server goes and comes back. R17 is in ``slow_reconnect``."""

from __future__ import annotations

import itertools
import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from backplane.nats.backoff import Delays
from backplane.nats.client import (
    Closed,
    Connected,
    ConnectFailed,
    Disconnected,
    LameDuck,
    NatsClient,
    ServerError,
    State,
)
from backplane.nats.errors import BufferFull, ConnectionClosed, ConnectionFailed
from tests.nats.bench import ClientCase
from tests.nats.checklist.scripted import F, ScriptedCase
from tests.nats.checklist.servers import RTOK, free_ports
from tests.nats.checklist.test_connect import Names, Resolving

FATAL = (
    "Stale Connection",
    "Authorization Violation",
    "User Authentication Expired",
    "User Authentication Revoked",
    "Account Authentication Expired",
    "Authentication Timeout",
    "maximum connections exceeded",
    "maximum account active connections exceeded",
    "Connection throttling is active. Please try again later.",
    "Maximum Payload Violation",
    "maximum control line exceeded",
    "Unknown Protocol Operation",
    "invalid client protocol",
    "no responders requires headers support",
    "Failed Account Registration",
    "Secure Connection - TLS Required",
    "Words that nobody knows",
)
"""What servers say before they close."""


class DelayTests(ClientCase):
    """R2, on a clock: nobody wants to wait for it."""

    def test_R2_delays(self) -> None:
        """At once, then later and later within the bounds of the jitter, up to 20 s."""
        self.start(rng=random.Random(2))
        self.advance(10, 1)
        self.absent()
        self.tried.clear()
        self.events.clear()
        self.broker.drop_all()
        lost = self.clock.seconds()
        self.advance(1800, 0.05)
        times = [when for when, _ in self.tried]
        gaps = [later - earlier for earlier, later in itertools.pairwise([lost, *times])]
        for number, gap in enumerate(gaps):
            step = 0.5 + 19.5 * min(number, 44) / 44
            self.assertTrue(0.5 * step <= gap + 0.001, (number, gap))
            self.assertTrue(gap <= 1.5 * step + 0.06, (number, gap))
        self.assertLess(max(gaps), 30.1)
        self.assertGreater(len(gaps), 100)

    def test_R2_thirty_seconds(self) -> None:
        """A server that is away for 30 s is tried at once, again and again, and found."""
        client = self.start(rng=random.Random(3))
        self.advance(10, 1)
        self.tried.clear()
        self.absent()
        self.assertEqual(self.tried[0], (self.clock.seconds(), "a"))
        self.advance(30, 0.05)
        self.assertTrue(6 <= len(self.tried) <= 14, len(self.tried))
        self.present()
        self.advance(15)
        self.assertTrue(client.is_connected)

    def test_R7_jitter(self) -> None:
        """The tries of many clients are spread over time."""
        firsts = sorted(Delays(random.Random(seed)).next() for seed in range(32))
        for earlier, later in itertools.pairwise(firsts):
            self.assertLess(later - earlier, 0.15)
        self.assertTrue(0.25 <= firsts[0] < 0.35 and 0.65 < firsts[-1] <= 0.75, firsts)


class ReconnectTests(ScriptedCase):
    """One server, real or scripted."""

    async def settled(self, client: NatsClient) -> None:
        """Wait until what was published has been delivered."""
        await client.flush()
        await client.flush()

    async def again(self, client: NatsClient, number: int) -> None:
        """Wait for so many reconnects."""
        await self.until(lambda: client.counts()["reconnects"] >= number)
        await client.when_connected()

    async def test_R1_stop_and_kill(self) -> None:
        """All subscriptions are there again, nothing twice, one event each."""
        server = await self.server()
        client = await self.connected(server)
        got = [self.collect(client, f"a.{number}") for number in range(5)]
        queue = self.collect(client, "jobs", "workers")
        limited: list[bytes] = []
        client.subscribe("some", lambda m: limited.append(m.payload)).unsubscribe(4)
        for round_, end in enumerate((server.stop, server.kill), 1):
            for subject in ("a.0", "a.1", "a.2", "a.3", "a.4", "jobs", "some"):
                client.publish(subject, b"%d" % round_)
            await self.settled(client)
            self.assertIs(client.state, State.CONNECTED)
            end()
            await self.counted(Disconnected, round_)
            self.assertIs(client.state, State.RECONNECTING)
            server.start()
            await self.again(client, round_)
        for subject in ("a.0", "a.1", "a.2", "a.3", "a.4", "jobs"):
            client.publish(subject, b"3")
        for _ in range(9):
            client.publish("some", b"3")
        await self.settled(client)
        self.assertEqual([*got, queue], [[b"1", b"2", b"3"]] * 6)
        self.assertEqual(limited, [b"1", b"2", b"3", b"3"])
        names = [name for name in self.event_names() if name != "ConnectFailed"]
        self.assertEqual(names, ["Connected", *["Disconnected", "Connected"] * 2])
        self.assertEqual([event.first for event in self.of(Connected)], [True, False, False])
        self.assertEqual(str(self.of(Disconnected)[1].reason), "closed by the server")

    async def test_R3_buffer(self) -> None:
        """Two of 16 bytes fit into 32, and arrive in order; without a buffer none."""
        server = await self.server()
        client = await self.connected(server, buffer_size=32)
        got = self.collect(client, "a")
        await client.flush()
        off = await self.connected(server, buffer_size=-1)
        server.stop()
        await self.until(lambda: not client.is_connected and not off.is_connected)
        for payload in (b"11111", b"22222"):
            client.publish("a", payload)  # 16 bytes on the wire
        self.assertEqual(client.statistics().buffered_bytes, 32)
        self.assertRaises(BufferFull, client.publish, "a", b"33333")
        self.assertRaises(BufferFull, off.publish, "a", b"")
        server.start()
        await self.again(client, 1)
        await self.settled(client)
        self.assertEqual(got, [b"11111", b"22222"])
        self.assertEqual(client.statistics().lost, 0)

    async def test_R4_publish_over_restarts(self) -> None:
        """Nothing comes twice, or in another order; what is lost is what was under way."""
        server = await self.server()
        client = await self.connected(server)
        got: list[int] = []
        client.subscribe("a", lambda message: got.append(int(message.payload)))
        sent = 0
        for round_ in range(4):
            for _ in range(100):
                client.publish("a", b"%d" % sent)
                sent += 1
                await self.turn(0.001)
            if round_ < 3:
                server.restart()
                while client.counts()["reconnects"] <= round_:
                    client.publish("a", b"%d" % sent)
                    sent += 1
                    await self.turn(0.001)
        await self.settled(client)
        self.assertEqual(got, sorted(set(got)))
        self.assertGreater(len(got), sent * 0.9)
        found = client.statistics()
        self.assertEqual((found.out_msgs, found.in_msgs), (sent, len(got)))
        self.assertEqual((found.connects, found.reconnects), (4, 3))
        self.assertEqual(found.out_bytes, sum(len(str(number)) for number in range(sent)))

    async def test_R5_changes_while_down(self) -> None:
        """After the return exactly what is wanted then is subscribed."""
        f = await self.scripted()
        client = await self.connected(f.url)
        gone = client.subscribe("gone", lambda message: None)
        client.subscribe("kept", lambda message: None)
        await client.flush()
        await f.close()
        await self.until(lambda: not client.is_connected)
        gone.unsubscribe()
        client.subscribe("new", lambda message: None, "q")
        client.subscribe("brief", lambda message: None).unsubscribe()
        client.subscribe("short", lambda message: None).unsubscribe(2)
        f.listen(f.port)
        await self.again(client, 1)
        await client.flush()
        lines = f.end.received.split(b"\r\n")[2:-2]
        self.assertEqual(lines, [b"SUB kept 2", b"SUB new q 3", b"SUB short 5", b"UNSUB 5 2"])

    async def test_R6_attempts(self) -> None:
        """After three failed tries of each server the client closes, and says why."""
        ports = free_ports(2)
        client = self.client([f"127.0.0.1:{port}" for port in ports], max_attempts=3)
        client.startService()
        await self.failure(client.when_connected(), ConnectionFailed)
        tried = [event.server for event in self.of(ConnectFailed)]
        self.assertEqual({server: tried.count(server) for server in tried}, dict.fromkeys(
            [f"127.0.0.1:{port}" for port in ports], 3
        ))  # fmt: skip
        self.assertIsInstance(self.events[-1], Closed)
        self.assertIsInstance(self.events[-1].reason, ConnectionFailed)
        self.assertIs(client.state, State.CLOSED)
        self.assertRaises(ConnectionClosed, client.publish, "a", b"")
        await client.stopService()
        server = await self.server(port=ports[0])
        client.startService()
        await client.when_connected()
        self.assertEqual(client.connected_url, server.url)

    async def test_R6_success_resets(self) -> None:
        """Only failures in a row count; without a limit nothing is given up."""
        f = await self.scripted()
        client = await self.connected(f.url, max_attempts=3)
        for round_ in range(1, 4):
            await f.close()
            for failure in (2 * round_ - 1, 2 * round_):
                await self.counted(ConnectFailed, failure)
                client.force_reconnect()
                if failure % 2 == 0:
                    f.listen(f.port)
            await self.again(client, round_)
        self.assertNotIn("Closed", self.event_names())

    async def test_R8_close_while_waiting(self) -> None:
        """A stop ends the wait."""
        f = await self.scripted()
        client = await self.connected(f.url)
        await f.close()
        await self.until(lambda: self.of(ConnectFailed))
        await client.stopService()
        self.assertEqual(self.events[-1], Closed())
        self.assertNotIn("Connected", self.event_names()[1:])

    async def test_R8_force_reconnect(self) -> None:
        """It connects at once, from a connection and from a wait."""
        server = await self.server()
        client = await self.connected(server)
        client.force_reconnect()
        self.assertFalse(client.is_connected)
        await client.when_connected()
        self.assertEqual(client.counts()["reconnects"], 1)
        self.assertEqual(str(self.of(Disconnected)[0].reason), "a reconnect was asked for")
        server.stop()
        await self.until(lambda: len(self.of(ConnectFailed)) > 1)
        server.start()
        await self.ready(server)
        tries = len(self.of(ConnectFailed))
        client.force_reconnect()
        await client.when_connected()
        self.assertEqual(len(self.of(ConnectFailed)), tries)

    async def test_R13_lame_duck_alone(self) -> None:
        """The only server: one event, and the client stays until it is closed."""
        server = await self.server('lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"')
        client = await self.connected(server)
        got = self.collect(client, "a")
        await client.flush()
        server.lame_duck()
        await self.until(lambda: self.of(LameDuck))
        client.publish("a", b"still")
        await self.settled(client)
        self.assertEqual(got, [b"still"])
        self.assertEqual(self.of(Disconnected), [])
        await self.until(lambda: len(self.of(ConnectFailed)) > 1)
        self.assertEqual(
            self.event_names()[:4], ["Connected", "LameDuck", "Disconnected", "ConnectFailed"]
        )
        self.assertEqual(len(self.of(LameDuck)), 1)
        self.assertEqual(client.counts()["moves"], 0)

    async def test_R14_errors(self) -> None:
        """Whatever a server says when it closes, or instead, the client comes back."""
        f = await self.scripted()
        client = await self.connected(f.url)
        for number, text in enumerate(FATAL, 1):
            f.end.send(f"-ERR '{text}'\r\n".encode())
            f.end.hang_up()
            await self.counted(Disconnected, number)
            if not client.is_connected:
                client.force_reconnect()  # the wait is for others to test
            await self.again(client, number)
            self.assertEqual(self.of(ServerError)[-1].text, text)
            self.assertEqual(str(self.of(Disconnected)[-1].reason), text)
        f.end.send(b"-ERR 'Other words'\r\n-ERR 'Invalid Subject'\r\n")
        await client.flush()
        self.assertEqual(len(self.of(Disconnected)), len(FATAL))
        self.assertEqual(client.statistics().last_error, "Invalid Subject")

    async def test_R14_while_reconnecting(self) -> None:
        """Errors before the PONG are why a try failed; the next one succeeds."""
        f = await self.scripted()
        client = await self.connected(f.url)
        bad = 2

        def heard(end: F, line: bytes) -> None:
            nonlocal bad
            if line.startswith(b"CONNECT") and bad:
                bad -= 1
                end.answering = False
                end.send(b"-ERR 'maximum connections exceeded'\r\n")
                end.hang_up()

        f.heard = heard  # type: ignore[method-assign]
        f.end.hang_up()
        await self.again(client, 1)
        failures = [str(event.reason) for event in self.of(ConnectFailed)]
        self.assertEqual(failures, ["maximum connections exceeded"] * 2)
        self.assertEqual(client.counts()["error_other"], 2)

    async def test_R15_new_address(self) -> None:
        """A name is resolved at each try."""
        server = await self.server()
        names = Names(broker=["127.0.0.3"])
        client = NatsClient(
            f"broker:{server.port}", Resolving(names), rng=random.Random(1), stop_timeout=1
        )
        client.add_listener(self.events.append)
        self.addCleanup(client.stopService)
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        self.assertFalse(client.is_connected)
        names.addresses["broker"] = ["127.0.0.1"]
        await client.when_connected()


class LogTests(ClientCase):
    """R16, on a clock: the waits are long."""

    def test_R16_wrong_credentials(self) -> None:
        """Ten refused tries: still trying, slowly, one line for the cause."""
        self.broker.token = "right"
        client = self.start(token="wrong")
        self.advance(200, 0.5)
        self.assertGreaterEqual(self.event_names().count("ConnectFailed"), 10)
        self.assertLess(self.event_names().count("ConnectFailed"), 14)
        lines = [line for line in self.lines(LogLevel.warn) if "cannot connect" in line]
        self.assertEqual(len(lines), 1)
        self.assertIn("Authorization Violation", lines[0])
        self.assertFalse(any("wrong" in line for line in self.lines(LogLevel.debug)))
        self.broker.token = "wrong"
        self.advance(21)
        self.assertTrue(client.is_connected)


class RealCredentialTests(ScriptedCase):
    """R16 with a real server, as far as its pace allows."""

    async def test_R16_refused(self) -> None:
        """The words of the server are why; it is tried again."""
        server = await self.server(RTOK)
        client = self.client(server, token="wrong")
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        self.assertIn("Authorization Violation", str(self.of(ConnectFailed)[0].reason))
        done: Deferred[Any] = client.when_connected()
        client.force_reconnect()
        await self.until(lambda: len(self.of(ConnectFailed)) > 1)
        await client.stopService()
        self.failureResultOf(done, ConnectionClosed)
        lines = [line for line in self.lines(LogLevel.warn) if "cannot connect" in line]
        self.assertEqual(len(lines), 1)
