"""What tests of a management share: a harness with a log, and small applications."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from backplane import (
    ActionRequest,
    Agent,
    Management,
    Metadata,
    action,
)
from backplane.interfaces import IHealthCheckable, IPausable
from backplane.testing import Harness
from tests.node.messages import Lines


class ManagementCase(SynchronousTestCase):
    """A harness, and the host's log."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def stop(self, management: Management) -> None:
        """Stop it and wait until that is done."""
        self.harness.result_of(management.stopService())

    def events(self, kind: str) -> list[str]:
        """Return the subjects of the lifecycle events of one kind."""
        self.harness.network.flush()
        subject = f"choria.lifecycle.event.{kind}.backplane"
        return [to for to, _ in self.harness.broker.published if to == subject]


@implementer(IPausable)
class Pausable:
    """One interface and no other."""

    def __init__(self) -> None:
        self.closed = False

    def pause(self) -> None:
        self.closed = True

    def resume(self) -> None:
        self.closed = False

    def flip(self) -> None:
        self.closed = not self.closed

    def paused(self) -> bool:
        return self.closed


@implementer(IHealthCheckable)
class PausableAndHealthy(Pausable):
    """Two interfaces."""

    def health_check(self) -> tuple[str, bool]:
        return "fine", True


class Stock(Agent):
    """An agent of the application's own, one of whose actions never ends."""

    metadata = Metadata(
        name="stock", description="Stock", version="1.0.0", author="Shop", timeout=20
    )

    def __init__(self) -> None:
        self.hanging: list[Deferred[Any]] = []

    @action("Counts", role="read_only")
    def count(self, request: ActionRequest) -> dict[str, int]:
        return {"items": 7}

    @action("Hangs", role="read_only")
    def hang(self, request: ActionRequest) -> Deferred[Any]:
        self.hanging.append(Deferred())
        return self.hanging[-1]


class Worker(Service):
    """An application's service that writes down what happens to it, and in which state."""

    def __init__(self, management: Management, seen: list[Any], name: str = "worker") -> None:
        self.management = management
        self.seen = seen
        self.label = name
        self.broken = False

    def privilegedStartService(self) -> None:
        self.seen.append((self.label, "privileged", self.management.state.phase))

    def startService(self) -> None:
        if self.broken:
            raise RuntimeError("no room")
        super().startService()
        self.seen.append((self.label, "start", self.management.state.phase))

    def stopService(self) -> Any:
        super().stopService()
        self.seen.append((self.label, "stop", self.management.state.phase))
