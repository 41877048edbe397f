"""Stopping in order: nothing that was accepted is left out, and nothing waits for ever."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import v1
from backplane.client.accounting import Outcome
from backplane.client.run import Job
from backplane.errors import DecodeError
from backplane.interfaces import DataItem
from backplane.node.presence import Phase
from backplane.service import Management
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import seconds_of


class Worker(Service):
    """The application's own service; it says when it is stopped."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def stopService(self) -> Any:
        self.said.append("application")
        return super().stopService()


class StopTests(SynchronousTestCase):
    """A management that is stopped while there is something to do."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication()
        self.order: list[str] = []
        self.waiting: Deferred[Any] = Deferred()
        self.patch(self.app, "health_check", lambda: self.waiting)

    def manage(self, **settings: Any) -> Management:
        return self.harness.manage(self.app, Worker(self.order), **settings)

    def begin(self, action: str) -> Deferred[Outcome]:
        job = Job(service="app", collective="app_backplane", action=action)
        asked = self.harness.operator().request(job)
        self.harness.advance(3)
        self.assertNoResult(asked)
        return asked

    def watch(self) -> None:
        """Write down what the broker gets from now on."""

        def saw(message: Any) -> None:
            if message.subject.startswith("choria.lifecycle.event.shutdown."):
                self.order.append("shutdown event")
            elif message.subject == "acme.iot":
                self.order.append("data")
            elif ".reply." in message.subject:
                try:
                    v1.open_reply(message.payload)
                except DecodeError:
                    return
                self.order.append("reply")

        self.harness.broker.subscribe(">", saw)

    def test_order(self) -> None:
        """Replies of what is under way, the application, the event, the data, the end."""
        management = self.manage()
        asked = self.begin("health")
        self.watch()
        stopping = management.stopService()
        self.harness.advance(1)
        self.assertIs(management.state.phase, Phase.STOPPING)
        self.assertEqual(self.order, [])
        management.data_outbox.put(DataItem("x", "acme.iot"))
        self.waiting.callback(({}, True))
        self.harness.result_of(stopping)
        # The application hears of it at once, the broker when the network has carried it there.
        self.assertEqual(self.order, ["application", "data", "reply", "shutdown event"])
        (answer,) = self.harness.result_of(asked).answers
        self.assertTrue(answer.reply.data["healthy"])
        self.assertEqual(self.harness.published("acme.iot"), ["x"])
        self.assertIs(management.state.phase, Phase.STOPPED)

    def test_action_that_hangs(self) -> None:
        """It is answered for when its time, or the stop's, is over; the stop goes on."""
        management = self.manage(stop_timeout=2)
        asked = self.begin("health")
        began = self.harness.clock.seconds()
        self.harness.result_of(management.stopService())
        self.assertLess(self.harness.clock.seconds() - began, 3)
        (answer,) = self.harness.result_of(asked).answers
        self.assertEqual(answer.reply.status, 5)
        self.assertIn("because the service stops", answer.reply.message)

    def test_requested_shutdown(self) -> None:
        """``shutdown``: the reply first, within the delay everything else, then the end, once."""
        management = self.manage()
        self.waiting.callback(({}, True))
        stopped: list[object] = []

        def shutdown() -> None:
            management.stopService().addCallback(stopped.append)

        self.patch(self.app, "shutdown", shutdown)
        first = self.harness.ask("shutdown").data["delay"]
        self.assertEqual(stopped, [])
        management.data_outbox.put(DataItem("last words", "acme.iot"))
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})
        second = self.harness.ask("shutdown").data["delay"]
        self.assertLess(seconds_of(second), seconds_of(first))
        self.harness.advance(12)
        self.assertEqual(len(stopped), 1)
        self.assertEqual(self.order, ["application"])
        self.assertEqual(self.harness.published("acme.iot"), ["last words"])
        # The one connection that is left is the operator's.
        self.assertEqual(len(self.harness.broker.clients), 1)

    def test_twice(self) -> None:
        """Who stops it again waits for the same end."""
        management = self.manage()
        self.waiting.callback(({}, True))
        both = [management.stopService(), management.stopService()]
        for each in both:
            self.harness.result_of(each)
        self.assertEqual(self.order, ["application"])

    def test_broker_lost_meanwhile(self) -> None:
        """A broker that goes away during the stop does not hold it up."""
        management = self.manage(stop_timeout=3)
        self.begin("health")
        stopping = management.stopService()
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        began = self.harness.clock.seconds()
        self.harness.result_of(stopping)
        self.assertLess(self.harness.clock.seconds() - began, 4)
        self.harness.broker.refuse = False
