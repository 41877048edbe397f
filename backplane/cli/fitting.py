"""Lines that fit into a terminal: the least important columns go first, then the ends.

What is no terminal gets everything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from backplane.cli.formats import Columns, table

__all__ = ["cells", "cut", "fitted"]

WANTED: Final = 24
"""Cells that the last column has at least, before another goes."""


def cells(text: str) -> int:
    """Return how many cells of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, width: int | None) -> str:
    """Return a text that takes no more than so many cells; what is cut ends in ``…``."""
    if width is None or cells(text) <= width:
        return text
    kept = text[:width]  # a character takes no less than nothing
    while kept and cells(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def fitted(
    rows: Sequence[Mapping[str, Any]],
    columns: Columns,
    width: int | None,
    dispensable: Sequence[str],
) -> list[str]:
    """Return the lines of a table, the headings first.

    :param width: of the terminal; ``None`` for no bound.
    :param dispensable: keys of columns, the first goes first. The last column is only cut.
    """
    if width is None:
        return list(table(rows, columns))
    kept = list(columns)
    last = columns[-1]
    longest = max((cells(str(row.get(last[1]) or "")) for row in rows), default=0)
    for key in (*dispensable, None):
        lines = list(table(rows, [column for column in kept if column is not last]))
        taken = max(map(cells, lines), default=0)
        if key is None or taken + bool(longest) * 2 + min(longest, WANTED) <= width:
            break
        kept = [column for column in kept if column[1] != key]
    return [cut(line, width) for line in table(rows, kept)]
