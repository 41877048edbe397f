"""Facts: what people type about them, how they compare, what of them is shown.

The value of a fact filter is always text; how it is compared depends on the JSON
type of the fact. The rules are those of Choria's peers, odd ones included, since
one filter is answered by a mixed fleet: a number is cut to an integer unless the
value has a ``.``, with which ``>`` means ``>=``; whatever is not a true word equals
``false``; a missing fact matches nothing, with ``!=`` neither.

Source: Choria protocol 5.3 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from backplane.choria.budget import Budget, BudgetExceeded
from backplane.choria.cleaning import clean
from backplane.choria.masking import hide, mask
from backplane.choria.paths import MISSING, lookup
from backplane.patterns import PatternError

__all__ = [
    "MISSING",
    "OPERATORS",
    "FactFilter",
    "check_fact",
    "clean",
    "fact_matches",
    "hide",
    "lookup",
    "lower",
    "mask",
    "parse_fact",
]

OPERATORS: Final = frozenset({"==", "!=", "=~", "<", "<=", ">", ">="})
"""Operators that may stand in a request."""


@attrs.frozen
class FactFilter:
    """One fact test; all three are text, as on the wire.

    :ivar operator: one of ``== != =~ < <= > >=``.
    """

    fact: str
    operator: str
    value: str


_TYPED: Final = {
    **{operator: operator for operator in OPERATORS},
    "=": "==",
    "=>": ">=",
    "=<": "<=",
}
"""What people may type, and what it means on the wire."""

_BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def parse_fact(text: str) -> FactFilter:
    """Return the test that a person typed, such as ``dc=DC1`` or ``interval >= 10``.

    The rightmost operator of the text counts. ``=`` means ``==``; a value in
    slashes makes it ``=~``, whatever the operator was.

    :raises ValueError: when there is none, or nothing at one side of it.
    """
    start, operator = _last_operator(text)
    fact = text[: max(start, 0)].strip(_BLANKS)
    value = text[start + len(operator) :].strip(_BLANKS)
    if not operator or not fact or not value or fact[0] in "=<>" or value[-1] in "=<>":
        raise ValueError(f"could not parse fact {text} it does not appear to be in a valid format")
    operator = _TYPED[operator]
    if value.startswith("/") and value.endswith("/"):
        operator = "=~"
    return FactFilter(fact, operator, value)


def _last_operator(text: str) -> tuple[int, str]:
    """Return the last of the operators that are read from left to right, longest first."""
    found = (-1, "")
    position = 0
    while position < len(text):
        width = next((size for size in (2, 1) if text[position : position + size] in _TYPED), 0)
        if width:
            found = position, text[position : position + width]
        position += width or 1
    return found


def fact_matches(facts: Mapping[str, Any], wanted: FactFilter) -> bool:
    """Say whether ``facts`` pass the test; never raises.

    :param facts: plain JSON values. A number too large for a double makes all of
        them unreadable, as it does for a peer that reads them from a file.
    """
    try:
        return _readable(facts) and check_fact(facts, wanted, Budget())
    except BudgetExceeded:
        return False


def _readable(facts: object) -> bool:
    pending = [facts]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, (int, float)) and _double(value) is None:
            return False
    return True


def check_fact(facts: Mapping[str, Any], wanted: FactFilter, budget: Budget) -> bool:
    """Say whether ``facts``, as :func:`clean` makes them, pass the test.

    :raises BudgetExceeded: when that costs too much.
    """
    found = lookup(facts, wanted.fact, budget)
    operator, value = wanted.operator, wanted.value
    # Text beyond ASCII is folded character by character.
    budget.spend(8 + len(value) // (64 if value.isascii() else 3))
    if isinstance(found, bool):
        return _check_bool(found, operator, value)
    if isinstance(found, (int, float)):
        number = _double(found)
        return number is not None and _check_number(number, operator, value, budget)
    return isinstance(found, str) and _check_text(found, operator, value, budget)


_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def _check_bool(fact: bool, operator: str, value: str) -> bool:
    if operator == "==":
        return (value in _TRUE) is fact
    if operator == "=~":
        return (value.lower() in _TRUE) is fact
    # `!=` on a false fact means the same as `=~`: a peculiarity that is kept.
    return operator == "!=" and value.lower() not in _TRUE


def _check_text(fact: str, operator: str, value: str, budget: Budget) -> bool:
    if operator == "=~":
        return _find(value, fact, budget)
    if operator in ("==", "!="):
        # Simple case folding keeps the number of characters.
        same = len(fact) == len(value) and _fold(fact) == _fold(value)
        return same is (operator == "==")
    # What stands beyond the length of the value and one more cannot matter.
    return _compare(operator, lower(fact[: len(value) + 1]), lower(value))


def _check_number(number: float, operator: str, value: str, budget: Budget) -> bool:
    whole = "." not in value
    if operator == "=~":
        return _find(value, str(_integer(number)) if whole else f"{number:.4f}", budget)
    if whole:
        cut = _integer(number)
        if operator in ("==", "!="):
            return (str(cut) == value) is (operator == "==")
        wanted = _parse_integer(value)
        return wanted is not None and _compare(operator, cut, wanted)
    point = _parse_float(value)
    if point is None:
        return False
    return _compare(">=" if operator == ">" else operator, number, point)


_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _compare(operator: str, one: Any, other: Any) -> bool:
    compare = _COMPARE.get(operator)
    return compare is not None and compare(one, other)


def _find(value: str, text: str, budget: Budget) -> bool:
    try:
        return budget.search(value.strip("/"), text, ignore_case=True)
    except PatternError:
        return False


def _double(number: int | float) -> float | None:
    """Return a number as JSON readers with doubles have it, or ``None``."""
    try:
        double = float(number)
    except OverflowError:
        return None
    return double if math.isfinite(double) else None


_BIG: Final = 1 << 63


def _integer(number: float) -> int:
    """Return a number cut to 64 bits; beyond them as Go's peers (un)reliably do."""
    if abs(number) >= 1e21:
        return -_BIG
    digits = int(number) if abs(number) < 2**53 else int(Decimal(repr(number)))
    return (digits + _BIG) % (2 * _BIG) - _BIG


def _parse_integer(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 40:
        return None
    number = int(text)
    return number if -_BIG <= number < _BIG else None


def _parse_float(text: str) -> float | None:
    if len(text) > 400 or not text.isascii() or "_" in text or text != text.strip():
        return None
    try:
        number = float.fromhex(text) if "x" in text.lower() and "p" in text.lower() else float(text)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _fold(text: str) -> str:
    """Fold case one character at a time, as Unicode's simple folding does."""
    return text.lower() if text.isascii() else "".join(map(_fold_char, text))


def _fold_char(char: str) -> str:
    for folded in (char.casefold(), char.lower()):
        if len(folded) == 1:
            return folded
    return char


def lower(text: str) -> str:
    """Lower case one character at a time; Python knows final sigmas, Go does not."""
    if text.isascii():
        return text.lower()
    return "".join("i" if char == "\u0130" else char.lower() for char in text)
