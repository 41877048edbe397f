"""The breaker: what it lets go on, what waits, what is refused, in three worlds."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.errors import StateError
from backplane.interfaces import IPausable
from backplane.parts import Breaker, Paused
from tests.parts.working import SAFETY, in_thread, joined


class BreakerCase(SynchronousTestCase):
    """A breaker, and what has been done."""

    def setUp(self) -> None:
        self.breaker = Breaker()
        self.done: list[Any] = []

    def work(self, *args: int, **kw: int) -> tuple[Any, ...]:
        """Do something."""
        self.done.append((*args, *kw.values()))
        return (*args, *kw.values())


class StateTests(BreakerCase):
    """Paused or closed."""

    def test_states(self) -> None:
        verifyObject(IPausable, self.breaker)
        states = [(self.breaker.paused(), self.breaker.closed, repr(self.breaker))]
        for change in ("pause", "pause", "flip", "flip", "resume", "resume"):
            getattr(self.breaker, change)()
            states.append((self.breaker.paused(), self.breaker.closed, repr(self.breaker)))
        closed, paused = (False, True, "<Breaker closed>"), (True, False, "<Breaker paused>")
        self.assertEqual(states, [closed, paused, paused, closed, paused, closed, closed])
        self.assertTrue(Breaker(paused=True).paused())

    def test_listeners(self) -> None:
        """A decorator for what is told of changes, and of nothing else."""
        heard: list[bool] = []

        @self.breaker.on_change
        def listener(paused: bool) -> None:
            heard.append(paused)

        self.breaker.pause()
        self.breaker.pause()
        self.breaker.flip()
        self.breaker.forget(listener)
        self.breaker.pause()
        self.assertEqual(heard, [True, False])

    def test_check(self) -> None:
        self.breaker.check()
        self.breaker.pause()
        self.assertIsInstance(self.assertRaises(Paused, self.breaker.check), StateError)


class WaitingTests(BreakerCase):
    """The forms of waiting; the finer points are in ``test_waiting``."""

    def test_thread(self) -> None:
        self.breaker.pause()
        self.assertFalse(self.breaker.wait(0))
        waiting = in_thread(self.breaker.wait)
        self.breaker.resume()
        self.assertTrue(waiting.result(SAFETY))
        self.assertTrue(self.breaker.wait(0))

    def test_thread_with(self) -> None:
        """A block begins when the breaker is closed, and is not interrupted by a pause."""

        def work() -> None:
            with self.breaker as breaker:
                breaker.pause()
                self.work(1)

        self.breaker.pause()
        working = in_thread(work)
        self.assertEqual(self.done, [])
        self.breaker.resume()
        working.result(SAFETY)
        self.assertEqual((self.done, self.breaker.paused()), ([(1,)], True))

    def test_asyncio(self) -> None:
        async def work() -> None:
            await self.breaker.when_closed()
            async with self.breaker:
                self.work(1)

        async def main() -> None:
            self.breaker.pause()
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            self.assertEqual(self.done, [])
            joined(self.breaker.resume)
            await asyncio.wait_for(task, SAFETY)

        asyncio.run(main())
        self.assertEqual(self.done, [(1,)])

    def test_loop_is_not_blocked(self) -> None:
        """``with`` in a coroutine is a mistake that is named, when it would block."""

        async def main() -> None:
            with self.breaker:
                self.work(1)
            self.breaker.pause()
            with self.assertRaisesRegex(StateError, r"event loop; await when_closed\(\)"):
                with self.breaker:
                    self.work(2)

        asyncio.run(main())
        self.assertEqual(self.done, [(1,)])

    def test_twisted(self) -> None:
        async def work() -> None:
            async with self.breaker:
                self.work(1)

        self.breaker.pause()
        waiting, working = self.breaker.when_closed_deferred(), ensureDeferred(work())
        self.assertNoResult(waiting)
        self.assertEqual(self.done, [])
        self.breaker.resume()
        self.successResultOf(waiting)
        self.successResultOf(working)
        self.assertEqual(self.done, [(1,)])


class GuardTests(BreakerCase):
    """The decorator."""

    def test_plain(self) -> None:
        """A plain function waits in its thread."""
        guarded = self.breaker.guard(self.work)
        self.assertEqual(guarded(1, b=2), (1, 2))
        self.assertEqual(guarded.__doc__, "Do something.")
        self.breaker.pause()
        working = in_thread(guarded, 3)
        self.assertEqual(self.done, [(1, 2)])
        self.breaker.resume()
        self.assertEqual(working.result(SAFETY), (3,))

    def test_plain_refused(self) -> None:
        guarded = self.breaker.guard(wait=False)(self.work)
        self.assertEqual(guarded(1), (1,))
        self.breaker.pause()
        self.assertRaises(Paused, guarded, 2)
        self.assertEqual(self.done, [(1,)])

    def test_method(self) -> None:
        """Methods are functions."""
        breaker = self.breaker

        class Worker:
            @breaker.guard
            def double(self, number: int) -> int:
                return 2 * number

            @breaker.guard(wait=False)
            async def triple(self, number: int) -> int:
                return 3 * number

        self.assertEqual(Worker().double(4), 8)
        self.assertEqual(asyncio.run(Worker().triple(4)), 12)

    def test_coroutine(self) -> None:
        """A coroutine function waits in its loop, and in coroutines of Twisted's."""

        @self.breaker.guard
        async def guarded(number: int) -> int:
            self.work(number)
            return number

        async def main() -> int:
            self.breaker.pause()
            task = asyncio.ensure_future(guarded(1))
            await asyncio.sleep(0)
            self.assertEqual(self.done, [])
            self.breaker.resume()
            return await asyncio.wait_for(task, SAFETY)

        self.assertEqual(asyncio.run(main()), 1)
        self.breaker.pause()
        twisted = ensureDeferred(guarded(2))
        self.assertNoResult(twisted)
        self.breaker.resume()
        self.assertEqual(self.successResultOf(twisted), 2)

    def test_coroutine_refused(self) -> None:
        @self.breaker.guard(wait=False)
        async def guarded() -> None:
            self.work()

        asyncio.run(guarded())
        self.breaker.pause()
        self.assertRaises(Paused, asyncio.run, guarded())
        self.assertEqual(self.done, [()])

    def test_deferred(self) -> None:
        """What returns a Deferred is called later, and never blocks."""

        @self.breaker.guard
        def guarded(number: int) -> Deferred[int]:
            self.work(number)
            return succeed(number)

        self.assertEqual(self.successResultOf(guarded(1)), 1)
        self.breaker.pause()
        waiting = guarded(2)
        self.assertNoResult(waiting)
        self.assertEqual(self.done, [(1,)])
        self.breaker.resume()
        self.assertEqual(self.successResultOf(waiting), 2)

    def test_deferred_said(self) -> None:
        """Without an annotation it has to be said."""
        guarded = self.breaker.guard(deferred=True)(lambda: succeed(self.work(1)))
        self.breaker.pause()
        waiting = guarded()
        self.assertNoResult(waiting)
        self.breaker.resume()
        self.assertEqual(self.successResultOf(waiting), (1,))

    def test_deferred_refused(self) -> None:
        """A refusal is a failure of the Deferred."""

        @self.breaker.guard(wait=False)
        def guarded() -> Deferred[None]:
            return succeed(None)

        self.assertIsNone(self.successResultOf(guarded()))
        self.breaker.pause()
        self.failureResultOf(guarded(), Paused)

    def test_generator(self) -> None:
        """A generator function is refused when it is decorated."""

        def numbers() -> Any:
            yield 1

        self.assertRaises(TypeError, self.breaker.guard, numbers)
