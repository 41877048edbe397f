"""A full outbox: who waits, what is dropped, what is said of it."""

from __future__ import annotations

from typing import Any

from backplane.nats.errors import NoStream
from backplane.node.outbox import OutboxFull
from tests.node.outboxes import OutboxCase


class DropOldestTests(OutboxCase):
    """``full: drop_oldest``."""

    def setUp(self) -> None:
        super().setUp()
        self.outbox = self.make(max_items=3, max_bytes=20, full="drop_oldest")
        self.link.is_connected = False

    def test_items(self) -> None:
        """The latest are kept, in order; who waits for a dropped one is told."""
        told = [self.publish(str(n)) for n in range(10)]
        for each in told[:7]:
            self.assertIn("dropped", str(self.failureResultOf(each, OutboxFull).value))
        self.assertEqual(self.counts("accepted", "overflowed", "items"), (10, 7, 3))
        self.connect()
        self.link.pong()
        self.assertEqual(self.link.sent, ["7", "8", "9"])
        for each in told[7:]:
            self.successResultOf(each)
        self.assertEqual(self.counts("confirmed", "items", "bytes"), (3, 0, 0))

    def test_bytes(self) -> None:
        """As many are dropped as one needs."""
        for data in ("a" * 6, "b" * 6, "c" * 6, "d" * 14):
            self.successResultOf(self.put(data))
        self.connect()
        self.assertEqual([sent[0] for sent in self.link.sent], ["c", "d"])
        self.assertEqual(self.counts("overflowed", "bytes"), (2, 20))

    def test_under_way(self) -> None:
        """What is under way is not dropped; where all is, the producer waits."""
        self.connect()
        for data in "abc":
            self.put(data)
        late = self.put("d")
        self.assertNoResult(late)
        self.link.pong()
        self.successResultOf(late)
        self.link.pong()
        self.assertEqual((self.link.sent, self.counts("overflowed")), (["a", "b", "c", "d"], (0,)))

    def test_sent_in_vain(self) -> None:
        """What came back from a broken connection is the oldest again."""
        self.connect()
        for data in "abc":
            self.put(data)
        self.link.lose()
        self.successResultOf(self.put("d"))
        self.connect()
        self.assertEqual(self.link.sent, ["a", "b", "c", "b", "c", "d"])

    def test_set_aside(self) -> None:
        """Items without a stream are dropped in their turn."""
        self.connect()
        told = [self.publish(data, data, durable=True) for data in "abc"]
        self.stream.refuse_all(lambda: NoStream("none"))
        self.link.is_connected = False
        self.put("d", "a", durable=True)
        self.put("e", "b", durable=True)
        self.failureResultOf(told[0], OutboxFull)
        self.failureResultOf(told[1], OutboxFull)
        self.connect()
        sent = []
        while self.counts("items") != (0,):
            while self.stream.asked:
                sent.append(self.stream.sent[0])
                self.stream.ack()
            self.clock.advance(1)
        self.assertEqual(sorted(sent), ["c", "d", "e"])
        self.assertEqual(self.counts("confirmed", "overflowed", "held"), (3, 2, 0))

    def test_logged(self) -> None:
        """A million dropped items are seven lines."""
        for n in range(1003):
            self.put(str(n))
        self.assertEqual(
            self.log.texts("error"),
            [
                f"the outbox is full: its oldest items are dropped, {count} so far"
                for count in (1, 10, 100, 1000)
            ],
        )

    def test_publishing_when_told(self) -> None:
        """A producer that publishes anew when it hears of a drop does no harm."""
        again: list[Any] = []
        self.publish("a").addErrback(lambda failure: again.append(self.put("z")))
        for data in "bcd":
            self.put(data)
        self.successResultOf(again[0])
        self.assertEqual(self.counts("items", "overflowed"), (3, 2))
        self.connect()
        self.assertEqual(len(self.link.sent), 3)


class DropNewestTests(OutboxCase):
    """``full: drop_newest``."""

    def test_dropped(self) -> None:
        """The arriving item is not accepted, its producer told; nobody ever waits."""
        self.outbox = self.make(max_items=3, full="drop_newest")
        self.link.is_connected = False
        told = [self.put(str(n)) for n in range(13)]
        for each in told[:3]:
            self.successResultOf(each)
        for each in told[3:]:
            self.assertIn("not accepted", str(self.failureResultOf(each, OutboxFull).value))
        self.assertEqual(self.counts("accepted", "refused", "waiting", "items"), (3, 10, 0, 3))
        self.assertEqual(
            self.log.texts("error"),
            [
                f"the outbox is full: its newest items are dropped, {count} so far"
                for count in (1, 10)
            ],
        )
        self.connect()
        self.link.pong()
        self.assertEqual(self.link.sent, ["0", "1", "2"])
        self.successResultOf(self.put("x"))
