"""``backplane SERVICE status``: a fleet at a glance, worst first; and live."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Seconds, Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.cli.fitting import cut, fitted
from backplane.cli.formats import Columns, show_rows
from backplane.cli.render import doubts
from backplane.cli.session import Command, connected, prepare
from backplane.cli.telling import altered
from backplane.client import fleet
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.fleet import Row

__all__ = ["INTERVAL", "Look", "doubt", "flat", "page", "status_command"]

INTERVAL: Final = 5.0
"""Seconds between two looks of ``--watch``."""

_COLUMNS: Final[Columns] = (
    ("INSTANCE", "identity"),
    ("IS", "condition"),
    ("STATE", "state"),
    ("HEALTH", "health"),
    ("LEVEL", "level"),
    ("VERSION", "version"),
    ("IN FLIGHT", "in_flight"),
    ("CHANGED", "changed"),
)
_DISPENSABLE: Final = ("version", "level", "in_flight", "health", "state")
"""Columns that a narrow terminal goes without, the first first."""

_COLOURS: Final[Mapping[str, str]] = {
    "silent": "red",
    "failed": "red",
    "late": "red",
    "unhealthy": "red",
    "ok": "green",
}


class Look:
    """What was asked for.

    :param by: a fact by which instances are grouped, or ``None``.
    """

    def __init__(self, by: str | None = None) -> None:
        self.by = by

    def document(self, outcome: Outcome, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the status as JSON-able values."""
        found = {
            **outcome.as_dict(),
            "replies": [],
            "instances": [row.as_dict() for row in rows],
            "summary": fleet.summary(rows),
            "exit_code": int(fleet.exit_code(outcome, rows)),
        }
        if self.by is not None:
            found["groups"] = [
                {
                    "value": group.value,
                    "instances": [row.identity for row in group.rows],
                    "summary": fleet.summary(group.rows),
                }
                for group in fleet.groups(rows, self.by)
            ]
        return found


def flat(row: Row, service: str, now: float) -> dict[str, Any]:
    """Return a row as a line of a table."""
    return {
        **row.as_dict(),
        "service": service,
        "health": row.health or None,
        "state": row.state or None,
        "changed": "; ".join(_changes(row, now)) or row.text or None,
    }


def _changes(row: Row, now: float) -> Iterator[str]:
    for change in row.changes or ():
        yield altered(change, now)
    told = {change.target for change in row.changes or ()}
    for name in row.open:
        if f"breaker:{name}" not in told:
            yield f"breaker {safe(name)} open"


def page(
    look: Look, service: str, rows: Sequence[Row], width: int | None = None
) -> Iterator[tuple[str, str | None]]:
    """Make the lines of the text, each with its colour.

    :param width: of the terminal; ``None`` where lines may have any length.
    """
    now = time.time()
    groups = [fleet.Group("", tuple(rows))] if look.by is None else fleet.groups(rows, look.by)
    for group in groups:
        if look.by is not None:
            yield cut(f"{safe(look.by)}={safe(group.value)}: {_counts(group.rows)}", width), None
        listed = [flat(row, service, now) for row in group.rows]
        lines = iter(fitted(listed, _COLUMNS, width, _DISPENSABLE))
        yield next(lines, ""), None
        for row, line in zip(group.rows, lines, strict=False):
            yield line, _COLOURS.get(row.condition, "yellow")
        yield "", None
    yield cut(f"{len(rows)} instance(s): {_counts(rows)}", width), None


def _counts(rows: Sequence[Row]) -> str:
    return ", ".join(f"{count} {name}" for name, count in fleet.summary(rows).items()) or "none"


@click.command(cls=Spoken)
@click.argument("service")
@click.option("--by", metavar="FACT", help="In groups with the same value of a fact")
@click.option("--watch", is_flag=True, help="Go on, and show what happens as it happens")
@click.option(
    "--interval", type=Seconds(), help=f"How long between two looks of --watch ({INTERVAL:g}s)"
)
@target_options
@click.pass_obj
def status_command(
    console: Console, /, by: str | None, watch: bool, interval: float | None, **given: Any
) -> int:
    """Shows a line for each instance, worst first, and a summary.

    The exit code is 2 when somebody is not healthy, 4 when somebody is silent. With --watch it
    goes on until it is interrupted, or --timeout is over: on a terminal it shows the whole
    again and again, elsewhere, and with -o jsonl, a line for each thing that happens.

    \b
    Examples:
      backplane demo status
      backplane demo status --by dc
      backplane demo status --watch --interval 10s
      backplane demo status --watch -o jsonl --timeout 1h
      backplane demo status --only failed -o names
    """
    look = Look(by)
    if interval is not None and not watch:
        raise Fault("--interval needs --watch", ExitCode.USAGE)
    if watch and (given["as_json"] or given["output"] not in (None, "text", "jsonl")):
        raise Fault("--watch goes on: it is text, or -o jsonl", ExitCode.USAGE)
    asked = prepare(console, given)
    if watch:
        from backplane.cli.watchloop import watched

        return int(
            run(lambda reactor: watched(asked, reactor, console, look, interval or INTERVAL))
        )

    async def once(command: Command) -> ExitCode:
        outcome = await command.ask("info", change=False)
        rows = fleet.rows(outcome)
        shown = _chosen(rows, console.only)
        listed = [flat(row, command.service, time.time()) for row in shown]
        if not show_rows(
            console,
            listed,
            _COLUMNS,
            service=command.service,
            document=look.document(outcome, rows) if console.form == "json" else None,
        ):
            width = None if console.size is None else console.size[0]
            for line, colour in page(look, command.service, shown, width):
                console.print(line, colour)
        if console.form != "json":
            doubt(outcome, console)
        return fleet.exit_code(outcome, rows)

    return int(run(lambda reactor: connected(asked, reactor, console, once)))


def doubt(outcome: Outcome, console: Console) -> None:
    """Say what no row shows: that somebody may be missing, that answers are odd, why nobody is."""
    from backplane.cli.commands import complain

    for line in filter(None, doubts(outcome)):
        console.note(line)
    if outcome.error is not None or outcome.perhaps:
        complain(outcome, console)


def _chosen(rows: Sequence[Row], only: str | None) -> list[Row]:
    silent = ("silent", "late")
    wanted = {
        "ok": lambda row: row.condition not in (*silent, "failed", "unhealthy", "unknown"),
        "failed": lambda row: row.condition in ("failed", "unhealthy", "unknown"),
        "silent": lambda row: row.condition in silent,
    }.get(only or "", lambda row: True)
    return [row for row in rows if wanted(row)]
