"""Every benchmark runs and finds something; how fast is asked of nobody."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import measured
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


class SmokeTests(SynchronousTestCase):
    """All rows, in tiny rounds."""

    def test_all(self) -> None:
        rows = measured(1, 0.01)
        self.assertGreater(len(rows), 12)
        for row in rows[1:]:
            self.assertEqual(len(row.ratios), 1, row.case.name)
        text = table(rows)
        for words in ("bare RSA-2048", "certificate new", "flood:", "mutual TLS", "unsigned"):
            self.assertIn(words, text)
