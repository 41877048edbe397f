"""``backplane SERVICE threads`` and ``stalls``: what a fleet does, and what it was stuck in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.formats import Columns, show_rows
from backplane.cli.history import listed
from backplane.cli.session import Command, operate
from backplane.cli.telling import ago, clock, span
from backplane.client.accounting import Answer, ExitCode, Outcome
from backplane.client.stacks import (
    Group,
    Held,
    Stalled,
    group_held,
    group_stacks,
    group_stalls,
    whole,
)

__all__ = ["stalls", "stalls_command", "threads", "threads_command"]

ANSWERS: Final = "answers this request"
"""What every reactor does when it is asked what it does."""

NAMES: Final = 5
"""Names of threads that are shown of one group."""

FRAMES: Final = 12
"""Innermost frames that are shown, without ``-v``."""

LINES: Final = 10
"""Delayed calls, Deferreds and tasks that are shown, without ``-v``."""

_THREADS: Final[Columns] = (
    ("INSTANCES", "count"),
    ("THREADS", "threads"),
    ("NAMES", "called"),
    ("IN", "place"),
    ("WHO", "who"),
)
_STALLS: Final[Columns] = (
    ("LAST", "when"),
    ("TIMES", "count"),
    ("LONGEST", "longest"),
    ("PLACE", "place"),
    ("SOURCE", "source"),
    ("WHO", "who"),
)


@click.command(cls=Spoken)
@click.argument("service")
@target_options
@click.pass_obj
def threads_command(console: Console, /, **given: Any) -> int:
    """Shows what the threads of services do; stacks that are alike are shown once.

    Below are delayed calls, the thread pool, and what waits for Deferreds and in tasks of
    asyncio, where it can be seen. There are no values of variables in it.

    \b
    Examples:
      backplane demo threads
      backplane demo threads -I web1.example.net -v
      backplane demo threads -o json
    """
    return operate(console, given, threads)


async def threads(command: Command) -> ExitCode:
    """Ask for the dumps, and show them; see the command."""
    console = command.console
    outcome = await command.ask("threaddump", change=False)
    groups = group_stacks(outcome.good)
    rows = [
        {
            **group.as_dict(),
            "count": len(group.threads),
            "called": _names(group),
            "place": ANSWERS if group.reactor else group.place,
            "who": listed(group.instances),
        }
        for group in groups
    ]
    held = {key: group_held(outcome.good, key, part) for key, part, _ in _HELD}
    cut = sorted(
        answer.sender for answer in outcome.good if answer.reply.data.get("truncated") is True
    )
    document = {
        **_accounted(outcome),
        "groups": [group.as_dict() for group in groups],
        **{key: [each.as_dict() for each in rows] for key, rows in held.items()},
        "thread_pools": _pools(outcome.good),
        "truncated": cut,
    }
    if console.form == "names":
        rows = [{"identity": name} for name in sorted({n for g in groups for n in g.threads})]
    if not show_rows(console, rows, _THREADS, service=command.service, document=document):
        for group in groups:
            for line in _lines(group, len(outcome.good), command.verbose):
                console.print(line)
            console.print()
        for line in _others(outcome.good, held, command.verbose):
            console.print(line)
    if cut and console.form != "json":
        console.note(f"Not all of it could be sent by {len(cut)}: {listed(cut)}")
    command.tell(outcome)
    return outcome.exit_code


@click.command(cls=Spoken)
@click.argument("service")
@target_options
@click.pass_obj
def stalls_command(console: Console, /, **given: Any) -> int:
    """Shows in what the reactors of services were stuck, with the source line.

    A service looks for it under twistd, and in other programs with stall_watch in its
    configuration. A reactor that is stuck now answers once it turns again.

    \b
    Examples:
      backplane demo stalls
      backplane demo stalls -F dc=DC1 -o json
    """
    return operate(console, given, stalls)


async def stalls(command: Command) -> ExitCode:
    """Ask for the stalls, and show them; see the command."""
    console = command.console
    outcome = await command.ask("stalls", change=False)
    groups = group_stalls(outcome.good)
    blind = sorted(
        answer.sender for answer in outcome.good if answer.reply.data.get("watching") is not True
    )
    rows = [
        {**each.as_dict(), "when": clock(each.last), "who": listed(sorted(each.stalls))}
        for each in groups
    ]
    document = {
        **_accounted(outcome),
        "stalls": [each.as_dict() for each in groups],
        "not_watching": blind,
    }
    if console.form == "names":
        names = sorted({name for each in groups for name in each.stalls})
        rows = [{"identity": name} for name in names]
    if not show_rows(console, rows, _STALLS, service=command.service, document=document):
        for each in groups:
            for line in _stall(each):
                console.print(line)
            console.print()
        if not groups and outcome.good:
            console.print(f"No stalls on {len(outcome.good)} service(s)")
    if blind and console.form != "json":
        console.note(f"Nobody looks for stalls on {len(blind)}: {listed(blind)}")
    command.tell(outcome)
    return outcome.exit_code


def _accounted(outcome: Outcome) -> dict[str, Any]:
    """Return the document without what was answered; that is told in another way."""
    document = outcome.as_dict()
    failed = [reply for reply in document["replies"] if reply["statuscode"]]
    return {**document, "replies": failed}


_HELD: Final = (
    ("delayed_calls", "function", "Delayed calls"),
    ("deferreds", "waits", "Pending Deferreds"),
    ("tasks", "coroutine", "Tasks"),
)
"""What dumps hold besides threads: its key, what it is known by, its title."""


def _lines(group: Group, all_of_them: int, verbose: bool) -> Iterator[str]:
    count = len(group.threads)
    threads = sum(group.threads.values())
    several = f", {threads} threads" if threads != count else ""
    mark = ", reactor" if group.reactor else ""
    yield f"{count} of {all_of_them} service(s){several}: {_names(group)}{mark}"
    who = group.instances if verbose else [listed(group.instances)]
    if count < all_of_them or verbose:
        for name in who:
            yield f"    on {safe(name)}"
    if not verbose and any(_answers(frame) for frame in group.frames):
        yield f"      {ANSWERS}"
        return
    left = len(group.frames) if verbose else FRAMES
    hidden = max(0, len(group.frames) - left) + group.omitted
    if hidden:
        yield f"      … {hidden} outer frames"
    for frame in group.frames[-left:]:
        place = f"{safe(frame.get('file'))}:{safe(frame.get('line'))}"
        yield f"      {place} {safe(frame.get('function'))}"
        if frame.get("source"):
            yield f"        {safe(frame['source'])}"


def _names(group: Group) -> str:
    """Return the threads' names, the most frequent first."""
    names = sorted(group.names, key=lambda name: (-group.names[name], name))
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return safe(", ".join(names[:NAMES])) + more


def _answers(frame: Mapping[str, Any]) -> bool:
    """Say whether a frame is that of the action that makes the dump."""
    return str(frame.get("function")).endswith("threaddump")


def _others(
    answers: Sequence[Answer], held: Mapping[str, Sequence[Held]], verbose: bool
) -> Iterator[str]:
    for key, _, title in _HELD:
        rows = held[key]
        if not rows:
            continue
        yield f"{title}: {sum(row.count for row in rows)}"
        for row in rows if verbose else rows[:LINES]:
            names = ", ".join(sorted(row.names - {"Task-#"})[:LINES])
            called = f" ({safe(names)})" if names else ""
            yield f"  {row.count:>5}  {safe(row.what)}{called}  on {len(row.instances)}"
        if len(rows) > LINES and not verbose:
            yield f"         … and {len(rows) - LINES} more kinds"
    known = _pools(answers).values()
    if known:
        words = (
            f"{sum(whole(pool.get(key)) for pool in known)} {key}"
            for key in ("working", "waiting", "queued")
        )
        yield f"Thread pools: {', '.join(words)} on {len(known)}"


def _pools(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    pools = {answer.sender: answer.reply.data.get("thread_pool") for answer in answers}
    return {name: pool for name, pool in sorted(pools.items()) if isinstance(pool, dict)}


def _stall(stall: Stalled) -> Iterator[str]:
    now = time.time()
    stuck = sorted(name for name, each in stall.stalls.items() if each.get("seconds") is None)
    yield safe(stall.place)
    if stall.source:
        yield f"    {safe(stall.source)}"
    longest = f", the longest {span(stall.longest)}" if stall.longest else ""
    yield f"    {stall.count} time(s){longest}, the last {ago(stall.last, now)}"
    yield f"    on {len(stall.stalls)}: {listed(sorted(stall.stalls))}"
    if stuck:
        yield f"    stuck now: {listed(stuck)}"
