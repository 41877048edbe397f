"""Publishing: what is checked, what is kept, and when it is known to have arrived."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from backplane.nats.buffer import PublishBuffer
from backplane.nats.client import Message, NatsClient
from backplane.nats.errors import (
    BadSubject,
    BufferFull,
    ConnectionClosed,
    FlushTimeout,
    NotConnected,
    PayloadTooLarge,
)
from backplane.nats.headers import decode_headers, encode_headers
from backplane.testing.transport import WINDOW
from tests.nats.bench import ClientCase, Script, Scripted, numbers


class CheckTests(ClientCase):
    """S7, S8: what cannot be is raised in the caller; nothing goes onto the wire."""

    def test_bad_subjects(self) -> None:
        """Blanks, line breaks, empty tokens, wildcards; for the reply subject too."""
        client = self.start()
        for subject in (
            *("", "foo bar", "foo..bar", ".foo", "foo.", "a\tb", "a\r\nPUB b 0\r\n\r\n", "a\nb"),
            *("a\x00b", "a.*", ">", "a.>", "*", "\ud800"),
        ):
            self.assertRaises(BadSubject, client.publish, subject, b"")
            self.assertRaises(BadSubject, client.publish, "a", b"", subject)
        self.result(client.flush())
        self.assertEqual(list(self.broker.published), [])
        self.assertEqual(client.counts()["out_msgs"], 0)

    def test_long_subjects(self) -> None:
        """S10: one that makes a line too long for servers is refused, in bytes, with its reply."""
        client = self.start()
        client.publish("x" * 3500, b"")
        client.publish("é" * 1000, b"", "é" * 750)
        for subject, reply in (("x" * 3501, None), ("é" * 1751, None), ("x" * 3000, "é" * 251)):
            self.assertRaises(BadSubject, client.publish, subject, b"", reply)
        self.result(client.flush())
        self.assertEqual(len(self.broker.published), 2)
        self.assertTrue(client.is_connected)

    def test_payload_size(self) -> None:
        """The server's limit counts headers too; it is checked before anything is sent."""
        self.broker.max_payload = self.broker.info["max_payload"] = 64
        client = self.start()
        headers = encode_headers({"A": "b"})
        client.publish("a", b"x" * 64)
        client.publish("a", b"x" * (64 - len(headers)), headers=headers)
        self.assertRaises(PayloadTooLarge, client.publish, "a", b"x" * 65)
        self.assertRaises(
            PayloadTooLarge, client.publish, "a", b"x" * (65 - len(headers)), headers=headers
        )
        self.result(client.flush())
        self.assertEqual(len(self.broker.published), 2)
        self.assertEqual(self.event_names(), ["Connected"])
        self.assertEqual(client.counts()["out_bytes"], 128)

    def test_not_bytes(self) -> None:
        """Text is not a payload."""
        client = self.start()
        for thing in ("text", None, 5, [1]):
            self.assertRaises(TypeError, client.publish, "a", thing)
        for headers in ("K: v", {"K": 5}, 7):
            self.assertRaises(TypeError, client.publish, "a", b"", headers=headers)
        self.result(client.flush())
        self.assertEqual(len(self.broker.published), 0)

    def test_views(self) -> None:
        """What a view shows is sent whole, whatever its items are."""
        client = self.start()
        words = memoryview(bytes(range(8))).cast("I")
        for payload in (words, bytearray(b"abc")):
            client.publish("a", payload)  # type: ignore[arg-type]
        self.result(client.flush())
        self.assertEqual(
            [payload for _, payload in self.broker.published], [bytes(range(8)), b"abc"]
        )
        self.assertTrue(client.is_connected)

    def test_reply_and_headers(self) -> None:
        """They arrive as they are; an empty payload is one."""
        client = self.start()
        got: list[Message] = []
        client.subscribe("a", got.append)
        client.publish("a", b"", "r.1", encode_headers({"K": ["1", "2"]}))
        client.publish("a", b"", headers=encode_headers({}))
        client.publish("a", b"\r\nPING\r\n\x00")
        self.result(client.flush())
        first, second, third = got
        self.assertEqual((first.subject, first.payload, first.reply), ("a", b"", "r.1"))
        self.assertEqual(decode_headers(first.headers or b"").get_all("K"), ["1", "2"])
        self.assertEqual((second.reply, second.headers), (None, b"NATS/1.0\r\n\r\n"))
        self.assertEqual((third.payload, third.headers), (b"\r\nPING\r\n\x00", None))


class BufferTests(ClientCase):
    """R3: what is published while there is no connection."""

    def test_bound(self) -> None:
        """The bound is exact; a smaller message may still fit."""
        buffer = PublishBuffer(32)
        buffer.add(b"x" * 16, 1)
        buffer.add(b"y" * 15, 2)
        self.assertRaises(BufferFull, buffer.add, b"zz", 1)
        buffer.add(b"z", 3)
        self.assertRaises(BufferFull, buffer.add, b"z", 1)
        self.assertEqual([kept.size for kept in buffer.take()], [1, 2, 3])
        self.assertEqual(buffer.take(), [])
        buffer.add(b"x" * 32, 1)

    def test_kept_in_order(self) -> None:
        """They are sent after the subscriptions, before anything newer."""
        client = self.client(buffer_size=1000)
        got = self.collect(client, "n")
        for payload in numbers(20):
            client.publish("n", payload)
        waiting = client.when_connected()
        waiting.addCallback(lambda _: client.publish("n", b"last"))
        client.startService()
        self.result(waiting)
        self.result(client.flush())
        self.assertEqual(got, [*numbers(20), b"last"])

    def test_full(self) -> None:
        """Beyond the bound the caller is told, and what was kept is not harmed."""
        client = self.start(buffer_size=100)
        self.absent()
        taken = []
        for payload in numbers(30):
            try:
                client.publish("n", payload)
            except BufferFull:
                break
            taken.append(payload)
        self.assertEqual(len(taken), 8)  # "PUB n 1", a digit and two line ends are 12 bytes
        self.assertRaises(BufferFull, client.publish, "n", b"")
        self.assertEqual(client.counts()["out_msgs"], 8)
        self.present()
        self.advance(2)
        self.result(client.flush())
        self.assertEqual([payload for _, payload in self.broker.published], taken)
        self.assertEqual(client.counts()["lost"], 0)

    def test_off(self) -> None:
        """Without a buffer nothing is kept."""
        for size in (0, -1):
            client = self.client(buffer_size=size)
            self.assertRaises(BufferFull, client.publish, "a", b"")

    def test_too_large_for_the_server(self) -> None:
        """What proves to be too large is dropped and told; the rest is not lost with it."""
        self.broker.max_payload = self.broker.info["max_payload"] = 64
        client = self.client()
        for payload in (b"1", b"x" * 65, b"2"):
            client.publish("n", payload)
        client.startService()
        self.result(client.when_connected())
        self.result(client.flush())
        self.assertEqual([payload for _, payload in self.broker.published], [b"1", b"2"])
        self.assertEqual(client.counts()["lost"], 1)
        self.assertIn("a message of 65 bytes is dropped: the server takes at most 64", self.lines())
        self.assertEqual(self.event_names(), ["Connected"])

    def test_between_abort_and_loss(self) -> None:
        """What is published on a connection that was just given up is kept for the next."""
        client = self.start()
        client.force_reconnect()
        client.publish("n", b"1")
        self.network.flush()
        self.result(client.flush())
        self.assertEqual(list(self.broker.published), [("n", b"1")])

    def test_lost_at_the_end(self) -> None:
        """What was never sent is counted."""
        self.absent()
        client = self.start()
        client.publish("n", b"1")
        client.publish("n", b"2")
        self.stop(client)
        self.assertEqual(client.counts()["lost"], 2)
        self.assertRaises(ConnectionClosed, client.publish, "n", b"3")


class SlowCase(ClientCase):
    """A server at ``f`` that stops reading."""

    def connected(self, **options: int) -> tuple[NatsClient, Scripted]:
        """Return a client, and the other end of its connection."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f", ping_interval=1000, **options)
        (end,) = script.ends
        end.send(b"PONG\r\n")
        self.network.flush()
        self.assertTrue(client.is_connected)
        end.received = b""
        return client, end

    def publish_until_full(self, client: NatsClient) -> int:
        """Publish 100 bytes again and again; return how often it was taken."""
        for number in range(10_000):
            try:
                client.publish("n", b"%010d" % number + b"x" * 22)
            except BufferFull:
                return number
            if not number % 50:
                self.network.flush()
        self.fail("there is no bound")


class SlowTests(SlowCase):
    """S14: a socket that does not drain."""

    def test_bound(self) -> None:
        """Memory is bounded; the caller is told; nothing is lost or reordered when it drains."""
        client, end = self.connected(buffer_size=10_000)
        end.wire.pauseProducing()
        taken = self.publish_until_full(client)
        size = len(b"PUB n 32\r\n") + 34
        # Both ends' buffers, ours, and the bursts between two looks of the network.
        self.assertTrue(2 * WINDOW < taken * size < 2 * WINDOW + 10_000 + 51 * size, taken)
        self.assertRaises(BufferFull, client.publish, "n", b"x" * 32)
        end.wire.resumeProducing()
        self.network.flush()
        client.publish("n", b"last")
        self.network.flush()
        found = [line[:10] for line in end.received.split(b"\r\n")[1::2]]
        self.assertEqual(found[:-1], [b"%010d" % number for number in range(taken)])
        self.assertEqual(found[-1], b"last")
        self.assertEqual(client.counts()["out_msgs"], taken + 1)

    def test_flush_waits(self) -> None:
        """Its PING goes out after what is held back."""
        client, end = self.connected(buffer_size=10_000)
        end.wire.pauseProducing()
        self.publish_until_full(client)
        done, late = client.flush(None), client.flush(5)
        self.advance(5)
        self.failure(late, FlushTimeout)
        self.assertNoResult(done)
        end.wire.resumeProducing()
        self.network.flush()
        self.assertTrue(end.received.endswith(b"xx\r\nPING\r\n"))
        self.assertEqual(end.received.count(b"PING"), 1)
        end.send(b"PONG\r\n")
        self.result(done)

    def test_lost(self) -> None:
        """What was held back for a connection that breaks is counted."""
        client, end = self.connected(buffer_size=10_000)
        end.wire.pauseProducing()
        self.publish_until_full(client)
        done = client.flush()
        self.network.cut()
        self.failure(done, NotConnected)
        # Messages of 44 bytes on the wire.
        self.assertEqual(client.counts()["lost"], 10_000 // 44)

    def test_stale(self) -> None:
        """A server that reads nothing is given up by the missing PONGs."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f", ping_interval=10, buffer_size=10_000)
        script.ends[0].send(b"PONG\r\n")
        self.network.flush()
        script.ends[0].wire.pauseProducing()
        self.publish_until_full(client)
        self.advance(29.8)
        self.assertTrue(client.is_connected)
        self.advance(0.4)
        self.assertFalse(client.is_connected)
        self.assertEqual(len(script.ends), 2)


class FlushTests(ClientCase):
    """K4, K5: flush."""

    def test_order(self) -> None:
        """PONGs belong to PINGs in order, also when some nobody waits for any more."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f", ping_interval=4)
        (end,) = script.ends
        end.send(b"PONG\r\n")
        self.network.flush()
        done: list[int] = []
        flushes = [client.flush(5 if number == 3 else None) for number in range(6)]
        for number, flush in enumerate(flushes):
            flush.addCallbacks(
                lambda _, number=number: done.append(number),
                lambda failure: failure.trap(FlushTimeout, CancelledError),
            )
        self.advance(5)  # the fourth is late, and a keep-alive PING is under way
        flushes[4].cancel()
        last = client.flush()
        self.network.flush()
        for expected in ([0], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2, 5]):
            for byte in b"PONG\r\n":
                end.send(bytes([byte]))
                self.network.flush()
            self.assertEqual(done, expected)
        self.assertNoResult(last)
        end.send(b"PONG\r\nPONG\r\n")
        self.result(last)

    def test_timeout(self) -> None:
        """A server that does not answer; the answer may still come."""
        client = self.start()
        self.broker.silent_ping = True
        done = client.flush(3)
        self.advance(2.9)
        self.assertNoResult(done)
        self.advance(0.1)
        self.assertEqual(self.failure(done, FlushTimeout), "no answer to a PING within 3 s")
        self.broker.silent_ping = False
        self.broker.send_raw(b"PONG\r\n")
        self.result(client.flush())

    def test_no_connection(self) -> None:
        """It fails at once, when there is none and when it breaks."""
        client = self.client()
        self.failure(client.flush(), NotConnected)
        client.startService()
        self.failure(client.flush(), NotConnected)
        self.network.flush()
        self.broker.silent_ping = True
        broken = [client.flush(), client.flush(None)]
        self.broker.drop_all()
        self.network.flush()
        for done in broken:
            self.assertEqual(
                self.failure(done, NotConnected), "the connection was lost: closed by the server"
            )
        self.broker.silent_ping = False
        self.stop(client)
        self.failure(client.flush(), NotConnected)

    def test_everything_arrived(self) -> None:
        """S11: when it fires the server has all that was published."""
        client = self.start()
        payloads = numbers(20_000)
        got = self.collect(client, "n")
        for payload in payloads:
            client.publish("n", payload)
        self.result(client.flush())
        self.assertEqual(got, payloads)
        counts = client.counts()
        size = sum(map(len, payloads))
        self.assertEqual((counts["out_msgs"], counts["out_bytes"]), (20_000, size))
        self.assertEqual((counts["in_msgs"], counts["in_bytes"]), (20_000, size))
