"""``backplane SERVICE history``: what was done to services, from their own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.formats import Columns, show_rows, table
from backplane.cli.session import Command, operate
from backplane.cli.telling import clock, dicts
from backplane.client.accounting import ExitCode, Outcome
from backplane.ledger import SHUTDOWN

__all__ = ["history_command"]

_COLUMNS: Final[Columns] = (
    ("WHEN", "when"),
    ("INSTANCES", "on"),
    ("WHO", "who"),
    ("WHAT", "words"),
    ("OUTCOME", "outcome"),
    ("WHY", "why"),
    ("DETAIL", "detail"),
    ("RUN", "short"),
)

_TEXTS: Final = ("who", "what", "outcome", "why", "detail", "target", "change", "run")


@click.command(cls=Spoken)
@click.argument("service")
@click.option(
    "--last",
    type=click.IntRange(min=1, max=1000),
    default=50,
    show_default=True,
    metavar="N",
    help="So many entries of each service",
)
@target_options
@click.pass_obj
def history_command(console: Console, /, last: int, **given: Any) -> int:
    """Shows what was done to services: when, by whom, what came of it, refusals included.

    Each service remembers its last entries. What one run did to several is one line; -v
    shows a line for each.

    \b
    Examples:
      backplane demo history
      backplane demo history --last 10 -F dc=DC1
      backplane demo history -o jsonl | grep refused
    """

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("changes", {"last": last}, change=False)
        rows = entries(outcome)
        document = {**outcome.as_dict(), "replies": [], "history": rows}
        shown = rows if command.verbose else grouped(rows)
        listed = rows if console.form != "table" else shown
        for row in shown:
            row["when"] = clock(row["at"])
            row["words"] = _words(row)
            row["short"] = str(row["run"])[:8] or None
        if not show_rows(console, listed, _COLUMNS, service=command.service, document=document):
            for line in table(shown, _COLUMNS):
                console.print(line)
            if not rows and outcome.good:
                console.print(f"Nothing was done to {len(outcome.good)} service(s)")
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)


def entries(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the entries of all services, oldest first."""
    rows = []
    for answer in outcome.good:
        for entry in dicts(answer.reply.data.get("history")):
            at = entry.get("at")
            rows.append(
                {
                    "at": at if isinstance(at, int | float) else 0,
                    "service": outcome.service,
                    "identity": answer.sender,
                    "on": answer.sender,
                    **{name: str(entry.get(name) or "") for name in _TEXTS},
                }
            )
    return sorted(rows, key=lambda row: (row["at"], row["identity"]))


def grouped(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the entries of one run that say the same."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    names: dict[tuple[Any, ...], list[str]] = {}
    for number, row in enumerate(rows):
        said = tuple(row[name] for name in ("who", "what", "outcome", "why", "detail", "run"))
        key = (*said, None if row["run"] else number)
        found.setdefault(key, dict(row))
        names.setdefault(key, []).append(row["identity"])
    for key, row in found.items():
        many = sorted(set(names[key]))
        row["on"] = many[0] if len(many) == 1 else f"{len(many)}: {listed(many)}"
    return list(found.values())


def _words(row: dict[str, Any]) -> str:
    """Return what was done; the time of a shutdown as people read it."""
    head, arrow, to = str(row["what"]).rpartition(" → ")
    if row["target"] != SHUTDOWN or not to.replace(".", "").isdigit():
        return str(row["what"])
    return f"{head}{arrow}{clock(float(to))}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(safe(name) for name in names[:most]) + more
