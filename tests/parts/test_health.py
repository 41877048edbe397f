"""Health checks of components: what is healthy, and who hangs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.interfaces import IHealthCheckable
from backplane.parts import HealthChecks
from tests.parts.components import Report, bad, fine, without_seconds
from tests.parts.working import SAFETY, in_thread, joined


class ResultTests(SynchronousTestCase):
    """What is healthy; plain functions, asked for in a thread."""

    def setUp(self) -> None:
        self.health = HealthChecks()

    def report(self) -> Report:
        return without_seconds(self.health.health_check())

    def test_none(self) -> None:
        """Nothing that could be ill is healthy."""
        verifyObject(IHealthCheckable, self.health)
        self.assertEqual(self.health.health_check(), ({}, True))

    def test_results(self) -> None:
        """What a function returns, and what is made of it."""
        for result, found in (
            (None, fine()),
            (True, fine()),
            (False, bad()),
            (("7 rows", True), fine("7 rows")),
            (({"lag": 9}, False), bad({"lag": 9})),
            ({"rows": 7}, fine({"rows": 7})),
            (0, fine(0)),
            ((1, 2), fine((1, 2))),
            ((1, 2, False), fine((1, 2, False))),
        ):
            self.health.remove("db")
            self.health.add("db", partial(deepcopy, result))
            self.assertEqual(self.report(), ({"db": found}, found["ok"]))

    def test_errors(self) -> None:
        """An error is a failed component, with type and text, without secrets."""

        @self.health.check("db")
        def database() -> None:
            raise ConnectionError("postgres://app:hunter2@db: refused")

        @self.health.check("queue")
        def queue() -> None:
            raise SystemExit(3)

        self.health.add("disk", lambda: None)
        text = "ConnectionError: postgres://********@db: refused"
        wanted = {"db": bad(text), "queue": bad("SystemExit: 3"), "disk": fine()}
        self.assertEqual(self.report(), (wanted, False))

    def test_threads(self) -> None:
        """Components are checked at the same time, each in a thread of its own."""
        meet = threading.Barrier(3)
        for name in ("a", "b", "c"):
            self.health.add(name, lambda: meet.wait(SAFETY) >= 0, timeout=SAFETY)
        self.assertEqual(self.report(), ({name: fine() for name in "abc"}, True))

    def test_seconds(self) -> None:
        self.health.add("db", lambda: None)
        found, _ = joined(self.health.health_check)
        self.assertIsInstance(found["db"]["seconds"], float)

    def test_registry(self) -> None:
        """Names are unique, and functions remain what they are."""

        @self.health.check("db")
        def database() -> int:
            return 7

        self.assertEqual(database(), 7)
        self.assertEqual(self.health.names, ["db"])
        for name in ("db", ""):
            self.assertRaises(ValueError, self.health.add, name, database)
        for timeout in (0, -1, float("nan")):
            self.assertRaises(ValueError, self.health.check("x", timeout=timeout), database)
        self.assertRaises(ValueError, HealthChecks, timeout=0)
        self.assertEqual(self.health.names, ["db"])
        self.health.remove("db")
        self.health.remove("db")
        self.assertEqual(self.health.names, [])

    def test_no_thread(self) -> None:
        """A thread that cannot be had is a failed component."""

        class NoThread:
            def __init__(self, **_: object) -> None:
                raise RuntimeError("can't start new thread")

        self.patch(threading, "Thread", NoThread)
        self.health.add("db", lambda: None)
        wanted = bad("RuntimeError: can't start new thread")
        self.assertEqual(self.report(), ({"db": wanted}, False))

    def test_interrupted(self) -> None:
        """A program that is interrupted just then is, and the next check is like the first."""

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        self.health.add("db", lambda: None)
        patch = self.patch(threading, "Thread", interrupted)
        self.assertRaises(KeyboardInterrupt, self.health.health_check)
        patch.restore()
        self.assertEqual(self.report(), ({"db": fine()}, True))

    def test_late(self) -> None:
        """What came after its deadline, while others were waited for, is not well."""
        now = [0.0]
        self.patch(self.health, "_seconds", lambda: now[0])
        go_on, ended = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def other() -> None:
            now[0] = 100.0
            go_on.set()
            ended.wait(SAFETY)

        self.health.add("db", lambda: go_on.wait(SAFETY), timeout=SAFETY)
        self.health.add("x", other, timeout=2 * SAFETY)
        asked = in_thread(self.health.health_check)
        go_on.wait(SAFETY)
        run = self.health._components["db"].run
        assert run is not None
        run.future.result(SAFETY)
        ended.set()
        found, ok = asked.result(SAFETY)
        self.assertEqual(found["db"], {"ok": False, "detail": "has taken 100 s", "seconds": 100})
        self.assertEqual((found["x"]["ok"], ok), (True, False))


class HangTests(SynchronousTestCase):
    """What does not return."""

    def setUp(self) -> None:
        self.health = HealthChecks(timeout=0.005)
        self.calls = 0
        self.called = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)

    def hang(self) -> str:
        self.calls += 1
        self.called.release()
        self.go_on.wait(SAFETY)
        return "back"

    def test_hangs(self) -> None:
        """It is named, the others are not; it is not started again before it has returned."""
        self.health.add("db", self.hang)
        self.health.add("disk", lambda: "7 GB", timeout=SAFETY)
        for _ in range(3):
            found, ok = without_seconds(joined(self.health.health_check))
            self.assertRegex(found["db"]["detail"], r"has not returned after [0-9.]+ s")
            self.assertEqual((found["disk"], ok), (fine("7 GB"), False))
        self.assertTrue(self.called.acquire(timeout=SAFETY))
        self.assertEqual(self.calls, 1)
        run = self.health._components["db"].run
        assert run is not None
        self.go_on.set()
        self.assertEqual(run.future.result(SAFETY), "back")
        self.health.remove("db")
        self.health.add("db", self.hang, timeout=SAFETY)
        found, ok = without_seconds(joined(self.health.health_check))
        self.assertEqual((found["db"], ok, self.calls), (fine("back"), True, 2))

    def test_shared(self) -> None:
        """Two who ask at the same time share one call."""
        entered = threading.Event()

        def slow() -> str:
            entered.set()
            return self.hang()

        self.health.add("db", slow, timeout=SAFETY)
        first = in_thread(self.health.health_check)
        self.assertTrue(entered.wait(SAFETY))
        second = in_thread(self.health.health_check)
        self.go_on.set()
        for each in (first, second):
            self.assertEqual(without_seconds(each.result(SAFETY)), ({"db": fine("back")}, True))

    def test_forked(self) -> None:
        """What ran in the process that this one was forked from does not run here."""
        self.health.add("db", self.hang)
        joined(self.health.health_check)
        self.assertTrue(self.called.acquire(timeout=SAFETY))
        self.patch(os, "getpid", lambda: -1)
        joined(self.health.health_check)
        self.assertTrue(self.called.acquire(timeout=SAFETY))

    def test_coroutine(self) -> None:
        """A coroutine that does not return is cancelled."""
        ended = threading.Event()

        @self.health.check("db")
        async def database() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

        found, ok = joined(self.health.health_check)
        self.assertIn("has not returned", found["db"]["detail"])
        self.assertTrue(ended.wait(SAFETY))
        self.assertFalse(ok)

    def test_late_start(self) -> None:
        """What begins after its deadline ends at once."""
        threads: list[Callable[[], None]] = []

        class LateThread:
            def __init__(self, target: Callable[[], None], **_: object) -> None:
                self.start = partial(threads.append, target)

        @self.health.check("db")
        async def database() -> None:
            await asyncio.get_running_loop().create_future()

        patch = self.patch(threading, "Thread", LateThread)
        report: Any = self.health.health_check()
        patch.restore()
        self.assertIn("has not returned", report[0]["db"]["detail"])
        threads[0]()
        run = self.health._components["db"].run
        assert run is not None
        self.assertIsInstance(run.future.exception(SAFETY), asyncio.CancelledError)

    def test_stubborn_coroutine(self) -> None:
        """One that goes on when it is cancelled is not started again."""
        health = HealthChecks(timeout=0.005)

        async def main() -> None:
            calls = []
            go_on = asyncio.get_running_loop().create_future()

            async def stubborn() -> None:
                calls.append(1)
                while not go_on.done():
                    try:
                        await asyncio.shield(go_on)
                    except asyncio.CancelledError:
                        calls.append(2)

            health.add("db", stubborn)
            for _ in range(2):
                found, _ = await health.run()
                self.assertIn("has not returned", found["db"]["detail"])
            self.assertEqual(calls.count(1), 1)
            go_on.set_result(None)

        asyncio.run(main())
