"""An operator's command, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.fleet.fleet import ROOT

__all__ = ["Operator", "Run"]

LAUNCH: Final = """
import os, sys, time
begin = time.monotonic()
process = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, used = os.wait4(process, 0)
wall = time.monotonic() - begin
code = os.waitstatus_to_exitcode(status)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, code, file=sys.stderr)
"""
"""A process's peak of memory has that of its parent in it, at the fork: so this is a small one."""


@attrs.frozen(kw_only=True)
class Run:
    """One run of the command line.

    :ivar wall: seconds from its start to its end, Python's own start included.
    :ivar cpu: seconds of CPU.
    :ivar memory: most bytes that it had resident.
    :ivar code: exit code.
    :ivar document: its JSON.
    :ivar errors: what it said beside it.
    """

    wall: float
    cpu: float
    memory: int
    code: int
    document: dict[str, Any]
    errors: str


class Operator:
    """Runs the command line against a broker.

    :param service: whom it commands.
    """

    def __init__(self, port: int, service: str = "fleet") -> None:
        self._service = service
        self._folder = tempfile.TemporaryDirectory(prefix="backplane-fleet-")
        self._config = Path(self._folder.name) / "client.cfg"
        self._config.write_text(f"plugin.choria.middleware_hosts = 127.0.0.1:{port}\n")

    def run(self, *words: str) -> Run:
        """Run one command on the fleet."""
        command = [sys.executable, "-m", "backplane.cli.main", "--insecure", "--json"]
        errors = Path(self._folder.name) / "errors"
        with (Path(self._folder.name) / "output").open("w+b") as output, errors.open("wb") as said:
            subprocess.run(
                [
                    *(sys.executable, "-S", "-c", LAUNCH),
                    *command,
                    *("--config", str(self._config), self._service, *words),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=said,
                check=True,
            )
            output.seek(0)
            document = json.load(output)
        *lines, told = errors.read_text(errors="replace").splitlines()
        wall, cpu, memory, code = told.split()
        return Run(
            wall=float(wall),
            cpu=float(cpu),
            memory=int(memory) * 1024,
            code=int(code),
            document=document,
            errors="\n".join(lines),
        )

    def close(self) -> None:
        """Remove what was written."""
        self._folder.cleanup()
