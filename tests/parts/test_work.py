"""Work that waits and is counted: nothing slips through between the two."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import StateError
from backplane.parts import Application, Breaker, InFlight, Paused, Work
from tests.parts.working import SAFETY, in_thread

ROUNDS = 200


class WorkCase(SynchronousTestCase):
    """An application with work of one kind."""

    def setUp(self) -> None:
        self.app = Application(breakers=("payments", "search"))
        self.payments = self.app.breakers.breaker("payments")
        self.work = self.app.work("payments")


class BlockingTests(WorkCase):
    """In threads."""

    def test_counted(self) -> None:
        with self.work as entered, self.app.work():
            self.assertIs(entered, self.work)
            self.assertEqual(self.app.in_flight(), 2)
        self.assertEqual(self.app.in_flight(), 0)
        self.assertEqual(repr(self.work), "<Work, 0 in flight>")

    def test_breakers(self) -> None:
        """It waits on the whole and on its own name, and on no other; waiting is not counted."""
        search = self.app.work("search")
        for breaker in (self.app.breaker, self.payments):
            breaker.pause()
            self.assertFalse(self.work.try_begin())
            self.assertFalse(self.work.begin(0))
            self.assertEqual(self.app.in_flight(), 0)
            self.assertEqual(search.try_begin(), breaker is self.payments)
            breaker.resume()
        search.end()
        self.assertTrue(self.work.begin(0))
        self.work.end()
        self.assertRaises(StateError, self.work.end)

    def test_waits(self) -> None:
        """All of them have to be closed."""
        self.app.pause()
        self.payments.pause()
        waiting = in_thread(self.work.begin)
        self.app.resume()
        self.assertFalse(self.work.begin(0.01))
        self.assertFalse(waiting.done())
        self.payments.resume()
        self.assertTrue(waiting.result(SAFETY))
        self.assertEqual(self.app.in_flight(), 1)

    def test_error(self) -> None:
        """Work that fails has ended."""

        @self.work.guard
        def fails() -> None:
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fails)
        self.assertEqual(self.app.in_flight(), 0)

    def test_nothing_slips_through(self) -> None:
        """Paused and at zero: whatever threads do, nothing is under way from then on."""
        breaker, in_flight = Breaker(), InFlight()
        work, at_work, stop = Work(in_flight, breaker), InFlight(), threading.Event()

        def loop() -> None:
            while not stop.is_set():
                if work.begin(0.01):
                    with at_work:
                        pass
                    work.end()

        threads = [in_thread(loop) for _ in range(4)]
        seen = []
        for _ in range(ROUNDS):
            breaker.pause()
            self.assertTrue(in_flight.wait(SAFETY))
            seen.append(at_work.count)
            breaker.resume()
        stop.set()
        for thread in threads:
            thread.result(SAFETY)
        self.assertEqual(seen, [0] * ROUNDS)
        self.assertEqual(in_flight.count, 0)


class OtherTests(WorkCase):
    """In asyncio and in Twisted."""

    def test_asyncio(self) -> None:
        async def main() -> list[int]:
            counts = []
            self.payments.pause()

            @self.work.guard
            async def pay() -> int:
                await asyncio.sleep(0)
                return self.app.in_flight()

            paying = asyncio.create_task(pay())
            async with self.app.work("search"):
                await asyncio.sleep(0)
                counts.append(self.app.in_flight())
                in_thread(self.payments.resume)
                counts.append(await asyncio.wait_for(paying, SAFETY))
            return [*counts, self.app.in_flight()]

        self.assertEqual(in_thread(lambda: asyncio.run(main())).result(SAFETY), [1, 2, 0])

    def test_cancelled(self) -> None:
        """A task that is cancelled while it waits, or at work, is not counted any more."""

        async def main() -> list[int]:
            async def pay() -> None:
                async with self.work:
                    await asyncio.sleep(SAFETY)

            at_work = asyncio.create_task(pay())
            await asyncio.sleep(0)
            self.payments.pause()
            waiting = asyncio.create_task(pay())
            await asyncio.sleep(0)
            counts = [self.app.in_flight()]
            for task in (waiting, at_work):
                task.cancel()
            await asyncio.gather(waiting, at_work, return_exceptions=True)
            return [*counts, self.app.in_flight()]

        self.assertEqual(in_thread(lambda: asyncio.run(main())).result(SAFETY), [1, 0])

    def test_deferred(self) -> None:
        """A function that returns a Deferred is called later, and ends when that fires."""
        result: Deferred[str] = Deferred()

        @self.work.guard
        def pay(amount: int) -> Deferred[str]:
            return result.addCallback(lambda text: f"{text} {amount}")

        self.payments.pause()
        self.app.pause()
        paid = pay(7)
        self.payments.resume()
        self.assertEqual(self.app.in_flight(), 0)
        self.app.resume()
        self.assertNoResult(paid)
        self.assertEqual(self.app.in_flight(), 1)
        result.callback("paid")
        self.assertEqual(self.successResultOf(paid), "paid 7")
        self.assertEqual(self.app.in_flight(), 0)

    def test_deferred_cancelled(self) -> None:
        """Who does not want to wait any longer does not begin later."""
        begun: list[int] = []

        @self.work.guard(deferred=True)
        def pay() -> Deferred[None]:
            begun.append(1)
            return succeed(None)

        self.app.pause()
        waiting = pay()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.app.resume()
        self.assertEqual((begun, self.app.in_flight()), ([], 0))

    def test_coroutine(self) -> None:
        """A coroutine of Twisted's."""

        async def pay() -> int:
            async with self.work:
                return self.app.in_flight()

        self.app.pause()
        paying = ensureDeferred(pay())
        self.assertNoResult(paying)
        self.app.resume()
        self.assertEqual(self.successResultOf(paying), 1)

    def test_refused(self) -> None:
        """Without waiting all are refused in their own way, and go on when nothing is paused."""

        @self.work.guard(wait=False)
        def plain() -> int:
            return self.app.in_flight()

        @self.work.guard(wait=False)
        def deferred() -> Deferred[Any]:
            return succeed(self.app.in_flight())

        @self.work.guard(wait=False)
        async def coroutine() -> int:
            return self.app.in_flight()

        self.app.pause()
        self.assertRaises(Paused, plain)
        self.failureResultOf(deferred(), Paused)
        self.failureResultOf(ensureDeferred(coroutine()), Paused)
        self.assertEqual(self.app.in_flight(), 0)
        self.app.resume()
        self.assertEqual(plain(), 1)
        self.assertEqual(self.successResultOf(deferred()), 1)
        self.assertEqual(self.successResultOf(ensureDeferred(coroutine())), 1)

    def test_generators(self) -> None:
        def generates() -> Any:
            yield 1

        self.assertRaises(TypeError, self.work.guard, generates)
