"""Values of the expression language: what they are and when two are the same.

``None``, ``bool``, ``int`` (64 bits), ``float``, ``str``, ``list`` (a ``tuple`` for lists of
text only, which Go tells apart), ``dict``, :class:`Moment` and :class:`Duration`.
"""

from __future__ import annotations

from typing import Any

import attrs

from backplane.choria.budget import Budget
from backplane.choria.lexer import ExpressionError

__all__ = [
    "Duration",
    "Moment",
    "add_all",
    "identical",
    "integer",
    "items",
    "number",
    "ordered",
    "same",
    "text",
    "wrap",
]


@attrs.frozen(order=True)
class Moment:
    """A point in time, in nanoseconds since 1970."""

    nanoseconds: int


@attrs.frozen(order=True)
class Duration:
    """A length of time."""

    nanoseconds: int


def wrap(value: int) -> int:
    """Return an integer cut to 64 bits, as Go's arithmetic does."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def number(value: Any) -> int | float:
    """Return a number; :raises ExpressionError: for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ExpressionError("a number is wanted")


def integer(value: Any) -> int:
    """Return an integer; :raises ExpressionError: for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ExpressionError("an integer is wanted")


def text(value: Any) -> str:
    """Return text; :raises ExpressionError: for anything else."""
    if isinstance(value, str):
        return value
    raise ExpressionError("a text is wanted")


def items(value: Any, budget: Budget) -> list[Any]:
    """Return the items of a list and pay for them; :raises ExpressionError: for no list."""
    if not isinstance(value, (list, tuple)):
        raise ExpressionError("a list is wanted")
    budget.spend(1 + len(value) // 4)
    return list(value)


def same(one: Any, other: Any, budget: Budget) -> bool:
    """Compare as ``==`` does: numbers by value, lists by item, maps strictly."""
    budget.spend(2)
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other if type(one) is type(other) else float(one) == float(other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(
            same(left, right, budget) for left, right in zip(one, other, strict=True)
        )
    return identical(one, other, budget)


def identical(one: Any, other: Any, budget: Budget) -> bool:
    """Compare values and their types."""
    budget.spend()
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(
            identical(left, right, budget) for left, right in zip(one, other, strict=True)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            identical(value, other[key], budget) for key, value in one.items()
        )
    return bool(one == other)


def add_all(found: list[Any]) -> int | float:
    """Return the sum; of integers in 64 bits."""
    total: int | float = 0
    for item in found:
        total += number(item)
    return wrap(total) if isinstance(total, int) else total


def ordered(found: list[Any], keys: list[Any], direction: Any, budget: Budget) -> list[Any]:
    """Return items in the order of their keys, all numbers or all text."""
    if not (all(isinstance(key, str) for key in keys) or all(number(key) == key for key in keys)):
        raise ExpressionError("what is no number cannot be sorted")
    budget.spend(4 * len(found))
    if text(direction) not in ("asc", "desc"):
        raise ExpressionError("an order is asc or desc")
    order = sorted(range(len(found)), key=keys.__getitem__, reverse=direction == "desc")
    return [found[at] for at in order]
