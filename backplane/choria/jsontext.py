"""JSON text of a value as Go writes it, with bounded work."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from backplane.choria.budget import Budget

__all__ = ["MAX_TEXT", "format_number", "to_json"]

MAX_TEXT: Final = 16 * 1024
"""Longest text that an expression or a path may make, in characters."""

MAX_LEVELS: Final = 64
"""Deepest value that is written."""

_ESCAPES: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def to_json(value: Any, budget: Budget, indent: str = "") -> str:
    """Return JSON text with sorted keys; cut off somewhere beyond :data:`MAX_TEXT`.

    :param indent: for each level; compact without.
    :raises BudgetExceeded: when that takes too many steps.
    """
    writer = _Writer(budget, indent)
    writer.write(value, 0)
    return "".join(writer.parts)


class _Writer:
    """Collects pieces of text until there are enough."""

    def __init__(self, budget: Budget, indent: str) -> None:
        self.parts: list[str] = []
        self._budget = budget
        self._indent = indent
        self._size = 0

    def _put(self, text: str) -> None:
        self._budget.spend(3 + len(text) // 64)
        self._size += len(text)
        self.parts.append(text)

    def write(self, value: Any, depth: int) -> None:
        if self._size > MAX_TEXT:
            return
        if depth > MAX_LEVELS:
            self._put("x" * (MAX_TEXT + 1))
        elif isinstance(value, Mapping):
            self._budget.spend(len(value))
            colon = ": " if self._indent else ":"
            keys = sorted(value, key=str)
            self._all([(f"{_quote(str(key))}{colon}", value[key]) for key in keys], "{}", depth)
        elif isinstance(value, (list, tuple)):
            self._budget.spend(len(value))
            self._all([("", item) for item in value], "[]", depth)
        else:
            self._put(_scalar(value))

    def _all(self, items: list[tuple[str, Any]], ends: str, depth: int) -> None:
        line = f"\n{self._indent * depth}" if self._indent else ""
        for number, (key, item) in enumerate(items):
            self._put(f"{',' if number else ends[0]}{line}{self._indent}{key}")
            self.write(item, depth + 1)
        self._put(f"{line}{ends[1]}" if items else ends)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quote(value[: MAX_TEXT + 1])
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return format_number(value)
    return str(value) if isinstance(value, int) and abs(value) < 2**64 else "0"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def format_number(number: float) -> str:
    """Return a float64 as Go's ``%v`` does: shortest digits, exponent from 1e21 on."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0 or 1e-4 <= abs(number) < 1e21:
        return f"{Decimal(repr(number)):f}".removesuffix(".0")
    # Python, too, writes an exponent there.
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+03d}"
