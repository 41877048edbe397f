"""The code is formatted, linted, typed, and keeps to its floors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ("backplane", "tests", "benchmarks", "examples", "twisted/plugins")


class QualityTests(SynchronousTestCase):
    """Each tool has nothing to say."""

    def check(self, *command: str) -> None:
        folder = Path(sys.executable).parent
        done = subprocess.run(
            [str(folder / command[0]), *command[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr)[-4000:])

    def test_format(self) -> None:
        self.check("ruff", "format", "--check", ".")

    def test_lint(self) -> None:
        self.check("ruff", "check", "--output-format", "concise", ".")

    def test_types(self) -> None:
        self.check("mypy", *CHECKED)

    def test_floors(self) -> None:
        self.check("lint-imports")
