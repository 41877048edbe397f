"""The text of a path taken apart: steps, brackets, queries, literals.

See :mod:`backplane.choria.paths` for what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import attrs

__all__ = [
    "MODIFIERS",
    "Step",
    "closing",
    "first_step",
    "literal",
    "outside",
    "parse_query",
    "pattern_chars",
    "split_pipe",
    "split_selectors",
]

MODIFIERS: Final = frozenset(
    {"this", "valid", "pretty", "ugly", "keys", "values", "reverse", "flatten", "join", "tostr"}
)

"""Names of the modifiers that are known; others are keys."""


@attrs.frozen
class Step:
    """The first component of a path.

    :ivar chars: of the key, each with whether it is a wildcard.
    :ivar rest: what follows, or ``None``.
    :ivar piped: the rest applies to the result as a whole.
    """

    chars: tuple[tuple[str, bool], ...]
    rest: str | None
    piped: bool

    @property
    def text(self) -> str:
        return "".join(char for char, _ in self.chars)

    @property
    def is_wild(self) -> bool:
        return any(wild for _, wild in self.chars)


def first_step(path: str) -> Step:
    """Return the first component of a path."""
    chars: list[tuple[str, bool]] = []
    position = 0
    while position < len(path):
        char = path[position]
        if char in ".|":
            rest = path[position + 1 :]
            return Step(tuple(chars), rest, char == "|" or _starts_pipe(rest))
        if char == "\\":
            position += 1
            if position < len(path):
                chars.append((path[position], False))
        else:
            chars.append((char, char in "*?"))
        position += 1
    return Step(tuple(chars), None, False)


def _starts_pipe(rest: str) -> bool:
    if rest.startswith("@"):
        end = min((at for mark in ".|:" if (at := rest.find(mark)) >= 0), default=len(rest))
        return rest[1:end] in MODIFIERS
    return rest.startswith(("[", "{", "!"))


def pattern_chars(text: str) -> tuple[tuple[str, bool], ...]:
    """Return the characters of a pattern in which dots are dots."""
    chars: list[tuple[str, bool]] = []
    escaped = False
    for char in text:
        if char == "\\" and not escaped:
            escaped = True
            continue
        chars.append((char, char in "*?" and not escaped))
        escaped = False
    return tuple(chars)


def closing(path: str, start: int) -> int:
    """Return where the bracket at ``start`` closes, or -1."""
    depth = 0
    position = start
    quoted = False
    while position < len(path):
        char = path[position]
        if char == "\\":
            position += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in "([{":
            depth += 1
        elif not quoted and char in ")]}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


def outside(text: str, marks: str) -> Iterator[int]:
    """Yield where one of ``marks`` stands outside of quotes and brackets."""
    depth = 0
    quoted = False
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted:
            if depth == 0 and char in marks:
                yield position
            depth += (char in "([{") - (char in ")]}")
        position += 1


def split_pipe(path: str) -> tuple[str, str | None]:
    """Return what stands before and behind the first ``|``."""
    for at in outside(path, "|"):
        return path[:at], path[at + 1 :]
    return path, None


def split_selectors(text: str) -> list[tuple[str, str]]:
    """Return names and paths of ``a,"n":b``; a name is the last key without one."""
    cuts = [-1, *outside(text, ","), len(text)]
    result = []
    for start, end in pairwise(cuts):
        part = text[start + 1 : end]
        colon = next(outside(part, ":"), -1)
        if colon > 0 and not part.startswith("@"):
            result.append((part[:colon].strip('"'), part[colon + 1 :]))
        elif part:
            last = part.replace("|", ".").rsplit(".", 1)[-1]
            result.append((last if last.replace("_", "").isalnum() else "_", part))
    return result


def parse_query(text: str) -> tuple[str, str, str]:
    """Return path, operator and value of what stands within ``#(...)``."""
    for at in outside(text, "=!<>%"):
        operator = text[at]
        end = at + 1
        if operator == "!" and text[end : end + 1] not in ("=", "%"):
            continue
        if text[end : end + 1] == "=" or (operator == "!" and text[end : end + 1] == "%"):
            operator += text[end]
            end += 1
        operator = "=" if operator in ("=", "==") else operator
        if operator == "%=":
            operator, end = "%", end - 1
        wanted = text[end:].strip()
        if len(wanted) > 1 and wanted[0] == wanted[-1] == '"':
            wanted = wanted[1:-1].replace('\\"', '"')
        return text[:at].strip(), operator, wanted
    return text.strip(), "", ""


def literal(path: str) -> tuple[str, str, Any] | None:
    """Return ``!``, the rest and the value of a path such as ``!"x"|...``."""
    end = next((at for at in outside(path, "|.") if at > 0), len(path))
    try:
        value = json.loads(path[1:end], parse_int=float)
    except (ValueError, RecursionError):
        return None
    return "!", path[end:], value
