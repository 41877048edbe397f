"""The life of a management: start, stop, again, and what fails in between."""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase, TestCase

from backplane import (
    DataItem,
    Management,
    Metadata,
    Phase,
    StateError,
)
from backplane.testing import RecordingApplication
from tests.managing import ManagementCase, Stock, Worker


class LifeTests(ManagementCase):
    """Start, stop, and what comes in between."""

    def test_order(self) -> None:
        """The application starts before ready, and stops after new work is refused."""
        management = self.harness.make()
        seen: list[Any] = []
        management.on_change(lambda state: seen.append(state.phase))
        management.provide(Worker(management, seen))
        parent = MultiService()
        management.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        self.harness.result_of(management.when_ready())
        self.assertEqual(len(self.events("startup")), 1)
        self.harness.result_of(maybeDeferred(parent.stopService))
        self.assertEqual(
            seen,
            [
                ("worker", "privileged", Phase.NEW),
                ("worker", "start", Phase.NEW),
                Phase.CONNECTING,
                Phase.READY,
                Phase.STOPPING,
                ("worker", "stop", Phase.STOPPING),
                Phase.STOPPED,
            ],
        )
        self.assertEqual(len(self.events("shutdown")), 1)
        self.assertEqual(self.harness.broker.clients, [])

    def test_refused_while_stopping(self) -> None:
        """While the application stops nobody is answered, and its last data still goes out."""
        management = self.harness.make()
        ending: Deferred[None] = Deferred()

        class Slow(Worker):
            def stopService(self) -> Any:
                self.management.publish(DataItem("last", destination="acme.iot"))
                return ending

        management.provide(Slow(management, []))
        self.harness.start(management)
        stopped = management.stopService()
        self.harness.advance(1)
        self.assertEqual(self.harness.request("ping").count, 0)
        self.assertNoResult(stopped)
        ending.callback(None)
        self.harness.result_of(stopped)
        self.assertEqual(self.harness.published("acme.iot"), ["last"])

    def test_running_parent(self) -> None:
        """Given to a parent that runs it starts; taken away from it, it stops."""
        parent = MultiService()
        parent.startService()
        management = self.harness.make()
        management.setServiceParent(parent)
        self.harness.result_of(management.when_ready())
        self.harness.result_of(maybeDeferred(management.disownServiceParent))
        self.assertIs(management.state.phase, Phase.STOPPED)
        self.assertFalse(management.running)

    def test_restart(self) -> None:
        """Started again it is what it was, children and agents and all."""
        management = self.harness.make()
        seen: list[Any] = []
        child = Worker(management, seen, "child")
        child.setServiceParent(management)
        management.provide(Stock())
        management.provide(RecordingApplication())
        for number in range(1, 4):
            self.harness.start(management)
            self.assertTrue(management.state.ready)
            self.assertTrue(child.running)
            self.assertTrue(self.harness.ask("pause").ok)
            self.assertTrue(self.harness.ask("count", agent="stock").ok)
            self.harness.result_of(management.publish(DataItem("x")))
            self.assertEqual(len(self.harness.broker.clients), 2)  # it and the operator
            self.stop(management)
            self.assertFalse(child.running)
            self.assertEqual(list(management), [child])
            self.assertEqual(len(self.events("shutdown")), number)
        self.assertEqual([what for _, what, _ in seen], ["start", "stop"] * 3)

    def test_stop_without_start(self) -> None:
        """Who waits for what never starts is told."""
        management = self.harness.make()
        waiting = management.when_ready()
        self.successResultOf(management.stopService())
        self.failureResultOf(waiting, StateError)
        self.harness.start(management)
        self.assertTrue(management.state.ready)

    def test_stop_twice(self) -> None:
        """All who stop it hear when it is done, and nothing is done twice."""
        management = self.harness.make()
        seen: list[Any] = []
        management.provide(Worker(management, seen))
        self.harness.start(management)
        first, second = management.stopService(), management.stopService()
        self.assertRaises(StateError, management.startService)
        self.harness.result_of(first)
        self.successResultOf(second)
        self.successResultOf(management.stopService())
        self.assertEqual(len([1 for _, what, _ in seen if what == "stop"]), 1)
        self.assertEqual(len(self.events("shutdown")), 1)

    def test_stop_with_a_hanging_action(self) -> None:
        """An action that never ends holds the stop up for ``stop_timeout`` and no longer."""
        stock = Stock()
        management = self.harness.manage(stock, stop_timeout=3)
        self.harness.ask("count", agent="stock")  # so that the operator is connected
        asked = self.harness.request("hang", agent="stock", timeout=2)
        self.assertEqual(asked.answers, ())
        self.assertEqual(len(stock.hanging), 1)
        began = self.harness.clock.seconds()
        self.stop(management)
        took = self.harness.clock.seconds() - began
        self.assertTrue(2.5 <= took <= 3.5, took)
        self.assertEqual(len(self.events("shutdown")), 1)

    def test_stop_goes_on(self) -> None:
        """An application that fails to stop does not keep the rest from stopping."""
        management = self.harness.make()

        class Broken(Worker):
            def stopService(self) -> Any:
                raise RuntimeError("stuck valve")

        seen: list[Any] = []
        management.provide(Worker(management, seen))
        management.provide(Broken(management, seen))
        self.harness.start(management)
        self.stop(management)
        self.assertEqual(seen[-1][:2], ("worker", "stop"))
        self.assertEqual(len(self.events("shutdown")), 1)
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("stuck valve", str(failure.value))

    def test_start_fails(self) -> None:
        """A start that fails leaves nothing behind, and can be tried again."""
        logfile = os.path.abspath(self.mktemp())
        management = self.harness.make(logfile=logfile)
        seen: list[Any] = []
        second = Worker(management, seen, "second")
        second.broken = True
        management.provide(Worker(management, seen, "first"))
        management.provide(second)
        management.provide(Stock())
        waiting = management.when_ready()
        before = len(os.listdir("/dev/fd"))
        self.assertRaises(RuntimeError, management.startService)
        self.assertEqual(len(os.listdir("/dev/fd")), before)
        self.assertEqual([what[:2] for what in seen], [("first", "start"), ("first", "stop")])
        self.assertEqual((management.running, list(management)), (0, []))
        self.assertIs(management.state.phase, Phase.NEW)
        self.assertNoResult(waiting)
        self.assertEqual(self.harness.clock.getDelayedCalls(), [])
        second.broken = False
        self.harness.start(management)
        self.successResultOf(waiting)
        self.assertTrue(self.harness.ask("count", agent="stock").ok)

    def test_taken_agent_name(self) -> None:
        """An agent cannot take the name of one that every service has."""

        class Impostor(Stock):
            metadata = Metadata(
                name="rpcutil", description="x", version="1.0.0", author="x", timeout=5
            )

        management = self.harness.make()
        management.provide(Impostor())
        error = self.assertRaises(ValueError, management.startService)
        self.assertIn("rpcutil", str(error))
        self.assertFalse(management.running)

    def test_log_file_that_cannot_be_opened(self) -> None:
        """The start says so."""
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        management = self.harness.make(logfile=f"{folder}/x.log")
        os.rmdir(folder)
        self.assertRaises(OSError, management.startService)
        os.makedirs(folder)
        self.harness.start(management)
        self.assertTrue(management.state.ready)

    def test_listeners(self) -> None:
        """Each loss and return is told; a listener that raises is nobody else's trouble."""
        management = self.harness.make()
        seen: list[Phase] = []

        def broken(state: object) -> None:
            raise RuntimeError("listener")

        management.on_change(broken)
        management.on_change(lambda state: seen.append(state.phase))
        self.harness.start(management)
        self.harness.broker.deny_subscribe.append("app_backplane.broadcast.>")
        self.harness.broker.drop_all()
        self.harness.advance(5)
        self.assertIs(seen[-1], Phase.REFUSED)
        self.harness.broker.deny_subscribe.clear()
        self.harness.broker.drop_all()
        self.harness.result_of(management.when_ready())
        self.stop(management)
        order = [Phase.CONNECTING, Phase.READY, Phase.CONNECTING, Phase.REFUSED]
        order += [Phase.CONNECTING, Phase.READY, Phase.STOPPING, Phase.STOPPED]
        self.assertEqual([p for at, p in enumerate(seen) if seen[at - 1 : at] != [p]], order)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), len(seen))


class UsersTestsTests(SynchronousTestCase):
    """Tests that users write with trial, on the real reactor and without a broker."""

    def run_body(self, ending: str) -> TestResult:
        """Run a user's test; return its result."""

        class Users(TestCase):
            timeout = 0.2

            def setUp(self) -> None:
                management = Management({"name": "app", "brokers": ["127.0.0.1:9"]})
                management.provide(RecordingApplication())
                self.addCleanup(management.stopService)
                early = management.when_ready()
                management.startService()
                self.waiting = early if ending == "early time-out" else management.when_ready()
                self.waiting.addErrback(lambda failure: failure.trap(StateError))
                early.addErrback(lambda failure: failure.trap(StateError))
                if ending == "error in setUp":
                    raise KeyError("set-up")

            def test_it(self) -> Deferred[None] | None:
                if ending == "failure":
                    self.fail("of the user's")
                return self.waiting if "time-out" in ending else None

        result = TestResult()
        Users("test_it").run(result)
        return result

    def test_endings(self) -> None:
        """However a test ends, nothing is left on the reactor after the clean-up."""
        for ending, errors, failures in (
            ("success", 0, 0),
            ("failure", 0, 1),
            ("error in setUp", 1, 0),
            ("time-out", 1, 0),
            ("early time-out", 1, 0),
        ):
            result = self.run_body(ending)
            self.assertEqual(result.testsRun, 1)
            self.assertEqual(
                (len(result.errors), len(result.failures)), (errors, failures), result.errors
            )
            self.assertNotIn("unclean", str(result.errors))
