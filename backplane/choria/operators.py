"""The operators of the expression language between two values.

Numbers are integers of 64 bits or doubles, as in Go; a division makes a double.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from backplane.choria.budget import Budget
from backplane.choria.jsontext import MAX_TEXT
from backplane.choria.lexer import ExpressionError
from backplane.choria.values import Duration, Moment, integer, number, same, text, wrap

__all__ = ["OPERATIONS"]

Operation = Callable[[Any, Any, Budget], Any]


def _arithmetic(combine: Callable[[Any, Any], Any]) -> Operation:
    def calculate(one: Any, other: Any, budget: Budget) -> Any:
        left, right = number(one), number(other)
        if isinstance(left, int) and isinstance(right, int):
            return wrap(combine(left, right))
        return combine(float(left), float(right))

    return calculate


_add_numbers: Final = _arithmetic(lambda one, other: one + other)
_subtract_numbers: Final = _arithmetic(lambda one, other: one - other)


def _add(one: Any, other: Any, budget: Budget) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        budget.spend((len(one) + len(other)) // 64)
        if len(one) + len(other) > MAX_TEXT:
            raise ExpressionError("a text that is too long")
        return one + other
    if isinstance(one, (Moment, Duration)) and isinstance(other, (Moment, Duration)):
        if isinstance(one, Moment) and isinstance(other, Moment):
            raise ExpressionError("two times cannot be added")
        kind = Duration if isinstance(one, Duration) and isinstance(other, Duration) else Moment
        return kind(wrap(one.nanoseconds + other.nanoseconds))
    return _add_numbers(one, other, budget)


def _subtract(one: Any, other: Any, budget: Budget) -> Any:
    if isinstance(one, Moment) and isinstance(other, (Moment, Duration)):
        kind = Duration if isinstance(other, Moment) else Moment
        return kind(wrap(one.nanoseconds - other.nanoseconds))
    if isinstance(one, Duration) and isinstance(other, Duration):
        return Duration(wrap(one.nanoseconds - other.nanoseconds))
    return _subtract_numbers(one, other, budget)


def _divide(one: Any, other: Any, budget: Budget) -> float:
    left, right = float(number(one)), float(number(other))
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _modulo(one: Any, other: Any, budget: Budget) -> int:
    left, right = integer(one), integer(other)
    if right == 0:
        raise ExpressionError("a division by zero")
    # The sign is that of the dividend, as in Go.
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _power(one: Any, other: Any, budget: Budget) -> float:
    left, right = float(number(one)), float(number(other))
    try:
        return math.pow(left, right)
    except OverflowError:
        return -math.inf if left < 0 and right % 2 == 1 else math.inf
    except ValueError:
        return math.inf if left == 0 else math.nan


def _ordering(compare: Callable[[Any, Any], bool]) -> Operation:
    def order(one: Any, other: Any, budget: Budget) -> bool:
        if isinstance(one, str) and isinstance(other, str):
            budget.spend(min(len(one), len(other)) // 256)
            return compare(one, other)
        if isinstance(one, (Moment, Duration)) and type(one) is type(other):
            return compare(one, other)
        left, right = number(one), number(other)
        # An integer beside a double is made one, which may cost its last digits.
        return (
            compare(left, right)
            if type(left) is type(right)
            else compare(float(left), float(right))
        )

    return order


def _within(one: Any, other: Any, budget: Budget) -> bool:
    if other is None:
        return False
    if isinstance(other, dict):
        return one is not None and text(one) in other
    if isinstance(other, tuple) and isinstance(one, str):
        budget.spend(len(other) // 16)
        return one in other
    if isinstance(other, (list, tuple)):
        return any(same(one, item, budget) for item in other)
    raise ExpressionError("in wants a list or a map")


def _about(question: Callable[[str, str], bool]) -> Operation:
    def ask(one: Any, other: Any, budget: Budget) -> bool:
        if one is None or other is None:
            return False
        budget.spend((len(text(one)) + len(text(other))) // 256)
        return question(one, other)

    return ask


def _matches(one: Any, other: Any, budget: Budget) -> bool:
    if one is None or other is None:
        return False
    return budget.search(text(other), text(one))


def _range(one: Any, other: Any, budget: Budget) -> list[int]:
    start, end = integer(one), integer(other)
    budget.spend(max(0, end - start + 1))
    return list(range(start, end + 1))


OPERATIONS: Final[Mapping[str, Operation]] = {
    "==": same,
    "!=": lambda one, other, budget: not same(one, other, budget),
    "<": _ordering(lambda one, other: one < other),
    "<=": _ordering(lambda one, other: one <= other),
    ">": _ordering(lambda one, other: one > other),
    ">=": _ordering(lambda one, other: one >= other),
    "in": _within,
    "contains": _about(lambda one, other: other in one),
    "startsWith": _about(str.startswith),
    "endsWith": _about(str.endswith),
    "matches": _matches,
    "..": _range,
    "+": _add,
    "-": _subtract,
    "*": _arithmetic(lambda one, other: one * other),
    "/": _divide,
    "%": _modulo,
    "**": _power,
}
"""By operator; each is given both values and the budget."""
