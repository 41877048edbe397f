"""Processes with many services each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

__all__ = ["ROOT", "Fleet"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Fleet:
    """So many services in so many processes, all connected when this is made.

    :ivar count: of services.
    """

    def __init__(self, port: int, count: int, processes: int) -> None:
        self.count = count
        self._processes = []
        for place in range(processes):
            first, last = (count * edge // processes for edge in (place, place + 1))
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fleet.member"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(process)
            self._tell(process, json.dumps({"port": port, "first": first, "count": last - first}))
        for process in self._processes:
            if self._hear(process) != "ready":
                raise RuntimeError("the services did not start")

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())

    def _ask(self, line: str) -> list[Any]:
        for process in self._processes:
            self._tell(process, line)
        return [self._hear(process) for process in self._processes]

    def paused(self) -> int:
        """Return how many are paused."""
        return sum(self._ask("paused"))

    def resume(self) -> None:
        """Resume all, each by itself."""
        self._ask("resume")

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds so far and resident bytes, of all processes together."""
        answers = self._ask("usage")
        return sum(cpu for cpu, _ in answers), sum(size for _, size in answers)

    def close(self) -> None:
        """End all."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()
