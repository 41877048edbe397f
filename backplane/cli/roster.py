"""``backplane roster``: who is remembered, and forgetting them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, list_options
from backplane.cli.attendance import rosters
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.cli.formats import Columns, chosen, show_rows, table
from backplane.cli.setup import read_config
from backplane.client.accounting import ExitCode
from backplane.client.roster import EXPECTED, Member, Roster, Rosters, network_of
from backplane.config.client import CONTEXT

__all__ = ["roster_command"]

_COLUMNS: Final[Columns] = (
    ("SERVICE", "service"),
    ("INSTANCE", "identity"),
    ("STATE", "state"),
    ("SEEN", "age"),
    ("COLLECTIVE", "collective"),
    ("NETWORK", "network"),
)


@click.command("roster", cls=Spoken)
@click.argument("service", required=False)
@click.option("--clear", is_flag=True, help="Forget everybody who is listed")
@click.option("--forget", multiple=True, metavar="NAME", help="Forget one instance")
@click.option("--config", metavar="FILE", help="Only of the network of this file")
@click.option("--insecure", is_flag=True, help="Taken as by other commands; changes nothing")
@list_options
@click.pass_obj
def roster_command(
    console: Console,
    /,
    service: str | None,
    clear: bool,
    forget: Sequence[str],
    config: str | None,
    insecure: bool,
    output: str | None,
    as_json: bool,
) -> int:
    """Shows the instances that were seen of late, and forgets them.

    A command for a whole fleet expects those that are "expected", and names those that are
    silent. With `-o names` only they are listed.

    \b
    Examples:
      backplane roster
      backplane roster demo --forget old1.example.net
      backplane roster demo --clear
      backplane roster demo -o names | backplane demo ping --nodes -
    """
    console.form = chosen(output, as_json)
    if forget and service is None:
        raise click.UsageError("--forget needs the service that the instance is of")
    if forget and clear:
        raise click.UsageError("--clear forgets everybody, so --forget means nothing with it")
    network, within = _place(config)
    book, now = rosters(console), time.time()
    services = [service] if service is not None else book.services()
    if clear or forget:
        return _forget(console, book, services, network, frozenset(forget), clear, now)
    rows = [
        row
        for name in services
        for place, roster in sorted(book.read(name, now).items())
        if network in (None, place[0])
        for row in _rows(name, place, roster, now, within)
        if console.form != "names" or row["state"] == "expected"
    ]
    if not show_rows(console, rows, _COLUMNS):
        for line in table(rows, _COLUMNS):
            console.print(line)
        if not rows:
            console.note("nobody is remembered")
    return ExitCode.OK


def _place(config: str | None) -> tuple[str | None, float]:
    """Return the network that was asked for, and how long instances are expected there."""
    asked = config is not None or bool(os.environ.get(CONTEXT))
    try:
        found, brokers = read_config(config, os.environ)
    except Fault:
        if asked:
            raise
        return None, EXPECTED
    return (network_of(brokers) if asked else None), found.roster


def _rows(
    service: str, place: tuple[str, str], roster: Roster, now: float, within: float
) -> list[dict[str, Any]]:
    expected = roster.expected(now, within)
    return [
        {
            "service": service,
            "identity": name,
            "state": _state(member, name in expected),
            "seen": round(member.seen, 3),
            "age": _age(now - member.seen),
            "collective": place[1],
            "network": place[0],
        }
        for name, member in sorted(roster.members.items())
    ]


def _state(member: Member, expected: bool) -> str:
    if member.gone is not None:
        return "gone"
    return "expected" if expected else "faded"


def _age(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{int(seconds / size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def _forget(
    console: Console,
    book: Rosters,
    services: Sequence[str],
    network: str | None,
    names: frozenset[str],
    clear: bool,
    now: float,
) -> int:
    """Forget; say whom."""
    forgotten: list[dict[str, Any]] = []

    def change(found: dict[tuple[str, str], Roster]) -> None:
        for place, roster in found.items():
            if network not in (None, place[0]):
                continue
            for name in sorted(roster.members):
                if (clear or name in names) and roster.forget(name):
                    forgotten.append({"service": service, "identity": name})

    for service in services:
        book.change(service, now, change)
    if not show_rows(console, forgotten, _COLUMNS):
        for row in forgotten:
            console.print(f"forgotten: {row['service']}/{row['identity']}")
    if not forgotten:
        console.note("nobody of that name is remembered")
        return ExitCode.NOTHING_MATCHED
    return ExitCode.OK
