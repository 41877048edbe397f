"""Durations in Go's words."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.durations import format_duration

TABLE = Path(__file__).parent.parent / "vectors" / "tables" / "durations.json"

UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "µs": 1000, "ns": 1}


class FormatDurationTests(SynchronousTestCase):
    """The text of a number of nanoseconds."""

    def test_table(self) -> None:
        """Every duration reads as Go writes it."""
        cases = json.loads(TABLE.read_text(encoding="utf-8"))["cases"]
        self.assertGreater(len(cases), 40)
        for case in cases:
            self.assertEqual(format_duration(case["nanoseconds"]), case["text"], case)

    def test_shutdown_delay(self) -> None:
        """The delays that operators see in the answer to a shutdown."""
        self.assertEqual(format_duration(3_417_123_456), "3.417123456s")
        self.assertEqual(format_duration(61_500_000_000), "1m1.5s")

    @settings(deadline=None)
    @given(st.integers(-(2**63), 2**63 - 1))
    def test_read_back(self, nanoseconds: int) -> None:
        """The parts of the text add up to the duration."""
        shown = format_duration(nanoseconds)
        parts = re.findall(r"([0-9.]+)(h|ms|m|s|µs|ns)", shown)
        self.assertEqual("".join(map("".join, parts)), shown.lstrip("-"))
        total = sum(Fraction(number) * UNITS[unit] for number, unit in parts)
        self.assertEqual(-total if shown.startswith("-") else total, nanoseconds)
