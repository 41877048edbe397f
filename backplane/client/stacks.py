"""Stacks of a fleet: those that are alike are one group, with who is in it. Pure.

A frame is known by its file's name, so that installations in different folders are alike,
its function, and, but for Python's own, installed packages and ours, its line and source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.client.accounting import Answer

__all__ = ["Group", "Stalled", "group_stacks", "group_stalls"]

_NUMBERS: Final = re.compile(r"\d+")
_FOREIGN: Final = re.compile(r"[/\\](?:site-packages|dist-packages|python\d[\d.]*|backplane)[/\\]")
MAX_NAME: Final = 200


@attrs.define
class Group:
    """Threads with the same stack.

    :ivar name: of the threads, numbers in it are ``#``.
    :ivar reactor: whether it is the thread of the reactor.
    :ivar frames: of one of them, from the outermost, with ``file``, ``line``, ``function``,
        ``source``.
    :ivar omitted: outer frames that were left out.
    :ivar threads: how many there are, by identity of the instance.
    """

    name: str
    reactor: bool
    frames: Sequence[Mapping[str, Any]]
    omitted: int
    threads: dict[str, int] = attrs.field(factory=dict)

    @property
    def instances(self) -> list[str]:
        """Who has such a thread."""
        return sorted(self.threads)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "name": self.name,
            "reactor": self.reactor,
            "instances": self.instances,
            "threads": sum(self.threads.values()),
            "omitted": self.omitted,
            "frames": [dict(frame) for frame in self.frames],
        }


@attrs.define
class Stalled:
    """A place in which reactors were stuck.

    :ivar stalls: what each instance says of it, by identity.
    """

    place: str
    source: str
    stalls: dict[str, Mapping[str, Any]] = attrs.field(factory=dict)

    @property
    def count(self) -> int:
        """How often, in all."""
        return sum(_whole(each.get("count")) for each in self.stalls.values())

    @property
    def longest(self) -> float:
        """Seconds of the longest one that is over."""
        return max((_number(each.get("longest")) for each in self.stalls.values()), default=0.0)

    @property
    def last(self) -> float:
        """Unix time at which the last one began."""
        return max((_number(each.get("at")) for each in self.stalls.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "place": self.place,
            "source": self.source,
            "count": self.count,
            "longest": self.longest,
            "last": self.last,
            "instances": {
                name: {key: each.get(key) for key in ("at", "seconds", "longest", "count")}
                for name, each in sorted(self.stalls.items())
            },
        }


def group_stacks(answers: Iterable[Answer]) -> list[Group]:
    """Group the threads of thread dumps, those of the fewest instances first: they differ."""
    groups: dict[tuple[Any, ...], Group] = {}
    for answer in answers:
        for thread in _dicts(answer.reply.data.get("threads")):
            frames = _dicts(thread.get("frames"))
            name = _NUMBERS.sub("#", str(thread.get("name") or "a thread"))[:MAX_NAME]
            reactor = thread.get("reactor") is True
            key = (name, reactor, *map(_known_by, frames))
            group = groups.get(key)
            if group is None:
                group = Group(name, reactor, frames, _whole(thread.get("omitted")))
                groups[key] = group
            group.threads[answer.sender] = group.threads.get(answer.sender, 0) + 1
    return sorted(groups.values(), key=lambda group: (len(group.threads), group.name))


def group_stalls(answers: Iterable[Answer]) -> list[Stalled]:
    """Group stalls by their place, the last one first."""
    groups: dict[tuple[str, str], Stalled] = {}
    for answer in answers:
        for stall in _dicts(answer.reply.data.get("stalls")):
            place, source = str(stall.get("place")), str(stall.get("source") or "")
            head, colon, rest = place.partition(":")
            key = (f"{_end(head)}{colon}{rest}", source)
            groups.setdefault(key, Stalled(place, source)).stalls[answer.sender] = stall
    return sorted(groups.values(), key=lambda group: -group.last)


def _known_by(frame: Mapping[str, Any]) -> tuple[str, str, int, str]:
    file = str(frame.get("file"))
    if _FOREIGN.search(file):
        return _end(file), str(frame.get("function")), 0, ""
    line, source = _whole(frame.get("line")), str(frame.get("source"))
    return _end(file), str(frame.get("function")), line, source


def _end(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
