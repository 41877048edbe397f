"""Processes that are told lines and answer each with one."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["Child", "ask_all"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Child:
    """One of them; it has been told its first line when this is made.

    :param module: that is run.
    :param settings: the first line.
    :param log: where its errors go.
    :param patience: seconds after which it counts as hanging.
    """

    def __init__(
        self, module: str, settings: dict[str, Any], *, log: Path, patience: float
    ) -> None:
        self.log = log
        self._patience = patience
        self._rest = b""
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self.tell(json.dumps(settings))

    def tell(self, line: str) -> None:
        """Say a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def hear(self) -> Any:
        """Return the answer to the oldest line that has none yet.

        :raises RuntimeError: when there is none.
        """
        output = self._process.stdout
        assert output is not None
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            ready, _, _ = select.select([output], [], [], self._patience)
            part = output.read(1 << 16) if ready else b""
            if not part:
                what = "does not answer" if not ready else "has ended"
                tail = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"process {self._process.pid} {what}:\n{tail}")
            parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return json.loads(line)

    def ask(self, line: str) -> Any:
        """Say a line and return the answer."""
        self.tell(line)
        return self.hear()

    def close(self) -> int:
        """End it; return its exit code, minus 9 if it had to be killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        return self._process.returncode


def ask_all(children: Sequence[Child], line: str) -> list[Any]:
    """Say a line to all, and return their answers."""
    for each in children:
        each.tell(line)
    return [each.hear() for each in children]
