"""Semantic versions and constraints, as the ``semver()`` of expressions has them.

Versions may be short and have a ``v``; constraints are comparisons with ``,`` or a
blank for "and", ``||`` for "or", ``~``, ``^``, ``x`` as a wildcard and ``a - b``.
A version with a pre-release only fits a constraint that names one.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["satisfies"]

MAX_VERSION: Final = 256
"""Longest version, in characters."""

MAX_CONSTRAINT: Final = 512
"""Longest constraint, in characters."""

_WILD: Final = frozenset("xX*")
_IDENTIFIER: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")
_OPERATORS: Final = ("!=", ">=", "=>", "<=", "=<", "~>", ">", "<", "=", "~", "^")


@attrs.frozen
class _Version:
    numbers: tuple[int, int, int]
    pre: str
    given: int = 3

    def key(self) -> tuple[object, ...]:
        identifiers = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre.split(".")
        )
        return (self.numbers, not self.pre, identifiers if self.pre else ())


def satisfies(version: str, constraint: str) -> bool:
    """Say whether ``version`` satisfies ``constraint``.

    :raises ValueError: when one of them cannot be read.
    """
    if len(version) > MAX_VERSION or len(constraint) > MAX_CONSTRAINT:
        raise ValueError("version or constraint too long")
    found = _version(version, wild=False)
    alternatives = [_alternative(part) for part in constraint.split("||")]
    return any(
        all(_fits(found, operator, wanted) for operator, wanted in part) for part in alternatives
    )


def _version(text: str, *, wild: bool) -> _Version:
    core, plus, build = text.removeprefix("v").partition("+")
    core, dash, pre = core.partition("-")
    if (plus and not _identifiers(build)) or (dash and not _identifiers(pre)):
        raise ValueError("invalid semantic version")
    numbers: list[int] = []
    parts = core.split(".")
    for part in parts:
        if wild and part in _WILD:
            break
        if not (part.isascii() and part.isdigit() and len(part) < 20):
            raise ValueError("invalid semantic version")
        numbers.append(int(part))
    if len(parts) > 3:
        raise ValueError("invalid semantic version")
    given = len(numbers)
    numbers += [0] * (3 - given)
    return _Version((numbers[0], numbers[1], numbers[2]), pre, given)


def _identifiers(text: str) -> bool:
    return all(part and set(part) <= _IDENTIFIER for part in text.split("."))


def _alternative(text: str) -> list[tuple[str, _Version]]:
    words = text.replace(",", " ").split()
    result: list[tuple[str, _Version]] = []
    position = 0
    while position < len(words):
        word = words[position]
        if words[position + 1 : position + 2] == ["-"] and position + 2 < len(words):
            result.append((">=", _version(word, wild=True)))
            result.append(("<=", _version(words[position + 2], wild=True)))
            position += 3
            continue
        operator = next((sign for sign in _OPERATORS if word.startswith(sign)), "")
        rest = word[len(operator) :]
        if operator and not rest:
            position += 1
            rest = words[position] if position < len(words) else ""
        result.append((operator, _version(rest, wild=True)))
        position += 1
    if not result:
        raise ValueError("improper constraint")
    return result


def _fits(found: _Version, operator: str, wanted: _Version) -> bool:
    if found.pre and not wanted.pre and operator != "!=":
        return False
    have, want = found.key(), wanted.key()
    same = found.numbers[: wanted.given] == wanted.numbers[: wanted.given]
    if operator in ("", "="):
        return (
            same
            if wanted.given < 3 and (operator == "" or wanted.given == 0)
            else (same and (wanted.given < 3 or found.pre == wanted.pre))
        )
    if operator == "!=":
        return not same if wanted.given < 3 else have != want
    if operator in (">=", "=>"):
        return have >= want
    if operator == "<":
        return have < want
    if operator == ">":
        # A short version stands for all that begin so.
        return have > want and not (wanted.given < 3 and same)
    if operator in ("<=", "=<"):
        return have <= want or (wanted.given < 3 and same)
    if have < want:
        return False
    if operator == "^":
        return _below_caret(found, wanted)
    return found.numbers[: min(wanted.given, 2)] == wanted.numbers[: min(wanted.given, 2)]


def _below_caret(found: _Version, wanted: _Version) -> bool:
    """Say whether nothing up to the first number that is not zero has changed."""
    fixed = next((at + 1 for at, number in enumerate(wanted.numbers) if number), wanted.given)
    fixed = min(fixed, wanted.given)
    return found.numbers[:fixed] == wanted.numbers[:fixed]
