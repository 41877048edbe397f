"""What became of changes, in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backplane.cli.console import safe
from backplane.client.accounting import Answer
from backplane.client.fleet import Shown

__all__ = [
    "ago",
    "altered",
    "changed",
    "clock",
    "dicts",
    "ended",
    "moment",
    "named",
    "span",
    "until",
]

MAX_LINES: Final = 200

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def span(seconds: float) -> str:
    """Return a time in at most two units, such as ``14m 5s``."""
    left = max(0, round(seconds))
    words = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count}{unit}")
    return " ".join(words[:2]) or "0s"


def clock(at: object) -> str:
    """Return a Unix time as local date and time; ``?`` for what is none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(at)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"


def ago(at: object, now: float) -> str:
    """Return how long ago a Unix time is."""
    return f"{span(now - at)} ago" if isinstance(at, int | float) else "?"


def until(at: object, now: float) -> str:
    """Return until when something lasts, in words."""
    if not isinstance(at, int | float):
        return "until it is taken back"
    return f"until {clock(at)} (in {span(at - now)})"


def dicts(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; what remote sides send may be anything."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def changed(answers: Sequence[Answer], now: float) -> Iterator[str]:
    """Make a line for each thing that services have become, or a lease that got another end."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for answer in answers:
        data = answer.reply.data
        if not answer.reply.ok:
            continue
        value = data.get("value")
        words = f"is {safe(value)}" if value is not None else "goes on"
        end = data.get("until")
        if safe(data.get("target")) == "shutdown" and value is not None:
            counts["shutdown", f"at {moment(value, now)}", ""] += 1
            continue
        rounded = round(end) if isinstance(end, int | float) else None
        lasts = "" if rounded is None and value is not None else until(rounded, now)
        counts[named(data.get("target")), words, lasts] += 1
    for (target, words, lasts), count in list(counts.items())[:MAX_LINES]:
        yield " ".join(filter(None, [target, words, lasts])) + f": {count}"


def ended(answer: Answer) -> Iterator[tuple[str, bool]]:
    """Make the lines of what a service took back, or did not; true for what it did."""
    data: Mapping[str, Any] = answer.reply.data
    for each in dicts(data.get("ended")):
        value, before = safe(each.get("value")), safe(each.get("before"))
        if each.get("target") == "shutdown":
            yield "the shutdown is called off", True
        else:
            stays = f"stays {value}" if value == before else f"{before} → {value}"
            yield f"{named(each.get('target'))}: {stays}", True
    for each in dicts(data.get("refused")):
        yield f"not taken back: {safe(each.get('text'))}", False
    if data.get("nothing") is True:
        yield "nothing to take back", True


def named(target: object) -> str:
    """Return a target as people call it."""
    text = safe(target)
    if text == "log:":
        return "log level"
    kind, colon, name = text.partition(":")
    if colon and name:
        return f"{ {'log': 'logger', 'breaker': 'breaker'}.get(kind, kind) } {name}"
    return text


def moment(value: object, now: float) -> str:
    """Return a time that is a target's value in words; any other value as it is, escaped."""
    try:
        at = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return safe(value)
    return f"{clock(at)} (in {span(at - now)})"


def altered(change: Shown, now: float) -> str:
    """Return what is changed, by whom, for how long, and why."""
    ends = "" if change.until is None else f" for {span(change.until - now)} more"
    why = f" ({safe(change.why, 60)})" if change.why else ""
    shutdown = change.target == "shutdown"
    to = f"at {moment(change.to, now)}" if shutdown else safe(change.to)
    return f"{named(change.target)} {to} by {safe(change.who)}{ends}{why}"
