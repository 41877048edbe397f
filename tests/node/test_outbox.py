"""Published data by itself: what is accepted, when it leaves, what is never left out."""

from __future__ import annotations

from backplane.errors import StateError
from backplane.interfaces import DataItem
from backplane.node import intake
from backplane.node.outbox import ItemRefused, OutboxFull
from backplane.node.sending import WINDOW_BYTES, WINDOW_ITEMS
from tests.node.outboxes import NeverTaken, OutboxCase


class AcceptanceTests(OutboxCase):
    """When an item is accepted, and when its producer is told what."""

    def test_put(self) -> None:
        """With room, acceptance is immediate, connected or not; it says nothing of the broker."""
        for connected in (True, False):
            self.link.is_connected = connected
            self.successResultOf(self.put("x"))
        self.assertEqual(self.counts("accepted", "confirmed", "items"), (2, 0, 2))

    def test_publish(self) -> None:
        """Confirmation comes with the PONG to a PING that was sent after the item."""
        done = self.publish("x")
        self.assertEqual(self.link.sent, ["x"])
        self.assertNoResult(done)
        self.link.pong()
        self.successResultOf(done)
        self.assertEqual(self.counts("confirmed", "items", "bytes"), (1, 0, 0))

    def test_pong_of_an_earlier_ping(self) -> None:
        """An item that came after the PING is sent at once, and waits for the next one."""
        first, second = self.publish("a"), self.publish("b")
        self.assertEqual(self.link.sent, ["a", "b"])
        self.link.pong()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.link.pong()
        self.successResultOf(second)
        self.assertEqual(self.link.sent, ["a", "b"])

    def test_bound_in_items(self) -> None:
        """Beyond the bound producers wait, in order, until there is room."""
        for number in range(10):
            self.successResultOf(self.put(str(number)))
        late = [self.put("10"), self.put("11")]
        for each in late:
            self.assertNoResult(each)
        self.assertEqual(self.counts("accepted", "waiting", "items"), (10, 2, 10))
        self.link.pong()
        self.successResultOf(late[0])
        self.assertNoResult(late[1])
        while self.link.flushes:
            self.link.pong()
        self.successResultOf(late[1])
        self.assertEqual(self.link.sent, [str(number) for number in range(12)])

    def test_bound_in_bytes(self) -> None:
        """The same for bytes; a small item does not overtake a large one that waits."""
        self.successResultOf(self.put("a" * 90))
        large, small = self.put("b" * 20), self.put("c")
        self.assertNoResult(large)
        self.assertNoResult(small)
        self.link.pong()
        self.successResultOf(large)
        self.successResultOf(small)
        self.link.pong()
        self.assertEqual([text[0] for text in self.link.sent], ["a", "b", "c"])

    def test_too_many_wait(self) -> None:
        """When too many wait already the next is refused at that moment."""
        self.patch(intake, "MAX_WAITING", 3)
        self.link.is_connected = False
        for number in range(13):
            self.put(str(number))
        error = self.failureResultOf(self.put("x"), OutboxFull).value
        self.assertIn("the outbox is full (10 items", str(error))
        self.assertEqual(self.counts("accepted", "waiting", "refused"), (10, 3, 1))

    def test_hour_of_outage(self) -> None:
        """However much is published without a broker, memory is bounded and all is counted."""
        self.patch(intake, "MAX_WAITING", 5)
        self.link.is_connected = False
        told = [self.put("1234567890") for _ in range(10_000)]
        refused = 0
        for each in told:
            each.addErrback(lambda failure: failure.trap(OutboxFull))
        accepted, waiting, refused, size = self.counts("accepted", "waiting", "refused", "bytes")
        self.assertEqual((accepted, waiting, refused, size), (10, 5, 9985, 100))
        self.connect()
        while self.link.flushes:
            self.link.pong()
        self.assertEqual(self.counts("confirmed", "waiting", "items", "bytes"), (15, 0, 0, 0))

    def test_larger_than_all(self) -> None:
        """An item that could never fit is refused at once and holds up nobody."""
        error = self.failureResultOf(self.put("x" * 101), OutboxFull).value
        self.assertIn("101 bytes is larger than the outbox", str(error))
        self.successResultOf(self.put("y"))

    def test_unfit(self) -> None:
        """An unfit item is an error of the call, not of the outbox."""
        self.assertRaises(ValueError, self.put, "")
        self.assertRaises(ValueError, self.outbox.put, DataItem(b"\xff"))
        self.assertEqual(self.counts("accepted", "items"), (0, 0))

    def test_abandoned(self) -> None:
        """A producer that no longer waits has not published."""
        self.link.is_connected = False
        for number in range(10):
            self.put(str(number))
        waiting = self.publish("gone")
        after = self.put("after")
        waiting.cancel()
        self.failureResultOf(waiting)
        self.connect()
        while self.link.flushes:
            self.link.pong()
        self.successResultOf(after)
        self.assertEqual(self.link.sent[-1], "after")
        self.assertNotIn("gone", self.link.sent)


class DeliveryTests(OutboxCase):
    """Nothing accepted is left out."""

    def test_lost_connection(self) -> None:
        """What was not confirmed is sent again, in order, the rest after it."""
        self.outbox = self.make(max_items=100)
        done = [self.publish(str(number)) for number in range(5)]
        self.link.pong()
        self.assertEqual(self.link.sent, ["0", "1", "2", "3", "4"])
        self.link.lose()
        done.append(self.publish("5"))
        self.assertEqual(self.link.sent, ["0", "1", "2", "3", "4"])
        self.connect()
        self.assertEqual(self.link.sent[5:], ["1", "2", "3", "4", "5"])
        self.link.pong()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.counts("accepted", "confirmed", "repeated", "items"), (6, 6, 4, 0))

    def test_lost_again_and_again(self) -> None:
        """Any number of losses at any moment leaves nothing out."""
        self.outbox = self.make(max_items=10_000, max_bytes=10**6)
        for number in range(2000):
            self.put(str(number))
            if number % 70 == 0:
                self.link.lose()
                self.connect()
            elif number % 11 == 0 and self.link.flushes:
                self.link.pong()
        while self.link.flushes:
            self.link.pong()
        # In order, repeats aside: nothing appears before all that is before it.
        seen: list[str] = []
        for text in self.link.sent:
            if text not in seen[-700:]:
                self.assertEqual(int(text), len(seen))
                seen.append(text)
        self.assertEqual(len(seen), 2000)
        self.assertEqual(self.counts("confirmed"), (2000,))

    def test_window(self) -> None:
        """Not more than a window of items, or of bytes, is sent before a PONG."""
        self.link.is_connected = False
        self.outbox = self.make(max_items=2000, max_bytes=10**7)
        for number in range(WINDOW_ITEMS + 1):
            self.put(str(number))
        self.connect()
        self.assertEqual(len(self.link.sent), WINDOW_ITEMS)
        self.link.pong()
        self.assertEqual(len(self.link.sent), WINDOW_ITEMS + 1)
        self.link.pong()
        self.link.is_connected = False
        self.link.sent.clear()
        for _ in range(5):
            self.put("x" * (WINDOW_BYTES // 2 - 1))
        self.connect()
        self.assertEqual(len(self.link.sent), 2)

    def test_larger_than_a_window(self) -> None:
        """An item that is larger than a window goes alone."""
        self.outbox = self.make(max_bytes=10**7)
        done = self.publish("x" * (2 * WINDOW_BYTES))
        self.link.pong()
        self.successResultOf(done)

    def test_link_fails_in_the_middle(self) -> None:
        """What the link does not take now is sent with the next connection."""
        self.link.is_connected = False
        for name in ("a", "b", "c"):
            self.put(name, to=name)
        self.link.refused["b"] = ConnectionError("closing")
        self.connect()
        self.assertEqual(self.link.sent, ["a"])
        self.link.pong()
        del self.link.refused["b"]
        self.outbox.pump()
        self.link.pong()
        self.assertEqual(self.link.sent, ["a", "b", "c"])

    def test_publishing_in_a_confirmation(self) -> None:
        """A producer that goes on from its confirmation keeps the order."""
        self.publish("a").addCallback(lambda nothing: self.publish("c"))
        self.put("b")
        while self.link.flushes:
            self.link.pong()
        self.assertEqual(self.link.sent, ["a", "b", "c"])


class NeverTakenTests(OutboxCase):
    """Items that the broker can never take are dropped alone."""

    def test_too_large(self) -> None:
        """It is told to its producer, counted, logged; those around it arrive."""
        self.link.refused["big"] = NeverTaken("2 MB, the server takes at most 1 MB")
        before, bad, after = self.publish("a"), self.publish("b", "big"), self.publish("c")
        while self.link.flushes:
            self.link.pong()
        self.successResultOf(before)
        self.successResultOf(after)
        self.assertIn("2 MB", str(self.failureResultOf(bad, ItemRefused).value))
        self.assertEqual(self.link.sent, ["a", "c"])
        self.assertEqual(self.counts("confirmed", "dropped", "items", "bytes"), (2, 1, 0, 0))
        self.assertEqual(
            self.log.texts("error"),
            ["an item for big was dropped: 2 MB, the server takes at most 1 MB"],
        )

    def test_forbidden(self) -> None:
        """The broker refuses a subject before its PONG; that subject's items are dropped."""
        self.link.is_connected = False
        good, bad = self.publish("a", "ok"), self.publish("b", "no")
        self.connect()
        self.outbox.forbidden("no", 'Permissions Violation for Publish to "no"')
        self.link.pong()
        self.successResultOf(good)
        self.failureResultOf(bad, ItemRefused)
        self.assertEqual(self.counts("confirmed", "dropped"), (1, 1))

    def test_logged_once(self) -> None:
        """A million refused items of one subject are one line."""
        self.link.refused["big"] = NeverTaken("too large")
        for _ in range(50):
            self.put("x", "big")
            while self.link.flushes:
                self.link.pong()
        self.assertEqual(len(self.log.texts("error")), 1)
        self.assertEqual(self.counts("dropped"), (50,))

    def test_refused_and_lost(self) -> None:
        """A refusal that a broken connection leaves unconfirmed is told after the next PONG."""
        done = self.publish("x", "no")
        self.outbox.forbidden("no", "not allowed")
        self.link.lose()
        self.connect()
        self.link.pong()
        self.failureResultOf(done, ItemRefused)


class StopTests(OutboxCase):
    """The end of an outbox."""

    def test_drain(self) -> None:
        """New items are refused, what is here and what waits is flushed."""
        for number in range(10):
            self.put(str(number))
        waiting = self.publish("10")
        drained = self.outbox.drain()
        self.failureResultOf(self.put("late"), StateError)
        while self.link.flushes:
            self.assertNoResult(drained)
            self.link.pong()
        self.successResultOf(drained)
        self.successResultOf(waiting)
        self.assertEqual(len(self.link.sent), 11)

    def test_drain_of_nothing(self) -> None:
        self.successResultOf(self.outbox.drain())

    def test_close(self) -> None:
        """What is left then is counted as lost and its producers are told."""
        self.link.is_connected = False
        published = self.publish("0")
        for number in range(1, 10):
            self.put(str(number))
        waiting = self.put("10")
        drained = self.outbox.drain()
        self.assertNoResult(drained)
        self.outbox.close()
        self.successResultOf(drained)
        self.failureResultOf(published, StateError)
        self.failureResultOf(waiting, StateError)
        self.assertEqual(self.counts("lost", "refused", "items", "waiting"), (10, 1, 0, 0))
        self.assertEqual(self.log.texts("warn"), ["10 published items did not reach the broker"])

    def test_close_with_items_under_way(self) -> None:
        """A PONG that comes after the end changes nothing."""
        done = self.publish("x")
        self.outbox.close()
        self.failureResultOf(done, StateError)
        self.link.pong()
        self.assertEqual(self.counts("lost", "confirmed", "items"), (1, 0, 0))
