"""Work under way: what counts, until when, and who waits for none."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import StateError
from backplane.parts import InFlight
from tests.parts.working import SAFETY, in_thread, joined


class CountTests(SynchronousTestCase):
    """What counts."""

    def setUp(self) -> None:
        self.flight = InFlight()

    def test_with(self) -> None:
        """Blocks within blocks, to their end, however it comes."""
        counts = [self.flight.count]
        with self.flight as entered:
            counts.append(entered.count)
            with self.flight:
                counts.append(self.flight.count)
            with self.assertRaises(KeyError):
                with self.flight:
                    raise KeyError
            counts.append(self.flight.count)
            self.assertFalse(self.flight.idle)
        counts.append(self.flight.count)
        self.assertEqual(counts, [0, 1, 2, 1, 0])
        self.assertEqual((self.flight.idle, repr(self.flight)), (True, "<InFlight 0>"))

    def test_begin_and_end(self) -> None:
        """By hand; what never began cannot end."""
        self.flight.begin()
        self.flight.end()
        self.assertRaises(StateError, self.flight.end)
        self.assertEqual(self.flight.count, 0)

    def test_listeners(self) -> None:
        heard: list[int] = []

        @self.flight.on_change
        def listener(count: int) -> None:
            heard.append(count)

        with self.flight, self.flight:
            pass
        self.flight.forget(listener)
        self.flight.begin()
        self.assertEqual(heard, [1, 2, 1, 0])

    def test_plain(self) -> None:
        """A call counts while it runs, also when it raises."""

        @self.flight.track
        def work(number: int) -> int:
            self.assertEqual(self.flight.count, 1)
            return 10 // number

        self.assertEqual(work(5), 2)
        self.assertRaises(ZeroDivisionError, work, 0)
        self.assertEqual(self.flight.count, 0)

    def test_deferred(self) -> None:
        """A call that returns a Deferred counts until that fires, and the result is left alone."""
        waiting: Deferred[int] = Deferred()
        results = [waiting, succeed(2), fail(KeyError())]
        tracked = self.flight.track(lambda: results.pop(0))
        first = tracked()
        self.assertEqual(self.flight.count, 1)
        self.assertEqual(self.successResultOf(tracked()), 2)
        self.failureResultOf(tracked(), KeyError)
        self.assertEqual(self.flight.count, 1)
        waiting.callback(1)
        self.assertEqual((self.successResultOf(first), self.flight.count), (1, 0))

    def test_coroutine(self) -> None:
        """A coroutine counts from when it runs, whichever way it is made."""

        @self.flight.track
        async def work(waiting: asyncio.Future[int]) -> int:
            return await waiting

        def made(waiting: asyncio.Future[int]) -> Any:
            return work(waiting)

        async def main(function: Any, count: int) -> None:
            waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(function(waiting))
            await asyncio.sleep(0)
            self.assertEqual(self.flight.count, count)
            waiting.set_result(7)
            self.assertEqual(await task, 7)
            await asyncio.sleep(0)
            self.assertEqual(self.flight.count, 0)

        asyncio.run(main(work, 1))
        asyncio.run(main(self.flight.track(made), 2))
        asyncio.run(main(self.flight.track(lambda waiting: waiting), 1))

    def test_async_with(self) -> None:
        async def main() -> None:
            async with self.flight as flight:
                self.assertEqual(flight.count, 1)

        asyncio.run(main())
        self.successResultOf(ensureDeferred(main()))
        self.assertEqual(self.flight.count, 0)

    def test_generator(self) -> None:
        """A generator function is refused when it is decorated."""

        def numbers() -> Any:
            yield 1

        self.assertRaises(TypeError, self.flight.track, numbers)

    def test_many_threads(self) -> None:
        """Nothing is lost between threads."""
        start, most = threading.Barrier(4), []

        def work() -> None:
            start.wait(SAFETY)
            for _ in range(500):
                with self.flight:
                    most.append(self.flight.count)

        threads = [in_thread(work) for _ in range(4)]
        for thread in threads:
            thread.result(SAFETY)
        self.assertEqual((self.flight.count, len(most)), (0, 2000))
        self.assertLessEqual({*most}, {1, 2, 3, 4})


class IdleTests(SynchronousTestCase):
    """Who waits until nothing is under way."""

    def setUp(self) -> None:
        self.flight = InFlight()
        self.flight.begin()

    def test_thread(self) -> None:
        self.assertFalse(self.flight.wait(0))
        waiting = in_thread(self.flight.wait)
        self.flight.end()
        self.assertTrue(waiting.result(SAFETY))

    def test_asyncio(self) -> None:
        async def main() -> None:
            waiting = asyncio.ensure_future(self.flight.when_idle())
            await asyncio.sleep(0)
            self.assertFalse(waiting.done())
            with self.assertRaisesRegex(StateError, "when_idle"):
                self.flight.wait()
            joined(self.flight.end)
            await asyncio.wait_for(waiting, SAFETY)

        asyncio.run(main())

    def test_twisted(self) -> None:
        waiting = self.flight.when_idle_deferred()
        self.flight.begin()
        self.flight.end()
        self.assertNoResult(waiting)
        self.flight.end()
        self.successResultOf(waiting)
