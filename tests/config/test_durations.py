"""Durations: the table of what Choria makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.durations import parse_duration

TABLES = Path(__file__).parent.parent / "vectors" / "tables"


class DurationTests(SynchronousTestCase):
    """Durations in files of Choria's clients."""

    def test_durations(self) -> None:
        """Durations are what they are in Choria, the overflows of Go included."""
        table = json.loads((TABLES / "durations.json").read_text("utf-8"))
        self.assertGreater(len(table["config"]), 60)
        for case in table["config"]:
            if case["seconds"] is None:
                self.assertRaises(ValueError, parse_duration, case["text"])
            else:
                seconds = parse_duration(case["text"])
                self.assertAlmostEqual(seconds, case["seconds"], places=4, msg=case["text"])

    @given(st.text(st.sampled_from("0123456789.smhdwMyY+-e un\u00b5"), max_size=30) | st.text())
    def test_any_duration(self, text: str) -> None:
        """Any text is a duration or refused."""
        try:
            parse_duration(text)
        except ValueError:
            pass
