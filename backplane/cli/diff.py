"""``backplane SERVICE diff``: which instances differ, in which facts."""

from __future__ import annotations

from typing import Any, Final

import click

from backplane.cli.arguments import Spoken, target_options
from backplane.cli.console import Console, safe
from backplane.cli.formats import Columns, show_rows
from backplane.cli.history import listed
from backplane.cli.session import Command, operate
from backplane.client.accounting import ExitCode
from backplane.client.facts import compare

__all__ = ["diff_command"]

MAX_VALUES: Final = 10
"""Values of one fact that are shown, without ``-v``."""

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
            # Where everybody has his own value nobody differs from the others.
            rows = [row for row in rows if row["usual"] is not None]
        document = {
            **outcome.as_dict(),
            "replies": [],
            "differences": [each.as_dict() for each in found],
        }
        if not show_rows(console, rows, _COLUMNS, service=command.service, document=document):
            for each in found:
                if each.usual is None:
                    console.print(f"{safe(each.fact)}: {len(each.others)} different values")
                    if not command.verbose:
                        continue
                else:
                    console.print(f"{safe(each.fact)}: {safe(each.usual)} on {each.count}")
                values = list(each.others.items())
                shown = values if command.verbose else values[:MAX_VALUES]
                for value, names in shown:
                    who = ", ".join(map(safe, names)) if command.verbose else listed(names)
                    console.print(f"  {safe(value)} on {len(names)}: {who}")
                if len(shown) < len(values):
                    console.print(f"  … and {len(values) - len(shown)} more values")
            if not found and outcome.good:
                console.print(f"No differences between {len(outcome.good)} service(s)")
        command.tell(outcome)
        return outcome.exit_code

    return operate(console, given, work)
