"""What services say of their state, and what an action would do to them. Pure.

The action ``changes`` says all of it. A service that does not know it, an older one or one of
another make, is asked for ``info``, which tells whether it is paused and its log level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from backplane.client.accounting import Answer
from backplane.client.jobs import NEEDS, READS

__all__ = ["Forecast", "State", "forecast", "target_of"]

OLD: Final = frozenset(NEEDS) | READS
"""Actions that every backplane has."""

_TARGETS: Final[Mapping[str, tuple[str, str]]] = {
    "pause": ("app", "paused"),
    "resume": ("app", "running"),
    "flip": ("app", "flip"),
    "debuglvl": ("log:", "debug"),
    "infolvl": ("log:", "info"),
    "warnlvl": ("log:", "warning"),
    "critlvl": ("log:", "critical"),
    "shutdown": ("shutdown", "now"),
}

_NORMAL: Final = {"breaker": "closed", "shutdown": "none"}
"""Values that are not worth showing, by the kind of the target."""


@attrs.frozen(kw_only=True)
class State:
    """What one service says of itself.

    :ivar targets: values by target: ``app``, ``log:``, ``breaker:NAME``, …
    :ivar may: actions that the caller may call, or ``None`` where it does not say.
    :ivar known: whether it knows the action ``changes``.
    :ivar live: its changes that are live, as it tells them; not kept in plans.
    """

    targets: Mapping[str, str]
    may: frozenset[str] | None = None
    known: bool = True
    live: tuple[Mapping[str, Any], ...] = attrs.field(default=(), eq=False)

    @classmethod
    def from_changes(cls, answer: Answer) -> State | None:
        """Return what an answer to ``changes`` says; ``None`` for one that says nothing."""
        data = answer.reply.data
        targets = data.get("targets")
        if not answer.reply.ok or not isinstance(targets, Mapping):
            return None
        may, live = data.get("may"), data.get("live")
        return cls(
            targets=_texts(targets),
            may=frozenset(map(str, may)) if isinstance(may, list) else None,
            live=tuple(each for each in live if isinstance(each, Mapping))
            if isinstance(live, list)
            else (),
        )

    @classmethod
    def from_info(cls, answer: Answer) -> State | None:
        """Return what an answer to ``info`` says; ``None`` for one that says nothing."""
        data = answer.reply.data
        if not answer.reply.ok:
            return None
        targets: dict[str, str] = {}
        if data.get("pause_feature") is True:
            targets["app"] = "paused" if data.get("paused") is True else "running"
        if data.get("loglevel_feature") is True:
            targets["log:"] = str(data.get("loglevel"))
        return cls(targets=targets, known=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "targets": dict(self.targets),
            "may": None if self.may is None else sorted(self.may),
            "known": self.known,
        }

    @classmethod
    def from_dict(cls, value: object) -> State | None:
        """Read what :meth:`as_dict` returns; ``None`` for anything else."""
        if not isinstance(value, dict):
            return None
        targets, may, known = value.get("targets"), value.get("may"), value.get("known")
        if not isinstance(targets, dict) or not isinstance(known, bool):
            return None
        if may is not None and not isinstance(may, list):
            return None
        kept = None if may is None else frozenset(map(str, may))
        return cls(targets=_texts(targets), may=kept, known=known)

    def key(self) -> str:
        """Return what states are ordered by."""
        may = None if self.may is None else sorted(self.may)
        return str((sorted(self.targets.items()), may, self.known))

    def difference(self, now: State) -> str:
        """Return in what another state differs from this one, in words; ``""`` in nothing."""
        changed = [
            f"{name} is {now.targets.get(name, 'not there')}, "
            f"was {self.targets.get(name, 'not there')}"
            for name in sorted(self.targets.keys() | now.targets.keys())
            if self.targets.get(name) != now.targets.get(name)
        ]
        if not changed and self.may != now.may:
            changed = ["what you may do there has changed"]
        if not changed and self.known != now.known:
            changed = ["another version runs there"]
        return ", ".join(changed)

    def __str__(self) -> str:
        shown = [
            "shutdown scheduled" if name == "shutdown" else f"{name} {value}"
            for name, value in self.targets.items()
            if value != _NORMAL.get(name.partition(":")[0])
        ]
        return ", ".join(shown) or "unknown"


def _texts(value: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(each) for name, each in value.items()}


def target_of(action: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the target that an action changes, and its value then; ``("", "")`` for none."""
    if action == "change":
        return str(data.get("target", "")), str(data.get("to", ""))
    return _TARGETS.get(action, ("", ""))


@attrs.frozen
class Forecast:
    """What an action would do to one service.

    :ivar verdict: ``change``, ``same`` (it is that already), ``denied``, ``unable`` or
        ``unknown`` (it did not answer).
    :ivar text: the same in words.
    """

    verdict: str
    text: str

    @property
    def good(self) -> bool:
        """Whether it would be done."""
        return self.verdict in ("change", "same")


def forecast(action: str, data: Mapping[str, Any], state: State | None) -> Forecast:
    """Return what an action of the backplane agent would do to a service in a state."""
    if state is None:
        return Forecast("unknown", "no answer, so it is not known")
    if state.may is not None and action not in state.may:
        return Forecast("denied", f"would be denied: you may not call {action} there")
    if not state.known and action not in OLD:
        return Forecast("unable", f"does not know {action}: an older or another backplane")
    target, to = target_of(action, data)
    if not target:
        return _ends(data, state) if action == "end" else Forecast("change", action)
    if target not in state.targets and (state.known and not target.startswith("log:")):
        return Forecast("unable", f"has no {target}")
    value = state.targets.get(target, "")
    if to == "flip":
        to = "paused" if value == "running" else "running"
    if target == "shutdown" and value not in ("", "none"):
        return Forecast("unable", "a shutdown is scheduled already, and is to be called off first")
    if value == to:
        return Forecast("same", f"{target} is {to} already")
    word = "in" if target == "shutdown" else "for"
    lease = f" {word} {data['for']} s" if "for" in data else ""
    return Forecast("change", f"{target}: {value or 'unknown'} → {to}{lease}")


def _ends(data: Mapping[str, Any], state: State) -> Forecast:
    key, wanted = next(((k, data[k]) for k in ("run", "change", "target") if k in data), ("", ""))
    found = [each for each in state.live if each.get("id" if key == "change" else key) == wanted]
    if not found:
        return Forecast("same", "nothing to take back")
    words = [f"{each.get('target')}: {each.get('to')} → {each.get('before')}" for each in found]
    return Forecast("change", ", ".join(words))
