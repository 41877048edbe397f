"""Management as programs use it: what it takes, and several in one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import directlyProvides, implementer

from backplane import (
    ConfigError,
    DataItem,
    LogLevel,
    Management,
    StateError,
)
from backplane.interfaces import IInfoSource, IPausable
from backplane.testing import Harness, RecordingApplication
from tests.managing import ManagementCase, Pausable, PausableAndHealthy, Stock


class ProvideTests(ManagementCase):
    """What an application hands over."""

    def test_forms(self) -> None:
        """Arguments of the constructor and provide() are one in other words."""
        answers: list[list[dict[str, Any]]] = []
        for by_argument in (True, False):
            app = RecordingApplication({"dc": "DC1"})
            names = ("info_source", "pausable", "health_check", "stopable", "log_level")
            options = dict.fromkeys(names, app) if by_argument else {}
            management = self.harness.make(options=options)
            if not by_argument:
                management.provide(app)
            self.harness.start(management)
            data = [
                dict(self.harness.ask(name).data)
                for name in ("info", "health", "pause", "resume", "flip", "debuglvl", "warnlvl")
            ]
            self.assertIn("delay", self.harness.ask("shutdown").data)
            self.assertEqual(app.level, LogLevel.WARN)
            for document in data:
                document.pop("health_age", None)
            answers.append(data)
            self.stop(management)
        self.assertEqual(*answers)
        self.assertTrue(answers[0][0]["pause_feature"])

    def test_parts(self) -> None:
        """Actions exist for what was provided, and for nothing else."""
        self.harness.manage(PausableAndHealthy())
        info = self.harness.ask("info").data
        features = {name for name, value in info.items() if name.endswith("_feature") and value}
        self.assertEqual(features, {"pause_feature", "healthcheck_feature"})
        self.assertEqual(self.harness.ask("shutdown").status, 2)

    def test_several_objects(self) -> None:
        """Each interface may come from another object."""
        app = RecordingApplication()
        management = self.harness.make(options={"health_check": app})
        management.provide(Pausable())
        self.harness.start(management)
        self.assertTrue(self.harness.ask("pause").data["paused"])
        self.assertTrue(self.harness.ask("health").data["healthy"])
        self.assertNotIn("pause", app.calls)

    def test_twice(self) -> None:
        """An interface is provided once; what is refused is not taken in part."""
        management = self.harness.make(options={"health_check": RecordingApplication()})
        error = self.assertRaises(StateError, management.provide, PausableAndHealthy())
        self.assertIn("IHealthCheckable", str(error))
        management.provide(Pausable())
        error = self.assertRaises(StateError, management.provide, Pausable())
        self.assertIn("IPausable", str(error))
        management.provide(service := Service())
        self.assertRaises(StateError, management.provide, service)

    def test_wrong_arguments(self) -> None:
        """A mode of calls that is none, and a listener that cannot be called, are told at once."""
        management = self.harness.make()
        error = self.assertRaises(ValueError, management.provide, Pausable(), calls="threads")
        self.assertIn("reactor, thread", str(error))
        options = {"pausable": Pausable(), "calls": "threads"}
        self.assertRaises(ValueError, self.harness.make, options=options)
        self.assertRaises(TypeError, management.on_change, "print")
        for config in (None, "app.yaml", ["name"]):
            problems = self.assertRaises(ConfigError, Management, config)
            self.assertIn("wanted a mapping, or an object with name", str(problems))
        section = {"name": "app", "brokers": ["b"]}
        problems = self.assertRaises(ConfigError, Management, {"management": section})
        self.assertIn("wanted what stands below that key", str(problems))

    def test_started_twice(self) -> None:
        """A second start is refused by what it is, and the first one goes on."""
        management = self.harness.manage()
        error = self.assertRaises(StateError, management.startService)
        self.assertIn("started already", str(error))
        self.assertTrue(self.harness.ask("ping").ok)

    def test_no_interface(self) -> None:
        """An object that provides nothing is a mistake, and the text says what is missing."""
        management = self.harness.make()
        error = self.assertRaises(TypeError, management.provide, Pausable)
        self.assertEqual(str(error), "Pausable is a class; an instance of it is provided")
        for thing in (object(), "app", None):
            error = self.assertRaises(TypeError, management.provide, thing)
            self.assertIn("IPausable", str(error))
            self.assertIn("@implementer", str(error))

    def test_missing_method(self) -> None:
        """A method that an interface asks for and the object has not is found at once."""

        class Facts:
            def fact_data(self) -> dict[str, str]:
                return {}

        directlyProvides(facts := Facts(), IInfoSource)
        error = self.assertRaises(TypeError, self.harness.make().provide, facts)
        self.assertIn("Facts has no method version()", str(error))
        error = self.assertRaises(TypeError, self.harness.make, options={"pausable": facts})
        self.assertIn("IPausable", str(error))

    def test_after_start(self) -> None:
        """Providing ends with the start, and may go on after a stop."""
        management = self.harness.manage()
        self.assertRaises(StateError, management.provide, Pausable())
        self.stop(management)
        management.provide(Pausable())
        self.harness.start(management)
        self.assertTrue(self.harness.ask("pause").ok)

    def test_calls(self) -> None:
        """How methods are called is said for all, or for one object."""
        for default, own, threaded in (
            ("reactor", None, False),
            ("reactor", "thread", True),
            ("thread", None, True),
            ("thread", "reactor", False),
        ):
            harness = Harness()
            threads: list[object] = []

            def run(work: Callable[[], object], seen: list[object] = threads) -> Deferred[Any]:
                seen.append(work)
                return maybeDeferred(work)

            management = Management(
                harness.config("app"),
                calls=default,  # type: ignore[arg-type]
                reactor=harness.clock,
                now=harness.clock.seconds,
                endpoint=harness.endpoint,
                threads=run,
            )
            management.provide(Pausable(), calls=own)  # type: ignore[arg-type]
            harness.start(management)
            self.assertTrue(harness.ask("pause").data["paused"])
            self.assertEqual(bool(threads), threaded, (default, own))
            harness.close()

    def test_agents(self) -> None:
        """Agents are provided like anything else, each name once."""
        management = self.harness.make(options={"agents": [Stock()]})
        error = self.assertRaises(StateError, management.provide, Stock())
        self.assertIn("stock", str(error))
        self.harness.start(management)
        self.assertEqual(self.harness.ask("count", agent="stock").data, {"items": 7})

    def test_agent_with_interfaces(self) -> None:
        """An agent may provide interfaces too; it is started once."""
        starts = []

        @implementer(IPausable)
        class Both(Stock, Pausable):
            def __init__(self) -> None:
                Stock.__init__(self)
                Pausable.__init__(self)

            def startService(self) -> None:
                starts.append(self)
                super().startService()

        self.harness.manage(Both())
        self.assertTrue(self.harness.ask("pause").data["paused"])
        self.assertTrue(self.harness.ask("count", agent="stock").ok)
        self.assertEqual(len(starts), 1)

    def test_publishing(self) -> None:
        """Data goes out while the management runs; otherwise the error says why not."""
        management = self.harness.make()
        failure = self.failureResultOf(management.publish(DataItem("1")), StateError)
        self.assertIn("started", str(failure.value))
        self.harness.start(management)
        self.harness.result_of(management.publish(DataItem("2", destination="acme.iot")))
        self.harness.result_of(management.data_outbox.put(DataItem("3", destination="acme.iot")))
        self.harness.advance(1)
        self.assertEqual(self.harness.published("acme.iot"), ["2", "3"])
        without = self.harness.make(identity="b", options={"data_publisher": False})
        self.harness.start(without)
        self.failureResultOf(without.publish(DataItem("4")), StateError)
        self.assertRaises(StateError, lambda: without.data_outbox)

    def test_producers_that_give_up(self) -> None:
        """A Deferred that its owner has ended keeps nobody else from being told, or stopping."""
        management = self.harness.manage(outbox={"max_items": 1})
        for stopping in (False, True):
            self.harness.broker.silent_ping = True
            kept = management.publish(DataItem("kept", destination="acme.iot"))
            ended, waiting = (management.data_outbox.put(DataItem(str(n))) for n in range(2))
            ended.errback(TimeoutError("as trial does"))
            self.failureResultOf(ended, TimeoutError)
            if stopping:
                self.harness.broker.refuse = True
                self.harness.broker.drop_all()
                self.stop(management)
                self.failureResultOf(kept, StateError)
                self.failureResultOf(waiting, StateError)
            else:
                self.harness.broker.silent_ping = False
                self.harness.broker.drop_all()
                self.harness.result_of(kept)
                self.harness.result_of(waiting)
                self.harness.advance(1)
                self.assertEqual(management.data_outbox.statistics.items, 0)


class SeveralTests(ManagementCase):
    """Several managements in one process."""

    def test_side_by_side(self) -> None:
        """Each has its own application, log file and end."""
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        apps = {name: RecordingApplication() for name in ("shop", "web")}
        managements = {
            name: self.harness.manage(
                app, name=name, logfile=f"{folder}/{name}.log", loglevel="info", identity="same"
            )
            for name, app in apps.items()
        }
        self.assertTrue(self.harness.ask("pause", name="shop").data["paused"])
        self.assertFalse(self.harness.ask("info", name="web").data["paused"])
        self.stop(managements["shop"])
        self.assertTrue(managements["web"].state.ready)
        self.assertTrue(self.harness.ask("resume", name="web").ok)
        logs = {name: Path(folder, f"{name}.log").read_text() for name in apps}
        self.assertIn("ready: same in shop_backplane", logs["shop"])
        self.assertIn("ready: same in web_backplane", logs["web"])
        self.assertNotIn("web_backplane", logs["shop"])
        self.assertNotIn("shop_backplane", logs["web"])
        self.assertIn("pause", logs["shop"])
        self.assertNotIn("pause by", logs["web"])

    def test_instances(self) -> None:
        """Instances of one application need names of their own, until one of them stops."""
        first = self.harness.manage(identity="host", instance="1")
        self.harness.manage(identity="host", instance="2")
        self.assertEqual(self.harness.request("ping").count, 2)
        third = self.harness.make(identity="host-1")
        error = self.assertRaises(StateError, third.startService)
        self.assertIn("host-1", str(error))
        self.assertTrue(first.state.ready)
        self.stop(first)
        self.harness.start(third)
        self.assertTrue(third.state.ready)
