"""The walk over the tree of an expression. See :mod:`backplane.choria.compound`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from backplane.choria.budget import Budget
from backplane.choria.expression import ExpressionError, Node
from backplane.choria.facts import MISSING, check_fact, lookup, parse_fact
from backplane.choria.functions import FUNCTIONS
from backplane.choria.matching import has_agent, has_class
from backplane.choria.operators import OPERATIONS
from backplane.choria.semver import satisfies
from backplane.choria.values import (
    Moment,
    add_all,
    identical,
    items,
    number,
    ordered,
    text,
    wrap,
)

__all__ = ["Evaluation", "NodeFacts"]


class NodeFacts(Protocol):
    """What an expression may know about a node.

    :ivar now: Unix time, for ``now()``; without it that function fails.
    """

    @property
    def agents(self) -> Sequence[str]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def now(self) -> float | None: ...


class _Nothing(Exception):
    """Ends a chain of ``?.`` whose beginning is nil."""


class Evaluation:
    """One walk over one tree."""

    def __init__(self, node: NodeFacts, budget: Budget) -> None:
        self._node = node
        self._budget = budget
        self._names: dict[str, Any] = {}
        self._pointers: dict[str, Any] = {}
        self._environment = {"agents": tuple(node.agents), "classes": tuple(node.classes)}
        budget.spend((len(node.agents) + len(node.classes)) // 64)

    def value(self, node: Node) -> Any:
        self._budget.spend()
        return _KINDS[node.kind](self, node)

    def _constant(self, node: Node) -> Any:
        return node.value

    def _name(self, node: Node) -> Any:
        name = node.value
        if name in self._names:
            return self._names[name]
        if name == "$env":
            return self._environment
        if name in _OWN or name in FUNCTIONS or name == "facts":
            raise ExpressionError(f"{name} is no value")
        # A name that nobody knows is nil, for peers too.
        return self._environment.get(name)

    def _pointer(self, node: Node) -> Any:
        if node.value not in self._pointers:
            raise ExpressionError(f"{node.value} means nothing there")
        return self._pointers[node.value]

    def _sequence(self, node: Node) -> Any:
        return [self.value(part) for part in node.parts][-1]

    def _let(self, node: Node) -> Any:
        if node.value in FUNCTIONS or node.value in _OWN or node.value in self._environment:
            raise ExpressionError(f"{node.value} cannot be redefined")
        before = dict(self._names)
        self._names[node.value] = self.value(node.parts[0])
        try:
            return self.value(node.parts[1])
        finally:
            self._names = before

    def _choice(self, node: Node) -> Any:
        return self.value(node.parts[1 if self.truth(node.parts[0]) else 2])

    def truth(self, node: Node) -> bool:
        found = self.value(node)
        if isinstance(found, bool):
            return found
        raise ExpressionError("true or false is wanted")

    def _and(self, node: Node) -> bool:
        return all(map(self.truth, node.parts))

    def _or(self, node: Node) -> bool:
        return any(map(self.truth, node.parts))

    def _unary(self, node: Node) -> Any:
        if node.value == "not":
            return not self.truth(node.parts[0])
        found = number(self.value(node.parts[0]))
        if node.value == "+":
            return found
        return wrap(-found) if isinstance(found, int) else -found

    def _binary(self, node: Node) -> Any:
        left = self.value(node.parts[0])
        if node.value == "??":
            return self.value(node.parts[1]) if left is None else left
        return OPERATIONS[node.value](left, self.value(node.parts[1]), self._budget)

    def _list(self, node: Node) -> list[Any]:
        return [self.value(part) for part in node.parts]

    def _map(self, node: Node) -> dict[str, Any]:
        values = [self.value(part) for part in node.parts]
        return {text(key): value for key, value in zip(values[::2], values[1::2], strict=True)}

    def _member(self, node: Node) -> Any:
        return self._fetch(self.value(node.parts[0]), self.value(node.parts[1]))

    def _optional(self, node: Node) -> Any:
        base = self.value(node.parts[0])
        if base is None:
            raise _Nothing
        return self._fetch(base, self.value(node.parts[1]))

    def _chain(self, node: Node) -> Any:
        try:
            return self.value(node.parts[0])
        except _Nothing:
            return None

    def _fetch(self, base: Any, key: Any) -> Any:
        if isinstance(base, dict):
            if base is self._environment and key == "facts":
                raise ExpressionError("facts is no value")
            if isinstance(key, str) or not all(isinstance(known, str) for known in base):
                return base.get(key)
        elif isinstance(base, (list, tuple)):
            index = number(key)
            if isinstance(index, float) and not index.is_integer():
                raise ExpressionError("an index that is no integer")
            if -len(base) <= index < len(base):
                return base[int(index)]
            raise ExpressionError("an index out of range")
        raise ExpressionError("nothing can be fetched from that")

    def _slice(self, node: Node) -> Any:
        base, start, end = (self.value(part) for part in node.parts)
        if not isinstance(base, (list, tuple, str)):
            raise ExpressionError("only lists and texts can be cut")
        self._budget.spend(len(base) // 16)
        return base[
            None if start is None else int(number(start)) : None
            if end is None
            else int(number(end))
        ]

    def _call(self, node: Node) -> Any:
        arguments = [self.value(part) for part in node.parts]
        own = _OWN.get(node.value)
        if own is not None:
            fewest, most, method = own
            call: Callable[..., Any] = method
        else:
            fewest, most, call = FUNCTIONS.get(node.value, (0, -1, wrap))
            if most < 0:
                raise ExpressionError(f"no function {node.value[:40]}")
        if not fewest <= len(arguments) <= most:
            raise ExpressionError(f"{node.value}() does not take {len(arguments)} arguments")
        return call(self if own is not None else self._budget, *arguments)

    def fact(self, path: Any) -> Any:
        found = lookup(self._node.facts, "" if path is None else text(path), self._budget)
        return None if found is MISSING else self._plain(found, 0)

    def _plain(self, value: Any, depth: int) -> Any:
        """Return a fact as an expression sees it: all numbers are doubles."""
        self._budget.spend()
        if value is None or isinstance(value, (str, bool)):
            return value
        if isinstance(value, (int, float)):
            return float(value)
        if depth < 64 and isinstance(value, Mapping):
            return {key: self._plain(item, depth + 1) for key, item in value.items()}
        if depth < 64 and isinstance(value, (list, tuple)):
            return [self._plain(item, depth + 1) for item in value]
        raise ExpressionError("a fact that cannot be read")

    def with_(self, wanted: Any) -> bool:
        self._budget.spend(8 + len(text(wanted)))
        try:
            test = parse_fact(wanted)
        except ValueError:
            node = self._node
            return has_class(node.classes, wanted, self._budget) or has_agent(
                node.agents, wanted, self._budget
            )
        return check_fact(self._node.facts, test, self._budget)

    def include(self, found: Any, item: Any) -> bool:
        if found is None:
            return False
        if not isinstance(found, list):
            raise ExpressionError("include() wants a list of anything")
        if isinstance(item, int) and not isinstance(item, bool):
            item = float(item)
        return any(identical(known, item, self._budget) for known in found)

    def semver(self, version: Any, constraint: Any) -> bool:
        wanted = text(constraint)
        self._budget.spend(20 + 2 * len(wanted))
        return satisfies("" if version is None else text(version), wanted)

    def now(self) -> Moment:
        now = self._node.now
        if now is None:
            raise ExpressionError("the time is not known there")
        return Moment(int(now * 1e9))

    def _predicate(self, node: Node) -> Any:
        found = items(self.value(node.parts[0]), self._budget)
        before = dict(self._pointers)
        try:
            return _PREDICATES[node.value](self, node, found)
        finally:
            self._pointers = before

    def _each(self, node: Node, found: list[Any]) -> Any:
        """Yield the predicate's value for each item, when asked for."""
        for index, item in enumerate(found):
            self._pointers["#"] = item
            self._pointers["#index"] = index
            yield self.value(node.parts[1])

    def _truths(self, node: Node, found: list[Any]) -> Any:
        for result in self._each(node, found):
            if not isinstance(result, bool):
                raise ExpressionError("true or false is wanted")
            yield result

    def count(self, node: Node, found: list[Any]) -> int:
        if len(node.parts) == 1:
            return sum(1 for item in found if item is True)
        return sum(self._truths(node, found))

    def sum(self, node: Node, found: list[Any]) -> int | float:
        return add_all(list(self._each(node, found)) if len(node.parts) > 1 else found)

    def group(self, node: Node, found: list[Any]) -> dict[Any, list[Any]]:
        result: dict[Any, list[Any]] = {}
        for item, key in zip(found, list(self._each(node, found)), strict=True):
            result.setdefault(key, []).append(item)
        return result

    def sort(self, node: Node, found: list[Any]) -> list[Any]:
        keys = list(self._each(node, found))
        order = self.value(node.parts[2]) if len(node.parts) > 2 else "asc"
        return ordered(found, keys, order, self._budget)

    def reduce(self, node: Node, found: list[Any]) -> Any:
        rest = list(enumerate(found))
        if len(node.parts) > 2:
            result = self.value(node.parts[2])
        elif rest:
            result = rest.pop(0)[1]
        else:
            raise ExpressionError("nothing to reduce")
        for index, item in rest:
            self._pointers.update({"#": item, "#index": index, "#acc": result})
            result = self.value(node.parts[1])
        return result

    def places(self, node: Node, found: list[Any]) -> list[int]:
        return [index for index, holds in enumerate(self._truths(node, found)) if holds]

    def first(self, node: Node, found: list[Any]) -> int:
        return next((at for at, holds in enumerate(self._truths(node, found)) if holds), -1)


_KINDS: Final[dict[str, Callable[[Evaluation, Node], Any]]] = {
    kind: getattr(Evaluation, f"_{kind}")
    for kind in (
        "constant",
        "name",
        "pointer",
        "sequence",
        "let",
        "choice",
        "and",
        "or",
        "unary",
        "binary",
        "list",
        "map",
        "member",
        "optional",
        "chain",
        "slice",
        "call",
        "predicate",
    )
}

_OWN: Final[dict[str, tuple[int, int, Callable[..., Any]]]] = {
    "fact": (1, 1, Evaluation.fact),
    "with": (1, 1, Evaluation.with_),
    "include": (2, 2, Evaluation.include),
    "semver": (2, 2, Evaluation.semver),
    "now": (0, 0, Evaluation.now),
}

_PREDICATES: Final[dict[str, Callable[[Evaluation, Node, list[Any]], Any]]] = {
    "all": lambda walk, node, found: all(walk._truths(node, found)),
    "any": lambda walk, node, found: any(walk._truths(node, found)),
    "none": lambda walk, node, found: not any(walk._truths(node, found)),
    "one": lambda walk, node, found: len(walk.places(node, found)) == 1,
    "filter": lambda walk, node, found: [found[at] for at in walk.places(node, found)],
    "map": lambda walk, node, found: list(walk._each(node, found)),
    "count": Evaluation.count,
    "sum": Evaluation.sum,
    "find": lambda walk, node, found: ([*found, None])[walk.first(node, found)],
    "findIndex": Evaluation.first,
    "findLast": lambda walk, node, found: [None, *found][([-1, *walk.places(node, found)])[-1] + 1],
    "findLastIndex": lambda walk, node, found: ([-1, *walk.places(node, found)])[-1],
    "groupBy": Evaluation.group,
    "sortBy": Evaluation.sort,
    "reduce": Evaluation.reduce,
}
