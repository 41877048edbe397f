"""The examples of the client's API do what they say, against real services."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from twisted.trial.unittest import TestCase

from tests.integration.fleet import ROOT, Fleet


class ExampleTests(TestCase):
    """Two services of the demo application, and each example in a process of its own."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        for identity in ("one", "two"):
            self.fleet.demo("demo", identity)

    def run_example(self, name: str, *args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *args],
            cwd=ROOT,
            env={**os.environ, "USER": "tester", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_examples(self) -> None:
        """With Deferreds, and with asyncio; both are short."""
        broker = f"127.0.0.1:{self.fleet.server.port}"
        self.assertEqual(
            self.run_example("client_deferred.py", broker, "demo", "interval=1"),
            (0, "2 services: one, two\none is good\ntwo is good\n"),
        )
        code, shown = self.run_example("client_asyncio.py", broker, "demo")
        lines = shown.splitlines()
        self.assertEqual((code, lines[:2]), (0, ["1 of 2", "2 of 2"]))
        self.assertEqual(sorted(lines[2:]), ["one: paused=True", "two: paused=True"])
        for name in ("client_deferred.py", "client_asyncio.py"):
            text = (ROOT / "examples" / name).read_text()
            self.assertLess(text.count("\n"), 40)
            self.assertTrue(re.match('"""', text))
