"""``backplane ls``: the services on the network, and how many of each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import click
from twisted.internet.defer import Deferred

from backplane.cli import setup
from backplane.cli.arguments import Seconds, Spoken, list_options
from backplane.cli.attendance import rosters
from backplane.cli.census import Census, Found
from backplane.cli.console import Console, safe
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.cli.formats import Columns, chosen, show_rows, table
from backplane.cli.session import Session
from backplane.client.accounting import ExitCode
from backplane.client.roster import Roster, Rosters, network_of
from backplane.nats.errors import NatsError

__all__ = ["ls_command"]

LISTEN: Final = 2.0
"""Seconds to listen for services that are not known, where the operator does not say."""

_COLUMNS: Final[Columns] = (
    ("SERVICE", "service"),
    ("INSTANCES", "count"),
    ("MISSING", "missing_count"),
)


@click.command("ls", cls=Spoken)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option(
    "--listen", type=Seconds(), metavar="TIME", help="How long to hear of unknown services; 2s"
)
@click.option("--discovery-timeout", type=Seconds(), help="How long to look for instances")
@click.option("--no-roster", is_flag=True, help="Look for nobody because of earlier runs")
@click.option("--config", metavar="FILE", help="Configuration file to use")
@click.option("--insecure", is_flag=True, help="Disable TLS security")
@list_options
@click.pass_obj
def ls_command(
    console: Console,
    /,
    services: Sequence[str],
    listen: float | None,
    discovery_timeout: float | None,
    no_roster: bool,
    config: str | None,
    insecure: bool,
    output: str | None,
    as_json: bool,
) -> int:
    """Lists the services that are seen on the network now, with their instances.

    Looked for are the services of the roster and those of which something is heard
    meanwhile; with names, these alone. A service that nobody knows and that says nothing
    is not found.

    \b
    Examples:
      backplane ls
      backplane ls --listen 1m
      backplane ls demo shop -o json
      backplane ls -o names
    """
    console.form = chosen(output, as_json)
    for name in services:
        if not (name.isascii() and name.isalnum() and name == name.lower()):
            raise click.UsageError(f"{name[:60]!r} is no service: names have a-z and 0-9 only")
    settings = setup.load(config, insecure, os.environ)
    for warning in settings.config.warnings:
        console.note(f"backplane: warning: {safe(warning)}")
    if insecure:
        console.note("backplane: warning: insecure: nothing is signed, nobody is verified")
    wanted = _Wanted(console, settings, services, no_roster or not settings.config.roster)
    timeout = discovery_timeout or settings.config.discovery_timeout

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        client, operator = setup.connect(settings, reactor, time.time)
        session = Session(client, operator, None)
        census = Census(
            client,
            operator,
            wanted.known(),
            listening=not services,
            discovery_timeout=timeout,
        )

        async def work() -> ExitCode:
            try:
                await session.connect()
                found = await census.take(LISTEN if listen is None else listen)
                if session.interrupted:
                    raise Fault("interrupted", ExitCode.INTERRUPTED)
            except NatsError as error:
                text = f"the broker was lost: {safe(error)}"
                raise Fault(text, ExitCode.UNREACHABLE) from None
            finally:
                await client.stopService()
            wanted.learn(found)
            return _show(console, found, census.deaf)

        def interrupt() -> None:
            session.interrupt()
            census.interrupt()

        return Deferred.fromCoroutine(work()), interrupt

    return int(run(begin))


@attrs.frozen
class _Wanted:
    """Services that are looked for, and their rosters."""

    console: Console
    settings: setup.Settings
    names: Sequence[str]
    no_roster: bool

    def known(self) -> dict[str, frozenset[str]]:
        """Return whom one expects, by service."""
        if self.no_roster:
            return {name: frozenset() for name in self.names}
        book, now = rosters(self.console), time.time()
        names = self.names or book.services()
        within = self.settings.config.roster
        found = {name: self._roster(book, name, now) for name in names}
        return {
            name: roster.expected(now, within)
            for name, roster in found.items()
            if roster.members or self.names
        }

    def learn(self, found: Sequence[Found]) -> None:
        """Take in who is there."""
        if self.no_roster:
            return
        book, now = rosters(self.console), time.time()
        network = network_of(self.settings.brokers)
        for each in found:

            def see(roster: Roster, seen: Sequence[str] = tuple(each.instances)) -> None:
                roster.see(seen, now)

            book.update(each.service, network, f"{each.service}_backplane", now, see)

    def _roster(self, book: Rosters, service: str, now: float) -> Roster:
        network = network_of(self.settings.brokers)
        return book.get(service, network, f"{service}_backplane", now)


def _show(console: Console, found: Sequence[Found], deaf: Sequence[str]) -> ExitCode:
    if not found:
        code = ExitCode.NOTHING_MATCHED
    else:
        code = ExitCode.SILENT if any(each.missing for each in found) else ExitCode.OK
    services = [
        {
            "service": each.service,
            "count": sum(each.instances.values()),
            "instances": sorted(each.instances),
            "missing": list(each.missing),
            "missing_count": len(each.missing),
        }
        for each in found
    ]
    if console.form == "names":
        instances = [
            {"service": each.service, "identity": name}
            for each in found
            for name in sorted(each.instances)
        ]
        show_rows(console, instances, _COLUMNS)
    else:
        document = {"services": services, "not_heard": sorted(deaf), "exit_code": int(code)}
        shown = [{**row, "missing_count": row["missing_count"] or None} for row in services]
        rows = services if console.form == "jsonl" else shown
        if not show_rows(console, rows, _COLUMNS, document=document):
            for line in table(rows, _COLUMNS):
                console.print(line)
    if console.form != "json":
        for each in found:
            for name in each.missing:
                console.note(f"backplane: missing: {each.service}/{safe(name)}")
        if deaf:
            console.note(
                "backplane: the broker lets you hear nothing of unknown services; name them, "
                f"or allow {', '.join(sorted(deaf))}"
            )
        if not found:
            console.note("backplane: no service was seen")
    return code
