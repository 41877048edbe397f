"""How the command line is read: flags anywhere, ``exec`` left out, times, help.

Help and version go through the console, which minds neither encodings nor readers
that have gone.
"""

from __future__ import annotations

import importlib
from collections.abc import Container
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from backplane._version import __version__
from backplane.config.durations import parse_duration

__all__ = ["Commands", "Seconds", "Spoken", "version_option"]

_ASKING: Final = frozenset({"--help", "-h", "--version"})


class Seconds(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time, in seconds or with a unit; more than nothing and less than a day."""

    name = "SECONDS"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        plain = value.isascii() and value.replace(".", "", 1).isdigit()
        try:
            seconds = float(value) if plain else parse_duration(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 86400:
            self.fail(f"{value!r} is not a time such as 5, 2.5s or 1m", param, ctx)
        return seconds


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


class Commands(Spoken, click.Group):
    """A group whose command ``exec`` may be left out.

    :ivar later: commands that are imported when they are wanted: ``module:name``.
    """

    command_class = Spoken

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later: dict[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.later:
            module, _, name = self.later.pop(cmd_name).partition(":")
            self.add_command(getattr(importlib.import_module(module), name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {*self.commands, *self.later}
        return super().parse_args(ctx, _with_command(args, self.commands["exec"], names))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            # They may stand before the words.
            known = {item.value for item in found}
            command = self.commands["exec"]
            with command.make_context("exec", [], ctx, resilient_parsing=True) as inner:
                more = command.shell_complete(inner, incomplete)
            found += [item for item in more if item.value not in known]
        return found


def _with_command(args: list[str], default: click.Command, commands: Container[str]) -> list[str]:
    """Put the command first, and ``exec`` there when none is named."""
    options = [param for param in default.params if isinstance(param, click.Option)]
    takes_value = {flag for param in options if not param.is_flag for flag in param.opts}
    skip = False
    for index, arg in enumerate(args):
        if skip:
            skip = False
        elif arg == "--":
            break
        elif arg.startswith("-") and arg != "-":
            skip = _wants_next(arg, takes_value)
        elif arg in commands:
            return [arg, *args[:index], *args[index + 1 :]]
        else:
            break
    else:
        if _ASKING.issuperset(args):
            return args
    return ["exec", *args]


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
