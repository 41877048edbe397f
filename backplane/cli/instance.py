"""What one service says of itself, as a block of lines.

It is the block of the Go backplane's CLI. What ours says beside it, who has changed what
above all, has lines of its own, where there is something to say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backplane.cli.console import Console, safe
from backplane.cli.telling import ago, altered
from backplane.client import fleet
from backplane.client.accounting import Answer

__all__ = ["MAX_FACT_LINES", "show_info"]

_FEATURES: Final = (
    ("Pause Feature", "pause_feature"),
    ("Facts Feature", "facts_feature"),
    ("Health Feature", "healthcheck_feature"),
    ("Shutdown Feature", "shutdown_feature"),
    ("Log Level Feature", "loglevel_feature"),
)
_LABEL: Final = 22
_INDENT: Final = " " * 24

MAX_FACT_LINES: Final = 2000
"""Lines of one service's facts that are shown."""

MAX_SHOWN: Final = 100
"""Breakers, and changes, of one service that are shown."""


def show_info(answer: Answer, console: Console, verbose: bool) -> None:
    """Write the block of a service that has answered ``info``."""
    data = answer.reply.data
    console.print(f"  {safe(answer.sender)}:")
    console.print()
    for label, value in _lines(data):
        console.print(f"{label:>{_LABEL}}{':' if label else ' '} {value}")
    if verbose and "facts" in data:
        console.print(f"{'Facts':>{_LABEL}}:")
        lines = json.dumps(data["facts"], indent=2, ensure_ascii=False, sort_keys=True)
        for count, line in enumerate(lines.split("\n")):
            if count >= MAX_FACT_LINES:
                console.print(f"{_INDENT}… ({lines.count(chr(10)) + 1} lines)")
                break
            console.print(_INDENT + safe(line))
    console.print()


def _lines(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "App Version", safe(data.get("version", "unknown"))
    yield "Backplane Version", safe(data.get("backplane_version", "unknown"))
    if data.get("pause_feature"):
        yield "Paused", _word(data.get("paused"))
    if data.get("healthcheck_feature"):
        state = data.get("health_state")
        known = state in (None, "ok", "failed")
        yield "Healthy", _word(data.get("healthy")) + ("" if known else f" ({safe(state)})")
    if data.get("loglevel_feature"):
        yield "Log Level", safe(data.get("loglevel", "unknown"))
    yield from _changed(data)
    if data.get("secure") is False:
        yield "Security", "none, callers are not verified"
    for label, key in _FEATURES:
        yield label, "✓" if data.get(key) else "✘"


def _changed(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Make the lines of what is not as usual, and of the breakers there are."""
    state, count = data.get("state"), data.get("in_flight")
    if state in ("draining", "stopping"):
        work = f", {count} in flight" if type(count) is int else ""
        yield "State", f"{safe(state)}{work}"
    breakers = fleet.breakers(data.get("breakers")) or {}
    if breakers:
        shown = [f"{safe(name)} {safe(value)}" for name, value in breakers.items()]
        more = f", and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
        yield "Breakers", ", ".join(shown[:MAX_SHOWN]) + more
    now = time.time()
    changes = fleet.changes(data.get("changes")) or ()
    label = "Changed"
    for change in changes[:MAX_SHOWN]:
        yield label, f"{altered(change, now)}, {ago(change.made, now)}"
        label = ""
    if len(changes) > MAX_SHOWN:
        yield label, f"… and {len(changes) - MAX_SHOWN} more"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else safe(value)
