"""Every benchmark runs and finds something; how fast is asked of nobody."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import contested, measured
from benchmarks.contest.contests import Contest, Result
from benchmarks.contest.contests import table as contest_table
from benchmarks.fleet import __main__ as fleet
from benchmarks.measure import Case, Figure, run_rounds, table


class MeasureTests(SynchronousTestCase):
    """Rounds, ratios and the table."""

    def case(self, name: str, *costs: float, aim: float | None = None) -> Case:
        """Return a case that costs this in turn."""
        left = list(costs)

        def measure(count: int) -> Figure:
            self.order.append((name, count))
            return Figure(cpu=left.pop(0), wall=0.5 if name == "two" else None)

        return Case(name=name, measure=measure, count=100, aim=aim)

    def setUp(self) -> None:
        self.order: list[tuple[str, int]] = []

    def test_rounds(self) -> None:
        """Each case is measured just after the yardstick, and told in yardsticks."""
        unit = self.case("unit", 1.0, 1.0, 2.0, 4.0)
        cases = [self.case("one", 3.0, 4.0, aim=2), self.case("two", 5.0, 8.0, aim=5)]
        rows = run_rounds(unit, cases, rounds=2, scale=0.1)
        self.assertEqual(self.order, [("unit", 10), ("one", 10), ("unit", 10), ("two", 10)] * 2)
        self.assertEqual([list(row.ratios) for row in rows[1:]], [[3.0, 2.0], [5.0, 2.0]])
        lines = [line.split() for line in table(rows).splitlines()]
        self.assertEqual(lines[2][:6], ["one", "3,500,000", "2.50", "2.00-3.00", "≤", "2"])
        self.assertIn("missed", lines[2])
        self.assertEqual(lines[3][3:], ["2.00-5.00", "≤", "5", "0", "2"])


class ContestTests(SynchronousTestCase):
    """The table of what two clients did."""

    def test_table(self) -> None:
        """Ratios are those of rounds, and a missed aim is told."""
        rows = []
        for aim in (2.0, 4.0, None):
            contest = Contest(name="work", measure=lambda who, count: 0.0, count=1, aim=aim)
            rows.append(Result(contest=contest, ours=[1.0, 2.0, 1.0], theirs=[2.0, 6.0, 5.0]))
        lines = [line.split() for line in contest_table(rows).splitlines()]
        self.assertEqual(lines[1][3:], ["3.00", "2.00-5.00", "≥", "2.00", "1"])
        self.assertEqual(lines[2][3:], ["3.00", "2.00-5.00", "≥", "4.00", "missed", "1"])
        self.assertEqual(lines[3][3:], ["3.00", "2.00-5.00", "1"])


class SmokeTests(SynchronousTestCase):
    """All rows, in tiny rounds."""

    def test_contest(self) -> None:
        """Both clients do all of the work."""
        text = contested(1, 0.002)
        for words in ("parse 128 B", "publish 16 KiB, TLS", "request, p50", "MiB resident"):
            self.assertIn(words, text)

    def test_fleet(self) -> None:
        """A small fleet is found, paused, and back after its broker was away."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = fleet.main(["--sizes", "5", "--processes", "2", "--runs", "1"])
        self.assertEqual(code, 0, said.getvalue())
        self.assertIn("  missed in all: 0", said.getvalue())

    def test_all(self) -> None:
        rows = measured(1, 0.01)
        self.assertGreater(len(rows), 12)
        for row in rows[1:]:
            self.assertEqual(len(row.ratios), 1, row.case.name)
        text = table(rows)
        for words in ("bare RSA-2048", "certificate new", "flood:", "mutual TLS", "unsigned"):
            self.assertIn(words, text)
