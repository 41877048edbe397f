"""The forms in which a list of instances is written, and read again.

``text`` is each command's own. ``table``, ``json``, ``jsonl`` and ``names`` are the same for
all. A name is ``SERVICE/IDENTITY``, one a line, so that what was listed of one service is
refused for another, whatever ``grep`` and ``head`` left of the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from backplane.cli.console import Console, safe
from backplane.client.accounting import Answer, Outcome, unable

__all__ = ["FORMS", "ONLY", "Columns", "early_form", "show_outcome", "show_rows", "table"]

FORMS: Final = ("text", "table", "json", "jsonl", "names")
ONLY: Final = ("ok", "failed", "silent", "all")

MAX_CELL: Final = 200
"""Characters of a cell of a table."""

Columns = Sequence[tuple[str, str]]
"""Headings of a table, and the keys of what stands below."""

_ANSWER: Final[Columns] = (
    ("INSTANCE", "identity"),
    ("ANSWER", "state"),
    ("SECONDS", "seconds"),
    ("DETAIL", "detail"),
)
_INFO: Final[Columns] = (
    ("INSTANCE", "identity"),
    ("ANSWER", "state"),
    ("VERSION", "version"),
    ("BACKPLANE", "backplane_version"),
    ("PAUSED", "paused"),
    ("HEALTHY", "healthy"),
    ("LOG LEVEL", "loglevel"),
    ("DETAIL", "detail"),
)
_FAILED: Final = frozenset({"failed", "unable", "unhealthy"})
_SILENT: Final = frozenset({"silent", "late", "missing"})


def early_form(args: Sequence[str]) -> str:
    """Return the form that arguments ask for, also when they cannot be read otherwise."""
    form = "text"
    args = list(args[: args.index("--")] if "--" in args else args)
    for index, arg in enumerate(args):
        following = args[index + 1] if index + 1 < len(args) else ""
        if arg == "--json":
            return "json"
        if arg == "--output" or (arg[:1] == "-" and arg[:2] != "--" and arg[-1:] == "o"):
            form = following
        elif arg.startswith("--output="):
            form = arg.partition("=")[2]
        elif arg.startswith("-o"):
            form = arg[2:].removeprefix("=")
    return form if form in FORMS else "text"


def chosen(output: str | None, as_json: bool) -> str:
    """Return the form that ``-o`` and ``--json`` say.

    :raises click.UsageError: when they say two things.
    """
    if as_json and output not in (None, "json"):
        raise click.UsageError(f"--json and -o {output} contradict each other")
    return "json" if as_json else output or "text"


def show_rows(
    console: Console,
    rows: Sequence[Mapping[str, Any]],
    columns: Columns,
    *,
    service: str | None = None,
    document: object = None,
) -> bool:
    """Write a list in the form that the operator wants.

    :param rows: JSON-able; the name of an instance is its ``identity``, and its service is
        ``service`` there, or the same for all.
    :param document: what ``json`` writes, the rows by default.
    :returns: false for ``text``, which is the command's own.
    """
    form = console.form
    if form == "json":
        console.print_json(list(rows) if document is None else document)
    elif form == "jsonl":
        for row in rows:
            console.print(json.dumps(row, separators=(",", ":")))
    elif form == "names":
        # A row without an identity is no instance.
        found = (
            f"{row.get('service', service)}/{safe(row['identity'])}"
            for row in rows
            if row.get("identity")
        )
        for name in dict.fromkeys(found):
            console.print(name)
    elif form == "table":
        for line in table(rows, columns):
            console.print(line)
    return form != "text"


def table(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Iterator[str]:
    """Make the lines of a table; no rows make none. A column without a value is left out."""
    cells = [[_cell(row.get(key)) for _, key in columns] for row in rows]
    used = [index for index in range(len(columns)) if any(line[index] for line in cells)]
    if not cells or not used:
        return
    lines = [[columns[index][0] for index in used]]
    lines += [[line[index] for index in used] for line in cells]
    widths = [max(len(line[at]) for line in lines) for at in range(len(used))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict | list):
        value = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return safe(value, MAX_CELL)


def show_outcome(outcome: Outcome, console: Console, as_json: bool = False) -> bool:
    """Write what became of a request, but for ``text``; say whether it was written.

    :param as_json: as JSON, whatever the console's form is.
    """
    if as_json:
        console.print_json(outcome.as_dict())
        return True
    rows = list(_chosen(outcome, console.only, console.form))
    columns = _INFO if outcome.action == "info" else _ANSWER
    document = outcome.as_dict() if console.form == "json" else None
    return show_rows(console, rows, columns, service=outcome.service, document=document)


def _chosen(outcome: Outcome, only: str | None, form: str) -> Iterator[dict[str, Any]]:
    """Make the rows that are meant.

    A list of names is the next command's targets: those where it was done; of ``health``,
    which asks who is not, those that are not.
    """
    if only is None:
        usual = "failed" if outcome.action == "health" else "ok"
        only = usual if form == "names" else "all"
    for row in _rows(outcome):
        state = row["state"]
        if (
            only == "all"
            or (only == "ok" and state == "ok")
            or (only == "failed" and state in _FAILED)
            or (only == "silent" and state in _SILENT)
        ):
            if form != "table":
                del row["detail"]
                if outcome.action == "info":
                    for _, key in _INFO[2:-1]:
                        row.pop(key, None)
            yield row


def _rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Make a row for each instance, sorted by identity."""
    rows = [_answer(outcome, answer) for answer in outcome.answers]
    for state, names in (
        ("silent", outcome.silent),
        ("late", outcome.late),
        ("missing", outcome.absent),
        ("left out", outcome.left_out),
        ("not asked", outcome.untouched),
    ):
        rows += [
            {"service": outcome.service, "identity": name, "state": state, "detail": None}
            for name in names
        ]
    yield from sorted(rows, key=lambda row: str(row["identity"]))


def _answer(outcome: Outcome, answer: Answer) -> dict[str, Any]:
    reply = answer.reply
    row: dict[str, Any] = {
        "service": outcome.service,
        "identity": answer.sender,
        "state": _state(answer),
        "statuscode": reply.status,
        "statusmsg": reply.message,
        "data": dict(reply.data),
        "seconds": round(answer.seconds, 6),
        "detail": (dict(reply.data) or None) if reply.ok else reply.message,
    }
    if outcome.action == "info" and reply.ok:
        row.update({key: reply.data.get(key) for _, key in _INFO[2:-1]}, detail=None)
    return row


def _state(answer: Answer) -> str:
    if unable(answer):
        return "unable"
    if not answer.reply.ok:
        return "failed"
    return "ok" if answer.good else "unhealthy"
