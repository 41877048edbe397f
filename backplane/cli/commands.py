"""The commands: each does one thing with the network and says how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from backplane.choria.filter import Filter, build_filter
from backplane.cli.console import Console
from backplane.cli.render import Spinner, render
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job, Operator, Progress
from backplane.nats.client import NatsClient
from backplane.nats.errors import NatsError

__all__ = ["ACTIONS", "Fault", "Request", "execute", "make_job"]

_NEEDS: Final[Mapping[str, str]] = {
    "pause": "backplane_pausable=true",
    "resume": "backplane_pausable=true",
    "flip": "backplane_pausable=true",
    "shutdown": "backplane_stopable=true",
    "health": "backplane_healthcheckable=true",
    "debuglvl": "backplane_loglevelsetable=true",
    "infolvl": "backplane_loglevelsetable=true",
    "warnlvl": "backplane_loglevelsetable=true",
    "critlvl": "backplane_loglevelsetable=true",
}
"""What a service must offer to be asked, as the Go backplane's CLI has it."""

_READS: Final = frozenset({"health", "ping", "info", "threaddump"})

ACTIONS: Final = (
    "pause",
    "resume",
    "flip",
    "health",
    "shutdown",
    "ping",
    "info",
    "debuglvl",
    "infolvl",
    "warnlvl",
    "critlvl",
    "threaddump",
)

MAX_NAMES_SENT: Final = 200
"""Identities that are put into a filter; more of them are looked for among all answers."""


class Fault(Exception):
    """The run cannot go on; text for the operator, and the exit code."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


@attrs.frozen(kw_only=True)
class Request:
    """What the operator typed.

    :ivar timeout: seconds for the whole run, or ``None``.
    :ivar window: seconds of quiet after which discovery ends, or ``None``.
    """

    service: str
    action: str
    facts: Sequence[str] = ()
    identities: Sequence[str] = ()
    withs: Sequence[str] = ()
    classes: Sequence[str] = ()
    select: Sequence[str] = ()
    target: str | None = None
    nodes: Sequence[str] | None = None
    expect: int | None = None
    verbose: bool = False
    as_json: bool = False
    timeout: float | None = None
    discovery_timeout: float = 2.0
    window: float | None = None


def make_job(request: Request) -> Job:
    """Return the job that a request asks for.

    :raises ValueError: for a filter that says nothing, or is not one.
    """
    needs = _NEEDS.get(request.action)
    nodes = tuple(dict.fromkeys(request.nodes)) if request.nodes is not None else ()
    identities = [*request.identities]
    if len(nodes) <= MAX_NAMES_SENT and not identities:
        identities += nodes
    wanted = build_filter(
        facts=[*request.facts, *([needs] if needs else [])],
        classes=request.classes,
        identities=identities,
        withs=request.withs,
        select=request.select,
    )
    return Job(
        service=request.service,
        collective=request.target or f"{request.service}_backplane",
        action=request.action,
        filter=wanted,
        rule=DiscoveryRule.choose(
            change=request.action not in _READS,
            timeout=request.discovery_timeout,
            window=request.window,
            named=_named(request, nodes, wanted),
            expect=request.expect,
        ),
        timeout=request.timeout,
    )


def _named(request: Request, nodes: Sequence[str], wanted: Filter) -> Sequence[str]:
    """Return the identities that are all who is meant."""
    if nodes:
        return nodes
    if request.facts or wanted.cf_class or wanted.compound or request.withs:
        return ()  # not everybody who is named has to match
    if any(_is_pattern(name) for name in request.identities):
        return ()
    return request.identities


def _is_pattern(name: str) -> bool:
    return len(name) > 1 and name.startswith("/") and name.endswith("/")


class _Shown(Progress):
    def __init__(self, console: Console, request: Request) -> None:
        self._console = console
        self._request = request
        self._spinner = Spinner(console, request.action)
        self._last = (0, 0)

    def discovered(self, count: int) -> None:
        service = self._request.service
        self._console.print(
            f"Starting discovery process for {service} backplane managed services: {count}"
        )
        if count:
            self._console.print()
            self._last = (0, count)

    def answered(self, done: int, count: int) -> None:
        self._last = (done, count)
        self._spinner.show(done, count)

    def end(self) -> None:
        self._spinner.end(*self._last)


def execute(
    request: Request, client: NatsClient, operator: Operator, console: Console
) -> Deferred[ExitCode]:
    """Do what was asked and show what became of it.

    :returns: fails with :class:`Fault` for what keeps it from being done.
    """
    return Deferred.fromCoroutine(_execute(request, client, operator, console))


async def _execute(
    request: Request, client: NatsClient, operator: Operator, console: Console
) -> ExitCode:
    try:
        job = make_job(request)
    except ValueError as error:
        raise Fault(str(error), ExitCode.USAGE) from None
    try:
        await client.when_connected()
    except NatsError as error:
        raise Fault(f"the broker is not reachable: {error}", ExitCode.UNREACHABLE) from None
    progress = Progress() if request.as_json else _Shown(console, request)
    try:
        outcome = await operator.request(job, progress)
    except NatsError as error:
        raise Fault(f"the broker was lost: {error}", ExitCode.UNREACHABLE) from None
    if request.as_json:
        console.print(json.dumps(outcome.as_dict(), indent=2))
        return outcome.exit_code
    if isinstance(progress, _Shown):
        progress.end()
    if outcome.count:
        render(outcome, console, request.verbose)
    _complain(outcome, console)
    return outcome.exit_code


def _complain(outcome: Outcome, console: Console) -> None:
    """Say on standard error why nothing was done."""
    prefix = "backplane: error: Failed to manage services: could not perform action: "
    if not outcome.count:
        console.note(prefix + "did not discover any nodes")
        for name in outcome.silent:
            console.note(f"  no answer from {name}")
    elif not outcome.answers:
        console.note(prefix + "no responses received")


Starter = Callable[[Any], Deferred[ExitCode]]
