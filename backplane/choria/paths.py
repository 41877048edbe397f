"""Paths into facts, as gjson reads them.

``a.b`` descends, ``list.0`` indexes, ``list.#`` counts, ``list.#.key`` collects,
``list.#(key=="x")`` finds the first, ``#(...)#`` all; ``*`` and ``?`` are
wildcards in a key, ``\\`` escapes one character, ``|`` separates as ``.`` does,
``@name`` modifies, ``[a,b]`` and ``{a,b}`` gather, ``!"x"`` is a literal.
Wildcards try keys in sorted order, as peers' facts have it.

Every path has an answer; one that is malformed has the answer "missing".
Work is bounded by a budget, because paths come from the network.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from backplane.choria.budget import Budget, BudgetExceeded
from backplane.choria.jsontext import MAX_TEXT, to_json
from backplane.choria.pathtext import (
    MODIFIERS,
    Step,
    closing,
    first_step,
    literal,
    parse_query,
    pattern_chars,
    split_pipe,
    split_selectors,
)

__all__ = ["MAX_PATH", "MISSING", "Missing", "lookup"]

MAX_PATH: Final = 1024
"""Longest path, in characters."""

MAX_NESTING: Final = 24
"""Deepest nesting of steps, queries and selectors in one path."""


STEP_STEPS: Final = 8
"""Charge for a step of a path, beside its length."""

ITEM_STEPS: Final = 6
"""Charge for an item that a query looks at."""


class Missing(enum.Enum):
    """The type of :data:`MISSING`."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""What a path leads to where there is nothing; a fact may be ``None``."""


def lookup(facts: Mapping[str, Any], path: str, budget: Budget | None = None) -> Any:
    """Return the value at ``path``, or :data:`MISSING`.

    :param facts: plain JSON values.
    :param budget: pays for the work; without one there is a bound per call.
    :raises BudgetExceeded: only with ``budget``, when it has too little left.
    """
    if not path or len(path) > MAX_PATH:
        return MISSING
    try:
        if path.replace("_", "x").isalnum():
            # Most facts are asked for by a plain name.
            return facts.get(path, MISSING)
        return _Walk(budget or Budget()).get(facts, path, 0)
    except BudgetExceeded:
        if budget is not None:
            raise
        return MISSING


class _Walk:
    """Follows paths and pays for it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def get(self, value: Any, path: str, depth: int) -> Any:
        self._budget.spend(STEP_STEPS + len(path) // 4)
        if depth > MAX_NESTING:
            return MISSING
        if len(path) > 1 and path[0] in "@![{":
            self._budget.spend(len(path))
            special = self._special(path)
            if special is not None:
                kind, rest, argument = special
                found = self._apply(value, kind, argument, depth)
                return self.get(found, rest[1:], depth + 1) if rest else found
        if isinstance(value, Mapping):
            return self._object(value, path, depth)
        if isinstance(value, (list, tuple)):
            return self._array(value, path, depth)
        return MISSING

    def _object(self, value: Mapping[str, Any], path: str, depth: int) -> Any:
        step = first_step(path)
        for key in self._keys(value, step):
            found = value[key]
            if step.rest is None:
                return found
            if step.piped:
                return self.get(found, step.rest, depth + 1)
            # A key that leads nowhere does not end the search for others.
            if isinstance(found, (Mapping, list, tuple)):
                found = self.get_plain(found, step.rest, depth + 1)
                if found is not MISSING:
                    return found
        return MISSING

    def get_plain(self, value: Any, path: str, depth: int) -> Any:
        """As :meth:`get`, where a modifier cannot stand."""
        self._budget.spend(STEP_STEPS + len(path) // 4)
        if depth > MAX_NESTING:
            return MISSING
        if isinstance(value, Mapping):
            return self._object(value, path, depth)
        return self._array(value, path, depth)

    def _keys(self, value: Mapping[str, Any], step: Step) -> Iterator[str]:
        if not step.is_wild:
            if step.text in value:
                yield step.text
            return
        self._budget.spend(len(value))
        for key in sorted(key for key in value if isinstance(key, str)):
            if self.like(key, step.chars):
                yield key

    def like(self, text: str, chars: Sequence[tuple[str, bool]]) -> bool:
        """Match wildcards by going back to the last ``*`` only, so not exponential."""
        at = index = 0
        star = -1
        mark = 0
        while at < len(text):
            self._budget.spend()
            char, wild = chars[index] if index < len(chars) else ("", False)
            if wild and char == "*":
                star, mark = index, at
                index += 1
            elif index < len(chars) and ((wild and char == "?") or char == text[at]):
                at += 1
                index += 1
            elif star >= 0:
                mark += 1
                at, index = mark, star + 1
            else:
                return False
        return all(wild and char == "*" for char, wild in chars[index:])

    def _array(self, value: Sequence[Any], path: str, depth: int) -> Any:
        if path.startswith("#"):
            return self._hash(value, path, depth)
        step = first_step(path)
        if step.is_wild or not (step.text.isascii() and step.text.isdigit()):
            return MISSING
        index = int(step.text) if len(step.text) < 10 else len(value)
        if index >= len(value):
            return MISSING
        found = value[index]
        if step.rest is None:
            return found
        if step.piped:
            return self.get(found, step.rest, depth + 1)
        if isinstance(found, (Mapping, list, tuple)):
            return self.get_plain(found, step.rest, depth + 1)
        return MISSING

    def _hash(self, value: Sequence[Any], path: str, depth: int) -> Any:
        if path == "#":
            return len(value)
        if path[1] == "|":
            return self.get(len(value), path[2:], depth + 1)
        if path[1] == ".":
            inner, pipe = split_pipe(path[2:])
            self._budget.spend(ITEM_STEPS * len(value))
            each = (self.get(item, inner, depth + 1) for item in value)
            found: Any = [item for item in each if item is not MISSING]
            return found if pipe is None else self.get(found, pipe, depth + 1)
        if path[1] in "([":
            return self._query(value, path, depth)
        return MISSING

    def _query(self, value: Sequence[Any], path: str, depth: int) -> Any:
        self._budget.spend(len(path))
        end = closing(path, 1)
        if end < 0:
            return MISSING
        query = parse_query(path[2:end])
        rest = path[end + 1 :]
        every = rest.startswith("#")
        rest = rest[1:] if every else rest
        pipe: str | None = None
        inner: str | None = None
        if rest.startswith("|"):
            pipe = rest[1:]
        elif rest.startswith("."):
            inner, pipe = split_pipe(rest[1:])
        elif rest:
            return MISSING
        found: list[Any] = []
        for item in value:
            self._budget.spend(ITEM_STEPS)
            if not self._selects(item, query, depth):
                continue
            result = item if inner is None else self.get(item, inner, depth + 1)
            if not every:
                return result if pipe is None else self.get(result, pipe, depth + 1)
            if result is not MISSING:
                found.append(result)
        if not every:
            return MISSING
        return found if pipe is None else self.get(found, pipe, depth + 1)

    def _selects(self, item: Any, query: tuple[str, str, str], depth: int) -> bool:
        path, operator, wanted = query
        if isinstance(item, (Mapping, list, tuple)):
            item = self.get(item, path, depth + 1)
        elif path:
            return False
        return item is not MISSING and self._holds(item, operator, wanted)

    def _holds(self, found: Any, operator: str, wanted: str) -> bool:
        if not operator:
            return True
        if isinstance(found, str):
            if operator in ("%", "!%"):
                like = self.like(found, pattern_chars(wanted))
                return like is (operator == "%")
            self._budget.spend(1 + min(len(found), len(wanted)) // 64)
            return _ORDER[operator](_sign(found, wanted))
        if isinstance(found, bool):
            if operator in ("%", "!%") or (operator != "!=" and wanted not in ("true", "false")):
                return False
            if wanted not in ("true", "false"):
                return True
            return _ORDER[operator](int(found) - int(wanted == "true"))
        if isinstance(found, (int, float)) and operator not in ("%", "!%"):
            try:
                return _ORDER[operator](_sign(float(found), float(wanted)))
            except (ValueError, OverflowError):
                return operator == "!="
        return False

    def _special(self, path: str) -> tuple[str, str, Any] | None:
        """Return kind, rest and argument of a path that begins with a sign."""
        if path[0] == "@":
            end = min((at for mark in ".|:" if (at := path.find(mark)) >= 0), default=len(path))
            name, rest = path[1:end], path[end:]
            if name not in MODIFIERS:
                return None
            if rest.startswith(":"):
                # Modifiers with arguments do the same without them here.
                at = closing(rest, 1) + 1 if rest[1:2] in ("{", "[") else rest.find("|")
                rest = rest[at:] if at > 0 else ""
            return name, rest, None
        if path[0] == "!":
            return literal(path)
        end = closing(path, 0)
        rest = path[end + 1 :] if end > 0 else "x"
        if rest and rest[0] not in ".|":
            return None
        return path[0], rest, split_selectors(path[1:end])

    def _apply(self, value: Any, kind: str, argument: Any, depth: int) -> Any:
        if kind == "!":
            return argument
        if kind == "[":
            each = (self.get(value, path, depth + 1) for _, path in argument)
            return [found for found in each if found is not MISSING]
        if kind == "{":
            pairs = ((name, self.get(value, path, depth + 1)) for name, path in argument)
            return {name: found for name, found in pairs if found is not MISSING}
        return MISSING if value is MISSING else self._modify(value, kind)

    def _modify(self, value: Any, name: str) -> Any:
        size = len(value) if isinstance(value, (Mapping, list, tuple)) else 1
        self._budget.spend(size)
        if name == "keys":
            return sorted(map(str, value)) if isinstance(value, Mapping) else []
        if name == "values" and isinstance(value, Mapping):
            return [value[key] for key in sorted(value, key=str)]
        if name == "reverse" and isinstance(value, (list, tuple)):
            return list(reversed(value))
        if name == "flatten" and isinstance(value, (list, tuple)):
            self._budget.spend(sum(len(item) for item in value if isinstance(item, (list, tuple))))
            nested = (item if isinstance(item, (list, tuple)) else [item] for item in value)
            return [item for part in nested for item in part]
        if name == "join" and isinstance(value, (list, tuple)):
            joined: dict[str, Any] = {}
            for item in value:
                if isinstance(item, Mapping):
                    self._budget.spend(len(item))
                    joined.update(item)
            return joined
        if name == "tostr":
            text = to_json(value, self._budget)
            return MISSING if len(text) > MAX_TEXT else text
        return value


_ORDER: Final[Mapping[str, Callable[[int], bool]]] = {
    "=": lambda sign: sign == 0,
    "!=": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)
