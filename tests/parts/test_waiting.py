"""Waiting for a value: who is let go, when, and in which thread; who is told of changes."""

from __future__ import annotations

import asyncio
import signal
import threading
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import StateError
from backplane.parts import waiting as waiting_module
from backplane.parts.waiting import Watched, awaited
from tests.node.threads import QueueReactor
from tests.parts.working import SAFETY, in_thread, joined


class WatchedCase(SynchronousTestCase):
    """A number; the wanted one is zero."""

    def setUp(self) -> None:
        self.number = Watched(1, lambda value: value == 0, "wait elsewhere")

    def set(self, value: int) -> None:
        self.number.change(lambda _: value)


class ThreadTests(WatchedCase):
    """Threads."""

    def test_reached(self) -> None:
        """Nobody waits for what is there already."""
        self.set(0)
        self.assertTrue(self.number.wait())
        self.assertTrue(self.number.wait(0))

    def test_let_go(self) -> None:
        """All threads that wait go on."""
        waiting = [in_thread(self.number.wait) for _ in range(5)]
        self.assertFalse(any(each.done() for each in waiting))
        self.set(0)
        self.assertEqual([each.result(SAFETY) for each in waiting], [True] * 5)

    def test_timeout(self) -> None:
        """Who waits no longer is told that the value is not there."""
        self.assertFalse(self.number.wait(0))
        self.assertFalse(self.number.wait(-1))
        self.assertFalse(self.number.wait(0.001))

    def test_loop(self) -> None:
        """A loop is not blocked: the error says what to do instead."""

        async def main() -> bool:
            self.assertFalse(self.number.wait(0))
            with self.assertRaisesRegex(StateError, "block the event loop; wait elsewhere"):
                self.number.wait()
            self.set(0)
            return self.number.wait()

        self.assertTrue(asyncio.run(main()))

    def test_signal(self) -> None:
        """A signal handler may make a change while its thread makes one."""
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, lambda *_: self.set(0))
        heard: list[int] = []
        self.number.on_change(heard.append)

        def interrupted(value: int) -> int:
            signal.raise_signal(signal.SIGUSR1)
            return value + 1

        self.assertEqual(self.number.change(interrupted), 2)
        self.assertEqual((self.number.value, heard[-1]), (2, 2))


class AsyncTests(WatchedCase):
    """asyncio."""

    def test_reached(self) -> None:
        self.set(0)
        asyncio.run(self.number.when())

    def test_let_go(self) -> None:
        """Tasks go on, whoever makes the change."""

        async def main(change: Any) -> None:
            self.set(1)
            tasks = [asyncio.ensure_future(self.number.when()) for _ in range(3)]
            await asyncio.sleep(0)
            self.assertFalse(any(task.done() for task in tasks))
            change()
            await asyncio.wait_for(asyncio.gather(*tasks), SAFETY)

        asyncio.run(main(lambda: self.set(0)))
        asyncio.run(main(lambda: joined(self.set, 0)))
        asyncio.run(main(lambda: in_thread(self.set, 0)))

    def test_changed_again(self) -> None:
        """A task that has not run yet when the value changes again goes on waiting."""

        async def main() -> None:
            task = asyncio.ensure_future(self.number.when())
            await asyncio.sleep(0)
            self.set(0)
            self.set(1)
            for _ in range(10):
                await asyncio.sleep(0)
            self.assertFalse(task.done())
            self.set(0)
            await asyncio.wait_for(task, SAFETY)

        asyncio.run(main())

    def test_cancelled(self) -> None:
        """A task that is cancelled waits no more, and leaves nothing."""

        async def main() -> None:
            task = asyncio.ensure_future(self.number.when())
            await asyncio.sleep(0)
            self.assertEqual(len(self.number._waiters), 1)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual(len(self.number._waiters), 0)

        asyncio.run(main())

    def test_loop_gone(self) -> None:
        """Who waited on a loop that has ended is forgotten."""
        loop = asyncio.new_event_loop()

        async def begin() -> None:
            self.left = self.number.when_deferred()

        loop.run_until_complete(begin())
        loop.close()
        joined(self.set, 0)
        self.assertNoResult(self.left)


class DeferredTests(WatchedCase):
    """Twisted."""

    def test_reached(self) -> None:
        self.set(0)
        self.assertIsNone(self.successResultOf(self.number.when_deferred()))

    def test_let_go(self) -> None:
        """All fire, in order, at once when their own thread makes the change."""
        order: list[int] = []
        for number in range(3):
            self.number.when_deferred().addCallback(partial(self.note, order, number))
        self.assertEqual(order, [])
        self.set(0)
        self.assertEqual(order, [0, 1, 2])

    def note(self, order: list[int], number: int, _: object) -> None:
        order.append(number)

    def test_coroutine(self) -> None:
        """A coroutine of Twisted's waits as one of asyncio's does."""
        done = ensureDeferred(self.number.when())
        self.assertNoResult(done)
        self.set(0)
        self.successResultOf(done)

    def test_changed_by_the_first(self) -> None:
        """Who comes after one that changed the value waits on."""
        first = self.number.when_deferred().addCallback(lambda _: self.set(1))
        second = self.number.when_deferred()
        self.set(0)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.set(0)
        self.successResultOf(second)

    def test_cancelled(self) -> None:
        """Who cancels waits no more, and does not hear of it later."""
        waiting = self.number.when_deferred()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(len(self.number._waiters), 0)
        self.set(0)

    def test_other_thread(self) -> None:
        """What another thread changes is heard in the own one, by way of the reactor."""
        reactor = QueueReactor()
        fired: list[int] = []
        waiting = self.number.when_deferred(reactor)
        waiting.addCallback(lambda _: fired.append(threading.get_ident()))
        joined(self.set, 0)
        self.assertEqual(fired, [])
        reactor.run_one()
        self.assertEqual(fired, [threading.get_ident()])

    def test_other_thread_changes_again(self) -> None:
        """It waits on when the value has changed again on the way."""
        reactor = QueueReactor()
        waiting = self.number.when_deferred(reactor)
        joined(self.set, 0)
        self.set(1)
        reactor.run_one()
        self.assertNoResult(waiting)
        joined(self.set, 0)
        reactor.run_one()
        self.successResultOf(waiting)

    def test_cancelled_on_the_way(self) -> None:
        """It may be cancelled between the change and its thread's hearing of it."""
        reactor = QueueReactor()
        waiting = self.number.when_deferred(reactor)
        joined(self.set, 0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        reactor.run_one()

    def test_program_reactor(self) -> None:
        """Without a reactor of its own it takes the one that the program has installed."""
        reactor = QueueReactor()
        self.patch_reactor(reactor)
        waiting = self.number.when_deferred()
        joined(self.set, 0)
        self.assertNoResult(waiting)
        reactor.run_one()
        self.successResultOf(waiting)

    def test_no_reactor(self) -> None:
        """In a program without any it fires in the thread that makes the change."""
        self.patch_reactor(None)
        fired: list[int] = []
        self.number.when_deferred().addCallback(lambda _: fired.append(threading.get_ident()))
        joined(self.set, 0)
        self.assertEqual(len(fired), 1)
        self.assertNotEqual(fired, [threading.get_ident()])

    def patch_reactor(self, reactor: object) -> None:
        self.patch(waiting_module, "host_reactor", lambda: reactor)

    def test_awaited(self) -> None:
        """The result and the error of a Deferred, in either kind of coroutine."""
        for run in (asyncio.run, lambda made: self.successResultOf(ensureDeferred(made))):
            done: Deferred[int] = Deferred()
            done.callback(7)
            self.assertEqual(run(awaited(done)), 7)


class ListenerTests(WatchedCase):
    """Who is told of changes."""

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[int] = []

    def test_changes_only(self) -> None:
        """Every change is told once, and what is the same is none."""
        self.number.on_change(self.heard.append)
        for value in (1, 2, 2, 0, 0, 1):
            self.set(value)
        self.assertEqual(self.heard, [2, 0, 1])

    def test_forget(self) -> None:
        self.number.on_change(self.heard.append)
        self.set(2)
        self.number.forget(self.heard.append)
        self.number.forget(self.heard.append)
        self.set(3)
        self.assertEqual(self.heard, [2])

    def test_changes_by_listeners(self) -> None:
        """A change that a listener makes is told after the one that it was told."""

        def back(value: int) -> None:
            if value == 5:
                self.set(6)

        self.number.on_change(back)
        self.number.on_change(self.heard.append)
        self.set(5)
        self.assertEqual(self.heard, [5, 6])

    def test_raises(self) -> None:
        """One that fails is in the log; the others are told all the same."""

        def fail(value: int) -> None:
            raise RuntimeError("no")

        self.number.on_change(fail)
        self.number.on_change(self.heard.append)
        self.set(5)
        self.assertEqual(self.heard, [5])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_order_between_threads(self) -> None:
        """Another thread's change is told after the one that is being told, and not lost."""
        entered, go_on = threading.Event(), threading.Event()

        def slow(value: int) -> None:
            if value == 5:
                entered.set()
                go_on.wait(SAFETY)
            self.heard.append(value)

        self.number.on_change(slow)
        first = in_thread(self.set, 5)
        self.assertTrue(entered.wait(SAFETY))
        self.set(6)  # returns: it does not wait for somebody else's listener
        self.assertEqual(self.heard, [])
        go_on.set()
        first.result(SAFETY)
        self.assertEqual(self.heard, [5, 6])

    def test_many_threads(self) -> None:
        """With changes from everywhere none is lost, and the last one told is the last one."""
        self.number.on_change(self.heard.append)
        start = threading.Barrier(4)

        def add() -> None:
            start.wait(SAFETY)
            for _ in range(500):
                self.number.change(lambda value: value + 1)

        threads = [in_thread(add) for _ in range(4)]
        for thread in threads:
            thread.result(SAFETY)
        self.assertEqual(self.number.value, 2001)
        self.assertEqual(self.heard, list(range(2, 2002)))
