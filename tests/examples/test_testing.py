"""The tests of the examples pass, as their readers would run them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.examples.pages import ROOT


class TestingTests(SynchronousTestCase):
    """``examples/testing``, run by trial in a process of its own."""

    def test_service(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [
                    sys.executable,
                    *["-m", "twisted.trial", "--temp-directory"],
                    f"{folder}/t",
                    "examples.testing.test_service",
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        self.assertIn("PASSED (successes=10)", done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0)
