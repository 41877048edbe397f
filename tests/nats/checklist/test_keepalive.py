"""K1 to K6: keep-alive, flush, round-trip time."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from backplane.nats.client import Disconnected
from backplane.nats.errors import ConnectionClosed, FlushTimeout, NotConnected
from tests.nats.checklist.scripted import ScriptedCase
from tests.nats.checklist.servers import RPING


class KeepAliveTests(ScriptedCase):
    """Both ends ask whether the other one is there."""

    async def test_K1_idle(self) -> None:
        """A server that asks often, and gives up soon, keeps an idle client."""
        server = await self.server(RPING + "\ntrace: true")
        client = await self.connected(server, ping_interval=100)
        await self.until(lambda: server.log().count("<<- [PONG]") >= 8)
        self.assertEqual(self.event_names(), ["Connected"])
        self.assertEqual(client.counts()["connects"], 1)

    async def test_K2_stale(self) -> None:
        """A server that stops to answer is stale at the third interval."""
        f = await self.scripted()
        client = await self.connected(f.url, ping_interval=0.2, max_unanswered=2)
        end = f.end
        end.answering = False
        pings = end.pings
        await self.until(lambda: self.of(Disconnected))
        self.assertEqual(
            str(self.of(Disconnected)[0].reason),
            f"stale connection: 127.0.0.1:{f.port} did not answer 2 PINGs",
        )
        self.assertEqual(end.pings - pings, 2)
        await self.until(lambda: client.is_connected)

    async def test_K3_frozen(self) -> None:
        """A frozen server is stale, too; when it goes on the client comes back."""
        server = await self.server()
        client = await self.connected(
            server, ping_interval=0.2, max_unanswered=2, connect_timeout=0.3
        )
        got = self.collect(client, "a")
        await client.flush()
        server.pause()
        await self.until(lambda: "ConnectFailed" in self.event_names())
        self.assertIn("stale connection", str(self.of(Disconnected)[0].reason))
        server.resume()
        await client.when_connected()
        client.publish("a", b"1")
        await client.flush()
        await client.flush()
        self.assertEqual(got, [b"1"])

    async def test_K4_flushes(self) -> None:
        """Ten flushes, one of them late, one cancelled: each has the PONG that is its own."""
        f = await self.scripted()
        client = await self.connected(f.url, ping_interval=100)
        end = f.end
        end.answering = False
        done: list[int] = []
        flushes = []
        for number in range(10):
            flush = client.flush(0.05 if number == 4 else None)
            flush.addCallbacks(
                lambda _, number=number: done.append(number),
                lambda failure: failure.trap(FlushTimeout, CancelledError),
            )
            flushes.append(flush)
        await flushes[4]
        flushes[7].cancel()
        self.assertEqual(client.statistics().pings_outstanding, 10)
        for count, expected in enumerate(([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]), 1):
            for byte in b"PONG\r\n":
                end.send(bytes([byte]))
                await self.turn()
            while len(done) < count:
                await self.turn(0.01)
            self.assertEqual(done, expected)
        end.send(b"PONG\r\n" * 6)
        await self.until(lambda: len(done) == 8)
        self.assertEqual(done, [0, 1, 2, 3, 5, 6, 8, 9])
        self.assertEqual(client.statistics().pings_outstanding, 0)

    async def test_K4_rtt(self) -> None:
        """It is the time of a PING and its PONG."""
        server = await self.server()
        client = await self.connected(server)
        self.assertIs(client.statistics().rtt, None)
        found = await client.rtt()
        self.assertGreater(found, 0)
        self.assertEqual(client.statistics().rtt, found)

    async def test_K5_never_hangs(self) -> None:
        """Without a connection, at its loss, at a close: a flush fails, and does not hang."""
        f = await self.scripted()
        client = self.client(f.url)
        self.failureResultOf(client.flush(), NotConnected)
        self.failureResultOf(client.rtt(), NotConnected)
        client.startService()
        await client.when_connected()
        f.end.answering = False
        flushes, rtt = [client.flush(), client.flush(None)], client.rtt(None)
        f.end.hang_up()
        for flush in flushes:
            await self.failure(flush, NotConnected)
        await self.failure(rtt, NotConnected)
        self.failureResultOf(client.flush(), NotConnected)
        await client.when_connected()
        f.end.answering = False
        closing: list[Deferred[None]] = [client.flush(None)]
        stopped = client.stopService()
        for flush in closing:
            await self.failure(flush, NotConnected)
        await stopped
        self.failureResultOf(client.flush(), ConnectionClosed)
        self.failureResultOf(client.rtt(), ConnectionClosed)

    async def test_K6_unsolicited(self) -> None:
        """PONGs that nobody asked for are nothing; 10,000 PINGs are answered, each."""
        f = await self.scripted()
        client = await self.connected(f.url)
        f.end.send(b"PONG\r\n" * 100)
        await client.flush()
        f.end.send(b"PING\r\n" * 10_000)
        await self.until(lambda: f.end.received.count(b"PONG\r\n") == 10_000)
        await client.flush()
        self.assertEqual(self.event_names(), ["Connected"])
