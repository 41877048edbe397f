"""The tree that a document becomes: values that know where they stand.

Nodes keep the text as it was written beside what YAML made of it: YAML 1.1
reads ``on`` as a boolean, ``0123456`` as 42798 and ``22:22`` as 1342, and only
who sees both can say so.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs

__all__ = ["FAILED", "MAX_DEPTH", "Entry", "Node", "to_plain"]

MAX_DEPTH: Final = 100
"""Deepest nesting of a document; people write a tenth of that, and the
interpreter's stack ends at some hundreds."""


@attrs.frozen(eq=False)
class Node:
    """One value of a document: a scalar, a list or a mapping.

    :ivar value: the scalar, as YAML or JSON reads it.
    :ivar items: the values of a list; ``None`` for anything else.
    :ivar entries: the keys of a mapping; ``None`` for anything else.
    :ivar written: the text of a scalar in the file, or ``None``.
    :ivar quoted: whether it is text for certain: in quotes, or made in code.
    :ivar expanded: whether ``${NAME}`` was replaced in it.
    :ivar language: ``YAML``, ``JSON``, or ``None`` for a value made in code.
    :ivar line: from 1, or ``None``; ``column`` likewise.
    """

    value: Any = None
    items: tuple[Node, ...] | None = None
    entries: tuple[Entry, ...] | None = None
    written: str | None = None
    quoted: bool = True
    expanded: bool = False
    language: Literal["YAML", "JSON"] | None = None
    line: int | None = None
    column: int | None = None


@attrs.frozen(eq=False)
class Entry:
    """One key of a mapping, as it is read, where it stands, and its value."""

    name: Any
    node: Node
    line: int | None = None
    column: int | None = None


class _Failed:
    def __repr__(self) -> str:
        return "<reported>"


FAILED: Final = _Failed()
"""Stands for a value that has been reported, so that nobody reports it again."""


def to_plain(node: Node) -> Any:
    """Return dictionaries, lists and scalars; what was shared in the file stays shared."""
    return _to_plain(node, {})


def _to_plain(node: Node, done: dict[int, Any]) -> Any:
    if id(node) in done:
        return done[id(node)]
    if node.entries is not None:
        made: Any = {entry.name: _to_plain(entry.node, done) for entry in node.entries}
    elif node.items is not None:
        made = [_to_plain(item, done) for item in node.items]
    else:
        made = node.value
    done[id(node)] = made
    return made
