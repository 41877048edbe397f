"""One soak: what is started, broken, asked and looked at."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.fleet.broker import FleetBroker
from benchmarks.fleet.operator import Operator
from benchmarks.soak.children import Child, ask_all
from benchmarks.soak.consumer import Arrivals, Consumer
from benchmarks.soak.judging import GROWTH
from benchmarks.soak.member import NAME
from benchmarks.soak.plan import Plan
from benchmarks.soak.stream import Stream

__all__ = ["Cycle", "Found", "soak"]

MARGIN: Final = 0.25
"""Seconds around a kill of the broker; what it took then it may not have passed on."""


@attrs.define
class Cycle:
    """One end of the broker, and the recovery from it.

    :ivar end: how it ended: ``start`` (it has not), ``kill`` or ``stop``.
    :ivar down: seconds until it was back.
    :ivar recovery: seconds from then until all services were ready and no cut was to come.
    :ivar commands: seconds of the operator's commands.
    """

    number: int
    end: str
    down: float = 0.0
    recovery: float = 0.0
    commands: float = 0.0
    counts: dict[str, int] = attrs.field(factory=dict)
    memory: list[int] = attrs.field(factory=list)


@attrs.define
class Found:
    """What a run has found.

    :ivar cycles: in order.
    :ivar usage: of each process, by what it is.
    :ivar services: how each service has ended, in order.
    :ivar plain, durable: what came of both kinds.
    :ivar unpassed: plain items, by service, that the broker confirmed just before it was killed,
        and did not pass on: these are beyond what is promised.
    :ivar commands: how many the operator gave; ``answers``: that came, in all.
    :ivar wrong: what went wrong on the way.
    """

    plan: Plan
    seconds: float = 0.0
    cycles: list[Cycle] = attrs.field(factory=list)
    usage: list[dict[str, list[float]]] = attrs.field(factory=list)
    services: list[dict[str, Any]] = attrs.field(factory=list)
    plain: Arrivals = attrs.field(factory=Arrivals)
    durable: Arrivals = attrs.field(factory=Arrivals)
    unpassed: dict[int, list[int]] = attrs.field(factory=dict)
    commands: int = 0
    answers: int = 0
    wrong: list[str] = attrs.field(factory=list)


def soak(plan: Plan, report: Callable[[Found, Cycle], object], folder: Path | None = None) -> Found:
    """Do it all.

    :param report: called after each recovery.
    :param folder: keeps logs, spools and the stream's files; removed in the end when ``None``.
    :raises RuntimeError: when something hangs or has ended.
    """
    with contextlib.ExitStack() as ends:
        if folder is None:
            made = tempfile.TemporaryDirectory(prefix="backplane-soak-")
            folder = Path(ends.enter_context(made))
        return Run(plan, folder.absolute(), ends).run(report)


class Run:
    """What runs."""

    def __init__(self, plan: Plan, folder: Path, ends: contextlib.ExitStack) -> None:
        self._plan = plan
        self._found = Found(plan)
        self._rng = random.Random(plan.seed)
        self._folder = folder
        self._killed: list[float] = []
        self._broker = FleetBroker(f'jetstream {{ store_dir: "{folder}/jetstream" }}\n')
        ends.callback(self._broker.close)
        port = self._broker.server.port
        self._stream = Stream(port)
        self._stream.make()
        self._consumer = Consumer(port)
        ends.callback(self._consumer.close)
        self._consumer.wait(1, plan.patience)
        self._found.plain = self._consumer.arrivals
        self._operator = Operator(port, NAME)
        ends.callback(self._operator.close)
        self._proxy = self._child("proxy", broker=port, seed=plan.seed, one_in=plan.one_in)
        ends.callback(self._proxy.close)
        number = self._proxy.hear()
        self._members: list[Child] = []
        ends.callback(self._end)
        for place in range(plan.processes):
            first, last = (plan.services * edge // plan.processes for edge in (place, place + 1))
            member = self._child(
                "member",
                port=number,
                first=first,
                count=last - first,
                plain=plan.plain,
                durable=plan.durable,
                folder=str(folder),
                spooled=plan.spooled,
            )
            self._members.append(member)
        for member in self._members:
            member.hear()
        self._found.usage = [{what: [] for what in GROWTH} for _ in self._members]

    def _child(self, module: str, **settings: Any) -> Child:
        log = Path(tempfile.mkstemp(prefix=f"{module}-", suffix=".log", dir=self._folder)[1])
        return Child(f"benchmarks.soak.{module}", settings, log=log, patience=self._plan.patience)

    def _end(self) -> None:
        """End the services."""
        members, self._members = self._members, []
        for code in [member.close() for member in members]:
            if code:
                self._found.wrong.append(f"a process with services ended with {code}")

    def run(self, report: Callable[[Found, Cycle], object]) -> Found:
        """Go through it."""
        plan, found = self._plan, self._found
        begin = time.monotonic()
        last = begin + plan.minutes * 60
        number = 0
        while True:
            started = time.monotonic()
            cycle = Cycle(number, "start" if not number else ("kill", "stop")[number % 2])
            if number:
                self._break(cycle)
            self._recover(cycle)
            self._command(cycle)
            self._look(cycle)
            found.cycles.append(cycle)
            found.seconds = time.monotonic() - begin
            report(found, cycle)
            number += 1
            at = started + plan.every if number > 1 else time.monotonic()
            if (at >= last) if plan.restarts is None else (number > plan.restarts):
                break
            time.sleep(max(0.0, at - time.monotonic()))
        self._finish()
        return found

    def _break(self, cycle: Cycle) -> None:
        """End the broker, and start it again; nobody gets to it before the consumer does."""
        before = self._consumer.connections
        self._proxy.ask("shut")
        begin = time.monotonic()
        if cycle.end == "kill":
            self._killed.append(begin)
            self._broker.server.kill()
        else:
            self._broker.server.stop()
        time.sleep(self._rng.uniform(0, self._plan.outage))
        self._broker.server.start()
        self._broker.server.wait_ready(self._plan.patience)
        self._consumer.wait(before + 1, self._plan.patience)
        self._proxy.ask("open")
        cycle.down = time.monotonic() - begin

    def _recover(self, cycle: Cycle) -> None:
        """Wait until the broker, the proxy and the services say that all is well."""
        begin = time.monotonic()
        wanted = self._plan.services + 1
        while True:
            cuts = self._proxy.ask("counts")["waiting"]
            connected = self._broker.connections()
            ready = sum(each["ready"] for each in self._states())
            if (cuts, connected, ready) == (0, wanted, self._plan.services):
                break
            if time.monotonic() - begin > self._plan.patience:
                raise RuntimeError(
                    f"no recovery: {connected} of {wanted} connections, {ready} services are "
                    f"ready, {cuts} cuts to come"
                )
            time.sleep(0.05)
        cycle.recovery = time.monotonic() - begin

    def _states(self) -> list[dict[str, Any]]:
        return [each for states in ask_all(self._members, "state") for each in states]

    def _command(self, cycle: Cycle) -> None:
        """Give all commands; every service must answer, and have done it, once."""
        begin = time.monotonic()
        count = self._plan.services
        for word in self._plan.commands:
            self._found.commands += 1
            where = f"after {cycle.end} {cycle.number}: {word}"
            try:
                run = self._operator.run(word, "--expect", str(count))
            except (json.JSONDecodeError, OSError) as error:
                self._found.wrong.append(f"{where}: {error!r}")
                continue
            answered = int(run.document.get("ok", 0))
            self._found.answers += answered
            if (run.code, answered) != (0, count):
                self._found.wrong.append(
                    f"{where}: exit code {run.code}, {answered} of {count} answered"
                    f": {run.errors[-500:]}"
                )
            if word in ("pause", "resume"):
                states = self._states()
                done = sum(each["paused"] is (word == "pause") for each in states)
                once = sum(each["calls"].count(word) == 1 for each in states)
                if (done, once) != (count, count):
                    self._found.wrong.append(
                        f"{where}: {done} of {count} are so, {once} were told once"
                    )
        cycle.commands = time.monotonic() - begin

    def _look(self, cycle: Cycle) -> None:
        """See what processes use, and whether what was confirmed has come."""
        cycle.counts = self._proxy.ask("counts")
        for used, samples in zip(ask_all(self._members, "usage"), self._found.usage, strict=True):
            for what, values in samples.items():
                values.append(used[what])
            cycle.memory.append(used["memory"])
            self._found.wrong += [
                each for each in used["failures"] if each not in self._found.wrong
            ]
        confirmed = [each for answer in ask_all(self._members, "confirmed") for each in answer]
        self._consumer.settle(self._plan.patience)
        for service, items in enumerate(confirmed):
            copies = self._consumer.arrivals.copies.get(service, b"")
            for number, when in items:
                if number < len(copies) and copies[number]:
                    continue
                if any(abs(end - when) <= MARGIN for end in self._killed):
                    self._found.unpassed.setdefault(service, []).append(number)
                else:
                    self._found.wrong.append(
                        f"service {service}: plain item {number} was confirmed and did not come"
                    )

    def _finish(self) -> None:
        """Let what was published arrive, and read the stream."""
        found = self._found
        found.services = [each for answer in ask_all(self._members, "finish") for each in answer]
        if len(found.services) != self._plan.services:
            found.wrong.append("the outboxes could not be emptied")
        self._consumer.settle(self._plan.patience)
        for document in self._stream.read():
            found.durable.take(document)
        self._end()
        for spool in self._folder.glob("*.spool"):
            with contextlib.closing(sqlite3.connect(spool)) as database:
                (left,) = database.execute("SELECT count(*) FROM items").fetchone()
            if left:
                found.wrong.append(f"{spool.name}: {left} items are left")
