"""``python -m benchmarks [--rounds N] [--scale X] [--only WORDS]``: measure, print the table."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence

import cryptography

import twisted
from backplane import __version__
from benchmarks import secure
from benchmarks.contest import contests
from benchmarks.contest.arena import arenas
from benchmarks.contest.memory import flow
from benchmarks.live import live_cases
from benchmarks.measure import Row, run_rounds, table


def measured(rounds: int, scale: float = 1.0, only: str = "", *, quiet: bool = True) -> list[Row]:
    """Measure all rows, or those whose names have ``only`` in them."""

    def report(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    with live_cases() as live:
        cases = [case for case in (*secure.cases(), *live) if only in case.name]
        return run_rounds(secure.yardstick(), cases, rounds=rounds, scale=scale, report=report)


def contested(rounds: int, scale: float = 1.0, only: str = "", *, quiet: bool = True) -> str:
    """Return the table of what both clients did in turn, and the memory of ours."""

    def report(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    with arenas() as (plain, tls):
        every = [each for each in contests.contests(plain, tls) if only in each.name]
        lines = []
        if every:
            results = contests.run_contests(every, rounds=rounds, scale=scale, report=report)
            lines.append(contests.table(results))
        if only in "memory":
            report("memory")
            lines.append(flow(plain, max(20, round(100_000 * scale))))
    return "\n\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of all rows (9)")
    parser.add_argument("--scale", type=float, default=1.0, help="operations of a round, times")
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    given = parser.parse_args(arguments)
    rows = measured(given.rounds, given.scale, given.only, quiet=False)
    print(
        f"backplane {__version__}, Python {platform.python_version()}, "
        f"Twisted {twisted.__version__}, cryptography {cryptography.__version__}, "
        f"{given.rounds} rounds"
    )
    if len(rows) > 1:
        print(table(rows))
    print(contested(given.rounds, given.scale, given.only, quiet=False))


if __name__ == "__main__":
    main()
