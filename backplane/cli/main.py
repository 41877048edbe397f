"""``backplane [exec] SERVICE ACTION``: arguments, exit codes, and the reactor.

Flags may stand before or after the words. ``exec`` may be left out; a service
that is called as a command is needs it: ``backplane exec ddl info``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backplane._version import __version__
from backplane.cli import setup
from backplane.cli.commands import ACTIONS, Fault, Request, execute
from backplane.cli.console import Console
from backplane.client.accounting import ExitCode
from backplane.config.client import parse_duration

__all__ = ["main"]

_EPILOG: Final = (
    "Exit codes: 0 done everywhere, 1 nothing matched, 2 some failed, 3 nobody answered, "
    "4 someone stayed silent, 64 usage, 69 broker unreachable, 77 credentials unusable, "
    "130 interrupted."
)


class _Seconds(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "SECONDS"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 86400:
            self.fail(f"{value!r} is not a time such as 5, 2.5s or 1m", param, ctx)
        return seconds


class _Commands(click.Group):
    """A group whose command ``exec`` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_command(args, self.commands))


def _with_command(args: list[str], commands: Any) -> list[str]:
    """Put the command first, and ``exec`` there when none is named."""
    takes_value = {
        flag
        for param in exec_command.params
        if isinstance(param, click.Option) and not param.is_flag
        for flag in param.opts
    }
    skip = False
    for index, arg in enumerate(args):
        if skip:
            skip = False
        elif arg == "--":
            break
        elif arg.startswith("-") and arg != "-":
            skip = arg in takes_value
        elif arg in commands:
            return [arg, *args[:index], *args[index + 1 :]]
        else:
            break
    else:
        if not args or any(arg in ("--help", "--version", "-h") for arg in args):
            return args
    return ["exec", *args]


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="backplane", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Manages a fleet of services: backplane [exec] SERVICE ACTION [flags]."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(ExitCode.USAGE)


@cli.command("exec", epilog=_EPILOG)
@click.argument("service")
@click.argument("action", type=click.Choice(ACTIONS))
@click.option("-F", "--wf", "facts", multiple=True, metavar="FACT", help="Services with a fact")
@click.option(
    "-I", "--wi", "identities", multiple=True, metavar="NAME", help="Services with an identity"
)
@click.option(
    "-W", "--with", "withs", multiple=True, metavar="FILTER", help="Facts and classes together"
)
@click.option("-C", "--wc", "classes", multiple=True, metavar="CLASS", help="Services of a class")
@click.option(
    "-S", "--select", "select", multiple=True, metavar="EXPR", help="Services by an expression"
)
@click.option("-T", "--target", metavar="COLLECTIVE", help="Instead of SERVICE_backplane")
@click.option("--nodes", metavar="FILE", help="Only the identities in a file, one a line")
@click.option("--expect", type=click.IntRange(min=1), metavar="N", help="How many there are")
@click.option("--timeout", type=_Seconds(), help="How long to wait for services to respond")
@click.option("--discovery-timeout", type=_Seconds(), help="How long to look for services")
@click.option("--window", type=_Seconds(), help="End discovery so long after the last answer")
@click.option("--config", metavar="FILE", help="Configuration file to use")
@click.option("--insecure", is_flag=True, help="Disable TLS security")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text")
@click.option("-v", "--verbose", is_flag=True, help="Enable verbose output")
@click.option("-d", "--debug", is_flag=True, help="Enable debug logging")
@click.pass_obj
def exec_command(
    console: Console,
    /,
    config: str | None,
    insecure: bool,
    debug: bool,
    **given: Any,
) -> int:
    """Executes an action against a set of backplane managed services."""
    try:
        nodes = setup.read_nodes(given.pop("nodes"))
        settings = setup.load(config, insecure, os.environ)
        found = given.pop("discovery_timeout") or settings.config.discovery_timeout
        request = Request(**given, nodes=nodes, discovery_timeout=found)
        return _run(request, settings, console, debug)
    except Fault as fault:
        return complain(console, fault.text, fault.code, given["as_json"])


@cli.command("ddl")
@click.argument("agent")
@click.option("--format", "form", type=click.Choice(["json", "ruby"]), default="json")
def ddl_command(agent: str, form: str) -> int:
    """Prints the DDL of an agent, for `choria req` (json) or `mco` (ruby).

    AGENT is backplane, rpcutil, choria_util, or package.module:Class for an
    agent of an application.
    """
    try:
        ddl = setup.agent_ddl(agent)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(ddl.to_json() if form == "json" else ddl.to_ruby(), nl=False)
    return ExitCode.OK


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Prints the completion script of a shell: eval "$(backplane completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "backplane", "_BACKPLANE_COMPLETE").source())
    return ExitCode.OK


def complain(console: Console, text: str, code: int, as_json: bool) -> int:
    """Say what is wrong, as text or as a document; return the exit code."""
    if as_json:
        console.print(json.dumps({"error": text, "exit_code": int(code)}, indent=2))
    else:
        console.note(f"backplane: error: {text}")
    return int(code)


def _run(request: Request, settings: setup.Settings, console: Console, debug: bool) -> int:
    """Run the reactor until the request is done."""
    from twisted.internet import reactor as default

    reactor: Any = default
    if debug:
        setup.log_to_stderr()
    ended: list[int | Failure] = []

    async def work() -> None:
        client, operator = setup.connect(settings, reactor, time.time)
        try:
            ended.append(await execute(request, client, operator, console))
        finally:
            await client.stopService()

    def over(result: Failure | None) -> None:
        if result is not None and not ended:
            ended.append(result)
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(over))
    reactor.run()
    if not ended:
        raise Fault("interrupted", ExitCode.INTERRUPTED)
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    return int(ended[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    console = Console(sys.stdout, sys.stderr, os.environ)
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in args
    try:
        result = cli.main(args=args, prog_name="backplane", standalone_mode=False, obj=console)
        code = result if isinstance(result, int) else 0
    except click.UsageError as error:
        hint = "" if as_json else ", try --help"
        code = complain(console, error.format_message() + hint, ExitCode.USAGE, as_json)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = complain(console, "interrupted", ExitCode.INTERRUPTED, as_json)
    console.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
