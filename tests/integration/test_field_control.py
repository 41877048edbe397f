"""What people ran into with control commands: states that are lost, answers that do not come."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from backplane import DataItem
from backplane.client.accounting import Outcome
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job, Operator
from backplane.interfaces import (
    IHealthCheckable,
    IStopable,
)
from backplane.testing import Harness, RecordingApplication

RESTARTS = 50
INSTANCES = 10


class Working(RecordingApplication, Service):
    """Works on a loop, as applications do; counts what it has done."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.done = 0
        self._loop = LoopingCall(self._work)
        self._loop.clock = clock

    def _work(self) -> None:
        self.done += not self.paused()

    def startService(self) -> None:
        super().startService()
        self._loop.start(1.0)

    def stopService(self) -> None:
        super().stopService()
        self._loop.stop()


class KeptTests(SynchronousTestCase):
    """What an operator has set is kept when the broker comes back."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)

    def state(self) -> tuple[Any, Any]:
        data = self.harness.ask("info").data
        return data["paused"], data["loglevel"]

    def test_restarts(self) -> None:
        """Away for a minute, and then fifty times: still paused, still debug, nothing done."""
        app = Working(self.harness.clock)
        management = self.harness.manage(app)
        self.harness.advance(2)
        self.assertGreater(app.done, 0)
        self.assertTrue(self.harness.ask("pause").ok)
        self.assertTrue(self.harness.ask("debuglvl").ok)
        done = app.done
        self.harness.network.fail_dns("broker.example.net")
        self.harness.broker.drop_all()
        self.harness.advance(60)
        self.harness.network.fail_dns("broker.example.net", failing=False)
        self.harness.result_of(management.when_ready())
        self.assertEqual(self.state(), (True, "debug"))
        for _ in range(RESTARTS):
            self.harness.broker.drop_all()
            self.harness.network.flush()
            self.harness.result_of(management.when_ready())
            self.harness.advance(1)
        self.assertEqual(self.state(), (True, "debug"))
        self.assertEqual(app.done, done)
        self.assertTrue(self.harness.ask("resume").ok)
        self.harness.advance(2)
        self.assertGreater(app.done, done)


class EveryCommandTests(SynchronousTestCase):
    """Each command is answered by each service, the second ones too."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.names = {f"app{number}.example.net" for number in range(INSTANCES)}
        for name in sorted(self.names):
            app = RecordingApplication()
            self.harness.manage(app, identity=name, auth={"insecure": True})

    def ask(self, operator: Operator, action: str = "ping") -> Deferred[Outcome]:
        job = Job(
            service="app",
            collective="app_backplane",
            action=action,
            rule=DiscoveryRule.choose(change=False, expect=INSTANCES),
        )
        return operator.request(job)

    def assert_answered(self, outcome: Outcome) -> None:
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual(len(outcome.answers), INSTANCES)
        self.assertEqual({answer.sender for answer in outcome.answers}, self.names)
        self.assertEqual((outcome.unexpected, outcome.repeated), ((), ()))

    def test_in_a_row(self) -> None:
        """A hundred without a pause; nothing is left of them."""
        operator = self.harness.operator()
        self.assert_answered(self.harness.result_of(self.ask(operator)))
        (client,) = [each for each in self.harness.broker.clients if self.is_operator(each)]
        before = len(client.subscriptions)
        waiting = len(self.harness.clock.getDelayedCalls())
        for _ in range(100):
            self.assert_answered(self.harness.result_of(self.ask(operator)))
        self.harness.network.flush()
        self.assertEqual(len(client.subscriptions), before)
        self.assertLessEqual(len(self.harness.clock.getDelayedCalls()), waiting)

    def is_operator(self, client: Any) -> bool:
        subjects = [each.subject for each in client.subscriptions.values()]
        return not any("broadcast" in subject for subject in subjects)

    def test_side_by_side(self) -> None:
        """Four operators at once, each again and again; no reply is another call's."""
        operators = [self.harness.operator(f"shell{number}.choria") for number in range(4)]
        for number in range(12):
            actions = [("ping", "info")[(number + at) % 2] for at in range(4)]
            running = [
                self.ask(each, action) for each, action in zip(operators, actions, strict=True)
            ]
            outcomes = self.harness.result_of(gatherResults(running))
            for action, outcome in zip(actions, outcomes, strict=True):
                self.assert_answered(outcome)
                self.assertEqual({answer.reply.action for answer in outcome.answers}, {action})
            self.assertEqual(len({outcome.request_id for outcome in outcomes}), 4)


@implementer(IStopable, IHealthCheckable)
class Busy:
    """Has a check under way when it is told to stop."""

    def __init__(self) -> None:
        self.check: Deferred[Any] = Deferred()
        self.stops = 0

    def health_check(self) -> Any:
        return self.check

    def shutdown(self) -> None:
        self.stops += 1


class ShutdownTests(SynchronousTestCase):
    """``shutdown`` with a request in flight and an item in the outbox."""

    def test_in_flight(self) -> None:
        """The reply first; within the delay both are done; a second one adds nothing."""
        harness = Harness()
        self.addCleanup(harness.close)
        app = Busy()
        management = harness.manage(app, max_stop_delay=5)
        job = Job(service="app", collective="app_backplane", action="health")
        health = harness.operator().request(job)
        harness.advance(1)
        self.assertNoResult(health)
        published = management.publish(DataItem("last words", "acme.iot"))
        self.assertTrue(harness.ask("shutdown").ok)
        self.assertTrue(harness.ask("shutdown").ok)
        self.assertEqual(app.stops, 0)
        app.check.callback(({"late": True}, True))
        (answer,) = harness.result_of(health).answers
        self.assertEqual(answer.reply.data["result"], {"late": True})
        harness.result_of(published)
        harness.advance(7)
        self.assertEqual(app.stops, 1)
        harness.advance(30)
        self.assertEqual(app.stops, 1)
        self.assertEqual(harness.published("acme.iot"), ["last words"])
