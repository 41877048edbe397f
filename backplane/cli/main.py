"""``backplane [exec] SERVICE ACTION``: arguments, exit codes, and the reactor.

Flags may stand before or after the words. ``exec`` may be left out; a service
that is called as a command is needs it: ``backplane exec ddl info``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import get_completion_class

from backplane.cli.arguments import Commands, target_options, version_option
from backplane.cli.console import Console, safe
from backplane.cli.faults import ACTIONS, Fault
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
    "77 credentials unusable, 130 interrupted."
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
    """Manages a fleet of services: backplane [exec] SERVICE ACTION [flags]."""
    if context.invoked_subcommand is None:
        context.obj.print(context.get_help())
        context.exit(ExitCode.USAGE)


@cli.command("exec", epilog=_EPILOG)
@click.argument("service")
@click.argument("action", metavar="ACTION", type=click.Choice(ACTIONS))
@target_options
@click.pass_obj
def exec_command(
    console: Console,
    /,
    config: str | None,
    insecure: bool,
    debug: bool,
    **given: Any,
) -> int:
    """Executes an action against a set of backplane managed services.

    ACTION is pause, resume, flip, health, shutdown, ping, info, debuglvl, infolvl,
    warnlvl, critlvl or threaddump.
    """
    from backplane.cli import setup

    as_json: bool = given.pop("as_json")
    verbose: bool = given.pop("verbose")
    settings = setup.load(config, insecure, os.environ)
    for warning in settings.config.warnings:
        console.note(f"backplane: warning: {safe(warning)}")
    if not settings.config.color:
        console.without_colour()
    job = _job(settings, **given)
    if insecure:
        console.note("backplane: warning: insecure: nothing is signed, nobody is verified")
    if debug:
        setup.log_to_stderr()
    return int(run(_begin(job, settings, console, as_json, verbose)))


def _job(
    settings: Settings, nodes: str | None, discovery_timeout: float | None, **given: Any
) -> Job:
    """Return what the operator means.

    :raises Fault: when that cannot be.
    """
    from backplane.cli.setup import read_nodes
    from backplane.client.jobs import make_job

    timeout = discovery_timeout or settings.config.discovery_timeout
    names = read_nodes(nodes)
    try:
        return make_job(**given, nodes=names, discovery_timeout=timeout)
    except ValueError as error:
        raise Fault(str(error), ExitCode.USAGE) from None


def _begin(job: Job, settings: Settings, console: Console, as_json: bool, verbose: bool) -> _Begin:
    """Return what begins the run with a reactor."""
    from twisted.internet.defer import Deferred

    from backplane.cli.commands import Execution
    from backplane.cli.setup import connect

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        client, operator = connect(settings, reactor, time.time)
        execution = Execution(job, client, operator, console, as_json=as_json, verbose=verbose)

        async def work() -> ExitCode:
            try:
                return await execution.start()
            finally:
                await client.stopService()

        return Deferred.fromCoroutine(work()), execution.interrupt

    return begin


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
    """Prints the completion script of a shell: eval "$(backplane completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None
    console.print(found(cli, {}, "backplane", "_BACKPLANE_COMPLETE").source())
    return ExitCode.OK


@cli.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_command(context: click.Context, command: str | None) -> int:
    """Prints the help of a command."""
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
)


def complain(console: Console, text: str, code: int, as_json: bool) -> int:
    """Say what is wrong, as text or as a document; return the exit code."""
    if as_json:
        console.print_json({"error": text, "exit_code": int(code)})
    else:
        lines = [safe(line) for line in text.split("\n")]
        console.note("backplane: error: " + "\n".join(lines))
    return int(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    console = Console(sys.stdout, sys.stderr, os.environ)
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in (args[: args.index("--")] if "--" in args else args)
    try:
        result = cli.main(args=args, prog_name="backplane", standalone_mode=False, obj=console)
        code = result if isinstance(result, int) else 0
    except click.UsageError as error:
        text = " ".join(error.format_message().split()).rstrip(".")
        hint = "" if as_json else ", try --help"
        code = complain(console, text + hint, ExitCode.USAGE, as_json)
    except Fault as fault:
        code = complain(console, fault.text, fault.code, as_json)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = complain(console, "interrupted", ExitCode.INTERRUPTED, as_json)
    console.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
