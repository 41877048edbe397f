"""In which facts the instances of a fleet differ. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from backplane.client.accounting import Answer

__all__ = ["Difference", "compare"]

MAX_FACTS: Final = 2000
"""Facts of one instance that are compared."""

MAX_VALUE: Final = 500
"""Characters of a value that are compared and shown."""

ABSENT: Final = "(none)"

_OWN: Final = ("version", "backplane_version", "loglevel")


@attrs.frozen(kw_only=True)
class Difference:
    """One fact that is not the same everywhere.

    :ivar usual: the value that most instances have; ``None`` where no two have the same.
    :ivar count: how many have it.
    :ivar others: the other values, with who has them.
    """

    fact: str
    usual: str | None
    count: int
    others: Mapping[str, tuple[str, ...]]

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
        usual, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        alone = count == 1 and len(values) > 2
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
    found: dict[str, str] = {name: _text(data[name]) for name in _OWN if name in data}
    waiting: list[tuple[str, Any]] = [("", data.get("facts"))]
    while waiting and len(found) < MAX_FACTS:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [
                (f"{path}.{key}" if path else str(key), each) for key, each in value.items()
            ]
        elif path:
            found[path] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        return value[:MAX_VALUE]
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)[:MAX_VALUE]
    except (TypeError, ValueError):
        return str(value)[:MAX_VALUE]
