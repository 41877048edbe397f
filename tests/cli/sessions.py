"""An operator's session on a harness, as the command line makes one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.session import Session
from backplane.client.run import Operator
from backplane.nats.client import NatsClient
from backplane.testing import Harness

__all__ = ["session_on"]


def session_on(
    harness: Harness, case: SynchronousTestCase, timeout: float | None = None
) -> Session:
    """Return a session whose client connects; it ends with the test."""
    client = NatsClient(
        "broker.example.net:4222", harness.clock, endpoint=harness.endpoint, retry=False
    )
    client.startService()
    case.addCleanup(lambda: harness.result_of(client.stopService()))
    operator = Operator(
        client,
        harness.clock,
        caller_id="choria=sre.choria",
        identity="here",
        now=harness.clock.seconds,
    )
    return Session(client, operator, timeout)
