"""The flags of rollouts: what they mean, and what contradicts what."""

from __future__ import annotations

from backplane.client.batches import Rollout, Size
from tests.cli.test_main import MainCase


class RolloutFlagTests(MainCase):
    """Up to the network."""

    def rollout(self, *args: str) -> Rollout:
        return self.job("demo", "pause", *args).rollout

    def test_none(self) -> None:
        """Nothing is said, nothing is meant."""
        self.assertEqual(self.rollout(), Rollout())
        self.assertEqual(self.job("demo", "info").rollout, Rollout())

    def test_each(self) -> None:
        """Every flag reaches the job."""
        for line, wanted in (
            ("--batch 20%", Rollout(batch=Size(20, percent=True))),
            ("--batch 3 --sleep 1m", Rollout(batch=Size(3), sleep=60.0)),
            ("--limit 10%", Rollout(limit=Size(10, percent=True))),
            (
                "--limit 2 --limit-method random --limit-seed 7",
                Rollout(limit=Size(2), limit_method="random", limit_seed=7),
            ),
            ("--gate health --gate-timeout 5s", Rollout(gate=True, gate_timeout=5.0)),
            ("--max-failures 0", Rollout(max_failures=0)),
            ("--on-failure undo", Rollout(undo=True)),
            ("--on-failure stop", Rollout()),
            ("--dry-run", Rollout(dry_run=True)),
            ("--plan x.json", Rollout(plan="x.json")),
            ("--apply x.json", Rollout(apply="x.json")),
            ("--yes", Rollout(yes=True)),
        ):
            self.assertEqual(self.rollout(*line.split()), wanted, line)

    def test_before(self) -> None:
        """They may stand before the words."""
        job = self.job("--batch", "2", "--plan", "pause", "demo", "resume")
        self.assertEqual(job.rollout, Rollout(batch=Size(2), plan="pause"))

    def test_usage(self) -> None:
        """What is no number, and what says two things: 64, and nothing is done."""
        for line, text in (
            ("demo pause --batch 0", "not between 1"),
            ("demo pause --batch 101%", "not between 1"),
            ("demo pause --limit x", "is no number"),
            ("demo pause --gate wealth", "health"),
            ("demo pause --on-failure retry", "undo"),
            ("demo pause --max-failures -1", "max-failures"),
            ("demo info --insecure --dry-run", "info changes nothing"),
            ("demo ping --insecure --gate health", "ping changes nothing"),
            ("demo pause --insecure --plan a --apply b", "--apply does it"),
            ("demo pause --insecure --apply b -F a=b", "the plan says who is meant"),
            ("demo pause --insecure --apply b --limit 1", "the plan says who is meant"),
            ("demo pause --insecure --limit-seed 1", "--limit-method random"),
            ("demo pause --insecure --sleep 2", "--sleep means nothing without --batch"),
            ("demo pause --sleep 2", "--sleep means nothing without --batch"),
            ("demo end --sleep 2", "--sleep means nothing without --batch"),
            (
                "demo pause --insecure --gate-timeout 2",
                "--gate-timeout means nothing without --gate",
            ),
            ("demo pause --insecure --limit-method random", "means nothing without --limit"),
        ):
            ran = self.run_main(*line.split())
            self.assertEqual((ran.code, ran.out, ran.jobs), (64, "", []), (line, ran))
            self.assertIn(text, ran.err)
