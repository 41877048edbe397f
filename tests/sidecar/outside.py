"""Outside processes for tests: where they run, what is logged, and how to wait for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import implementer

PATIENCE = 30.0
"""Seconds after which something that should have happened counts as failed."""


@implementer(ILogObserver)
class LogBook:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.logger = Logger(namespace="test", observer=self)

    def __call__(self, event: LogEvent) -> None:
        self.lines.append((event["log_level"].name, formatEvent(event)))

    @property
    def text(self) -> str:
        return "\n".join(f"{level} {line}" for level, line in self.lines)


class OutsideCase(TestCase):
    """A folder, and the end of every process that a test has left."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.book = LogBook()
        self.reactor: Any = reactor
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        """Kill what still runs in the folder."""
        for path in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if os.readlink(path) == str(self.folder):
                    os.kill(int(path.parent.name), signal.SIGKILL)
            except OSError:
                continue

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"never came: {what}\n{self.book.text}")
            await deferLater(self.reactor, 0.01)

    def number(self, name: str) -> int:
        """Return the process id that a script has written to a file, or 0."""
        try:
            return int((self.folder / name).read_text() or 0)
        except (FileNotFoundError, ValueError):
            return 0


def lives(pid: int) -> bool:
    """Say whether a process has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
