"""The functions of the expression language that need nothing of the node.

Each takes a budget and its arguments. What has a size is paid for by it.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable
from typing import Any, Final

from backplane.choria.budget import Budget
from backplane.choria.documents import decode_base64
from backplane.choria.facts import lower
from backplane.choria.jsontext import MAX_TEXT, format_number, to_json
from backplane.choria.lexer import ExpressionError
from backplane.choria.values import (
    Duration,
    Moment,
    integer,
    items,
    number,
    ordered,
    same,
    text,
    wrap,
)
from backplane.errors import DecodeError

__all__ = ["FUNCTIONS"]

Function = Callable[..., Any]


def _some_text(value: Any, budget: Budget) -> str:
    found = text(value)
    if len(found) > MAX_TEXT:
        raise ExpressionError("a text that is too long")
    budget.spend(len(found) // 64)
    return found


def _len(budget: Budget, value: Any) -> int:
    if isinstance(value, (str, list, tuple, dict)):
        return len(value)
    raise ExpressionError("this has no length")


def _int(budget: Budget, value: Any) -> int:
    if isinstance(value, str):
        digits = value[1:] if value[:1] in ("+", "-") else value
        if not (digits.isascii() and digits.isdigit() and len(digits) < 30):
            raise ExpressionError("a text that is no integer")
        value = int(value)
    elif isinstance(value, Duration):
        return value.nanoseconds
    found = number(value)
    if not math.isfinite(found) or not -(1 << 63) <= int(found) < 1 << 63:
        raise ExpressionError("a number beyond 64 bits")
    return int(found)


def _float(budget: Budget, value: Any) -> float:
    if isinstance(value, str):
        if len(value) > 64 or "_" in value or not value.isascii() or value != value.strip():
            raise ExpressionError("a text that is no number")
        return float(value)
    return float(number(value))


def _string(budget: Budget, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, float):
        return format_number(value)
    return str(integer(value))


def _type(budget: Budget, value: Any) -> str:
    """Return the name that ``type()`` gives to a value."""
    names: tuple[tuple[Any, str], ...] = (
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (str, "string"),
        ((list, tuple), "array"),
        (dict, "map"),
        (Moment, "time.Time"),
        (Duration, "time.Duration"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "nil")


def _on_text(change: Callable[[str], str]) -> Function:
    return lambda budget, value: change(_some_text(value, budget))


def _trim(side: Callable[[str, str | None], str]) -> Function:
    def trim(budget: Budget, value: Any, chars: Any = None) -> str:
        return side(_some_text(value, budget), None if chars is None else text(chars))

    return trim


def _about(question: Callable[[str, str], Any]) -> Function:
    def ask(budget: Budget, value: Any, other: Any) -> Any:
        budget.spend(len(text(value)) // 64)
        return question(text(value), text(other))

    return ask


def _split(budget: Budget, value: Any, separator: Any, most: Any = -1) -> list[str]:
    whole, mark, count = _some_text(value, budget), text(separator), integer(most)
    parts = list(whole) if not mark else whole.split(mark, count - 1 if count > 0 else -1)
    budget.spend(len(parts))
    return parts


def _join(budget: Budget, value: Any, separator: Any = "") -> str:
    parts = [_some_text(part, budget) for part in items(value, budget)]
    mark = _some_text(separator, budget)
    if sum(map(len, parts)) + len(mark) * len(parts) > MAX_TEXT:
        raise ExpressionError("a text that is too long")
    return mark.join(parts)


def _replace(budget: Budget, value: Any, old: Any, new: Any) -> str:
    whole, before, after = (_some_text(part, budget) for part in (value, old, new))
    if len(whole) + (whole.count(before) + 1) * len(after) > MAX_TEXT:
        raise ExpressionError("a text that is too long")
    return whole.replace(before, after)


def _repeat(budget: Budget, value: Any, times: Any) -> str:
    part, count = _some_text(value, budget), integer(times)
    if count < 0 or len(part) * count > MAX_TEXT:
        raise ExpressionError("a text that is too long")
    return part * count


def _abs(value: int | float) -> int | float:
    return wrap(abs(value)) if isinstance(value, int) else abs(value)


def _upper(value: str) -> str:
    # One character stays one, as in Go.
    return "".join(up if len(up := char.upper()) == 1 else char for char in value)


def _rounded(change: Callable[[float], float]) -> Function:
    def rounded(budget: Budget, value: Any) -> float:
        found = float(number(value))
        return change(found) if math.isfinite(found) else found

    return rounded


def _numbers(values: tuple[Any, ...], budget: Budget) -> list[int | float]:
    """Return the numbers of arguments and of lists among them."""
    result: list[int | float] = []
    for value in values:
        found = items(value, budget) if isinstance(value, (list, tuple)) else [value]
        result.extend(number(item) for item in found)
    if not result:
        raise ExpressionError("no numbers")
    return result


def _mean(budget: Budget, *values: Any) -> float:
    found = _numbers(values, budget)
    return float(sum(found)) / len(found)


def _median(budget: Budget, *values: Any) -> float:
    found = sorted(_numbers(values, budget))
    middle = len(found) // 2
    return float(found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2)


def _uniq(budget: Budget, value: Any) -> list[Any]:
    result: list[Any] = []
    for item in items(value, budget):
        if not any(same(item, known, budget) for known in result):
            result.append(item)
    return result


def _flatten(budget: Budget, value: Any) -> list[Any]:
    result: list[Any] = []
    for item in items(value, budget):
        budget.spend()
        result.extend(_flatten(budget, item) if isinstance(item, (list, tuple)) else [item])
    return result


def _concat(budget: Budget, *lists: Any) -> list[Any]:
    return [item for value in lists for item in items(value, budget)]


def _mapping(value: Any, budget: Budget) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ExpressionError("a map is wanted")
    budget.spend(len(value))
    return value


def _get(budget: Budget, value: Any, key: Any) -> Any:
    if isinstance(value, (list, tuple)) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else None
    return value.get(key) if isinstance(value, dict) else None


def _from_pairs(budget: Budget, value: Any) -> dict[Any, Any]:
    pairs = [items(pair, budget) for pair in items(value, budget)]
    return dict(pairs)


def _to_json(budget: Budget, value: Any) -> str:
    written = to_json(value, budget, "  ")
    if len(written) > MAX_TEXT:
        raise ExpressionError("a text that is too long")
    return written


def _from_json(budget: Budget, value: Any) -> Any:
    written = _some_text(value, budget)
    budget.spend(len(written) // 2)
    return json.loads(written, parse_int=float, parse_constant=lambda name: number(None))


def _to_base64(budget: Budget, value: Any) -> str:
    return base64.b64encode(_some_text(value, budget).encode("utf-8", "replace")).decode()


def _from_base64(budget: Budget, value: Any) -> str:
    try:
        return decode_base64(_some_text(value, budget), "filter").decode("utf-8", "replace")
    except DecodeError as error:
        raise ExpressionError(error.detail) from None


_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def _duration(budget: Budget, value: Any) -> Duration:
    rest = text(value)[:100]
    sign = -1 if rest.startswith("-") else 1
    rest = rest[1:] if rest[:1] in ("+", "-") else rest
    total = 0.0
    if not rest:
        raise ExpressionError("an unknown duration")
    while rest and rest != "0":
        end = next((at for at, char in enumerate(rest) if char not in "0123456789."), len(rest))
        stop = next((at for at in range(end, len(rest)) if rest[at] in "0123456789."), len(rest))
        if rest[end:stop] not in _UNITS:
            raise ExpressionError("an unknown duration")
        total += float(rest[:end]) * _UNITS[rest[end:stop]]
        rest = rest[stop:]
    return Duration(wrap(sign * int(total)))


def _date(budget: Budget, value: Any) -> Moment:
    written = text(value)[:40]
    if written.endswith("Z"):
        written = f"{written[:-1]}+00:00"
    found = datetime.datetime.fromisoformat(written)
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.timezone.utc)
    since = found - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return Moment(since // datetime.timedelta(microseconds=1) * 1000)


def _bits(combine: Callable[[int, int], int]) -> Function:
    return lambda budget, one, other: wrap(combine(integer(one), integer(other)))


def _shift(combine: Callable[[int, int], int]) -> Function:
    def shift(budget: Budget, value: Any, by: Any) -> int:
        if integer(by) < 0:
            raise ExpressionError("a negative shift")
        return wrap(combine(integer(value), min(by, 64)))

    return shift


def _side(at: int) -> Function:
    return lambda budget, value: (items(value, budget) or [None])[at]


_BLANKS: Final = " \t\r\n\v\f\x85\xa0"

# fmt: off
FUNCTIONS: Final[dict[str, tuple[int, int, Function]]] = {
    "len": (1, 1, _len),
    "int": (1, 1, _int),
    "float": (1, 1, _float),
    "string": (1, 1, _string),
    "type": (1, 1, _type),
    "upper": (1, 1, _on_text(_upper)),
    "lower": (1, 1, _on_text(lower)),
    "trim": (1, 2, _trim(lambda value, chars: value.strip(chars or _BLANKS))),
    "trimPrefix": (1, 2, _trim(lambda value, part: value.removeprefix(part or " "))),
    "trimSuffix": (1, 2, _trim(lambda value, part: value.removesuffix(part or " "))),
    "split": (2, 3, _split),
    "join": (1, 2, _join),
    "replace": (3, 3, _replace),
    "repeat": (2, 2, _repeat),
    "hasPrefix": (2, 2, _about(str.startswith)),
    "hasSuffix": (2, 2, _about(str.endswith)),
    "indexOf": (2, 2, _about(str.find)),
    "lastIndexOf": (2, 2, _about(str.rfind)),
    "abs": (1, 1, lambda budget, value: _abs(number(value))),
    "ceil": (1, 1, _rounded(lambda value: float(math.ceil(value)))),
    "floor": (1, 1, _rounded(lambda value: float(math.floor(value)))),
    "round": (
        1,
        1,
        _rounded(lambda value: math.copysign(float(math.floor(abs(value) + 0.5)), value)),
    ),
    "max": (1, 64, lambda budget, *values: max(_numbers(values, budget))),
    "min": (1, 64, lambda budget, *values: min(_numbers(values, budget))),
    "mean": (1, 64, _mean),
    "median": (1, 64, _median),
    "first": (1, 1, _side(0)),
    "last": (1, 1, _side(-1)),
    "take": (2, 2, lambda budget, value, count: items(value, budget)[: max(0, integer(count))]),
    "keys": (1, 1, lambda budget, value: sorted(_mapping(value, budget))),
    "values": (1, 1, lambda budget, value: list(_mapping(value, budget).values())),
    "sort": (
        1,
        2,
        lambda budget, value, order="asc": ordered(
            items(value, budget), items(value, budget), order, budget
        ),
    ),
    "uniq": (1, 1, _uniq),
    "reverse": (1, 1, lambda budget, value: items(value, budget)[::-1]),
    "flatten": (1, 1, _flatten),
    "concat": (1, 64, _concat),
    "get": (2, 2, _get),
    "toPairs": (
        1,
        1,
        lambda budget, value: [list(pair) for pair in _mapping(value, budget).items()],
    ),
    "fromPairs": (1, 1, _from_pairs),
    "toJSON": (1, 1, _to_json),
    "fromJSON": (1, 1, _from_json),
    "toBase64": (1, 1, _to_base64),
    "fromBase64": (1, 1, _from_base64),
    "duration": (1, 1, _duration),
    "date": (1, 1, _date),
    "bitand": (2, 2, _bits(int.__and__)),
    "bitor": (2, 2, _bits(int.__or__)),
    "bitxor": (2, 2, _bits(int.__xor__)),
    "bitnand": (2, 2, _bits(lambda one, other: one & ~other)),
    "bitnot": (1, 1, lambda budget, value: ~integer(value)),
    "bitshl": (2, 2, _shift(int.__lshift__)),
    "bitshr": (2, 2, _shift(int.__rshift__)),
    "bitushr": (2, 2, _shift(lambda value, by: (value % (1 << 64)) >> by)),
}
"""Fewest and most arguments, and the function."""
# fmt: on
