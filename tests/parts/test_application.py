"""The ready-made application, managed over the network in memory."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane import blocking, interfaces
from backplane.node.invoking import CallMode, invoke
from backplane.parts import Application, Breaker, Breakers, HealthChecks, InFlight, LogLevels
from backplane.testing import Harness
from tests.parts.working import SAFETY, in_thread, joined

EVERY = (
    interfaces.IPausable,
    interfaces.IHealthCheckable,
    interfaces.ILogLevelSetable,
    interfaces.IInfoSource,
    interfaces.IDrainable,
    interfaces.INamedBreakers,
    interfaces.ILoggerLevels,
)


class ManagedTests(SynchronousTestCase):
    """What an operator does is seen by the program."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.stops: list[str] = []
        self.facts: dict[str, Any] = {"dc": "DC1", "db": {"password": "hunter2"}}
        self.logger = logging.getLogger("tests.parts.application")
        self.app = Application(
            version="1.0",
            facts=self.facts,
            shutdown=lambda: self.stops.append("stop"),
            health=HealthChecks(reactor=self.harness.clock),
            levels=LogLevels(self.logger),
        )

    def manage(self, calls: CallMode | None = None) -> None:
        management = self.harness.make(name="shop", options={} if not calls else {"calls": calls})
        management.provide(self.app)
        self.harness.start(management)

    def data(self, action: str) -> Any:
        return self.harness.ask(action).data

    def test_info(self) -> None:
        """Every feature is there; facts are those of the moment, secrets masked."""
        self.manage()
        self.app.in_flight.begin()
        self.facts["dc"] = "DC2"
        info = self.data("info")
        features = ("pause", "facts", "healthcheck", "shutdown", "loglevel")
        self.assertEqual([info[f"{each}_feature"] for each in features], [True] * 5)
        self.assertEqual((info["version"], info["paused"], info["healthy"]), ("1.0", False, True))
        self.assertEqual(info["facts"], {"dc": "DC2", "db": {"password": "********"}})

    def test_pause(self) -> None:
        """Work of every kind waits, and goes on."""
        self.manage()
        self.assertEqual(self.data("pause"), {"paused": True})
        thread = in_thread(self.app.breaker.wait)
        deferred = self.app.breaker.when_closed_deferred()
        coroutine = ensureDeferred(self.app.breaker.when_closed())
        self.assertNoResult(deferred)
        self.assertNoResult(coroutine)
        self.assertFalse(self.app.breaker.wait(0))
        self.assertTrue(self.data("info")["paused"])
        self.assertEqual(self.data("resume"), {"paused": False})
        self.successResultOf(deferred)
        self.successResultOf(coroutine)
        self.assertTrue(thread.result(SAFETY))
        self.assertEqual(self.data("flip"), {"paused": True})
        self.assertFalse(self.app.breaker.closed)

    def test_health(self) -> None:
        """Components with what they say, and who of them hangs; secrets masked."""
        clock = self.harness.clock
        self.app.health.add("disk", lambda: {"free": 7, "api_token": "hunter2"})

        @self.app.health.check("db", timeout=2)
        async def database() -> None:
            await deferLater(clock, 3, lambda: None)

        self.manage()
        health = self.data("health")
        self.assertFalse(health["healthy"])
        self.assertEqual(
            health["result"]["disk"],
            {"ok": True, "detail": {"free": 7, "api_token": "********"}, "seconds": 0},
        )
        self.assertRegex(health["result"]["db"]["detail"], "has not returned after 2.* s")
        self.app.health.remove("db")
        self.assertTrue(self.data("health")["healthy"])

    def test_level(self) -> None:
        """The level is set, shown, and put back."""
        self.manage()
        for level in ("debug", "warn", "crit", "info"):
            shown = {"crit": "critical", "warn": "warning"}.get(level, level)
            self.assertEqual(self.data(f"{level}lvl"), {"level": shown})
            self.assertEqual(self.data("info")["loglevel"], shown)
        self.assertEqual(self.logger.level, logging.INFO)
        self.app.levels.restore()
        self.assertEqual(self.logger.level, logging.NOTSET)

    def test_shutdown(self) -> None:
        self.manage()
        self.data("shutdown")
        self.harness.advance(12)
        self.assertEqual(self.stops, ["stop"])

    def test_threads(self) -> None:
        """As it is called in a host that is no Twisted program."""
        self.app.health = HealthChecks()

        @self.app.health.check("db")
        async def database() -> str:
            await asyncio.sleep(0)
            return "up"

        self.manage("thread")
        self.assertEqual(self.data("pause"), {"paused": True})
        self.assertEqual(self.data("debuglvl"), {"level": "debug"})
        self.addCleanup(self.app.levels.restore)
        health = self.data("health")
        self.assertEqual(health["healthy"], True)
        self.assertEqual(health["result"]["db"]["detail"], "up")


class FormTests(SynchronousTestCase):
    """What it is made of."""

    def test_interfaces(self) -> None:
        """All of them; to be stopped it has to be said how."""
        for interface in EVERY:
            verifyObject(interface, Application())
        verifyObject(interfaces.IStopable, Application(shutdown=lambda: None))
        self.assertFalse(interfaces.IStopable.providedBy(Application()))

    def test_without_anything(self) -> None:
        app = Application()
        self.assertEqual((app.fact_data(), app.version()), ({}, "unknown"))
        self.assertEqual(joined(app.health_check), ({}, True))

    def test_parts(self) -> None:
        """Parts may be given, for programs that have several applications."""
        breaker, health, levels, flight = Breaker(), HealthChecks(), LogLevels("x"), InFlight()
        app = Application(breaker=breaker, health=health, levels=levels, in_flight=flight)
        app.pause()
        self.assertTrue(breaker.paused())
        self.assertEqual(
            (app.breaker, app.health, app.levels, app.in_flight), (breaker, health, levels, flight)
        )

    def test_drain(self) -> None:
        """No work is taken any more, that under way goes on and is counted."""
        app = Application()
        with app.in_flight, app.in_flight:
            app.drain()
            self.assertTrue(app.paused())
            self.assertFalse(app.breaker.closed)
            self.assertEqual(app.in_flight(), 2)
        self.assertEqual(app.in_flight(), 0)
        app.resume()
        self.assertFalse(app.paused())

    def test_drain_of_subclasses(self) -> None:
        """Who pauses in a way of his own drains in that way."""
        stopped: list[str] = []

        class Consumer(Application):
            def pause(self) -> Any:
                stopped.append("consuming")
                return super().pause()

        Consumer().drain()
        self.assertEqual(stopped, ["consuming"])

    def test_breakers(self) -> None:
        """Names, or breakers that there are."""
        breakers = Breakers("search")
        self.assertIs(Application(breakers=breakers).breakers, breakers)
        app = Application(breakers=(name for name in ("payments", "search")))
        self.assertEqual(list(app.breakers()), ["payments", "search"])
        self.assertEqual(Application().breakers(), {})
        error = self.assertRaises(TypeError, Application, breakers="payments")
        self.assertIn("one name", str(error))

    def test_levels_of_subclasses(self) -> None:
        """Levels that are set in a way of a subclass's own cannot be put back by ours."""

        class Own(Application):
            def set_log_level(self, level: interfaces.LogLevel) -> None:
                """Elsewhere."""

        self.assertTrue(interfaces.ILogLevelSetable.providedBy(Own()))
        self.assertFalse(interfaces.ILoggerLevels.providedBy(Own()))

    def test_loggers(self) -> None:
        """The levels of single loggers are those of its part."""
        logger = logging.getLogger("tests.parts.application.one")
        app = Application(levels=LogLevels("tests.parts.application"))
        app.set_log_level(interfaces.LogLevel.CRITICAL)
        app.set_logger_level(logger.name, interfaces.LogLevel.DEBUG)
        self.assertEqual(app.loggers()[logger.name], (interfaces.LogLevel.DEBUG,) * 2)
        app.restore_log_level()
        self.assertEqual((logger.level, logger.parent and logger.parent.level), (10, 0))
        app.set_logger_level(logger.name, None)
        self.assertEqual(logger.level, 0)

    def test_functions(self) -> None:
        """Functions that are given are called in the way that they are marked for."""
        self.called: list[Any] = []

        @blocking
        def facts() -> dict[str, int]:
            return {"n": len(self.called)}

        async def stop() -> None:
            self.called.append("stop")

        def thread(function: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            self.called.append("thread")
            done.callback(function())
            return done

        app = Application(facts=facts, shutdown=stop)
        found = invoke("reactor", thread, app.fact_data)
        self.assertEqual(self.successResultOf(found), {"n": 1})
        self.successResultOf(invoke("reactor", thread, app.shutdown))
        self.assertEqual(self.called, ["thread", "stop"])
