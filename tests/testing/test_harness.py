"""A service's tests on the harness: they act as callers and leave nothing behind."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane import DataItem, LogLevel, Phase
from backplane.errors import StateError
from backplane.testing import Harness, RecordingApplication


class HarnessTests(SynchronousTestCase):
    """What the documentation promises of it."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})

    def test_ask(self) -> None:
        """An action reaches the application and its reply comes back."""
        self.harness.manage(self.app, name="shop")
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})
        self.assertEqual(self.harness.ask("warnlvl").data, {"level": "warning"})
        self.assertEqual(self.app.level, LogLevel.WARN)
        self.assertIn("pause", self.app.calls)

    def test_fact_filter(self) -> None:
        """Only services that match are asked."""
        self.harness.manage(self.app)
        self.assertEqual(self.harness.request("ping", facts=["dc=DC1"]).count, 1)
        self.assertEqual(self.harness.request("ping", facts=["dc=DC2"]).count, 0)

    def test_roles(self) -> None:
        """A caller who may only look is denied what changes something."""
        self.harness.manage(self.app, auth={"read_only": ["1stline.choria"]})
        self.assertTrue(self.harness.ask("info", caller="1stline.choria").ok)
        denied = self.harness.ask("pause", caller="1stline.choria")
        self.assertEqual(
            (denied.status, denied.message),
            (1, "You are not authorized to call this agent or action."),
        )
        self.assertNotIn("pause", self.app.calls)

    def test_published(self) -> None:
        """Published data is there to be looked at."""
        management = self.harness.manage(self.app)
        done = management.publish(DataItem("21.5", destination="acme.iot"))
        self.harness.result_of(done)
        self.assertEqual(self.harness.published("acme.>"), ["21.5"])

    def test_time(self) -> None:
        """A shutdown is called when its delay is over, not before."""
        self.harness.manage(self.app)
        self.harness.ask("shutdown")
        self.assertNotIn("shutdown", self.app.calls)
        self.harness.advance(11.5)
        self.assertIn("shutdown", self.app.calls)

    def test_broker_away(self) -> None:
        """A management without its broker waits; when the broker is back it is ready."""
        management = self.harness.manage(self.app)
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(30)
        self.assertFalse(management.state.ready)
        self.harness.broker.refuse = False
        self.harness.result_of(management.when_ready())
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})

    def test_never_ready(self) -> None:
        """Stopping before it was ready fails whoever waits for that, and leaves nothing."""
        self.harness.broker.refuse = True
        management = self.harness.make()
        management.startService()
        waiting: Deferred[None] = management.when_ready()
        self.harness.advance(5)
        self.harness.result_of(management.stopService())
        self.failureResultOf(waiting, StateError)

    def test_service_that_does_not_stop(self) -> None:
        """It fails the close, and everything else is stopped: its name is free again."""

        class Hung(Service):
            def stopService(self) -> Deferred[None]:
                return Deferred()

        self.harness.manage(Hung())
        other = self.harness.manage(self.app, name="shop")
        self.assertRaises(AssertionError, self.harness.close)
        self.assertIs(other.state.phase, Phase.STOPPED)
        self.flushLoggedErrors(CancelledError)
        self.harness.manage(service := Service())
        self.assertTrue(service.running)

    def test_nothing_answers(self) -> None:
        """Asking nobody is an error that says so."""
        error = self.assertRaises(AssertionError, self.harness.ask, "ping")
        self.assertIn("0 services found", str(error))
