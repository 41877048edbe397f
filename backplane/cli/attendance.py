"""Who a command may expect, and what it has seen: the roster of its service."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, Final

from backplane.choria import subjects
from backplane.cli.console import Console, safe
from backplane.client.accounting import Outcome
from backplane.client.jobs import Job
from backplane.client.roster import EXPECTED, Roster, Rosters, learn
from backplane.client.statefolder import state_folder
from backplane.host import home_folder
from backplane.nats.client import Message, NatsClient
from backplane.security.names import valid_identity

__all__ = ["Attendance", "rosters"]

MAX_EVENT: Final = 64 * 1024
MAX_GOODBYES: Final = 100_000


def rosters(console: Console) -> Rosters:
    """Return the user's rosters, which warn on the console."""

    def warn(text: str) -> None:
        console.note(f"backplane: warning: {safe(text)}")

    return Rosters(state_folder(os.environ, home_folder()), warn)


class Attendance:
    """The roster of one service while a command runs.

    :param network: see :func:`backplane.client.roster.network_of`.
    :param within: seconds since an instance was last seen during which it is expected.
    """

    def __init__(
        self,
        rosters: Rosters,
        service: str,
        network: str,
        collective: str,
        *,
        within: float = EXPECTED,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rosters = rosters
        self._place = (service, network, collective)
        self._now = now
        self._goodbyes: set[str] = set()
        roster = rosters.get(service, network, collective, now())
        self.expected = roster.expected(now(), within)
        self.faded = roster.faded(now(), within)

    def listen(self, client: NatsClient) -> None:
        """Hear who says goodbye; a broker that does not allow it is no matter."""
        subject = subjects.event("shutdown", "backplane")
        client.subscribe(subject, self._heard, on_error=lambda error: None)

    def learn(self, job: Job, outcome: Outcome, *, searched: bool = True) -> None:
        """Take in what a run has shown; see :func:`backplane.client.roster.learn`."""
        service, _, collective = self._place
        if (job.service, job.collective) != (service, collective):
            return
        now, goodbyes = self._now(), frozenset(self._goodbyes)

        def change(roster: Roster) -> None:
            learn(roster, job, outcome, now, goodbyes=goodbyes, searched=searched)

        self._rosters.update(*self._place, now, change)

    def _heard(self, message: Message) -> None:
        identity = goodbye(message.payload)
        if identity is not None and len(self._goodbyes) < MAX_GOODBYES:
            self._goodbyes.add(identity)


def goodbye(payload: bytes) -> str | None:
    """Return who says in a lifecycle event that he ends; ``None`` when nobody does."""
    if len(payload) > MAX_EVENT:
        return None
    try:
        document: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or data.get("protocol") != "io.choria.lifecycle.v1.shutdown":
        return None
    identity = data.get("identity")
    return identity if isinstance(identity, str) and valid_identity(identity) else None
