"""``python -m benchmarks.fleet``: one command on 100, 1,000 and 5,000 services; two storms."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Sequence

import twisted
from backplane import __version__
from benchmarks.fleet.broker import FleetBroker
from benchmarks.fleet.fleet import Fleet
from benchmarks.fleet.operator import Operator, Run

MIB = 1024 * 1024


def _measure(count: int, processes: int, runs: int) -> int:
    """Measure a fleet of so many, print what was found; return how many were missed in all."""
    broker = FleetBroker()
    operator = Operator(broker.server.port)
    begin = time.monotonic()
    fleet = Fleet(broker.server.port, count, processes)
    try:
        print(f"\n{count:,} services in {processes} processes", flush=True)
        _storm("start", time.monotonic() - begin, broker)
        missed = 0
        for words in (("ping",), ("info",), ("pause",), ("pause", "--expect", str(count))):
            before, _ = fleet.usage()
            results: list[Run] = []
            for _ in range(runs):
                run = operator.run(*words)
                missed += count - int(run.document["ok"])
                if words[0] == "pause":
                    missed += count - fleet.paused()
                    fleet.resume()
                results.append(run)
            after, _ = fleet.usage()
            _told(" ".join(words), count, results, (after - before) / runs / count)
        _, resident = fleet.usage()
        print(f"  resident, each service: {resident / count / 1024:,.0f} KiB")
        broker.server.kill()
        broker.server.start()
        broker.server.wait_ready(60)
        _storm("the broker killed and started", broker.wait_for(count), broker)
        run = operator.run("ping")
        missed += count - int(run.document["ok"])
        print(f"  ping after it: {run.document['ok']:,} answered, exit code {run.code}")
        print(f"  missed in all: {missed}", flush=True)
        return missed
    finally:
        fleet.close()
        operator.close()
        broker.close()


def _told(name: str, count: int, runs: Sequence[Run], each: float) -> None:
    answered = [int(run.document["ok"]) for run in runs]
    wall = statistics.median(run.wall for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    memory = max(run.memory for run in runs) / MIB
    codes = sorted({run.code for run in runs})
    print(
        f"  {name:22}{len(runs)} runs, answered {min(answered):,}-{max(answered):,}, "
        f"exit codes {codes}, wall {wall:.2f} s, CPU {cpu:.2f} s, "
        f"most memory {memory:.0f} MiB; CPU of a service {each * 1e6:,.0f} µs",
        flush=True,
    )


def _storm(name: str, seconds: float, broker: FleetBroker) -> None:
    starts = broker.starts()
    places = [starts[len(starts) * part // 100] for part in (10, 50, 90)]
    spread = ", ".join(f"{each:.2f}" for each in (*places, starts[-1]))
    print(
        f"  {name}: all connected after {seconds:.2f} s; accepted 10, 50, 90, 100 %: {spread} s",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 if anything was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--sizes", default="100,1000,5000", help="numbers of services")
    parser.add_argument("--processes", type=int, default=8, help="that they are in (8)")
    parser.add_argument("--runs", type=int, default=10, help="of each command (10)")
    given = parser.parse_args(arguments)
    print(
        f"backplane {__version__}, Python {platform.python_version()}, "
        f"Twisted {twisted.__version__}, {given.processes} processes, {given.runs} runs"
    )
    sizes = [int(size) for size in given.sizes.split(",")]
    return int(sum(_measure(size, given.processes, given.runs) for size in sizes) > 0)


if __name__ == "__main__":
    sys.exit(main())
