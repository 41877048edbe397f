"""A service with every feature, and somebody who asks it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.client.accounting import Outcome
from backplane.client.run import Job
from backplane.testing import Harness, RecordingApplication


class AgentCase(SynchronousTestCase):
    """A service with every feature, on a harness."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"interval": 600})

    def manage(self, *provided: object, **settings: Any) -> None:
        self.harness.manage(*provided, **settings)

    def begin(self, action: str, caller: str) -> Deferred[Outcome]:
        """Ask without waiting for what comes of it."""
        job = Job(service="app", collective="app_backplane", action=action)
        return self.harness.operator(caller).request(job)

    def data(self, action: str, **how: Any) -> dict[str, Any]:
        """Return the outputs of an action that succeeded."""
        reply = self.harness.ask(action, **how)
        self.assertEqual((reply.status, reply.message, reply.action), (0, "OK", action))
        return dict(reply.data)
