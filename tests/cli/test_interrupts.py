"""Rollouts that are interrupted while a question of their own is under way."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from backplane.cli.session import Session
from backplane.client.accounting import Outcome
from backplane.client.batches import Size
from backplane.testing import RecordingApplication
from tests.cli.rolling import RollingCase


class SlowApplication(RecordingApplication):
    """One that, once paused, does not say how it is, and is not resumed."""

    def health_check(self) -> Any:
        return Deferred() if self.paused() else super().health_check()

    def resume(self) -> Any:
        return Deferred()


class InterruptTests(RollingCase):
    """Exit code 130, and what was known by then."""

    def add(self, name: str) -> RecordingApplication:
        app = SlowApplication({"dc": "DC1"}) if name == "four" else RecordingApplication()
        self.managements[name] = self.harness.manage(app, identity=name)
        return app

    def rollout(self, seconds: float) -> tuple[Session, Deferred[Outcome]]:
        """Begin one; return some time after the second, which is slow, was paused."""
        session, waiting = self.begin(
            "pause", batch=Size(1), gate=True, gate_timeout=1.0, undo=True
        )
        while not self.apps["four"].paused():
            self.harness.advance(0.1)
        self.harness.advance(seconds)
        self.assertNoResult(waiting)
        return session, waiting

    def interrupted(self, session: Session, waiting: Deferred[Outcome]) -> Outcome:
        """Interrupt it; who was done and who was not is told, and it can be taken back."""
        session.interrupt()
        outcome = self.successResultOf(waiting)
        self.assertEqual(outcome.exit_code, 130)
        self.assertEqual(len(outcome.good), 2)
        self.assertEqual(outcome.untouched, ("one", "three", "two"))
        self.assertIn("\nNot touched: 3\n", self.out.getvalue())
        self.assertIn("interrupted; 2 of 5 had answered", self.err.getvalue())
        return outcome

    def test_at_gate(self) -> None:
        """With a question of the gate under way; before its time is over, and after."""
        outcome = self.interrupted(*self.rollout(0.5))
        assert outcome.rollout is not None
        self.assertEqual((outcome.rollout["gates"], outcome.rollout["undone"]), ([True], None))

    def test_at_gate_late(self) -> None:
        """When the gate's time is over, and its last question is not."""
        outcome = self.interrupted(*self.rollout(1.5))
        assert outcome.rollout is not None
        self.assertIsNone(outcome.rollout["undone"])

    def test_while_undoing(self) -> None:
        """With the taking back under way: what was taken back until then is told as well."""
        outcome = self.interrupted(*self.rollout(4.0))
        assert outcome.rollout is not None
        self.assertEqual(
            outcome.rollout["undone"], {"ok": ["five"], "failed": {}, "silent": ["four"]}
        )
        self.assertIn("Taken back on 1 of 2 service(s)\n", self.out.getvalue())
