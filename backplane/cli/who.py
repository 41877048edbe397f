"""``backplane SERVICE who``: what is changed from normal right now, and by whom."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console
from backplane.cli.formats import Columns, show_rows, table
from backplane.cli.history import listed
from backplane.cli.session import Command, operate
from backplane.cli.telling import ago, dicts, moment, until
from backplane.client.accounting import ExitCode, Outcome

__all__ = ["live", "who_command"]

_COLUMNS: Final[Columns] = (
    ("WHAT", "target"),
    ("IS", "to"),
    ("WHO", "who"),
    ("SINCE", "since"),
    ("UNTIL", "lasts"),
    ("WHY", "why"),
    ("INSTANCES", "on"),
    ("RUN", "short"),
)


@click.command(cls=Spoken)
@click.argument("service")
@target_options
@click.pass_obj
def who_command(console: Console, /, **given: Any) -> int:
    """Shows what is changed from normal now, by whom, since when, until when, and why.

    \b
    Examples:
      backplane demo who
      backplane demo who -F dc=DC1
      backplane demo who -o names | backplane demo end --nodes -
    """

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("changes", {"last": 0}, change=False)
        rows = live(outcome)
        document = {**outcome.as_dict(), "replies": [], "changes": rows}
        lines = rows if console.form not in ("text", "table") else _joined(rows)
        if not show_rows(console, lines, _COLUMNS, service=command.service, document=document):
            for line in table(lines, _COLUMNS):
                console.print(line)
            if not rows and outcome.good:
                console.print(f"Nothing is changed on {len(outcome.good)} service(s)")
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)


def live(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the changes that are live, oldest first, a row for each instance."""
    rows = []
    for answer in outcome.good:
        for change in dicts(answer.reply.data.get("live")):
            row = {name: change.get(name) for name in ("target", "before", "to", "who", "why")}
            row = {name: str(value or "") for name, value in row.items()}
            made, ends = change.get("made"), change.get("until")
            rows.append(
                {
                    "service": outcome.service,
                    "identity": answer.sender,
                    **row,
                    "made": made if isinstance(made, int | float) else 0,
                    "until": ends if isinstance(ends, int | float) else None,
                    "change": str(change.get("id") or ""),
                    "run": str(change.get("run") or ""),
                }
            )
    return sorted(rows, key=lambda row: (row["made"], row["identity"]))


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what one run changed in several instances."""
    now = time.time()
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    names: dict[tuple[Any, ...], list[str]] = {}
    for number, row in enumerate(rows):
        ends = None if row["until"] is None else round(row["until"])
        if row["target"] == "shutdown":  # each instance has its own moment
            row = {**row, "lasts": moment(row["to"], now), "to": "scheduled"}
        said = tuple(row[name] for name in ("target", "to", "who", "why", "run"))
        key = (*said, ends, None if row["run"] else number)
        found.setdefault(key, dict(row))
        names.setdefault(key, []).append(row["identity"])
    for key, row in found.items():
        many, ends = sorted(set(names[key])), row["until"]
        row["on"] = many[0] if len(many) == 1 else f"{len(many)}: {listed(many)}"
        row["since"] = ago(row["made"], now)
        if "lasts" not in row:
            row["lasts"] = "no end" if ends is None else until(ends, now).removeprefix("until ")
        row["short"] = row["run"][:8] or None
    return list(found.values())
