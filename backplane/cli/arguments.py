"""How the command line is read: flags anywhere, ``exec`` left out, times, help.

Help and version go through the console, which minds neither encodings nor readers
that have gone.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

import attrs
import click
from click.shell_completion import CompletionItem

from backplane._version import __version__
from backplane.cli.formats import FORMS, ONLY
from backplane.cli.kinds import Action, Lease, Seconds
from backplane.cli.steps import rollout_of, rollout_options
from backplane.client.changes import MAX_REASON, Flags

__all__ = [
    "BREAKER_NAME",
    "LEASE_FLAGS",
    "Action",
    "Commands",
    "Lease",
    "Seconds",
    "Spoken",
    "Verb",
    "change_options",
    "flags_of",
    "lease_options",
    "list_options",
    "rollout_of",
    "rollout_options",
    "target_options",
    "version_option",
]

BREAKER_NAME: Final = re.compile(r"[a-z0-9_.-]{1,64}")

_BREAKS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, bytes that are no text, and ends of lines."""

_ASKING: Final = frozenset({"--help", "-h", "--version"})


def _show_help(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.obj.print(context.get_help())
        context.exit()


def _show_version(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.obj.print(f"backplane {__version__}")
        context.exit()


class Spoken(click.Command):
    """A command whose help goes through the console."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


@attrs.frozen
class Verb:
    """A command that stands behind a service's name: ``backplane SERVICE VERB``.

    Its first parameter is the argument ``SERVICE``.

    :ivar where: ``module:name`` of it; it is imported when it is wanted.
    :ivar flags: those of its own flags that take a value.
    """

    where: str
    flags: tuple[str, ...] = ()


SERVICE: Final = "SERVICE "
"""Before the name of a verb, among the commands."""


class Commands(Spoken, click.Group):
    """A group whose command ``exec`` may be left out, and that has verbs.

    :ivar later: commands that are imported when they are wanted: ``module:name``.
    :ivar verbs: by name.
    """

    command_class = Spoken

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later: dict[str, str] = {}
        self.verbs: dict[str, Verb] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        verbs = {f"{SERVICE}{name}" for name in self.verbs}
        return sorted({*self.commands, *self.later, *verbs}, key=str.lower)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self.later.pop(cmd_name, None)
        verb = self.verbs.get(cmd_name.removeprefix(SERVICE))
        if where is None and verb is not None and cmd_name not in self.commands:
            where = verb.where
            cmd_name = f"{SERVICE}{cmd_name.removeprefix(SERVICE)}"
        if where is not None:
            module, _, name = where.partition(":")
            self.add_command(getattr(importlib.import_module(module), name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {*self.commands, *self.later}
        return super().parse_args(
            ctx, _with_command(args, self.commands["exec"], names, self.verbs)
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # The names of verbs have a word before them, which nobody types.
        found = [
            item
            for item in super().shell_complete(ctx, incomplete)
            if not item.value.startswith(SERVICE)
        ]
        if incomplete.startswith("-"):
            # They may stand before the words.
            known = {item.value for item in found}
            command = self.commands["exec"]
            with command.make_context("exec", [], ctx, resilient_parsing=True) as inner:
                more = command.shell_complete(inner, incomplete)
            found += [item for item in more if item.value not in known]
        return found


def _with_command(
    args: list[str],
    default: click.Command,
    commands: Container[str],
    verbs: Mapping[str, Verb],
) -> list[str]:
    """Put the command first, and ``exec`` or the verb there when none is named."""
    options = [param for param in default.params if isinstance(param, click.Option)]
    takes_value = {flag for param in options if not param.is_flag for flag in param.opts}
    takes_value.update(flag for verb in verbs.values() for flag in verb.flags)
    words = _words(args, takes_value)
    if not words:
        return args if _ASKING.issuperset(args) else ["exec", *args]
    first = args[words[0]]
    explicit = first == "exec"
    if first in commands and not explicit:
        return _moved(args, words[0])
    if len(words) > explicit + 1 and args[words[explicit + 1]] in verbs:
        service, verb = (args[word] for word in words[explicit : explicit + 2])
        taken = words[: explicit + 2]
        rest = [arg for index, arg in enumerate(args) if index not in taken]
        return [f"{SERVICE}{verb}", service, *rest]
    return _moved(args, words[0]) if explicit else ["exec", *args]


def _moved(args: list[str], index: int) -> list[str]:
    return [args[index], *args[:index], *args[index + 1 :]]


def _words(args: list[str], takes_value: set[str]) -> list[int]:
    """Return where the first words are that are neither flags nor their values, three at most."""
    found: list[int] = []
    skip = False
    for index, arg in enumerate(args):
        if skip:
            skip = False
        elif arg == "--" or len(found) == 3:
            break
        elif arg.startswith("-") and arg != "-":
            skip = _wants_next(arg, takes_value)
        else:
            found.append(index)
    return found


def _wants_next(arg: str, takes_value: set[str]) -> bool:
    """Say whether the value of a flag, or of the last of several, is the next argument."""
    if arg.startswith("--"):
        return arg in takes_value
    for at, letter in enumerate(arg[1:], 1):
        if f"-{letter}" in takes_value:
            return at == len(arg) - 1
    return False


version_option: Final = click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)


_TARGET: Final = (
    click.option("-F", "--wf", "facts", multiple=True, metavar="FACT", help="Services with a fact"),
    click.option(
        "-I", "--wi", "identities", multiple=True, metavar="NAME", help="Services with an identity"
    ),
    click.option(
        "-W", "--with", "withs", multiple=True, metavar="FILTER", help="Facts and classes together"
    ),
    click.option(
        "-C", "--wc", "classes", multiple=True, metavar="CLASS", help="Services of a class"
    ),
    click.option(
        "-S", "--select", "select", multiple=True, metavar="EXPR", help="Services by an expression"
    ),
    click.option("-T", "--target", metavar="COLLECTIVE", help="Instead of SERVICE_backplane"),
    click.option(
        "--nodes", metavar="FILE", help="Only the instances in a file; - is standard input"
    ),
    click.option("--expect", type=click.IntRange(min=1), metavar="N", help="How many there are"),
    click.option(
        "--expect-at-least",
        type=click.IntRange(min=1),
        metavar="N",
        help="How many there are, or more",
    ),
    click.option("--no-roster", is_flag=True, help="Expect nobody because of earlier runs"),
    click.option("--timeout", type=Seconds(), help="How long to wait for services to respond"),
    click.option("--discovery-timeout", type=Seconds(), help="How long to look for services"),
    click.option("--window", type=Seconds(), help="End discovery so long after the last answer"),
    click.option(
        "--config", metavar="FILE", help="Configuration file to use, instead of BACKPLANE_CONFIG"
    ),
    click.option("--insecure", is_flag=True, help="Disable TLS security"),
    click.option(
        "-o",
        "--output",
        type=click.Choice(FORMS),
        help="How instances are listed, as text if not said",
    ),
    click.option(
        "--only", type=click.Choice(ONLY), help="Which of them: in a table, in jsonl and in names"
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text"),
    click.option("-v", "--verbose", is_flag=True, help="Enable verbose output"),
    click.option("-d", "--debug", is_flag=True, help="Enable debug logging"),
    version_option,
)


_LIST: Final = (
    click.option(
        "-o",
        "--output",
        type=click.Choice(FORMS),
        help="How instances are listed, as text if not said",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text"),
)


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say in which form a list is written."""
    for option in reversed(_LIST):
        command = option(command)
    return command


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say whom a command means, how it gets there, and what it prints."""
    for option in reversed(_TARGET):
        command = option(command)
    return command


_LEASE: Final = click.option(
    "--for", "lease", type=Lease(), help="The services take it back after so long"
)
_REASON: Final = click.option("--reason", metavar="TEXT", help="Why, for others to read")
_CHANGE: Final = (
    _LEASE,
    _REASON,
    click.option("--breaker", metavar="NAME", help="This breaker instead of the whole application"),
    click.option("--cancel", is_flag=True, help="Call a shutdown off"),
    click.option("--in", "delay", type=Lease(), help="Shut down so much later"),
)
LEASE_FLAGS: Final = ("--for", "--reason", "--breaker", "--logger", "--change", "--what")
"""Flags of the verbs that change something, which take a value."""


def flags_of(given: dict[str, Any]) -> Flags:
    """Take what the flags of :func:`change_options` say out of all that were given.

    :raises click.UsageError: for a reason that is too long, or none, or has several lines.
    """
    reason, breaker = given.pop("reason", None), given.pop("breaker", None)
    reason = None if reason is None else reason.strip()
    if reason is not None and not 0 < len(reason) <= MAX_REASON:
        raise click.UsageError(f"--reason is a text of 1 to {MAX_REASON} characters")
    if reason is not None and any(unicodedata.category(char) in _BREAKS for char in reason):
        raise click.UsageError("--reason is one line of text, without control characters")
    if breaker is not None and not BREAKER_NAME.fullmatch(breaker):
        raise click.UsageError(f"--breaker {breaker[:60]!r}: names have a-z, 0-9, _, . and -")
    return Flags(
        seconds=given.pop("lease", None),
        reason=reason,
        breaker=breaker,
        cancel=given.pop("cancel", False),
        delay=given.pop("delay", None),
    )


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say what part is changed, for how long, and why."""
    for option in reversed(_CHANGE):
        command = option(command)
    return command


def lease_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say for how long, and why."""
    return _LEASE(_REASON(command))
