"""``backplane undo RUN``: what one run changed is put back, and nothing else."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, flags_of, rollout_options, target_options
from backplane.cli.commands import FAILED
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.cli.session import Command, operate, remembered
from backplane.cli.telling import dicts
from backplane.client.accounting import ExitCode
from backplane.client.runs import Record, RunNotFound

__all__ = ["undo_command", "undo_run_command"]

_ID: Final = re.compile(r"[0-9a-f]{32}")

SHOWN: Final = 8
"""Characters of an id that are shown."""

ENTRIES: Final = 200
"""So many of the last entries of a service's history are looked at."""

_HELP: Final = """Puts back what one run has changed, and nothing else.

    Every run that changes something says its id; {who}. Where somebody has changed it since,
    nothing is done, and who that was is said. Of a run of another operator, or of another
    machine, the services are asked for: `history` and `who` show its id.

    \b
    Examples:
      backplane demo pause -F dc=DC1
      backplane undo 5f0c2d11
      backplane demo undo 5f0c2d11 --reason "wrong data centre"
    """


def _undo(console: Console, service: str | None, run: str, given: dict[str, Any]) -> int:
    reason = flags_of(given).reason
    run = run.lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", run):
        raise Fault(f"{run[:60]!r} is no id of a run: 4 to 32 of 0-9 and a-f", ExitCode.USAGE)
    if service is None:
        service = _service(console, run)
    given = {**given, "service": service}

    async def work(command: Command) -> ExitCode:
        record = _recorded(command, run)
        if record is not None and not record.reversible:
            text = f"the run {run} was `{record.verb}`, which leaves nothing to be taken back"
            raise Fault(text, ExitCode.USAGE)
        if record is not None:
            whole, who = record.run, _targets(record, given)
        else:
            whole, who = await _known_there(command, run), {}
        data: dict[str, Any] = {"run": whole, **({"why": reason} if reason else {})}
        return (await command.roll_out("end", data, verb="undo", **who)).exit_code

    return operate(console, given, work)


def _service(console: Console, run: str) -> str:
    try:
        return remembered(console).find(None, None, run).service
    except RunNotFound as error:
        text = f"{error}; `backplane SERVICE undo` asks the services themselves"
        raise Fault(text, ExitCode.USAGE) from None


def _recorded(command: Command, run: str) -> Record | None:
    """Return what is remembered of a run; ``None`` for one that the services are asked about."""
    assert command.runs is not None
    try:
        return command.runs.find(command.service, command.network, run)
    except RunNotFound as error:
        if len(run) < SHOWN:
            text = f"{error}; of another's run type at least {SHOWN} characters"
            raise Fault(text, ExitCode.USAGE) from None
        return None


async def _known_there(command: Command, run: str) -> str:
    """Return the whole id of a run that is not remembered here.

    :raises Fault: when no service knows it, or there are several.
    """
    if _ID.fullmatch(run):
        return run
    outcome = await command.ask("changes", {"last": ENTRIES}, change=False)
    found = {
        str(each.get("run"))
        for answer in outcome.good
        for key in ("live", "history")
        for each in dicts(answer.reply.data.get(key))
        if str(each.get("run")).startswith(run) and _ID.fullmatch(str(each.get("run")))
    }
    if len(found) == 1:
        return found.pop()
    if not outcome.good and outcome.error is not None:
        raise Fault(f"{FAILED}{outcome.error}", outcome.exit_code)
    command.tell(outcome)
    if found:
        raise Fault(f"several runs begin with {run}: type more of it", ExitCode.USAGE)
    knows = f"no run that begins with {run} is remembered here, or by"
    raise Fault(
        f"{knows} the {len(outcome.good)} service(s) that answered",
        outcome.exit_code or ExitCode.NOTHING_MATCHED,
    )


def _targets(record: Record, given: dict[str, Any]) -> dict[str, Any]:
    """Return who was changed, in place of what the flags leave open."""
    who: dict[str, Any] = {"target": record.collective}
    chosen = any(given[name] for name in ("facts", "identities", "withs", "classes", "select"))
    if given["nodes"] is None and not chosen:
        who["nodes"] = list(record.names)
    return who


@click.command(cls=Spoken, help=_HELP.format(who="`undo` takes the first eight characters"))
@click.argument("service")
@click.argument("run")
@click.option("--reason", metavar="TEXT", help="Why, for others to read")
@target_options
@rollout_options
@click.pass_obj
def undo_command(console: Console, /, service: str, run: str, **given: Any) -> int:
    return _undo(console, service, run, given)


@click.command(
    "undo", cls=Spoken, help=_HELP.format(who="the first eight characters of it are enough")
)
@click.argument("run")
@click.option("--reason", metavar="TEXT", help="Why, for others to read")
@target_options
@rollout_options
@click.pass_obj
def undo_run_command(console: Console, /, run: str, **given: Any) -> int:
    return _undo(console, None, run, given)
