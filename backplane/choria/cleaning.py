"""Plain JSON values out of whatever an application calls its facts.

Applications return settings objects, enums, dates, paths and worse. What cannot
be told as JSON becomes a placeholder with the name of its type, never the text
of the object: that may hold a secret. Nothing raises, nothing runs without end.
"""

from __future__ import annotations

import base64
import datetime
import enum
import math
import pathlib
import uuid
from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any, Final

__all__ = ["MAX_DEPTH", "MAX_NODES", "MAX_PROBLEMS", "clean"]

MAX_DEPTH: Final = 32
"""Deepest level; deeper values become ``<too deep>``."""

MAX_NODES: Final = 100_000
"""Most values; further ones become ``<too many values>``."""

MAX_PROBLEMS: Final = 20
"""Most problems that are listed; the last one says that there are more."""

_LARGEST: Final = 2**1024 - 2**970
"""First integer that no double can hold: a number in JSON that breaks its readers."""


def clean(value: object) -> tuple[Any, tuple[str, ...]]:
    """Return plain JSON values, and what was lost on the way; never raises.

    :returns: ``None``, booleans, numbers, text, lists and dicts with text as keys
        only; and sentences that begin with the dotted path of a value.
    """
    cleaner = _Cleaner()
    try:
        result = cleaner.convert(value, "", 0)
    except Exception as error:  # the objects of others may do anything
        return _placeholder(value), (f"facts: {_name(error)} while they were read",)
    return result, tuple(cleaner.problems)


def _name(value: object) -> str:
    return _text(str(type(value).__name__))[:80]


def _placeholder(value: object) -> str:
    return f"<{_name(value)}>"


def _text(text: str) -> str:
    """Return plain text without lone surrogates."""
    if type(text) is not str:
        text = str.__str__(text)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Cleaner:
    """Converts one value; keeps count."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._nodes = 0
        self._open: set[int] = set()

    def report(self, path: str, sentence: str) -> None:
        if len(self.problems) < MAX_PROBLEMS - 1:
            self.problems.append(f"{path[:200] or 'facts'}: {sentence}")
        elif len(self.problems) == MAX_PROBLEMS - 1:
            self.problems.append("facts: there are more problems")

    def convert(self, value: Any, path: str, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self.report(path, f"more than {MAX_NODES} values, the rest is left out")
            return "<too many values>"
        if type(value) is str:
            return _text(value)
        try:
            known, result = self._scalar(value, path)
            if known:
                return result
            if depth >= MAX_DEPTH:
                self.report(path, f"more than {MAX_DEPTH} levels deep")
                return "<too deep>"
            if id(value) in self._open:
                self.report(path, "contains itself")
                return "<cycle>"
            self._open.add(id(value))
            try:
                return self._container(value, path, depth)
            finally:
                self._open.discard(id(value))
        except Exception as error:  # the objects of others may do anything
            self.report(path, f"a {_name(value)} that cannot be read ({_name(error)})")
            return _placeholder(value)

    def _scalar(self, value: Any, path: str) -> tuple[bool, Any]:
        if value is None or value is True or value is False:
            return True, value
        if isinstance(value, enum.Enum):
            inner = value.value
            if isinstance(inner, (str, int, float)):
                return self._scalar(inner, path)
            return True, _text(value.name)
        if isinstance(value, str):
            return True, _text(value)
        if isinstance(value, int):
            return True, self._integer(int.__int__(value), path)
        if isinstance(value, float):
            return True, self._float(float.__float__(value), path)
        if isinstance(value, Decimal):
            return True, self._decimal(value, path)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return True, _bytes(bytes(value))
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            return True, value.isoformat()
        if isinstance(value, datetime.timedelta):
            return True, value.total_seconds()
        if isinstance(value, (uuid.UUID, pathlib.PurePath)):
            return True, _text(str(value))
        return False, None

    def _integer(self, value: int, path: str) -> int | str:
        if abs(value) < _LARGEST:
            return value
        self.report(path, "a number that is too large, given as text")
        # Python refuses to write numbers of thousands of digits in decimal.
        return str(value) if value.bit_length() < 4096 else f"<number of {value.bit_length()} bits>"

    def _float(self, value: float, path: str) -> float | str:
        if math.isfinite(value):
            return value
        self.report(path, "not a finite number, given as text")
        return str(value)

    def _decimal(self, value: Decimal, path: str) -> int | float | str:
        if not value.is_finite():
            self.report(path, "not a finite number, given as text")
            return str(value)
        if abs(value.adjusted()) > 300:
            self.report(path, "a number that is too large or small, given as text")
            return str(value)[:400]
        if value == value.to_integral_value():
            return int(value)
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)[:400]

    def _container(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, (dict, Mapping)):
            return self._mapping(value, path, depth)
        if isinstance(value, Set):
            return self._set(value, path, depth)
        if isinstance(value, type):
            self.report(path, "a class")
            return _placeholder(value)
        fields = _fields(value)
        if fields is None and callable(getattr(type(value), "_asdict", None)):
            return self._container(dict(value._asdict()), path, depth)
        if fields is not None:
            return self._fields(value, fields, path, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, path, depth)
        self.report(path, f"a {_name(value)}, which has no JSON form")
        return _placeholder(value)

    def _list(self, value: Any, path: str, depth: int) -> list[Any]:
        result = []
        for number, item in enumerate(value):
            result.append(
                self.convert(item, f"{path}.{number}" if path else str(number), depth + 1)
            )
            if self._nodes > MAX_NODES:
                break
        return result

    def _set(self, value: Any, path: str, depth: int) -> list[Any]:
        items = self._list(value, path, depth)
        return sorted(items, key=lambda item: (type(item).__name__, item if _orders(item) else 0))

    def _mapping(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key in value:
            name = self._key(key, path)
            where = f"{path}.{name[:100]}" if path else name[:100]
            if name in result:
                self.report(where, "two keys are the same as text, the first one stays")
                continue
            try:
                item = value[key]
            except Exception as error:  # the objects of others may do anything
                self.report(where, f"cannot be read ({_name(error)})")
                result[name] = _placeholder(error)
                continue
            result[name] = self.convert(item, where, depth + 1)
            if self._nodes > MAX_NODES:
                break
        return result

    def _fields(self, value: Any, fields: list[str], path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for field in fields:
            where = f"{path}.{field}" if path else field
            try:
                item = getattr(value, field)
            except Exception as error:  # the objects of others may do anything
                self.report(where, f"cannot be read ({_name(error)})")
                result[_text(field)] = _placeholder(error)
                continue
            result[_text(field)] = self.convert(item, where, depth + 1)
            if self._nodes > MAX_NODES:
                break
        return result

    def _key(self, key: object, path: str) -> str:
        if type(key) is str:
            return _text(key)
        if isinstance(key, enum.Enum):
            key = key.value if isinstance(key.value, (str, int, float)) else key.name
        if isinstance(key, str):
            return _text(key)
        if key is None:
            return "null"
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, tuple):
            return ".".join(self._key(part, path) for part in key[:16])
        known, result = self._scalar(key, path)
        if known:
            return _text(str(result))
        self.report(path, f"a key that is a {_name(key)}")
        return _placeholder(key)


def _orders(item: object) -> bool:
    return isinstance(item, (str, int, float))


def _bytes(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def _fields(value: Any) -> list[str] | None:
    """Return the public fields of a record, or ``None`` when it is none."""
    kind = type(value)
    attributes = getattr(kind, "__attrs_attrs__", None)
    if isinstance(attributes, tuple):
        names = [attribute.name for attribute in attributes]
    elif isinstance(getattr(kind, "__dataclass_fields__", None), dict):
        names = list(kind.__dataclass_fields__)
    elif isinstance(value, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        names = list(kind._fields)
    elif isinstance(value, (list, tuple)) or callable(value):
        return None
    elif isinstance(getattr(value, "__dict__", None), dict):
        names = list(vars(value))
        if not names:
            return None
    else:
        return None
    return [name for name in names if isinstance(name, str) and not name.startswith("_")]
