"""``backplane [exec] SERVICE ACTION``: arguments, exit codes, and the reactor.

Flags may stand before or after the words. ``exec`` may be left out; a service
that is called as a command is needs it: ``backplane exec ddl info``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import get_completion_class

from backplane.cli.arguments import (
    LEASE_FLAGS,
    Action,
    Commands,
    Verb,
    change_options,
    flags_of,
    rollout_options,
    target_options,
    version_option,
)
from backplane.cli.console import Console, safe
from backplane.cli.faults import ACTIONS, Fault
from backplane.cli.formats import early_form
from backplane.client.accounting import ExitCode

if TYPE_CHECKING:
    # What needs the network is imported by the command that does.
    from twisted.internet.defer import Deferred

    from backplane.cli.setup import Settings
    from backplane.client.jobs import Job

    _Begin = Callable[[Any], tuple[Deferred[ExitCode], Callable[[], None]]]

__all__ = ["main"]

_EPILOG: Final = (
    "Exit codes: 0 done everywhere, 1 nothing matched, 2 some failed, 3 nobody answered, "
    "4 someone stayed silent, 5 stopped before sending, 64 usage, 69 broker unreachable, "
    "74 output not written, 77 credentials unusable, 130 interrupted."
)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@version_option
@click.pass_context
def cli(context: click.Context) -> None:
    """Manages a fleet of services: backplane [exec] SERVICE ACTION [flags].

    \b
    Examples:
      backplane ls
      backplane demo info
      backplane demo pause -F dc=DC1 --for 15m --reason "db failover"
      backplane demo health -o names | backplane demo pause --nodes -
      backplane help exec
    """
    if context.invoked_subcommand is None:
        context.obj.print(context.get_help())
        context.exit(ExitCode.USAGE)


@cli.command("exec", epilog=_EPILOG)
@click.argument("service")
@click.argument("action", metavar="ACTION", type=Action(ACTIONS))
@target_options
@rollout_options
@change_options
@click.pass_obj
def exec_command(console: Console, /, action: str, **given: Any) -> int:
    """Executes an action against a set of backplane managed services.

    ACTION is pause, resume, flip, health, shutdown, ping, info, debuglvl, infolvl,
    warnlvl, critlvl or threaddump.

    \b
    Examples:
      backplane demo info -F dc=DC1
      backplane demo pause --for 15m --reason "db failover"
      backplane demo pause --breaker payments --for 1h
      backplane demo shutdown --cancel
      backplane demo pause -F dc=DC1 --dry-run
      backplane demo pause --batch 20% --sleep 5
      backplane demo resume --batch 1 --gate health --on-failure undo
      backplane demo pause --limit 10% --plan plan.json
      backplane demo pause --apply plan.json
      backplane demo ping --expect 5 -o table
      backplane demo health -o names | backplane demo pause --nodes -
    """
    from backplane.cli.rollouts import check
    from backplane.cli.session import checked_job, prepare
    from backplane.client import changes

    flags = flags_of(given)
    try:
        asked_for, data = changes.asked(action, flags)
    except ValueError as error:
        raise Fault(str(error), ExitCode.USAGE) from None
    asked = prepare(console, given)
    job = checked_job(asked_for, data, {**asked.who, "verb": action})
    check(job)
    return int(run(_begin(job, asked.settings, console, asked.as_json, asked.verbose)))


def _begin(job: Job, settings: Settings, console: Console, as_json: bool, verbose: bool) -> _Begin:
    """Return what begins the run with a reactor."""
    from backplane.cli.commands import perform
    from backplane.cli.session import Asked, Command, connected

    # Whom and what is in the job.
    who = {"service": job.service, "timeout": job.timeout}
    asked = Asked(settings=settings, who=who, as_json=as_json, verbose=verbose)

    async def work(command: Command) -> ExitCode:
        return (await perform(command, job)).exit_code

    return lambda reactor: connected(asked, reactor, console, work)


def run(begin: _Begin) -> ExitCode:
    """See :func:`backplane.cli.driver.run`."""
    from backplane.cli import driver

    return driver.run(begin)


@cli.command("ddl")
@click.argument("agent")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "ruby"]),
    default="json",
    show_default=True,
    help="Which of the two",
)
@click.pass_obj
def ddl_command(console: Console, /, agent: str, form: str) -> int:
    """Prints the DDL of an agent, for `choria req` (json) or `mco` (ruby).

    AGENT is backplane, rpcutil, choria_util, or package.module:Class for an
    agent of an application.

    \b
    Examples:
      backplane ddl backplane > backplane.json
      backplane ddl shop.agents:Orders --format ruby > orders.ddl
    """
    from backplane.cli.ddl import agent_ddl

    try:
        ddl = agent_ddl(agent)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    console.print((ddl.to_json() if form == "json" else ddl.to_ruby()).rstrip("\n"))
    return ExitCode.OK


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion_command(console: Console, /, shell: str) -> int:
    """Prints the completion script of a shell.

    \b
    Examples:
      eval "$(backplane completion bash)"
      backplane completion fish > ~/.config/fish/completions/backplane.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    console.print(found(cli, {}, "backplane", "_BACKPLANE_COMPLETE").source())
    return ExitCode.OK


@cli.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_command(context: click.Context, command: str | None) -> int:
    """Prints the help of a command.

    \b
    Examples:
      backplane help exec
      backplane demo drain --help
    """
    parent = context.find_root()
    if command is None:
        context.obj.print(parent.get_help())
        return ExitCode.OK
    found = cli.get_command(parent, command)
    if found is None:
        raise click.UsageError(f"there is no command {command!r}")
    with click.Context(found, info_name=command, parent=parent) as inner:
        context.obj.print(found.get_help(inner))
    return ExitCode.OK


cli.later.update(
    audit="backplane.cli.audit:audit_command",
    doctor="backplane.cli.doctor:doctor_command",
    enroll="backplane.cli.enroll:enroll_command",
    ls="backplane.cli.ls:ls_command",
    roster="backplane.cli.roster:roster_command",
    undo="backplane.cli.undo:undo_run_command",
)


for _name in ("loglevel", "loggers", "extend", "end"):
    cli.verbs[_name] = Verb(f"backplane.cli.changing:{_name}_command", flags=LEASE_FLAGS)
cli.verbs["drain"] = Verb("backplane.cli.drain:drain_command", flags=("--deadline",))
cli.verbs["undo"] = Verb("backplane.cli.undo:undo_command")
cli.verbs["history"] = Verb("backplane.cli.history:history_command", flags=("--last",))
cli.verbs["threads"] = Verb("backplane.cli.threads:threads_command")
cli.verbs["stalls"] = Verb("backplane.cli.threads:stalls_command")
cli.verbs["status"] = Verb("backplane.cli.status:status_command", flags=("--by", "--interval"))
cli.verbs["diff"] = Verb("backplane.cli.diff:diff_command", flags=("--fact",))
cli.verbs["who"] = Verb("backplane.cli.who:who_command")


def complain(console: Console, text: str, code: int, as_json: bool) -> int:
    """Say what is wrong, as text or as a document; return the exit code."""
    if as_json and console.form == "jsonl":
        console.print(json.dumps({"error": text, "exit_code": int(code)}))
    elif as_json:
        console.print_json({"error": text, "exit_code": int(code)})
    else:
        lines = [safe(line) for line in text.split("\n")]
        console.note("backplane: error: " + "\n".join(lines))
    return int(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    console = Console(sys.stdout, sys.stderr, os.environ)
    args = list(sys.argv[1:] if argv is None else argv)
    console.form = early_form(args)
    as_json = console.form in ("json", "jsonl")
    try:
        result = cli.main(args=args, prog_name="backplane", standalone_mode=False, obj=console)
        code = result if isinstance(result, int) else 0
    except click.UsageError as error:
        text = " ".join(error.format_message().split()).rstrip(".")
        if isinstance(error, click.NoSuchOption) and error.ctx is not None:
            # Which flags there are depends on the command.
            text = f"{error.ctx.command_path}: {text}"
        hint = "" if as_json else ", try --help"
        code = complain(console, text + hint, ExitCode.USAGE, as_json)
    except Fault as fault:
        code = complain(console, fault.text, fault.code, as_json)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = complain(console, "interrupted", ExitCode.INTERRUPTED, as_json)
    console.flush()
    return code or (ExitCode.UNWRITTEN if console.lost else ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
