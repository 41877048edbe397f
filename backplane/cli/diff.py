"""``backplane SERVICE diff``: which instances differ, in which facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.formats import Columns, show_rows
from backplane.cli.history import listed
from backplane.cli.session import Command, operate
from backplane.client.accounting import ExitCode
from backplane.client.facts import Difference, compare

__all__ = ["diff_command", "shown"]

MAX_VALUES: Final = 10
"""Values of one fact that are shown, without ``-v``."""

MAX_TEXT: Final = 100
"""Characters of a value that are shown, without ``-v``."""

MAX_FACTS: Final = 50
"""Facts that are shown, without ``-v``: those in which the fewest differ."""

_COLUMNS: Final[Columns] = (
    ("FACT", "fact"),
    ("USUALLY", "usual"),
    ("HERE", "value"),
    ("INSTANCE", "identity"),
)


@click.command(cls=Spoken)
@click.argument("service")
@click.option("--fact", "facts", multiple=True, metavar="NAME", help="Only this one, and below it")
@target_options
@click.pass_obj
def diff_command(console: Console, /, facts: tuple[str, ...], **given: Any) -> int:
    """Shows in which facts, versions and log levels instances differ from the others.

    The others are those that have the most common value. -v shows all facts, values and names.

    \b
    Examples:
      backplane demo diff
      backplane demo diff --fact config.cache --fact version
      backplane demo diff --fact version -o names | backplane demo drain --nodes - --wait
    """

    async def work(command: Command) -> ExitCode:
        outcome = await command.ask("info", change=False)
        found = compare(outcome.good, facts)
        rows = [
            {"fact": each.fact, "usual": each.usual, "value": value, "identity": name}
            for each in found
            for value, names in each.others.items()
            for name in names
        ]
        if console.form == "names":
            # Where no value is the usual one nobody differs from the others.
            rows = [row for row in rows if row["usual"] is not None]
        document = {
            **outcome.as_dict(),
            "replies": [],
            "differences": [each.as_dict() for each in found],
        }
        if not show_rows(console, rows, _COLUMNS, service=command.service, document=document):
            for line in shown(found, whole=command.verbose):
                console.print(line)
            if not found and outcome.good:
                console.print(f"No differences between {len(outcome.good)} service(s)")
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)


def shown(found: Sequence[Difference], *, whole: bool) -> Iterator[str]:
    """Make the lines of the text: facts in which the fewest differ first.

    :param whole: all of it; else what many have to say is cut.
    """
    ordered = sorted(found, key=lambda each: (each.usual is None, each.differing, each.fact))
    for each in ordered if whole else ordered[:MAX_FACTS]:
        yield from _lines(each, whole)
    if not whole and len(ordered) > MAX_FACTS:
        yield f"… and {len(ordered) - MAX_FACTS} more facts, shown by -v"


def _lines(each: Difference, whole: bool) -> Iterator[str]:
    values = list(each.others.items())
    if each.usual is not None:
        yield f"{safe(each.fact)}: {_value(each.usual, whole)} on {each.count}"
    elif not whole and len(values) == each.differing > 2:
        yield f"{safe(each.fact)}: {len(values)} different values"
        return
    else:
        yield f"{safe(each.fact)}: {len(values)} values"
    for value, names in values if whole else values[:MAX_VALUES]:
        who = ", ".join(map(safe, names)) if whole else listed(names)
        yield f"  {_value(value, whole)} on {len(names)}: {who}"
    if not whole and len(values) > MAX_VALUES:
        yield f"  … and {len(values) - MAX_VALUES} more values"


def _value(value: str, whole: bool) -> str:
    return safe(value) if whole else safe(value, MAX_TEXT)
