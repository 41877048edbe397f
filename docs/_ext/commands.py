"""Writes the reference of the commands from the code that reads them.

``python docs/_ext/commands.py`` writes ``docs/cli-reference.rst``; a test says when that
has to be done.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from backplane.cli.main import cli
from backplane.tap import Options

PAGE = Path(__file__).resolve().parent.parent / "cli-reference.rst"

HEAD = """\
=====================
Reference of commands
=====================

Every command and flag, written by ``docs/_ext/commands.py`` from the code that reads them.
What they mean in practice is in `the command line <cli.rst>`__ and `operations
<operations.rst>`__.
"""


def page() -> str:
    """Return the page."""
    blocks = [
        HEAD,
        *_command(cli, click.Context(cli, info_name="backplane", **cli.context_settings)),
    ]
    return "\n".join([*blocks, *_twistd()])


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _title(context.command_path)
    yield f"``{' '.join([context.command_path, *command.collect_usage_pieces(context)])}``\n"
    yield from _text(command.help)
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if not isinstance(param, click.Option) or record is None:
            continue
        if "--help" in param.opts and context.parent is not None:
            continue
        several = " It may be given several times." if param.multiple else ""
        flags = ", ".join(f"``{flag}``" for flag in record[0].split(", "))
        yield _entry(flags, f"{_marked(record[1]).rstrip('.')}.{several}")
    yield from _text(command.epilog)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _command(found, click.Context(found, info_name=name, parent=context))


def _twistd() -> Iterator[str]:
    yield _title("twistd backplane")
    yield f"``twistd [twistd's own options] backplane {Options.synopsis}``\n"
    yield f"{Options.longdesc}\n"
    options: Any = Options
    for long, short, default, text, *_ in options.optParameters:
        given = "" if default is None else f"; ``{default}`` by default"
        yield _entry(_flags(long, short, f" {long.upper()}"), f"{_marked(text)}{given}.")
    for long, short, text in options.optFlags:
        yield _entry(_flags(long, short, ""), f"{_marked(text)}.")


def _flags(long: str, short: str | None, value: str) -> str:
    flags = ([f"-{short}{value}"] if short else []) + [f"--{long}{value}"]
    return ", ".join(f"``{flag}``" for flag in flags)


def _title(text: str) -> str:
    return f"\n{text}\n{'=' * len(text)}\n"


def _entry(name: str, text: str) -> str:
    return f"{name}\n{_filled(text, '    ')}"


def _filled(text: str, indent: str = "") -> str:
    return (
        textwrap.fill(
            text,
            100,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def _text(text: str | None) -> Iterator[str]:
    """Make the paragraphs of a help; what click does not fill, ``\\b``, are examples."""
    for part in inspect.cleandoc(text or "").split("\n\n"):
        if part.startswith("\b"):
            title, *examples = part.splitlines()[1:]
            yield f"{title}\n\n.. code-block:: sh\n"
            yield textwrap.indent(textwrap.dedent("\n".join(examples)), "    ") + "\n"
        elif part.strip():
            yield _filled(_marked(" ".join(part.split())))


def _marked(text: str) -> str:
    """Return text of a help as text of a page: what is quoted there is literal here."""
    return re.sub(r"`([^`]+)`", r"``\1``", text.replace("*", r"\*"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
