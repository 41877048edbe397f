"""In which facts the instances of a fleet differ. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import attrs

from backplane.client.accounting import Answer

__all__ = ["Difference", "compare"]

MAX_FACTS: Final = 20_000
"""Facts of one instance that are compared, the first by name; an answer has no room for more."""

MAX_VALUE: Final = 500
"""Characters of a value that are shown. Of a longer one the end is a hash of the whole."""

ABSENT: Final = "(none)"

_OWN: Final = ("version", "backplane_version", "loglevel")


@attrs.frozen(kw_only=True)
class Difference:
    """One fact that is not the same everywhere.

    :ivar usual: the value that more instances have than any other; ``None`` where there is
        none such, and all values are among the others.
    :ivar count: how many have it.
    :ivar others: the other values, with who has them.
    """

    fact: str
    usual: str | None
    count: int
    others: Mapping[str, tuple[str, ...]]

    @property
    def differing(self) -> int:
        """How many have another value than the usual."""
        return sum(map(len, self.others.values()))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        others = {value: list(names) for value, names in self.others.items()}
        return {"fact": self.fact, "usual": self.usual, "count": self.count, "others": others}


def compare(answers: Iterable[Answer], facts: Iterable[str] = ()) -> list[Difference]:
    """Return in which facts the answers to ``info`` differ, by name.

    :param facts: only these, and those below them; all by default.
    """
    all_of = {answer.sender: _facts(answer.reply.data) for answer in answers}
    wanted = tuple(facts)
    names = sorted({name for found in all_of.values() for name in found})
    differences = []
    for name in names:
        if wanted and not any(name == each or name.startswith(f"{each}.") for each in wanted):
            continue
        values = {sender: found.get(name, ABSENT) for sender, found in all_of.items()}
        counts = Counter(values.values())
        if len(counts) < 2:
            continue
        (usual, count), (_, second) = counts.most_common(2)
        # Of two equal parts neither is the one that differs.
        alone = count == second
        others: dict[str, list[str]] = {}
        for sender, value in sorted(values.items()):
            if alone or value != usual:
                others.setdefault(value, []).append(sender)
        differences.append(
            Difference(
                fact=name,
                usual=None if alone else usual,
                count=0 if alone else count,
                others={value: tuple(senders) for value, senders in sorted(others.items())},
            )
        )
    return differences


def _facts(data: Mapping[str, Any]) -> dict[str, str]:
    own = {name: _text(data[name]) for name in _OWN if name in data}
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [("", data.get("facts"))]
    while waiting and len(found) < MAX_FACTS:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [
                (f"{path}.{key}" if path else str(key), each)
                for key, each in sorted(value.items(), reverse=True)
            ]
        elif path:
            # A fact may have the name of what every instance has.
            found[f"facts.{path}" if path in own else path] = _text(value)
    return {**own, **found}


def _text(value: object) -> str:
    if not isinstance(value, str):
        try:
            value = json.dumps(value, sort_keys=True, ensure_ascii=False)
        except (TypeError, ValueError):
            value = str(value)
    if len(value) <= MAX_VALUE:
        return value
    return f"{value[:MAX_VALUE]}… {sha256(value.encode(errors='replace')).hexdigest()[:8]}"
