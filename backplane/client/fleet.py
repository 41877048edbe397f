"""A fleet at a glance: one row for each instance, worst first, in groups, and a summary.

Made of the answers to ``info``, of this backplane or any other: what an older one or Go's
does not say is left open. Who was expected and did not answer has a row as well. Pure.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria.paths import MISSING, lookup
from backplane.client.accounting import Answer, ExitCode, Outcome

__all__ = [
    "CONDITIONS",
    "Group",
    "Row",
    "Shown",
    "breakers",
    "changes",
    "exit_code",
    "groups",
    "rows",
    "summary",
]

CONDITIONS: Final = (
    "silent",
    "failed",
    "late",
    "unhealthy",
    "unknown",
    "stopping",
    "draining",
    "paused",
    "breaker open",
    "changed",
    "ok",
)
"""What is to be said of an instance first, worst first. ``late`` has answered discovery when it
was over; of ``unknown`` the health is not known, or was not lately; ``changed`` has something
else changed, as a level of its log."""

STATES: Final = frozenset({"running", "draining", "paused", "stopping"})

MAX_CHANGES: Final = 1000
"""Changes of one instance that are looked at."""

NO_ANSWER: Final = "(no answer)"
NO_FACT: Final = "(none)"


@attrs.frozen(kw_only=True)
class Shown:
    """A change as an instance tells of it; see :class:`backplane.change.Change`."""

    id: str
    target: str
    before: str
    to: str
    who: str
    why: str
    made: float
    until: float | None
    run: str


@attrs.frozen(kw_only=True)
class Row:
    """One instance.

    :ivar condition: one of :data:`CONDITIONS`.
    :ivar state: ``running``, ``draining``, ``paused``, ``stopping``; ``""`` when not known.
    :ivar health: ``ok``, ``failed``, ``unknown``, ``stale``; ``none`` when it has no check;
        ``""`` when not known.
    :ivar level: of its log, ``""`` when not known; ``version`` likewise.
    :ivar in_flight: work under way, ``None`` when not known.
    :ivar breakers: by name, ``closed`` or ``open``; ``None`` when not known.
    :ivar changes: what is changed from normal; ``None`` when not known.
    :ivar facts: of the application.
    :ivar text: why there is nothing to show.
    """

    identity: str
    condition: str
    state: str = ""
    health: str = ""
    version: str = ""
    backplane_version: str = ""
    level: str = ""
    in_flight: int | None = None
    breakers: Mapping[str, str] | None = None
    changes: tuple[Shown, ...] | None = None
    facts: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    text: str = ""

    @property
    def open(self) -> tuple[str, ...]:
        """Breakers that are open."""
        return tuple(name for name, state in (self.breakers or {}).items() if state == "open")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values, without the facts."""
        kept = attrs.fields_dict(Row).keys() - {"facts"}
        return attrs.asdict(self, filter=lambda field, _: field.name in kept) | {
            "breakers": None if self.breakers is None else dict(self.breakers),
            "changes": None if self.changes is None else [attrs.asdict(c) for c in self.changes],
        }


@attrs.frozen
class Group:
    """Instances that have the same value of a fact; the value is text."""

    value: str
    rows: tuple[Row, ...]


def rows(outcome: Outcome, lost: Collection[str] = ()) -> list[Row]:
    """Return the rows of the answers to ``info`` and of who did not answer, worst first.

    :param lost: identities that are known to be meant, and are silent.
    """
    found = [_row(answer) for answer in outcome.answers]
    found += [Row(identity=name, condition="silent", text="no answer") for name in outcome.silent]
    found += [
        Row(identity=name, condition="silent", text="seen of late, and silent now")
        for name in (*outcome.absent, *lost)
    ]
    found += [
        Row(identity=name, condition="late", text="found too late to be asked")
        for name in outcome.late
    ]
    return sorted(found, key=_order)


def groups(all_of: Sequence[Row], fact: str) -> list[Group]:
    """Return the rows by a fact; the group with the worst one comes first.

    :param fact: a path; ``version`` and ``backplane_version`` are known without a fact.
    """
    found: dict[str, list[Row]] = {}
    for row in all_of:
        found.setdefault(_value(row, fact), []).append(row)
    made = [Group(value, tuple(members)) for value, members in found.items()]
    return sorted(made, key=lambda group: (_rank(group.rows[0]), group.value))


def summary(all_of: Sequence[Row]) -> dict[str, int]:
    """Return how many rows are in which condition, worst first."""
    counts = Counter(row.condition for row in all_of)
    return {name: counts[name] for name in CONDITIONS if counts[name]}


def exit_code(outcome: Outcome, all_of: Sequence[Row]) -> ExitCode:
    """Return that of the outcome, but 4 or 2 when a row is silent or not healthy."""
    code = outcome.exit_code
    found = {row.condition for row in all_of}
    if "silent" in found and code in (ExitCode.OK, ExitCode.NOTHING_MATCHED, ExitCode.FAILED):
        return ExitCode.SILENT
    if code is ExitCode.OK and found & {"unhealthy", "unknown"}:
        return ExitCode.FAILED
    return code


def _rank(row: Row) -> int:
    return CONDITIONS.index(row.condition)


def _order(row: Row) -> tuple[int, str]:
    return _rank(row), row.identity


def _value(row: Row, fact: str) -> str:
    if row.condition in ("silent", "late", "failed"):
        return NO_ANSWER
    value = lookup(row.facts, fact)
    if value is MISSING:
        known = {"version": row.version, "backplane_version": row.backplane_version}
        return known.get(fact) or NO_FACT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(answer: Answer) -> Row:
    data = answer.reply.data
    if not answer.reply.ok:
        return Row(identity=answer.sender, condition="failed", text=answer.reply.message)
    row = Row(
        identity=answer.sender,
        condition="ok",
        state=_state(data),
        health=_health(data),
        version=_text(data, "version"),
        backplane_version=_text(data, "backplane_version"),
        level=_text(data, "loglevel") if data.get("loglevel_feature") is not False else "",
        in_flight=_count(data.get("in_flight")),
        breakers=breakers(data.get("breakers")),
        changes=changes(data.get("changes")),
        facts=data["facts"] if isinstance(data.get("facts"), dict) else {},
    )
    return attrs.evolve(row, condition=_condition(row))


def _condition(row: Row) -> str:
    if row.health == "failed":
        return "unhealthy"
    if row.health in ("unknown", "stale"):
        return "unknown"
    if row.state in ("stopping", "draining", "paused"):
        return row.state
    if row.open:
        return "breaker open"
    return "changed" if row.changes else "ok"


def _state(data: Mapping[str, Any]) -> str:
    state = data.get("state")
    if isinstance(state, str) and state in STATES:
        return state
    paused = data.get("paused")
    return ("paused" if paused else "running") if isinstance(paused, bool) else ""


def _health(data: Mapping[str, Any]) -> str:
    if data.get("healthcheck_feature") is not True:
        return "none"
    if data.get("healthy") is True and data.get("health_state") in (None, "ok"):
        return "ok"
    state = data.get("health_state")
    return state if state in ("unknown", "stale") else "failed"


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def breakers(value: object) -> dict[str, str] | None:
    """Return what can be read of breakers by name, ``None`` for nothing."""
    if not isinstance(value, dict):
        return None
    return {str(name): str(state) for name, state in sorted(value.items())}


def changes(value: object) -> tuple[Shown, ...] | None:
    """Return what can be read of a list of changes, ``None`` for nothing."""
    if not isinstance(value, list):
        return None
    return tuple(_shown(value[:MAX_CHANGES]))


def _shown(changes: Sequence[object]) -> Iterator[Shown]:
    """Return what can be read of a list of changes; a far side may send anything."""
    for each in changes:
        if not isinstance(each, dict) or not _text(each, "target"):
            continue
        until = _time(each.get("until"))
        names = ("id", "target", "before", "to", "who", "why", "run")
        texts = {name: _text(each, name) for name in names}
        yield Shown(**texts, made=_time(each.get("made")) or 0.0, until=until)


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
