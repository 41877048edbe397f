"""What is on the way to one handler, without any connection; and whoever else is told things."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.announcing import Announcer
from backplane.nats.delivery import Delivery, Limits
from backplane.nats.message import Message
from backplane.nats.waiters import Waiters


def message(number: int) -> Message:
    """Return a message that tells its number."""
    return Message("a", b"%d" % number)


class DeliveryTests(SynchronousTestCase):
    """Order, limits, and who waits."""

    def setUp(self) -> None:
        self.failures: list[Failure] = []

    def delivery(self, callback: Any, limits: Limits | None = None, **options: Any) -> Delivery:
        """Return a delivery; it is not concurrent by default."""
        options = {"concurrent": False, **options}
        return Delivery(callback, self.failures.append, limits or Limits(), **options)

    def test_in_order(self) -> None:
        """The next one waits for the Deferred of the one before."""
        got: list[bytes] = []
        gates: list[Deferred[None]] = []

        def slow(each: Message) -> Deferred[None]:
            got.append(each.payload)
            gates.append(Deferred())
            return gates[-1]

        delivery = self.delivery(slow)
        for number in range(3):
            self.assertTrue(delivery.put(message(number), 1))
        self.assertEqual((got, delivery.messages, delivery.handled), ([b"0"], 3, 1))
        gates[0].errback(RuntimeError("late"))
        self.assertEqual((got, len(self.failures)), ([b"0", b"1"], 1))
        idle = delivery.when_idle()
        gates[1].callback(None)
        self.assertNoResult(idle)
        gates[2].callback(None)
        self.successResultOf(idle)
        self.assertEqual((delivery.messages, delivery.size), (0, 0))

    def test_fired_already(self) -> None:
        """Deferreds that have fired, and coroutines that do not wait, do not pile up the stack."""
        got: list[bytes] = []
        first: Deferred[None] = Deferred()

        def fired(each: Message) -> Deferred[None]:
            got.append(each.payload)
            return first if len(got) == 1 else succeed(None)

        delivery = self.delivery(fired, Limits(messages=None))
        for number in range(5000):
            delivery.put(message(number), 1)
        first.callback(None)
        self.assertEqual(got, [b"%d" % number for number in range(5000)])

    def test_concurrent(self) -> None:
        """Messages that need not wait are limited, too."""
        gates: list[Deferred[None]] = []

        def slow(each: Message) -> Deferred[None]:
            gates.append(Deferred())
            return gates[-1]

        delivery = self.delivery(slow, Limits(messages=3), concurrent=True)
        taken = [delivery.put(message(number), 1) for number in range(5)]
        self.assertEqual((taken, len(gates)), ([True] * 3 + [False] * 2, 3))
        gates[1].callback(None)
        self.assertTrue(delivery.put(message(5), 1))
        self.assertEqual(len(gates), 4)

    def test_from_inside(self) -> None:
        """What a handler puts in comes after it has returned."""
        got: list[bytes] = []

        def handler(each: Message) -> None:
            got.append(b"in " + each.payload)
            if len(got) < 5:
                delivery.put(message(len(got)), 1)
            got.append(b"out " + each.payload)

        delivery = self.delivery(handler)
        delivery.put(message(0), 1)
        self.assertEqual(got, [b"in 0", b"out 0", b"in 1", b"out 1", b"in 3", b"out 3"])

    @given(st.lists(st.sampled_from(["now", "raise", "fired", "later"]), max_size=30), st.data())
    @settings(max_examples=200, deadline=None)
    def test_any_handler(self, ways: list[str], data: st.DataObject) -> None:
        """Whatever handlers return, and whenever it fires: each once, in order, none lost."""
        choices: st.SearchStrategy[Any] = st.booleans()
        got: list[int] = []
        gates: list[Deferred[None]] = []

        def handler(each: Message) -> Deferred[None] | None:
            number = int(each.payload)
            got.append(number)
            if ways[number] == "raise":
                raise RuntimeError("in a handler")
            if ways[number] == "later":
                gates.append(Deferred())
                return gates[-1]
            return succeed(None) if ways[number] == "fired" else None

        delivery = self.delivery(handler)
        for number in range(len(ways)):
            delivery.put(message(number), 1)
            if gates and data.draw(choices):
                gates.pop().callback(None)
        while gates:
            gates.pop().callback(None)
        self.assertEqual(got, list(range(len(ways))))
        self.assertEqual((delivery.messages, delivery.size), (0, 0))
        self.successResultOf(delivery.when_idle())


class AnnouncerTests(SynchronousTestCase):
    """Events: one after the other."""

    def setUp(self) -> None:
        self.log_events: list[LogEvent] = []
        self.announcer = Announcer(Logger("test", observer=self.log_events.append))  # type: ignore[arg-type]

    def test_order(self) -> None:
        """What happens in a listener is told when all have returned, to all alike."""
        told: list[tuple[str, object]] = []

        def first(event: object) -> None:
            told.append(("first", event))
            if event == 1:
                self.announcer.emit(2)
                self.announcer.emit(3)

        self.announcer.add(first)
        self.announcer.add(lambda event: told.append(("second", event)))
        self.announcer.emit(1)
        self.assertEqual(told, [(who, event) for event in (1, 2, 3) for who in ("first", "second")])

    def test_failures(self) -> None:
        """Whatever way a listener fails, it is logged, and the others are told."""
        told: list[object] = []
        later: Deferred[None] = Deferred()

        def raises(event: object) -> None:
            raise RuntimeError("now")

        async def coroutine(event: object) -> None:
            raise RuntimeError("coroutine")

        for listener in (raises, coroutine, lambda event: later, told.append):
            self.announcer.add(listener)
        self.announcer.emit(1)
        later.errback(RuntimeError("later"))
        self.assertEqual(told, [1])
        reasons = [str(event["log_failure"].value) for event in self.log_events]
        self.assertEqual(reasons, ["now", "coroutine", "later"])

    def test_remove(self) -> None:
        """A listener that is gone hears nothing; removing it again does nothing."""
        told: list[object] = []
        self.announcer.add(told.append)
        self.announcer.remove(told.append)
        self.announcer.remove(told.append)
        self.announcer.emit(1)
        self.assertEqual(told, [])


class WaitersTests(SynchronousTestCase):
    """Several who wait for one thing."""

    def test_end(self) -> None:
        """All are told, once; who has cancelled is not."""
        waiters = Waiters()
        first, second, third = waiters.wait(), waiters.wait(), waiters.wait()
        second.addErrback(lambda failure: None)
        second.cancel()
        third.addCallback(lambda _: waiters.wait())
        waiters.end()
        self.successResultOf(first)
        self.assertNoResult(third)
        waiters.end(RuntimeError("over"))
        self.failureResultOf(third, RuntimeError)
