"""Health checks that are asked for on a reactor, or beside one, and on a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from backplane.parts import HealthChecks, places, running
from tests.node.threads import QueueReactor
from tests.parts.components import Report, bad, fine, without_seconds
from tests.parts.test_places import Running
from tests.parts.working import SAFETY, in_thread


class ReactorTests(SynchronousTestCase):
    """Asked for on a reactor, and with one in tests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.health = HealthChecks(timeout=2, reactor=self.clock)

    def later(self, seconds: float, result: object) -> Callable[[], Deferred[Any]]:
        return lambda: deferLater(self.clock, seconds, lambda: result)

    def report(self) -> Deferred[Report]:
        found = self.health.health_check()
        assert isinstance(found, Deferred)
        return found

    def test_clock(self) -> None:
        """With a clock everything is at once, or when the clock says so."""
        self.health.add("a", lambda: "plain")
        self.assertEqual(
            self.successResultOf(self.report()),
            ({"a": {"ok": True, "detail": "plain", "seconds": 0}}, True),
        )
        self.health.add("b", self.later(1, "b"), deferred=True)

        @self.health.check("c")
        async def coroutine() -> str:
            await self.later(1.5, None)()
            return "c"

        report = self.report()
        self.clock.advance(1)
        self.assertNoResult(report)
        self.clock.advance(0.5)
        found, ok = self.successResultOf(report)
        self.assertEqual([each["seconds"] for each in found.values()], [0, 1, 1.5])
        self.assertEqual(([*found], ok), (["a", "b", "c"], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadlines(self) -> None:
        """Each has its own deadline; past it a Deferred is cancelled, and started again next."""
        self.health.add("slow", self.later(9, None), deferred=True)
        self.health.add("slower", self.later(9, None), deferred=True, timeout=3)
        self.health.add("last", self.later(3.5, None), deferred=True, timeout=4)
        report = self.report()
        self.clock.advance(2)
        self.clock.advance(1)
        self.assertNoResult(report)
        self.clock.advance(0.5)
        found, ok = self.successResultOf(report)
        wanted = {
            "slow": {"ok": False, "detail": "has not returned after 2 s", "seconds": 2},
            "slower": {"ok": False, "detail": "has not returned after 3 s", "seconds": 3},
            "last": {"ok": True, "detail": None, "seconds": 3.5},
        }
        self.assertEqual((found, ok), (wanted, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """A Deferred that goes on when it is cancelled is not started again."""
        calls: list[Deferred[None]] = []

        def stubborn() -> Deferred[None]:
            more: Deferred[None] = Deferred()
            calls.append(more)
            waiting: Deferred[None] = Deferred()
            return waiting.addErrback(lambda _: more)

        self.health.add("db", stubborn)
        first = self.report()
        self.clock.advance(2)
        self.clock.advance(10)
        second = self.report()
        for report, age in ((first, 2), (second, 12)):
            found, ok = self.successResultOf(report)
            self.assertEqual(found["db"]["detail"], f"has not returned after {age} s")
            self.assertFalse(ok)
        self.assertEqual(len(calls), 1)

    def test_late(self) -> None:
        """What has come after its deadline is not healthy, though somebody else waited on."""
        self.health.add("db", self.later(3, None), deferred=True, timeout=2)
        self.health.add("x", self.later(4, None), deferred=True, timeout=5)
        report = self.report()
        self.clock.advance(3)  # one step: the result and the deadline are there together
        self.clock.advance(1)
        found, ok = self.successResultOf(report)
        self.assertIn("3 s", found["db"]["detail"])
        self.assertFalse(ok)

    def test_cancelled(self) -> None:
        """Nothing is left on the clock when the one who asks gives up."""
        self.health.add("db", self.later(1, None), deferred=True)
        report = self.report()
        report.cancel()
        self.failureResultOf(report, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        again = self.report()
        self.clock.advance(1)
        self.assertTrue(self.successResultOf(again)[1])

    def test_shared(self) -> None:
        """Two who ask share one call."""
        calls: list[int] = []

        def count() -> Deferred[None]:
            calls.append(1)
            return deferLater(self.clock, 1, lambda: None)

        self.health.add("db", count)
        first = self.report()
        self.clock.advance(0.5)
        second = self.report()
        self.clock.advance(0.5)
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(calls), 1)

    def test_run(self) -> None:
        """In coroutines of Twisted's."""
        self.health.add("db", self.later(1, "b"), deferred=True)
        report = ensureDeferred(self.health.run())
        self.assertNoResult(report)
        self.clock.advance(1)
        self.assertTrue(self.successResultOf(report)[1])

    def test_errors(self) -> None:
        """A Deferred that fails, and a function that fails to make one."""

        def away() -> Deferred[None]:
            return deferLater(self.clock, 1, self.raises)

        self.health.add("a", away)
        self.health.add("b", self.raises, deferred=True)
        report = self.report()
        self.clock.advance(1)
        wanted = bad("RuntimeError: away")
        self.assertEqual(
            without_seconds(self.successResultOf(report)), ({"a": wanted, "b": wanted}, False)
        )

    def raises(self) -> None:
        raise RuntimeError("away")

    def test_program_reactor(self) -> None:
        """On the program's reactor nothing blocks: what may block has a thread."""
        reactor = RunningClock()
        self.patch(places, "host_reactor", lambda: reactor)
        self.patch(threadable, "ioThread", threading.get_ident())
        health = HealthChecks()
        idents: list[int] = []
        asked = threading.Event()

        @health.check("db")
        def database() -> None:
            asked.wait(SAFETY)
            idents.append(threading.get_ident())

        @health.check("cache")
        async def cache() -> str:
            await deferLater(reactor.clock, 1, lambda: None)
            return "warm"

        report = health.health_check()
        assert isinstance(report, Deferred)
        asked.set()
        reactor.run_one()
        self.assertNoResult(report)
        reactor.clock.advance(1)
        while not report.called:
            reactor.run_one()
        wanted = {"db": fine(), "cache": fine("warm")}, True
        self.assertEqual(without_seconds(self.successResultOf(report)), wanted)
        self.assertNotEqual(idents, [threading.get_ident()])
        self.assertEqual(reactor.clock.getDelayedCalls(), [])

    def test_thread_beside_a_reactor(self) -> None:
        """Asked for in a thread, what returns a Deferred is called on the program's reactor."""
        reactor = RunningClock()
        self.patch(running, "host_reactor", lambda: reactor)
        idents: list[int] = []

        def database() -> Deferred[str]:
            idents.append(threading.get_ident())
            return succeed("d")

        for health in (HealthChecks(), HealthChecks(reactor=QueueReactor())):
            health.add("db", database)
            asked = in_thread(health.health_check)
            (health._reactor or reactor).run_one()
            self.assertEqual(without_seconds(asked.result(SAFETY)), ({"db": fine("d")}, True))
        self.assertEqual(idents, 2 * [threading.get_ident()])


class RunningClock(Running):
    """A reactor that runs, whose time is a clock's."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()

    def callLater(self, *args: Any) -> Any:
        return self.clock.callLater(*args)

    def seconds(self) -> float:
        return self.clock.seconds()
