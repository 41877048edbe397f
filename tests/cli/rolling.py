"""A fleet in memory, and changes that go out to it as the command line does them."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.commands import perform
from backplane.cli.console import Console
from backplane.cli.session import Command, Session
from backplane.client.accounting import Outcome
from backplane.client.batches import Rollout
from backplane.client.jobs import make_job
from backplane.service import Management
from backplane.testing import Harness, RecordingApplication
from tests.cli.sessions import session_on

__all__ = ["Answers", "RollingCase"]

NAMES = ("five", "four", "one", "three", "two")
"""The fleet, in the order of batches."""


class Answers:
    """Somebody at a terminal, who types one line after the other."""

    there = True

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.asked: list[str] = []

    def ask(self, text: str) -> Deferred[str]:
        self.asked.append(text)
        return succeed(self.lines.pop(0)) if self.lines else Deferred()


class RollingCase(SynchronousTestCase):
    """Five applications ``app``, and an operator."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.managements: dict[str, Management] = {}
        self.apps = {name: self.add(name) for name in NAMES}
        self.asker: Answers | None = None
        self.form = "text"

    def add(self, name: str) -> RecordingApplication:
        app = RecordingApplication({"dc": "DC1"})
        self.managements[name] = self.harness.manage(app, identity=name)
        return app

    def paused(self) -> dict[str, bool]:
        return {name: app.paused() for name, app in self.apps.items()}

    def begin(self, action: str, **who: Any) -> tuple[Session, Deferred[Outcome]]:
        """Begin a job; flags of a rollout are told by their names."""
        session = session_on(self.harness, self, who.get("timeout"))
        self.out, self.err = io.StringIO(), io.StringIO()
        console = Console(self.out, self.err, {"NO_COLOR": "1"})
        console.form = self.form
        flags = {key: who.pop(key) for key in list(who) if hasattr(Rollout, key)}
        job = make_job("app", action, rollout=Rollout(**flags), **who)
        command = Command(
            session, console, {}, as_json=self.form == "json", verbose=False, asker=self.asker
        )

        async def work() -> Outcome:
            await session.connect()
            return await perform(command, job)

        return session, Deferred.fromCoroutine(work())

    def do(self, action: str, **who: Any) -> Outcome:
        return self.harness.result_of(self.begin(action, **who)[1])
