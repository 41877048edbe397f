"""How an application's methods are called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.interfaces import blocking
from backplane.node.calling import Busy, MethodCalls, Overdue
from backplane.node.invoking import run_in_thread
from tests.node.threads import QueueReactor


class Application:
    """Counts calls; slow methods return when told."""

    def __init__(self) -> None:
        self.calls = 0
        self.pending: list[Deferred[str]] = []

    def plain(self) -> str:
        self.calls += 1
        return "done"

    def broken(self) -> None:
        raise ZeroDivisionError

    def slow(self) -> Deferred[str]:
        self.calls += 1
        self.pending.append(Deferred())
        return self.pending[-1]

    async def coroutine(self) -> str:
        return await self.slow()

    async def sleeping(self) -> str:
        await asyncio.sleep(0)
        return "slept"

    @blocking
    def threaded(self, *args: object) -> tuple[object, ...]:
        self.calls += 1
        return args


class CallingTests(SynchronousTestCase):
    """Reads are shared, changes are not, and nothing waits for ever."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.app = Application()
        self.threads: list[tuple[Callable[[], object], Deferred[Any]]] = []
        self.calls = MethodCalls(self.app, self.clock, self.run_in_thread)

    def run_threads(self) -> None:
        threads, self.threads = self.threads, []
        for function, done in threads:
            done.callback(function())

    def run_in_thread(self, function: Callable[[], object]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((function, done))
        return done

    def test_plain(self) -> None:
        """A plain method's result comes at once and leaves nothing behind."""
        self.assertEqual(self.successResultOf(self.calls.read("plain", deadline=9)), "done")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_raises(self) -> None:
        """What a method raises reaches the caller."""
        self.failureResultOf(self.calls.read("broken", deadline=9), ZeroDivisionError)

    def test_attribute_raises(self) -> None:
        """So does what the mere look at the method raises."""

        class Lazy:
            @property
            def plain(self) -> object:
                raise ZeroDivisionError

        calls = MethodCalls(Lazy(), self.clock, self.run_in_thread)
        self.failureResultOf(calls.read("plain", deadline=9), ZeroDivisionError)
        self.failureResultOf(calls.change("plain", deadline=9), ZeroDivisionError)
        self.failureResultOf(calls.read("missing", deadline=9), AttributeError)

    def test_shared(self) -> None:
        """Two readers of a slow method share one call."""
        first = self.calls.read("slow", deadline=9)
        second = self.calls.read("slow", deadline=9)
        self.app.pending[0].callback("late")
        self.assertEqual([self.successResultOf(first), self.successResultOf(second)], ["late"] * 2)
        self.assertEqual(self.app.calls, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience(self) -> None:
        """A reader with little patience is told, and the call goes on for the others."""
        first = self.calls.read("slow", deadline=9, patience=1)
        second = self.calls.read("slow", deadline=9)
        self.clock.advance(1)
        self.failureResultOf(first, Overdue)
        self.app.pending[0].callback("late")
        self.assertEqual(self.successResultOf(second), "late")

    def test_deadline_cancels(self) -> None:
        """A Deferred past its deadline is cancelled, and the method can be called again."""
        first = self.calls.read("coroutine", deadline=9)
        self.clock.advance(9)
        error = self.failureResultOf(first, Overdue).value
        self.assertEqual((error.method, error.age), ("coroutine", 9.0))
        self.assertEqual(self.calls.overdue, 0)
        self.calls.read("coroutine", deadline=9)
        self.assertEqual(self.app.calls, 2)

    def test_thread_left(self) -> None:
        """A thread past its deadline is left and counted, and no second one is started."""

        first = self.calls.change("threaded", 1, deadline=9)
        self.clock.advance(9)
        self.failureResultOf(first, Overdue)
        self.assertEqual(self.calls.overdue, 1)
        self.failureResultOf(self.calls.change("threaded", 2, deadline=9), Busy)
        self.failureResultOf(self.calls.read("threaded", deadline=9), Overdue)
        self.run_threads()
        self.assertEqual(self.calls.overdue, 0)
        second = self.calls.change("threaded", 3, deadline=9)
        self.run_threads()
        self.assertEqual(self.successResultOf(second), (3,))

    def test_cancel(self) -> None:
        """Stopping ends every waiter and leaves no timer."""
        waiting = [self.calls.read("slow", deadline=9), self.calls.change("threaded", deadline=9)]
        self.calls.cancel()
        for waiter in waiting:
            self.failureResultOf(waiter)
        self.run_threads()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_mode(self) -> None:
        """Of an object that is provided for threads every method is called in one; asyncio
        runs coroutines there."""
        self.calls = MethodCalls(self.app, self.clock, self.run_in_thread, "thread")
        for method, result in (("plain", "done"), ("sleeping", "slept")):
            waiting = self.calls.read(method, deadline=9)
            self.assertNoResult(waiting)
            self.run_threads()
            self.assertEqual(self.successResultOf(waiting), result)

    def test_age(self) -> None:
        """It can be asked since when a method has been running."""
        self.assertIsNone(self.calls.age("slow"))
        waiting = self.calls.read("slow", deadline=9)
        self.clock.advance(2.5)
        self.assertEqual(self.calls.age("slow"), 2.5)
        self.app.pending[0].callback("done")
        self.assertEqual(self.successResultOf(waiting), "done")
        self.assertIsNone(self.calls.age("slow"))


class ThreadTests(SynchronousTestCase):
    """Real threads."""

    def setUp(self) -> None:
        self.reactor = QueueReactor()
        self.run_it = run_in_thread(self.reactor)

    def test_result(self) -> None:
        """It comes back in the reactor's thread; the thread is a daemon with a name."""
        seen: list[threading.Thread] = []

        def work() -> str:
            seen.append(threading.current_thread())
            return "done"

        done = self.run_it(work)
        self.assertNoResult(done)
        self.reactor.run_one()
        self.assertEqual(self.successResultOf(done), "done")
        self.assertEqual((seen[0].daemon, seen[0].name), (True, "backplane-call"))

    def test_error(self) -> None:
        """So does what it raises, an exit included, which ends nothing here."""
        for error in (ZeroDivisionError, SystemExit):

            def work(error: type[BaseException] = error) -> None:
                raise error

            done = self.run_it(work)
            self.reactor.run_one()
            self.failureResultOf(done, error)

    def test_deferred_and_coroutine(self) -> None:
        """A Deferred or a coroutine that a thread returns is waited for in the reactor."""
        inner: list[Deferred[str]] = [Deferred(), Deferred()]

        async def coroutine() -> str:
            return await inner[1]

        waiting = [self.run_it(lambda: inner[0]), self.run_it(coroutine)]
        for _ in waiting:
            self.reactor.run_one()
        for number, each in enumerate(waiting):
            self.assertNoResult(each)
            inner[number].callback("late")
            self.assertEqual(self.successResultOf(each), "late")
