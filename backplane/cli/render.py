"""What an operator is shown of an outcome, as the Go backplane's CLI shows it.

State-changing actions show failures only, ``ping`` and the log levels every
reply, ``info`` a block for each service; sorted by identity. What Go's leaves
out, who stayed silent or answered too late, is named below.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from backplane.cli import telling
from backplane.cli.console import Console, safe
from backplane.cli.instance import show_info
from backplane.client.accounting import Answer, Outcome, unable

__all__ = ["Spinner", "absences", "doubts", "failure", "failures", "remarks", "render"]

_QUIET: Final = frozenset({"pause", "resume", "flip", "shutdown", "change", "amend"})
FEW: Final = 10
"""So many services that say the same are named, each on a line."""

MAX_NAMES: Final = 100
"""Identities listed in one place."""


class Spinner:
    """The progress of an action, ``▖`` while it runs and ``✓`` at its end."""

    def __init__(self, console: Console, action: str) -> None:
        self._console = console
        self._action = action
        self._turn = 0

    def show(self, done: int, count: int) -> None:
        """Show how many of how many have answered."""
        sign = "✓" if done >= count else "▖▘▝▗"[self._turn % 4]
        self._turn += 1
        text = f"Performing {self._action}... {sign} {done} / {count}"
        if done >= count:
            self._console.finish(text)
        else:
            self._console.progress(text)

    def end(self, done: int, count: int) -> None:
        """Show the last state when not everybody has answered."""
        if done < count:
            self._console.finish(f"Performing {self._action}... ✘ {done} / {count}")


def render(outcome: Outcome, console: Console, verbose: bool) -> None:
    """Write what became of a request."""
    answers = sorted(outcome.answers, key=lambda answer: (answer.sender, str(answer.reply.data)))
    console.print()
    if outcome.action == "info":
        for answer in answers:
            if answer.reply.ok:
                show_info(answer, console, verbose)
            else:
                _failure(answer, console)
    elif outcome.action == "threaddump":
        for answer in answers:
            _dump(answer, console, verbose)
    elif outcome.action == "health":
        _health(answers, console, verbose)
    elif outcome.action == "end":
        _ended(answers, console, verbose)
    else:
        _table(outcome.action, answers, console, verbose)
    if outcome.action in ("change", "amend"):
        for line in telling.changed(answers, time.time()):
            console.print(f"  {line}")
    for line in remarks(outcome):
        console.print(line, "yellow")
    milliseconds = round(outcome.request_seconds * 1000)
    console.print()
    console.print(f"Managed {len(outcome.good)} service(s) in {milliseconds}ms")
    if outcome.action == "info" and not verbose and outcome.answers:
        console.print()
        console.print("Pass -v to show contents of individual instance facts")


def absences(outcome: Outcome) -> Iterator[str]:
    """Make the lines that name whom nobody has heard of."""
    for title, names in (
        ("missing: seen of late, and silent now", outcome.absent),
        ("perhaps missing: silent, and nobody else knows whether they match", outcome.perhaps),
    ):
        if names:
            yield f"backplane: {title}: {len(names)}"
            yield from _listed(names)


def _listed(names: Sequence[str]) -> Iterator[str]:
    for name in names[:MAX_NAMES]:
        yield f"  {safe(name)}"
    if len(names) > MAX_NAMES:
        yield f"  … and {len(names) - MAX_NAMES} more"


def failures(outcome: Outcome) -> Iterator[str]:
    """Make the lines that name those who did not do it, with the reason, or did not answer."""
    for answer in sorted(outcome.failed, key=lambda answer: answer.sender)[:MAX_NAMES]:
        yield f"  {safe(answer.sender)}  {failure(answer)}"
    if len(outcome.failed) > MAX_NAMES:
        yield f"  … and {len(outcome.failed) - MAX_NAMES} more"
    for line in remarks(outcome):
        if line:
            yield line


def failure(answer: Answer) -> str:
    """Return why it was not done there, escaped."""
    if unable(answer):
        action = safe(answer.reply.action)
        return f"unable: does not know {action} (an older or another backplane)"
    return safe(answer.reply.message)


def _width(answers: Sequence[Answer]) -> int:
    return max((len(safe(answer.sender)) for answer in answers), default=0)


def _table(action: str, answers: Sequence[Answer], console: Console, verbose: bool) -> None:
    shown = [answer for answer in answers if verbose or action not in _QUIET or not answer.reply.ok]
    width = _width(shown)
    for answer in shown:
        name = safe(answer.sender).rjust(width)
        if answer.reply.ok:
            console.print(f"  {name}  {safe(_compact(answer.reply.data))}")
        else:
            console.print(failure(answer), "red", before=f"  {name}  ")


def _ended(answers: Sequence[Answer], console: Console, verbose: bool) -> None:
    """Show what each service took back; where somebody stands in the way his name is told.

    What many say, and is as it should be, is one line.
    """
    lines: dict[tuple[str, bool], list[str]] = {}
    for answer in answers:
        told = list(telling.ended(answer))
        if not answer.reply.ok and not told:
            told = [(failure(answer), False)]
        for line in told:
            lines.setdefault(line, []).append(safe(answer.sender))
    # In the order in which it was done.
    many = [line for line, names in lines.items() if line[1] and len(names) > FEW and not verbose]
    alone = [(name, line) for line in lines if line not in many for name in lines[line]]
    width = max((len(name) for name, _ in alone), default=0)
    for name, (text, good) in sorted(alone, key=lambda each: each[0]):
        console.print(text, None if good else "red", before=f"  {name.rjust(width)}  ")
    for text, good in many:
        console.print(f"  {text}: {len(lines[text, good])}")


def _health(answers: Sequence[Answer], console: Console, verbose: bool) -> None:
    shown = [answer for answer in answers if verbose or not answer.good]
    width = _width(shown)
    for answer in shown:
        name = safe(answer.sender).rjust(width)
        if not answer.reply.ok:
            console.print(failure(answer), "red", before=f"  {name}  ")
            continue
        word, colour = ("Healthy", "green") if answer.healthy else ("Unhealthy", "red")
        console.print(word, colour, before=f"  {name}  ")
        console.print(f"  {' ' * width}  {safe(_compact(answer.reply.data.get('result')))}")


def _failure(answer: Answer, console: Console) -> None:
    """Show why there is no block of a service."""
    console.print(failure(answer), "red", before=f"{safe(answer.sender):>40}:{'':15}")


def _dump(answer: Answer, console: Console, verbose: bool) -> None:
    if not answer.reply.ok:
        _failure(answer, console)
        return
    data = answer.reply.data
    console.print(f"  {safe(answer.sender)}:")
    for thread in _dicts(data.get("threads")):
        mark = ", reactor" if thread.get("reactor") else ""
        console.print()
        console.print(f"    {safe(thread.get('name'))} ({safe(thread.get('ident'))}{mark})")
        if thread.get("omitted"):
            console.print(f"      … {safe(thread['omitted'])} outer frames")
        for frame in _dicts(thread.get("frames")):
            place = f"{safe(frame.get('file'))}:{safe(frame.get('line'))}"
            console.print(f"      {place} {safe(frame.get('function'))}")
            if frame.get("source"):
                console.print(f"        {safe(frame['source'])}")
    console.print()
    calls = _dicts(data.get("delayed_calls"))
    console.print(f"    Delayed calls: {safe(data.get('delayed_call_count'))}")
    for call in calls if verbose else calls[:10]:
        console.print(f"      in {safe(call.get('seconds'))} s: {safe(call.get('function'))}")
    for label, key in (("Readers", "reader"), ("Writers", "writer")):
        console.print(f"    {label}: {safe(data.get(key + '_count'))}")
        for item in _dicts(data.get(key + "s")):
            console.print(f"      {safe(item.get('class'))} {safe(item.get('description'))}")
    if data.get("thread_pool"):
        console.print(f"    Thread pool: {safe(_compact(data['thread_pool']))}")
    console.print()


def _dicts(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; what remote sides send may be anything."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def remarks(outcome: Outcome) -> Iterator[str]:
    """Make the lines of who did not answer, and of what is odd; some are empty."""
    yield from _named(
        ("No answer from", outcome.silent), ("Found too late to be asked", outcome.late)
    )
    yield from doubts(outcome)


def doubts(outcome: Outcome) -> Iterator[str]:
    """Make the lines of what is odd, beside who failed or did not answer; some are empty."""
    yield from _named(
        ("Answered once more", outcome.repeated),
        ("Answered twice and differently, so one may be forged", outcome.conflicts),
        ("Answered without being asked", outcome.unexpected),
    )
    if outcome.missing:
        yield ""
        number = outcome.expect if outcome.expect is not None else outcome.at_least
        least = "" if outcome.expect is not None else "at least "
        yield f"Expected {least}{number} service(s), {len(outcome.answers)} answered"
    for reason, count in sorted(outcome.invalid.items()):
        yield ""
        yield f"{count} answer{'' if count == 1 else 's'} could not be used: {safe(reason)}"
    for name in outcome.namesakes:
        yield ""
        yield f"{outcome.discovered[name]} services have the identity {safe(name)}"


def _named(*found: tuple[str, Sequence[str]]) -> Iterator[str]:
    for title, names in found:
        if names:
            yield ""
            yield f"{title}: {len(names)}"
            yield from _listed(names)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
