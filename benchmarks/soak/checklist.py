"""What of the checklist of the NATS client takes minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["run_slow"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent


def run_slow() -> list[str]:
    """Run it, one module after the other; return what failed."""
    wrong = []
    for file in sorted((ROOT / "tests/nats/checklist").glob("slow_*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        run = subprocess.run(
            [sys.executable, "-m", "tests", module],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = run.stdout.splitlines() or ["no output"]
        print(f"{module}: {lines[-1]}", flush=True)
        if run.returncode:
            wrong += [f"{module}:", *lines[-40:]]
    return wrong
