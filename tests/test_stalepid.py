"""Pid files that a killed twistd left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane.stalepid import forget_stale


class StaleTests(SynchronousTestCase):
    """A pid file is removed only where it certainly names another process."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        reading = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self.process = subprocess.Popen(reading, stdin=subprocess.PIPE)
        self.addCleanup(self.end)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def write(self, text: str, age: float = 0.0) -> str:
        """Write the file, as if that had been ``age`` seconds ago."""
        self.path.write_text(text)
        at = time.time() - age
        os.utime(self.path, (at, at))
        return str(self.path)

    def test_ourselves(self) -> None:
        """The number of the new process itself: a container that starts again."""
        self.assertTrue(forget_stale(self.write(f"{os.getpid()}")))
        self.assertFalse(self.path.exists())

    def test_younger(self) -> None:
        """A process that started after the file was written is another one: after a reboot."""
        self.assertTrue(forget_stale(self.write(f"{self.process.pid}\n", age=3600)))
        self.assertFalse(self.path.exists())

    def test_running(self) -> None:
        """A process that may have written it: twistd says that it runs."""
        self.assertFalse(forget_stale(self.write(f"{self.process.pid}")))
        self.assertTrue(self.path.exists())

    def test_left_alone(self) -> None:
        """What is no number, names nobody or is not there is twistd's affair."""
        for text in ("", "nonsense", "-1", f"{2**22 + 1}"):
            self.assertFalse(forget_stale(self.write(text)), text)
            self.assertTrue(self.path.exists())
        self.assertFalse(forget_stale(self.mktemp()))
