"""What verbs and flags mean."""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.client.changes import Flags, asked, means
from backplane.client.jobs import NEEDS


class AskedTests(SynchronousTestCase):
    """Old actions stay as they are; whatever is more goes by new ones."""

    def test_plain(self) -> None:
        """Without flags it is the old action, without inputs."""
        for verb in (*NEEDS, "ping", "info", "threaddump"):
            self.assertEqual(asked(verb, Flags()), (verb, None))

    def test_lease(self) -> None:
        """With flags it is a change; times are whole seconds, never less than was meant."""
        flags = Flags(seconds=0.2, reason="db failover")
        for verb, target, to in (
            ("pause", "app", "paused"),
            ("resume", "app", "running"),
            ("debuglvl", "log:", "debug"),
            ("infolvl", "log:", "info"),
            ("warnlvl", "log:", "warning"),
            ("critlvl", "log:", "critical"),
        ):
            data = {"target": target, "to": to, "for": 1, "why": "db failover"}
            self.assertEqual(asked(verb, flags), ("change", data))

    def test_breaker(self) -> None:
        """A breaker is opened and closed, and nothing else."""
        for verb, to in (("pause", "open"), ("resume", "closed")):
            data = {"target": "breaker:payments", "to": to}
            self.assertEqual(asked(verb, Flags(breaker="payments")), ("change", data))

    def test_shutdown(self) -> None:
        """It has a reason, and is called off."""
        flags = Flags(reason="old")
        data = {"target": "shutdown", "to": "now", "why": "old"}
        self.assertEqual(asked("shutdown", flags), ("change", data))
        self.assertEqual(
            asked("shutdown", Flags(cancel=True)), ("end", {"target": "shutdown", "all": True})
        )
        later: dict[str, object] = {"target": "shutdown", "to": "now", "for": 300}
        self.assertEqual(asked("shutdown", Flags(delay=299.5)), ("change", later))

    def test_means(self) -> None:
        """Whatever a verb asks for is what it means, and what no other verb does."""
        given = [
            Flags(),
            Flags(seconds=90),
            Flags(reason="why"),
            Flags(breaker="payments", seconds=5),
            Flags(cancel=True, reason="why"),
            Flags(delay=60),
        ]
        made: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for verb in NEEDS:
            for flags in given:
                with contextlib.suppress(ValueError):
                    action, data = asked(verb, flags)
                    made.setdefault(verb, []).append((action, data or {}))
        self.assertEqual(made.keys(), NEEDS.keys())
        for verb, asks in made.items():
            for other in NEEDS:
                for action, data in asks:
                    self.assertEqual(means(other, action, data), verb == other, (other, action))

    def test_refused(self) -> None:
        """A flag that a verb does not have is not ignored."""
        for verb, flags, words in (
            ("flip", Flags(seconds=5), "flip has no --for"),
            ("ping", Flags(reason="x"), "ping has no --reason"),
            ("health", Flags(breaker="a"), "health has no --breaker"),
            ("shutdown", Flags(breaker="a"), "shutdown has no --breaker"),
            ("pause", Flags(cancel=True), "pause has no --cancel"),
            ("shutdown", Flags(seconds=5), "has no --for"),
            ("shutdown", Flags(seconds=5, cancel=True), "--for means nothing"),
            ("shutdown", Flags(delay=5, cancel=True), "--in means nothing"),
            ("pause", Flags(delay=5), "pause has no --in"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, asked, verb, flags)))
