"""What ``make demo`` runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.examples.pages import ROOT

SHOWN: Final = (
    "started nats-server on",
    "$ backplane --insecure demo2 info",
    "Performing info... ✓ 2 / 2",
    "Performing pause... ✓ 1 / 1",
    "Paused: true",
    "Performing resume... ✓ 2 / 2",
    '{"level":"debug"}',
    "Delayed calls:",
    '"app": "demo1"',
    "stopped everything",
)
"""What is shown, in this order."""


class DemoTests(SynchronousTestCase):
    """A newcomer's first look."""

    def test_demo(self) -> None:
        """It shows everything and leaves nothing running."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "demo" / "fleet.py")],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        at = 0
        for words in SHOWN:
            at = done.stdout.find(words, at)
            self.assertNotEqual(at, -1, f"{words!r} is missing in:\n{done.stdout}")
