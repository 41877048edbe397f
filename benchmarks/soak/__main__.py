"""``python -m benchmarks.soak``: services, broker and connections under stress, for long."""

from __future__ import annotations

import argparse
import platform
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import twisted
from backplane import __version__
from benchmarks.soak.checklist import run_slow
from benchmarks.soak.plan import Plan
from benchmarks.soak.run import Cycle, Found, soak
from benchmarks.soak.telling import failed, line_of, table


def _told(found: Found, cycle: Cycle) -> None:
    print(line_of(found, cycle), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print; the exit code is 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (30)")
    parser.add_argument("--services", type=int, default=50, help="how many (50)")
    parser.add_argument("--processes", type=int, default=4, help="that they are in (4)")
    parser.add_argument("--restart-every", type=float, default=20, help="seconds (20)")
    parser.add_argument("--restarts", type=int, help="how many, whatever time it takes")
    parser.add_argument("--plain", type=float, default=8, help="items of a service, a second (8)")
    parser.add_argument("--durable", type=float, default=4, help="the same, durable ones (4)")
    parser.add_argument("--one-in", type=int, default=10, help="connections is cut (10)")
    parser.add_argument("--seed", type=int, help="of what is left to chance")
    parser.add_argument("--folder", type=Path, help="where logs and files are kept")
    parser.add_argument(
        "--without-checklist", action="store_true", help="leave out the client's slow tests"
    )
    given = parser.parse_args(arguments)
    plan = Plan(
        minutes=given.minutes,
        services=given.services,
        processes=given.processes,
        every=given.restart_every,
        restarts=given.restarts,
        plain=given.plain,
        durable=given.durable,
        one_in=given.one_in,
        seed=secrets.randbelow(1_000_000) if given.seed is None else given.seed,
    )
    print(
        f"backplane {__version__}, Python {platform.python_version()}, "
        f"Twisted {twisted.__version__}, seed {plan.seed}",
        flush=True,
    )
    if given.folder is not None:
        given.folder.mkdir(parents=True)
    try:
        found = soak(plan, _told, given.folder)
    except RuntimeError as error:
        print(f"FAILED:\n{error}", flush=True)
        return 1
    print(f"\n{table(found)}\n", flush=True)
    wrong = failed(found)
    if not given.without_checklist:
        wrong += run_slow()
    print("\n".join(["FAILED:", *wrong]) if wrong else "passed", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
