"""O1, O2: what a client tells of itself."""

from __future__ import annotations

from backplane.nats.client import (
    Closed,
    Connected,
    ConnectFailed,
    Disconnected,
    Message,
    State,
)
from backplane.nats.events import HandlerFailed
from tests.nats.checklist.scripted import ScriptedCase, info
from tests.nats.checklist.servers import RUSER


class ObserveTests(ScriptedCase):
    """Events, states, counters."""

    async def test_O1_events_and_counters(self) -> None:
        """Through all of its life: in order, each with its cause; counters are what was done."""
        server = await self.server(RUSER)
        url = server.url.replace("nats://", "nats://u:p@")
        client = self.client(url)
        states: list[State] = []
        client.add_listener(lambda event: states.append(client.state))
        client.startService()
        await client.when_connected()
        self.assertEqual(client.connected_url, server.url)
        got = self.collect(client, "a")
        for size in range(10):
            client.publish("a", b"x" * size)
        await client.flush()
        await client.flush()
        self.assertEqual(len(got), 10)
        server.stop()
        await self.until(lambda: self.of(ConnectFailed))
        self.assertIs(client.connected_url, None)
        client.publish("a", b"kept")
        self.assertGreater(client.statistics().buffered_bytes, 0)
        server.start()
        await self.until(lambda: client.is_connected)
        await client.flush()
        await client.flush()
        await client.stopService()
        names = [name for name in self.event_names() if name != "ConnectFailed"]
        self.assertEqual(
            names, ["Connected", "Disconnected", "Connected", "Disconnected", "Closed"]
        )
        self.assertEqual(self.events[0], Connected(server.url, True))
        self.assertEqual(str(self.of(Disconnected)[0].reason), "closed by the server")
        self.assertIn("refused", str(self.of(ConnectFailed)[0].reason).lower())
        self.assertEqual((states[0], states[-1]), (State.CONNECTED, State.CLOSED))
        self.assertEqual(states[1], State.RECONNECTING)
        found = client.statistics()
        self.assertEqual((found.out_msgs, found.out_bytes), (11, 49))
        self.assertEqual((found.in_msgs, found.in_bytes), (11, 49))
        self.assertEqual((found.connects, found.reconnects, found.lost), (2, 1, 0))
        self.assertEqual(found.failed, len(self.of(ConnectFailed)))
        self.assertEqual(dict(found.errors), {})
        self.assertEqual((found.buffered_bytes, found.pending_msgs), (0, 0))
        for text in (repr(self.events), repr(found), repr(client.options()), *self.lines()):
            self.assertNotIn("u:p@", text)

    async def test_O1_no_password_in_errors(self) -> None:
        """An address with credentials that does not work is told without them."""
        server = await self.server(RUSER)
        place = f"127.0.0.1:{server.port}"
        client = self.client(f"nats://u:sesame@{place}")
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        (event, *_) = self.of(ConnectFailed)
        self.assertEqual(event.server, place)
        for text in (repr(self.events), repr(client.statistics()), *self.lines()):
            self.assertNotIn("sesame", text)
        self.assertIn("Authorization Violation", str(client.statistics().last_error))

    async def test_O1_one_at_a_time(self) -> None:
        """What a listener brings about is told after he has returned, to all in one order."""
        client = self.client(await self.server())
        told: list[tuple[str, str]] = []
        inside = False

        def first(event: object) -> None:
            nonlocal inside
            self.assertFalse(inside)
            inside = True
            if isinstance(event, Connected) and event.first:
                client.force_reconnect()
            told.append(("first", type(event).__name__))
            inside = False

        client.add_listener(first)
        client.add_listener(lambda event: told.append(("second", type(event).__name__)))
        client.startService()
        await self.until(lambda: len(told) == 6)
        await self.until(lambda: client.is_connected)
        names = [name for who, name in told if who == "first"]
        self.assertEqual(names, ["Connected", "Disconnected", "Connected"])
        self.assertEqual(told, [(who, name) for name in names for who in ("first", "second")])

    async def test_O2_listeners_that_raise(self) -> None:
        """A listener that raises at each event is logged, and changes nothing."""
        f = await self.scripted()
        heard: list[str] = []

        def broken(event: object) -> None:
            heard.append(type(event).__name__)
            raise RuntimeError(f"at {type(event).__name__}")

        async def later(event: object) -> None:
            raise RuntimeError("later")

        client = self.client([f.url], max_attempts=2)
        client.add_listener(broken)
        client.add_listener(later)
        client.startService()
        await client.when_connected()
        got: list[bytes] = []

        def raising(message: Message) -> None:
            got.append(message.payload)
            raise RuntimeError("in a handler")

        client.subscribe("a", raising)
        f.end.send(b"MSG a 1 1\r\nx\r\n-ERR 'Invalid Subject'\r\nHMSG a 1 4 4\r\nnone\r\n")
        f.end.send(info(connect_urls=["127.0.0.1:9", f"127.0.0.1:{f.port}"]))
        await self.until(lambda: "Discovered" in heard)
        await f.close()
        await self.until(lambda: "Closed" in heard, seconds=20)
        for name in (
            "Connected", "HandlerFailed", "ServerError", "BadHeaders", "Discovered",
            "Disconnected", "ConnectFailed", "Closed",
        ):  # fmt: skip
            self.assertIn(name, heard)
        self.assertEqual(heard, self.event_names())
        self.assertEqual(got, [b"x", b""])
        failures = [line for line in self.lines() if line.startswith("a listener failed")]
        self.assertEqual(len(failures), 2 * len(heard))
        self.assertEqual(len(self.of(HandlerFailed)), 2)
        self.assertIsInstance(self.events[-1], Closed)
