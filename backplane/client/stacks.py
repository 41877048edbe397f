"""Stacks of a fleet: those that are alike are one group, with who is in it. Pure.

A frame is known by its file's name, so that installations in different folders are alike,
its function, and, but for Python's own, installed packages and ours, its line and source. So
it makes no difference on which line of Python's a thread waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, Final

import attrs

from backplane.client.accounting import Answer

__all__ = ["Group", "Held", "Stalled", "group_held", "group_stacks", "group_stalls", "whole"]

MAX_NAME: Final = 200
"""Characters of a name of a thread or task."""

MAX_NUMBER: Final = 2**53
"""What is beyond counts as nothing; remote sides may send any number."""

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_OURS: Final = frozenset({"nats", "node", "parts", "reactors", "security", "sidecar", "stalls.py"})


@attrs.define
class Group:
    """Threads with the same stack.

    :ivar reactor: whether they are reactors' own, which answered the request.
    :ivar frames: of one of them, from the outermost, with ``file``, ``line``, ``function``,
        ``source``.
    :ivar omitted: outer frames that were left out.
    :ivar threads: how many there are, by identity of the instance.
    :ivar names: of the threads, how many have it; numbers in a name are ``#``.
    """

    reactor: bool
    frames: Sequence[Mapping[str, Any]]
    omitted: int
    threads: dict[str, int] = attrs.field(factory=dict)
    names: dict[str, int] = attrs.field(factory=dict)

    @property
    def instances(self) -> list[str]:
        """Who has such a thread."""
        return sorted(self.threads)

    @property
    def place(self) -> str:
        """Where they are, in the innermost frame of the application's own, if there is one."""
        ours = [each for each in self.frames if not _foreign(_text(each.get("file")))]
        for frame in reversed(ours or self.frames):
            file, function = _text(frame.get("file")), _text(frame.get("function"))
            return f"{file}:{whole(frame.get('line'))} in {function}"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "names": sorted(self.names),
            "reactor": self.reactor,
            "place": self.place,
            "instances": self.instances,
            "threads": sum(self.threads.values()),
            "omitted": self.omitted,
            "frames": [dict(frame) for frame in self.frames],
        }


@attrs.define
class Held:
    """What reactors hold or processes wait for, of one kind.

    :ivar what: a function, or a coroutine and where it is.
    :ivar names: of tasks, in which numbers are ``#``; else empty.
    """

    what: str
    count: int = 0
    instances: set[str] = attrs.field(factory=set)
    names: set[str] = attrs.field(factory=set)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        shown: dict[str, Any] = {"what": self.what, "count": self.count}
        if self.names:
            shown["names"] = sorted(self.names)
        return {**shown, "instances": sorted(self.instances)}


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
        return sum(whole(each.get("count")) for each in self.stalls.values())

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
    """Group the threads of thread dumps, those of the fewest instances first: they differ.

    A reactor's own thread makes the dump, by whatever way the request came in: of it only
    the application's frames count.
    """
    groups: dict[tuple[Any, ...], Group] = {}
    for answer in answers:
        for thread in _dicts(answer.reply.data.get("threads")):
            frames = _dicts(thread.get("frames"))
            reactor = thread.get("reactor") is True
            known = (_known_by(frame) for frame in frames)
            key = (reactor, *(each for each in known if not reactor or each[2]))
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group(reactor, frames, whole(thread.get("omitted")))
            group.threads[answer.sender] = group.threads.get(answer.sender, 0) + 1
            name = _name(thread.get("name"), "a thread")
            group.names[name] = group.names.get(name, 0) + 1
    return sorted(groups.values(), key=lambda group: (len(group.threads), sorted(group.names)))


def group_held(answers: Iterable[Answer], key: str, part: str) -> list[Held]:
    """Count what services hold by what it is, the most frequent first.

    :param key: ``delayed_calls``, ``deferreds``, or ``tasks``.
    :param part: what it is known by: ``function``, ``waits``, ``coroutine``.
    """
    found: dict[str, Held] = {}
    for answer in answers:
        for each in _dicts(answer.reply.data.get(key)):
            what = _text(each.get(part))
            if _text(each.get("place")):
                what = f"{what} at {each['place']}"
            # As with stacks: the same place in another folder is the same place.
            held = found.setdefault(_unplaced(what), Held(what))
            held.count += whole(each["count"]) if "count" in each else 1
            held.instances.add(answer.sender)
            if key == "tasks":
                held.names.add(_name(each.get("name"), "a task"))
    return sorted(found.values(), key=lambda held: (-held.count, held.what))


def group_stalls(answers: Iterable[Answer]) -> list[Stalled]:
    """Group stalls by their place, the last one first."""
    groups: dict[tuple[str, str], Stalled] = {}
    for answer in answers:
        for stall in _dicts(answer.reply.data.get("stalls")):
            place, source = _text(stall.get("place")), _text(stall.get("source"))
            key = (_end(place), source)
            groups.setdefault(key, Stalled(place, source)).stalls[answer.sender] = stall
    return sorted(groups.values(), key=lambda group: -group.last)


def whole(value: object) -> int:
    """Return a whole number that somebody sent; zero for what is none, or none of ours."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return value if good else 0  # type: ignore[return-value]


def _known_by(frame: Mapping[str, Any]) -> tuple[str, str, int, str]:
    """Return what a frame is compared by; the line is 0 where it does not matter."""
    file, function = _text(frame.get("file")), _text(frame.get("function"))
    if _foreign(file):
        return _end(file), function, 0, ""
    return _end(file), function, max(1, whole(frame.get("line"))), _text(frame.get("source"))


def _foreign(path: str) -> bool:
    """Say whether a file is Python's, an installed package's or ours."""
    if path.startswith("<"):
        return True
    parts = path.replace("\\", "/").split("/")
    folders = [part.lower() for part in parts[:-1]]
    if not _INSTALLED.isdisjoint(folders):
        return True
    for first, second in pairwise(parts):
        if first == "backplane" and second in _OURS:
            return True
    return any(
        # lib/python3.11 is Unix's, Python311\Lib is Windows'.
        (first in ("lib", "lib64") and _python(second)) or (_python(first) and second == "lib")
        for first, second in pairwise(folders)
    )


def _python(folder: str) -> bool:
    version = folder.removeprefix("python")
    return version != folder and version.replace(".", "").isdigit()


def _unplaced(text: str) -> str:
    """Return ``file:line in function``, perhaps after ``coroutine at``, without folders."""
    head, at, place = text.rpartition(" at ")
    return f"{head}{at}{_end(place)}"


def _end(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _name(value: object, otherwise: str) -> str:
    """Return a name with ``#`` in place of each number."""
    runs = groupby(_text(value)[:MAX_NAME], str.isdecimal)
    return "".join("#" if digits else "".join(run) for digits, run in runs) or otherwise


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good and abs(value) <= MAX_NUMBER else 0.0  # type: ignore[arg-type]
