"""``backplane SERVICE threads`` and ``stalls``: what a fleet does, and what it was stuck in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.formats import Columns, show_rows
from backplane.cli.history import listed
from backplane.cli.session import Command, operate
from backplane.cli.telling import ago, clock, dicts, span
from backplane.client.accounting import Answer, ExitCode
from backplane.client.stacks import Group, Stalled, group_stacks, group_stalls

__all__ = ["stalls_command", "threads_command"]

FRAMES: Final = 12
"""Innermost frames that are shown, without ``-v``."""

LINES: Final = 10
"""Delayed calls, Deferreds and tasks that are shown, without ``-v``."""

_THREADS: Final[Columns] = (
    ("INSTANCES", "count"),
    ("THREADS", "threads"),
    ("NAME", "name"),
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

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("threaddump", change=False)
        groups = group_stacks(outcome.good)
        rows = [
            {
                **group.as_dict(),
                "count": len(group.threads),
                "place": _place(group.frames),
                "who": listed(group.instances),
            }
            for group in groups
        ]
        held = {key: _held(outcome.good, key, part) for key, part in _HELD}
        document = {
            **outcome.as_dict(),
            "replies": [],
            "groups": [group.as_dict() for group in groups],
            **held,
        }
        if not show_rows(console, rows, _THREADS, service=command.service, document=document):
            for group in groups:
                for line in _lines(group, len(outcome.good), command.verbose):
                    console.print(line)
                console.print()
            for line in _others(outcome.good, held, command.verbose):
                console.print(line)
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)


@click.command(cls=Spoken)
@click.argument("service")
@target_options
@click.pass_obj
def stalls_command(console: Console, /, **given: Any) -> int:
    """Shows in what the reactors of services were stuck, with the source line.

    A service looks for it under twistd, and in programs that have a StallService.

    \b
    Examples:
      backplane demo stalls
      backplane demo stalls -F dc=DC1 -o json
    """

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("stalls", change=False)
        groups = group_stalls(outcome.good)
        blind = sorted(
            answer.sender
            for answer in outcome.good
            if answer.reply.data.get("watching") is not True
        )
        rows = [
            {**each.as_dict(), "when": clock(each.last), "who": listed(sorted(each.stalls))}
            for each in groups
        ]
        document = {
            **outcome.as_dict(),
            "replies": [],
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

    return operate(console, given, work)


_HELD: Final = (
    ("delayed_calls", "function"),
    ("deferreds", "waits"),
    ("tasks", "coroutine"),
)


def _held(answers: Sequence[Answer], key: str, part: str) -> list[dict[str, Any]]:
    """Count what services hold by its name, the most frequent first."""
    counts: Counter[str] = Counter()
    names: dict[str, set[str]] = {}
    for answer in answers:
        for each in dicts(answer.reply.data.get(key)):
            name = str(each.get(part))
            if key == "tasks" and each.get("place"):
                name = f"{name} at {each['place']}"
            number = each.get("count")
            counts[name] += number if isinstance(number, int) else 1
            names.setdefault(name, set()).add(answer.sender)
    return [
        {"what": name, "count": count, "instances": sorted(names[name])}
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _place(frames: Sequence[Mapping[str, Any]]) -> str:
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.get('file')}:{last.get('line')} {last.get('function')}"


def _lines(group: Group, all_of_them: int, verbose: bool) -> Iterator[str]:
    count = len(group.threads)
    threads = sum(group.threads.values())
    several = f", {threads} threads" if threads != count else ""
    mark = ", reactor" if group.reactor else ""
    yield f"{count} of {all_of_them} service(s){several}: {safe(group.name)}{mark}"
    who = group.instances if verbose else [listed(group.instances)]
    if count < all_of_them or verbose:
        for name in who:
            yield f"    on {safe(name)}"
    if not verbose and any(_answers(frame) for frame in group.frames):
        yield "      answers this request"
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


def _answers(frame: Mapping[str, Any]) -> bool:
    """Say whether a frame is that of the action that makes the dump."""
    return str(frame.get("function")).endswith("threaddump")


def _others(
    answers: Sequence[Answer], held: Mapping[str, list[dict[str, Any]]], verbose: bool
) -> Iterator[str]:
    titles = {"delayed_calls": "Delayed calls", "deferreds": "Pending Deferreds", "tasks": "Tasks"}
    for key, rows in held.items():
        if not rows:
            continue
        yield f"{titles[key]}: {sum(row['count'] for row in rows)}"
        for row in rows if verbose else rows[:LINES]:
            yield f"  {row['count']:>5}  {safe(row['what'])}  on {len(row['instances'])}"
        if len(rows) > LINES and not verbose:
            yield f"         … and {len(rows) - LINES} more kinds"
    pools = [answer.reply.data.get("thread_pool") for answer in answers]
    known = [pool for pool in pools if isinstance(pool, dict)]
    if known:
        words = (
            f"{sum(_number(pool.get(key)) for pool in known)} {key}"
            for key in ("working", "waiting", "queued")
        )
        yield f"Thread pools: {', '.join(words)} on {len(known)}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


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
