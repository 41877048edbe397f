"""``backplane SERVICE drain``: take no new work, and wait until what is under way has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs
import click
from twisted.internet.defer import Deferred

from backplane.cli.arguments import (
    Seconds,
    Spoken,
    flags_of,
    lease_options,
    rollout_options,
    target_options,
)
from backplane.cli.console import safe
from backplane.cli.faults import Fault
from backplane.cli.formats import show_rows
from backplane.cli.session import Command, operate
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.changes import wanted
from backplane.client.discovery import DiscoveryRule

__all__ = ["Drained", "drain_command"]

LOOK: Final = 5.0
"""Seconds that services may take to say how much is under way."""

PAUSE: Final = 0.5
"""Seconds between two looks."""

PATIENCE: Final = 3
"""Looks in a row at which who is silent is not waited for any more."""


@attrs.define
class Drained:
    """How far services are with it. Pure.

    :ivar left: by identity, how much is under way; ``None`` where it did not say.
    :ivar gone: why it cannot be waited for any more, by identity: somebody has changed it.
    """

    left: dict[str, int | None]
    gone: dict[str, str] = attrs.field(factory=dict)
    _silence: Counter[str] = attrs.field(factory=Counter, init=False)

    def looked(self, outcome: Outcome) -> None:
        """Take what services say of themselves."""
        said: dict[str, int | None] = dict.fromkeys(self.left)
        for answer in outcome.good:
            count, state = answer.reply.data.get("in_flight"), answer.reply.data.get("state")
            if answer.sender not in said:
                continue
            if state == "running":
                self.gone[answer.sender] = "it takes work again: the drain was ended, or is over"
            known = isinstance(count, int) and not isinstance(count, bool)
            said[answer.sender] = count if known else None
        self.left = {name: count for name, count in said.items() if name not in self.gone}
        self._silence = Counter({name: self._silence[name] + 1 for name in self.silent})

    @property
    def done(self) -> bool:
        """Whether nothing is under way anywhere, or nobody is left who would say."""
        return not self.stragglers and all(self._silence[name] >= PATIENCE for name in self.silent)

    @property
    def stragglers(self) -> dict[str, int]:
        """Who has work under way, and how much."""
        return {name: count for name, count in sorted(self.left.items()) if count}

    @property
    def silent(self) -> list[str]:
        """Who did not say."""
        return sorted(name for name, count in self.left.items() if count is None)

    @property
    def drained(self) -> list[str]:
        """Who has nothing under way any more."""
        return sorted(name for name, count in self.left.items() if count == 0)

    @property
    def exit_code(self) -> ExitCode:
        """What this adds to the run's."""
        if self.silent:
            return ExitCode.SILENT
        return ExitCode.FAILED if self.stragglers or self.gone else ExitCode.OK


def worse(one: ExitCode, other: ExitCode) -> ExitCode:
    """Return the one that is told when both apply."""
    order = (
        ExitCode.OK,
        ExitCode.NOTHING_MATCHED,
        ExitCode.FAILED,
        ExitCode.SILENT,
        ExitCode.NOBODY_ANSWERED,
    )
    known = [each for each in (one, other) if each in order]
    return max(known, key=order.index) if len(known) == 2 else (one if one not in order else other)


@click.command(cls=Spoken)
@click.argument("service")
@click.option("--wait", is_flag=True, help="Until nothing is under way any more")
@click.option("--deadline", type=Seconds(), help="How long to wait at most")
@click.option("--shutdown", is_flag=True, help="Shut down those that have ended their work")
@lease_options
@target_options
@rollout_options
@click.pass_obj
def drain_command(
    console: Any, /, wait: bool, deadline: float | None, shutdown: bool, **given: Any
) -> int:
    """Lets services take no new work, and finish what is under way.

    With --wait it ends when nothing is under way anywhere, exit code 0, or at the deadline:
    then it names those that still work and how much, exit code 2. They stay drained; resume
    ends it.

    \b
    Examples:
      backplane demo drain --wait --deadline 60s
      backplane demo drain -I web1.example.net --wait --shutdown
      backplane demo drain --for 15m --reason "deploy 1.4"
    """
    flags = flags_of(given)
    if not wait and (deadline is not None or shutdown):
        flag = "--shutdown" if shutdown else "--deadline"
        raise Fault(f"{flag} needs --wait", ExitCode.USAGE)
    data = wanted("app", "draining", flags)

    async def work(command: Command) -> ExitCode:
        job = command.job("change", data, verb="drain")
        outcome = await command.roll_out("change", data, verb="drain", show=not wait)
        if not wait or not outcome.good or outcome.halted:
            if wait and command.console.form != "text" and not job.rollout.looks:
                _show(command, outcome, Drained({}), None)
            return outcome.exit_code
        found = Drained({answer.sender: None for answer in outcome.good})
        await _wait(command, found, outcome.discovered, deadline)
        ended = None
        if shutdown and found.drained and not command.session.interrupted:
            ended = await command.roll_out(
                "shutdown",
                verb="shutdown",
                show=False,
                nodes=found.drained,
                expect=None,
                expect_at_least=None,
                rollout=attrs.evolve(job.rollout, apply=None),
            )
        code = worse(outcome.exit_code, found.exit_code)
        if ended is not None:
            code = worse(code, ended.exit_code)
        if command.session.interrupted:
            code = ExitCode.INTERRUPTED
        _show(command, outcome, found, ended, code)
        return code

    return operate(console, given, work)


async def _wait(
    command: Command, found: Drained, count: Mapping[str, int], deadline: float | None
) -> None:
    session = command.session
    clock = session.operator.clock
    limits = [each for each in (deadline, session.left) if each is not None]
    end = clock.seconds() + min(limits) if limits else None
    while not session.interrupted:
        left = LOOK if end is None else min(LOOK, end - clock.seconds())
        job = attrs.evolve(
            command.job("changes", {"last": 0}, change=False),
            rule=DiscoveryRule(timeout=0.0),
            agent_timeout=max(0.5, left),
            timeout=None,
        )
        found.looked(await session.ask(job, known={name: count[name] for name in found.left}))
        if found.done:
            break
        if end is not None and clock.seconds() >= end:
            break
        work = sum(found.stragglers.values())
        command.console.progress(f"Draining: {work} under way on {len(found.stragglers)}")
        pause = PAUSE if end is None else min(PAUSE, max(0.0, end - clock.seconds()))
        waited: Deferred[None] = Deferred()
        clock.callLater(pause, waited.callback, None)
        await waited
    command.console.clear()


def _show(
    command: Command,
    outcome: Outcome,
    found: Drained,
    ended: Outcome | None,
    code: ExitCode | None = None,
) -> None:
    console = command.console
    code = outcome.exit_code if code is None else code
    rows: list[dict[str, Any]] = [
        {
            "service": command.service,
            "identity": name,
            "state": "silent" if count is None else "working" if count else "drained",
            "in_flight": count,
        }
        for name, count in sorted(found.left.items())
    ]
    rows += [
        {"service": command.service, "identity": name, "state": "not drained", "detail": why}
        for name, why in sorted(found.gone.items())
    ]
    document = {
        **outcome.as_dict(),
        "drained": found.drained,
        "stragglers": found.stragglers,
        "unanswered": found.silent,
        "ended_by_others": found.gone,
        "shutdown": None if ended is None else ended.as_dict(),
        "exit_code": int(code),
    }
    columns = (
        ("INSTANCE", "identity"),
        ("STATE", "state"),
        ("IN FLIGHT", "in_flight"),
        ("DETAIL", "detail"),
    )
    if console.form == "names":
        rows = [row for row in rows if row["state"] == "drained"]
    if show_rows(console, rows, columns, service=command.service, document=document):
        return
    console.print()
    console.print(f"Drained {len(found.drained)} of {outcome.count} service(s)")
    for name, left in found.stragglers.items():
        console.print(f"{left} under way", "red", before=f"  {safe(name)}  ")
    for name in found.silent:
        console.print("no answer", "red", before=f"  {safe(name)}  ")
    for name, why in sorted(found.gone.items()):
        console.print(safe(why), "red", before=f"  {safe(name)}  ")
