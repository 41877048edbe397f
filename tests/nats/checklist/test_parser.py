"""P1 to P9: the parser, and what handlers may do from inside."""

from __future__ import annotations

import json
import random
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import ConnectionClosed, ProtocolError
from backplane.nats.events import HandlerFailed
from backplane.nats.headers import Headers, HeadersError, decode_headers, encode_headers
from backplane.nats.message import Message
from backplane.nats.parser import Err, Event, Info, Limits, Msg, Ok, Parser, Ping, Pong
from tests.nats.checklist.servers import RealCase
from tests.nats.test_parser import cut, encode, messages, parse

KINDS = st.lists(
    messages | st.sampled_from([Ping(), Pong(), Ok(), Err("x y"), Info({"a": 1})]), max_size=8
)

ODD = [b"a\r\nb", b"MSG a 1 5\r\n", b"\x00", b"", b"\r\n", b"\n", b"\r", b"PING\r\n" * 3]


class ParserTests(SynchronousTestCase):
    """Bytes in, events out."""

    @given(KINDS, st.lists(st.integers(0, 10000), max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_P1_any_cut(self, events: list[Event], places: list[int]) -> None:
        """A stream gives the same events, each once, however it is cut."""
        data = b"".join(encode(event) for event in events)
        for pieces in ([data], cut(data, places), [data[n : n + 1] for n in range(len(data))]):
            self.assertEqual(parse(Parser(), pieces), (events, False))

    def test_P1_every_position(self) -> None:
        """A stream cut once, at each of its bytes."""
        events: list[Event] = [
            Ping(),
            Msg("a.b", b"hello", "r", b"NATS/1.0\r\n\r\n", sid="1"),
            Err("no"),
            Pong(),
        ]
        data = b"".join(encode(event) for event in events)
        for place in range(len(data) + 1):
            self.assertEqual(parse(Parser(), [data[:place], data[place:]]), (events, False))

    def test_P2_payloads(self) -> None:
        """Payloads that look like the protocol, and a big one, cut at their ends."""
        for payload in [*ODD, bytes(range(256)) * 4096]:
            event = Msg("a", payload, sid="1")
            data = encode(event)
            for tail in range(4):
                edge = len(data) - tail
                found = parse(Parser(), [data[:edge], data[edge:]])
                self.assertEqual(found, ([event], False))

    def test_P3_tolerated(self) -> None:
        """What real peers may send."""
        data = b"ping\r\nPING  \r\nmsg  a\t1  3\r\nfoo\r\n+OKay\r\nPONG\n"
        wanted = [Ping(), Ping(), Msg("a", b"foo", sid="1"), Ok(), Pong()]
        self.assertEqual(parse(Parser(), [data]), (wanted, False))

    def test_P4_refused(self) -> None:
        """What is no operation of a server is an error and no event."""
        for line in (
            " PING", "POO", "MSGx", "MSG foo", "MSG foo 1", "MSG foo bar 1 baz", "+x", "-ERx",
            "INFO{}", "HMSG a 1 9 3",
        ):  # fmt: skip
            self.assertEqual(parse(Parser(), [line.encode() + b"\r\n"]), ([], True), line)

    def test_P5_bounds(self) -> None:
        """Sizes and lines that must not be believed cost no memory."""
        for data in (
            b"MSG a 1 -1\r\n",
            b"MSG a 1 1e3\r\n",
            b"MSG a 1 99999999999999999999\r\n",
            b"MSG a 1 \r\n",
            b"MSG " + b"a" * 65 * 1024,
            b"INFO {" + b" " * (2 << 20),
            b"MSG a 1 %d\r\n" % (Limits().payload + 1),
            b"HMSG a 1 12 %d\r\n" % (Limits().payload + 1),
        ):
            tracemalloc.start()
            found = parse(Parser(), [data])
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertEqual(found, ([], True), data[:20])
            self.assertLess(peak, len(data) + 100_000)

    def test_P6_random_bytes(self) -> None:
        """Only protocol errors come of them, and memory stays flat; see also slow_parser."""
        rng = random.Random(6)
        tracemalloc.start()
        for number in range(3000):
            parser = Parser()
            start = rng.choice([b"", b"MSG a 1 5\r\n", b"INFO ", b"-ERR ", b"HMSG a 1 9 20\r\n"])
            try:
                for piece in (start, rng.randbytes(rng.randrange(200)), rng.randbytes(50)):
                    parser.feed(piece)
            except ProtocolError:
                pass
            if number == 500:
                before, _ = tracemalloc.get_traced_memory()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(after, before + 50_000)

    def test_P7_info(self) -> None:
        """An INFO that is no JSON object is an error with words; odd fields are not."""
        deep = b"[" * 10_000 + b"]" * 10_000
        for document in (b"{", b"\xff", b"[]", deep, b'{"a":' + deep + b"}", b'"x"', b""):
            with self.assertRaises(ProtocolError) as caught:
                Parser().feed(b"INFO " + document + b"\r\n")
            self.assertIn("INFO", str(caught.exception))
        odd = {"max_payload": "big", "headers": 5, "connect_urls": {"a": 1}, "new": [None]}
        data = b"INFO " + json.dumps(odd).encode() + b"\r\n"
        self.assertEqual(parse(Parser(), [data]), ([Info(odd)], False))

    def test_P8_headers(self) -> None:
        """Header blocks as they come, and what is never written."""
        for block, status, description in (
            (b"NATS/1.0 503\r\n\r\n", 503, ""),
            (b"NATS/1.0  404   No Messages\r\n\r\n", 404, "No Messages"),
            (b"NATS/1.0\r\n\r\n", None, ""),
        ):
            found = decode_headers(block)
            self.assertEqual((found.status, found.description), (status, description))
        found = decode_headers(b"NATS/1.0\r\nK: 1\r\nK:2\r\nEmpty:\r\nk: caf\xe9\r\n\r\n")
        self.assertEqual(found.get_all("K"), ["1", "2"])
        self.assertEqual(found.get("Empty"), "")
        self.assertEqual(found.get("k"), "caf\ufffd")
        for bad in (b"NATS/1.0\r\nnone\r\n\r\n", b"NATS/1.0\r\nK: 1\r\n", b"K: 1\r\n\r\n", b""):
            self.assertRaises(HeadersError, decode_headers, bad)
        for bad_field in ({"a b": "x"}, {"a:": "x"}, {"": "x"}, {"a": "x\r\ny"}, {"a": "\n"}):
            self.assertRaises(HeadersError, encode_headers, bad_field)
        self.assertIsInstance(decode_headers(encode_headers({"K": ["a", "b"]})), Headers)


class HandlerTests(RealCase):
    """P9: what a handler does harms nobody else."""

    async def test_P9_raises(self) -> None:
        """The next message is delivered; it is told once for each."""
        client = await self.connected(await self.server())
        got: list[bytes] = []

        def handler(message: Message) -> None:
            got.append(message.payload)
            raise RuntimeError("in a handler")

        client.subscribe("a", handler)
        for number in range(3):
            client.publish("a", b"%d" % number)
        await client.flush()
        await client.flush()
        self.assertEqual(got, [b"0", b"1", b"2"])
        failures = self.of(HandlerFailed)
        self.assertEqual([str(event.reason) for event in failures], ["in a handler"] * 3)
        self.assertEqual(self.event_names().count("Disconnected"), 0)

    async def test_P9_unsubscribes(self) -> None:
        """A handler that ends its own subscription gets no more."""
        client = await self.connected(await self.server())
        got: list[bytes] = []

        def handler(message: Message) -> None:
            got.append(message.payload)
            subscription.unsubscribe()

        subscription = client.subscribe("a", handler)
        for _ in range(10):
            client.publish("a", b"x")
        await client.flush()
        await client.flush()
        self.assertEqual(got, [b"x"])

    async def test_P9_closes(self) -> None:
        """A handler that closes the client ends everything cleanly."""
        client = await self.connected(await self.server())
        got: list[bytes] = []

        def handler(message: Message) -> None:
            got.append(message.payload)
            client.stopService()

        client.subscribe("a", handler)
        client.publish("a", b"x")
        await self.until(lambda: "Closed" in self.event_names())
        self.assertEqual(got, [b"x"])
        self.assertRaises(ConnectionClosed, client.publish, "a", b"")

    async def test_P9_publishes(self) -> None:
        """A handler that publishes to its own subject gets it, and the stack does not grow."""
        client = await self.connected(await self.server())
        got: list[bytes] = []

        def handler(message: Message) -> None:
            got.append(message.payload)
            if len(got) < 2000:
                client.publish("a", b"%d" % len(got))

        client.subscribe("a", handler)
        client.publish("a", b"0")
        await self.until(lambda: len(got) == 2000)
        self.assertEqual(got, [b"%d" % number for number in range(2000)])
