"""The records of runs: kept, found by the beginning of their id, forgotten in time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer, Outcome
from backplane.client.jobs import make_job
from backplane.client.runs import MAX_AGE, MAX_RUNS, Record, RunNotFound, Runs, record_of


def record(run: str, when: float = 1000.0, service: str = "demo", network: str = "n") -> Record:
    return Record(
        run=run,
        service=service,
        network=network,
        collective=f"{service}_backplane",
        when=when,
        who="choria=sre",
        verb="pause",
        action="pause",
        data={},
        done=("a",),
        unsure=(),
    )


class RunsTests(SynchronousTestCase):
    """A user's file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.warnings: list[str] = []
        self.runs = Runs(str(self.folder), self.warnings.append)
        self.path = self.folder / "runs.json"

    def test_kept(self) -> None:
        """What was kept is found by its beginning, by a later process, and by nobody else."""
        one, other = record("aaaa1111"), record("aaaa2222")
        self.runs.add(one)
        self.runs.add(other)
        again = Runs(str(self.folder), self.warnings.append)
        self.assertEqual(again.find("demo", "n", "aaaa1"), one)
        self.assertEqual(again.find(None, None, "aaaa2222"), other)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.warnings, [])

    def test_not_found(self) -> None:
        """Another service's, another network's, too short, several: refused, each with a reason."""
        self.runs.add(record("aaaa1111"))
        self.runs.add(record("aaaa2222"))
        for service, network, prefix, words in (
            ("shop", "n", "aaaa1111", "no run of shop"),
            ("demo", "m", "aaaa1111", "no run of demo"),
            ("demo", "n", "bbbb", "no run of demo"),
            ("demo", "n", "aaa", "too short"),
            (None, None, "aaaa", "several runs begin"),
        ):
            error = self.assertRaises(RunNotFound, self.runs.find, service, network, prefix)
            self.assertIn(words, str(error))

    def test_bounded(self) -> None:
        """The oldest are forgotten, by number and by age."""
        for number in range(MAX_RUNS + 5):
            self.runs.add(record(f"{number:08x}"))
        self.assertRaises(RunNotFound, self.runs.find, "demo", "n", "00000004")
        self.runs.find("demo", "n", "00000005")
        self.runs.add(record("ffffffff", when=1000.0 + MAX_AGE))
        self.assertEqual(len(json.loads(self.path.read_text())["runs"]), 1)

    def test_damaged(self) -> None:
        """A file that cannot be read is a warning, and begins anew."""
        self.folder.mkdir()
        texts = (
            "",
            "[]",
            "{",
            "null",
            '{"runs": 5}',
            '{"runs": {}}',
            '{"runs": [null]}',
            '{"runs": [{"run": 5}]}',
            "[" * 100_000,
        )
        for text in texts:
            self.path.write_text(text)
            self.assertRaises(RunNotFound, self.runs.find, "demo", "n", "aaaa")
            self.assertIn("cannot be used", self.warnings.pop())
        self.runs.add(record("aaaa1111"))
        self.assertEqual(self.runs.find("demo", "n", "aaaa").run, "aaaa1111")

    def test_not_writable(self) -> None:
        """What cannot be remembered is a warning, and no more."""
        self.folder.write_text("a file in the way")
        self.runs.add(record("aaaa1111"))
        self.assertIn("the run is not remembered", self.warnings[0])
        nowhere = Runs(None, self.warnings.append)
        nowhere.add(record("aaaa1111"))
        self.assertRaises(RunNotFound, nowhere.find, "demo", "n", "aaaa")
        self.assertTrue(os.path.isfile(self.folder))


class RecordTests(SynchronousTestCase):
    """What is kept of a run."""

    def outcome(self, action: str) -> Outcome:
        reply = RpcReply(action=action, status=0, message="OK", data={})
        return Outcome(
            service="demo",
            agent="backplane",
            action=action,
            request_id="f" * 32,
            discovered={"a": 1, "b": 1, "c": 1},
            answers=(
                Answer("b", reply, 0.1),
                Answer("c", attrs.evolve(reply, status=1, message="no"), 0.1),
            ),
        )

    def test_change(self) -> None:
        """Who did it, and who may have: silent ones count, those that refused do not."""
        job = make_job("demo", "pause")
        found = record_of(job, self.outcome("pause"), network="n", when=1.0, who="me")
        assert found is not None
        self.assertEqual((found.done, found.unsure), (("b",), ("a",)))
        self.assertEqual(found.names, ("b", "a"))
        self.assertEqual(found.run, "f" * 32)

    def test_nothing(self) -> None:
        """What changed nothing is not kept."""
        for action in ("ping", "info", "health", "changes", "loggers", "stalls", "threaddump"):
            job = make_job("demo", action)
            found = record_of(job, self.outcome(action), network="n", when=1.0, who="me")
            self.assertIsNone(found)
        outcome = attrs.evolve(self.outcome("pause"), sent=False)
        self.assertIsNone(
            record_of(make_job("demo", "pause"), outcome, network="n", when=1.0, who="me")
        )
