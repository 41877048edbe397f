"""A service whose admission is tried, by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc
from backplane.choria.filter import FactFilter, Filter
from backplane.errors import DecodeError
from backplane.node.admission import Admission
from backplane.node.outcome import Accepted, Dropped, Outcome
from backplane.security.replay import ReplayMemory
from backplane.security.roles import Role, Roles
from tests.node.messages import COLLECTIVE, IDENTITY, NOW

BROADCAST = f"{COLLECTIVE}.broadcast.agent.backplane"
ELSEWHERE = Filter(fact=(FactFilter("dc", "==", "DC2"),))


class Watched:
    """Everything that admission may ask; it writes down what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unverified = False

    def agents(self) -> Sequence[str]:
        self.asked.append("agents")
        return ("backplane", "discovery")

    def facts(self, role: Role | None) -> Mapping[str, Any]:
        self.asked.append("facts")
        return {"dc": "DC1", "backplane_version": "1", "password": "never asked with no role"}

    def classes(self) -> Sequence[str]:
        self.asked.append("classes")
        return ("role::web",)

    def verify(
        self, message: str, signature: str, pubcert: str, caller_id: str, now: float
    ) -> None:
        self.asked.append("verify")
        if self.unverified:
            raise DecodeError("bad_signature", "secure_request", "not the caller's")

    def is_change(self, agent: str, body: bytes) -> bool:
        self.asked.append("is_change")
        try:
            return rpc.decode_request(body).action == "pause"
        except rpc.ActionError:
            return False


class AdmissionCase(SynchronousTestCase):
    """One service, started an hour ago."""

    def setUp(self) -> None:
        self.now = NOW + 0.5
        self.seen = Watched()
        self.replay = ReplayMemory()
        self.admission = self.make()

    def make(self, **changed: Any) -> Admission:
        settings: dict[str, Any] = {
            "identity": IDENTITY,
            "collectives": (COLLECTIVE,),
            "agents": self.seen.agents,
            "facts": self.seen.facts,
            "classes": self.seen.classes,
            "verifier": self.seen,
            "role_of": Roles.compile(full=["sre.choria"], read_only=["1stline.choria"]).role_of,
            "replay": self.replay,
            "started": NOW - 3600,
            "is_change": self.seen.is_change,
            **changed,
        }
        return Admission(**settings)

    def admit(self, payload: bytes, subject: str = BROADCAST) -> Outcome:
        return self.admission.admit(payload, subject, self.now)

    def dropped(self, reason: str, payload: bytes, subject: str = BROADCAST) -> Dropped:
        """Assert that the message is dropped for ``reason`` and counted once under it."""
        counters = self.admission.counters
        before, total = counters.dropped[reason], counters.total
        outcome = self.admit(payload, subject)
        assert isinstance(outcome, Dropped), outcome
        self.assertEqual(outcome.reason, reason)
        self.assertEqual((counters.dropped[reason], counters.total), (before + 1, total + 1))
        self.assertLess(len(outcome.detail), 400)
        return outcome

    def accepted(self, payload: bytes, subject: str = BROADCAST) -> Accepted:
        outcome = self.admit(payload, subject)
        assert isinstance(outcome, Accepted), outcome
        return outcome
