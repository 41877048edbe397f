"""``backplane doctor``: what it is asked, and how its findings are shown."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import click
from twisted.internet.defer import CancelledError, Deferred

from backplane.cli.arguments import Seconds, Spoken
from backplane.cli.console import Console, safe
from backplane.cli.doctor.accounts import read_account
from backplane.cli.doctor.examination import Orders, examine, read
from backplane.cli.doctor.findings import Finding, Verdict, exit_code
from backplane.cli.doctor.party import Party
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.host import host_identity
from backplane.security.names import valid_identity

__all__ = ["doctor_command"]

_EPILOG: Final = (
    "Exit codes: 0 no failure, 2 a check failed; where all failures are of one kind: 64 the "
    "configuration (and usage), 69 a broker that cannot be reached, 77 certificate, key, login "
    "or permissions in the broker; 130 interrupted."
)

TITLES: Final = {
    "Configuration": ("configuration", "application"),
    "Files": ("file", "renewal", "audit"),
    "Certificates and clock": ("certificate", "ca", "crl", "clock"),
    "Who may do what": ("mode", "allow", "delegation", "policy", "roles", "caller"),
    "Brokers": ("broker",),
    "Services": ("services",),
}
"""Headings, and the first words of the checks below them."""

_COLOURS: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


class Report:
    """Shows findings: as they come, or all in the end as a JSON list."""

    def __init__(self, console: Console, as_json: bool, quiet: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._quiet = quiet
        self._shown = ""
        self.findings: list[Finding] = []

    def title(self, text: str) -> None:
        """Say who is examined."""
        if not self._as_json:
            self._console.print(safe(text))

    def tell(self, finding: Finding) -> None:
        """Take a finding."""
        self.findings.append(finding)
        hidden = self._quiet and finding.verdict in (Verdict.OK, Verdict.SKIPPED)
        if self._as_json or hidden:
            return
        self._head(finding.check.partition(".")[0])
        verdict, colour = finding.verdict.value, _COLOURS.get(finding.verdict)
        self._console.print(f"  {verdict:<7}  {finding.check:<19}  {safe(finding.detail)}", colour)
        if finding.fix is not None:
            self._console.print(f"{'':<32}-> {safe(finding.fix)}")

    def _head(self, kind: str) -> None:
        """Say what the following is about, where that changes."""
        title = next(title for title, kinds in TITLES.items() if kind in kinds)
        if title != self._shown:
            self._shown = title
            self._console.print()
            self._console.print(title)

    def end(self) -> None:
        """Say how many there were of each."""
        if self._as_json:
            documents = [finding.as_dict() for finding in self.findings]
            self._console.print_json(documents)
            return
        count = Counter(finding.verdict for finding in self.findings)
        told = ", ".join(f"{count[verdict]} {verdict.value}" for verdict in Verdict)
        told = told.replace(" warning", " warnings" if count[Verdict.WARNING] != 1 else " warning")
        self._console.print()
        self._console.print(told)


@click.command("doctor", cls=Spoken, epilog=_EPILOG)
@click.option("-c", "service_file", metavar="FILE", help="A service's file, such as app.yaml")
@click.option("--config", "operator_file", metavar="FILE", help="An operator's file")
@click.option("--identity", metavar="NAME", help="Instead of the configured identity")
@click.option("--caller", "callers", multiple=True, metavar="NAME", help="Whose role is wanted")
@click.option("--uid", metavar="USER", help="Whom twistd becomes, by its --uid")
@click.option("--gid", metavar="GROUP", help="The same for its --gid")
@click.option("--service", metavar="NAME", help="An application that the operator manages")
@click.option(
    "--agent", "agents", multiple=True, metavar="NAME", help="An agent of the service's own"
)
@click.option("--publish", is_flag=True, help="Publish also what others would hear")
@click.option("--strict", is_flag=True, help="A service that is to be strict")
@click.option("--insecure", is_flag=True, help="An operator without TLS and signatures")
@click.option("--timeout", type=Seconds(), default=5.0, help="For each step of a connection")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and failures")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of text")
@click.pass_obj
def doctor_command(
    console: Console, /, as_json: bool, quiet: bool, uid: str | None, gid: str | None, **given: Any
) -> int:
    """Says whether a service or an operator would work, and what to do if not.

    With -c it examines a service, else an operator, as --config or the usual files of
    Choria's clients describe him.

    \b
    Examples:
      backplane doctor -c app.yaml
      backplane doctor --service demo
    """
    orders = _orders(uid, gid, given)
    report = Report(console, as_json, quiet)
    try:
        code = _examine(orders, report)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Fault as fault:
        if fault.code is not ExitCode.INTERRUPTED:
            raise
        code = fault.code
    report.end()
    return int(code or exit_code(report.findings))


def _examine(orders: Orders, report: Report) -> ExitCode:
    party, findings = read(orders, os.environ, host_identity())
    report.title(party.title if party is not None else "backplane doctor")
    for finding in findings:
        report.tell(finding)
    return ExitCode.OK if party is None else run(_begin(party, orders, report))


def _orders(uid: str | None, gid: str | None, given: dict[str, Any]) -> Orders:
    """Return what is wanted; :raises click.UsageError: when that cannot be."""
    service = given["service_file"] is not None
    if service and given["operator_file"] is not None:
        raise click.UsageError("-c is for a service, --config for an operator: give one of them")
    for name, value, for_service in (
        ("--uid", uid, True),
        ("--gid", gid, True),
        ("--agent", given["agents"], True),
        ("--publish", given["publish"], True),
        ("--strict", given["strict"], True),
        ("--service", given["service"], False),
        ("--insecure", given["insecure"], False),
    ):
        if value and for_service != service:
            wanted = (
                "a service: give its file with -c" if for_service else "an operator, not for -c"
            )
            raise click.UsageError(f"{name} is for {wanted}")
    identity, name = given["identity"], given["service"]
    if identity is not None and not valid_identity(identity):
        raise click.UsageError(f"{identity[:60]!r} is not an identity")
    if name is not None and not (name.isascii() and name.isalnum() and name == name.lower()):
        raise click.UsageError(f"{name[:60]!r} is not the name of a service, ^[a-z0-9]+$")
    for agent in given["agents"]:
        if not valid_identity(agent) or "." in agent:
            raise click.UsageError(f"{agent[:60]!r} is not the name of an agent")
    try:
        account = None if uid is None and gid is None else read_account(uid, gid)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Orders(account=account, **given)


def _begin(
    party: Party, orders: Orders, report: Report
) -> Callable[[Any], tuple[Deferred[ExitCode], Callable[[], None]]]:
    """Return what begins the examination with a reactor."""

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        async def work() -> ExitCode:
            try:
                await examine(party, orders, report.tell, reactor=reactor, now=time.time)
            except CancelledError:
                return ExitCode.INTERRUPTED
            return ExitCode.OK

        done = Deferred.fromCoroutine(work())
        return done, done.cancel

    return begin
