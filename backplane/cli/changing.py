"""Verbs that change one part of a service, for a time or until it is taken back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import click

from backplane.cli.arguments import (
    BREAKER_NAME,
    Lease,
    Spoken,
    flags_of,
    lease_options,
    rollout_options,
    target_options,
)
from backplane.cli.console import Console, safe
from backplane.cli.faults import Fault
from backplane.cli.formats import Columns, show_rows
from backplane.cli.session import Command, operate
from backplane.client.accounting import ExitCode
from backplane.client.changes import LEVELS, level_target, wanted

__all__ = ["end_command", "extend_command", "loggers_command", "loglevel_command"]

_TARGET: Final = re.compile(rf"app|shutdown|log:.*|breaker:{BREAKER_NAME.pattern}")

_LOGGERS: Final[Columns] = (
    ("LOGGER", "logger"),
    ("OWN", "level"),
    ("IN FORCE", "effective"),
    ("INSTANCES", "instances"),
)


def _roll(
    console: Console, given: dict[str, Any], action: str, data: dict[str, Any], verb: str
) -> int:
    async def work(command: Command) -> ExitCode:
        return (await command.roll_out(action, data, verb=verb)).exit_code

    return operate(console, given, work)


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say which part is meant; the whole application without one."""
    for option in (
        click.option("--change", metavar="ID", help="The change of this id"),
        click.option("--what", metavar="TARGET", help="app, breaker:NAME, log:LOGGER or shutdown"),
        click.option("--logger", metavar="NAME", help="The level of this logger"),
        click.option("--breaker", metavar="NAME", help="This breaker"),
    ):
        command = option(command)
    return command


def check_name(flag: str, value: str | None) -> None:
    """Refuse an empty name: the whole application was not meant.

    :raises Fault: for that.
    """
    if value is not None and not value.strip():
        raise Fault(f"--{flag} is empty; leave it out for the whole application", ExitCode.USAGE)


def _part(given: dict[str, Any]) -> dict[str, Any]:
    """Take which part is meant out of what was given.

    :raises Fault: for two of them.
    """
    names = ("breaker", "logger", "what", "change")
    values = {name: value for name in names if (value := given.pop(name)) is not None}
    for name, value in values.items():
        check_name(name, value)
    if len(values) > 1:
        both = " and ".join(f"--{name}" for name in values)
        raise Fault(f"{both}: one part at a time", ExitCode.USAGE)
    if "change" in values:
        return {"change": values["change"]}
    if "breaker" in values:
        values["what"] = f"breaker:{values['breaker']}"
    if "logger" in values:
        return {"target": level_target(values["logger"])}
    target = values.get("what", "app")
    if not _TARGET.fullmatch(target):
        text = f"--what {target[:60]!r} is none of app, breaker:NAME, log:, log:LOGGER, shutdown"
        raise Fault(text, ExitCode.USAGE)
    return {"target": target}


@click.command(cls=Spoken)
@click.argument("service")
@click.argument("level", metavar="LEVEL", type=click.Choice([*LEVELS, "reset"]))
@click.option("--logger", metavar="NAME", help="Of this logger instead of the whole application")
@lease_options
@target_options
@rollout_options
@click.pass_obj
def loglevel_command(console: Console, /, level: str, logger: str | None, **given: Any) -> int:
    """Sets the log level of services, or of one of their loggers.

    LEVEL is debug, info, warning or critical, or reset, which puts back exactly what the
    program had.

    \b
    Examples:
      backplane demo loglevel debug --for 10m --reason "slow queries"
      backplane demo loglevel debug --logger sqlalchemy.engine --for 10m
      backplane demo loglevel reset --logger sqlalchemy.engine
    """
    flags = flags_of(given)
    check_name("logger", logger)
    target = level_target(logger)
    if level == "reset":
        if flags.seconds is not None:
            raise Fault("reset ends now, so --for means nothing with it", ExitCode.USAGE)
        data = {**wanted(target, None, flags), "all": True}
        return _roll(console, given, "end", data, "loglevel reset")
    return _roll(console, given, "change", wanted(target, level, flags), f"loglevel {level}")


@click.command(cls=Spoken)
@click.argument("service")
@part_options
@click.option("--all", "everything", is_flag=True, help="All its changes, not only the newest")
@click.option("--reason", metavar="TEXT", help="Why, for others to read")
@target_options
@rollout_options
@click.pass_obj
def end_command(console: Console, /, everything: bool, **given: Any) -> int:
    """Takes back the newest change of services before its time.

    \b
    Examples:
      backplane demo end
      backplane demo end --breaker payments --reason "the bank is back"
      backplane demo end --change 3f9c01d2aa -I web1.example.net
    """
    part, flags = _part(given), flags_of(given)
    data: dict[str, Any] = {**part, **({"why": flags.reason} if flags.reason else {})}
    if everything:
        if "target" not in part:
            raise Fault("--change names one change, so --all means nothing", ExitCode.USAGE)
        data["all"] = True
    return _roll(console, given, "end", data, "end")


@click.command(cls=Spoken)
@click.argument("service")
@part_options
@click.option("--for", "lease", type=Lease(), required=True, help="How long it lasts from now on")
@click.option("--reason", metavar="TEXT", help="Why, for others to read")
@target_options
@rollout_options
@click.pass_obj
def extend_command(console: Console, /, **given: Any) -> int:
    """Gives a change that ends by itself another end, later or earlier.

    \b
    Examples:
      backplane demo extend --for 30m
      backplane demo extend --breaker payments --for 2h --reason "the bank needs longer"
    """
    part, flags = _part(given), flags_of(given)
    data = {**wanted("", None, flags), "target": None, **part}
    if data["target"] is None:
        del data["target"]
    return _roll(console, given, "amend", data, "extend")


@click.command(cls=Spoken)
@click.argument("service")
@click.option("--logger", "match", metavar="PREFIX", help="Those whose names begin so")
@target_options
@click.pass_obj
def loggers_command(console: Console, /, match: str | None, **given: Any) -> int:
    """Lists the loggers of services with their levels.

    \b
    Examples:
      backplane demo loggers
      backplane demo loggers --logger sqlalchemy -I web1.example.net
    """
    data = {"match": match} if match else None

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("loggers", data, change=False)
        seen: dict[tuple[str, str, str], list[str]] = {}
        for answer in outcome.good:
            loggers = answer.reply.data.get("loggers")
            for name, levels in (loggers if isinstance(loggers, dict) else {}).items():
                own, effective = (
                    (levels.get("level"), levels.get("effective"))
                    if isinstance(levels, dict)
                    else (None, None)
                )
                key = (str(name), str(own or "unset"), str(effective))
                seen.setdefault(key, []).append(answer.sender)
        rows = [
            {"logger": name, "level": own, "effective": effective, "instances": len(senders)}
            for (name, own, effective), senders in sorted(seen.items())
        ]
        cut = any(answer.reply.data.get("truncated") is True for answer in outcome.good)
        document = {**outcome.as_dict(), "loggers": rows, "truncated": cut}
        if not show_rows(console, rows, _LOGGERS, document=document):
            for line in _table(rows):
                console.print(line)
            if cut:
                console.note("Some were left out; --logger PREFIX shows fewer")
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    from backplane.cli.formats import table

    return [safe(line) for line in table(rows, _LOGGERS)]
