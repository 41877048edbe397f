"""What an operator's verb and its flags ask of services: an action and its inputs. Pure.

The old actions take no inputs, and the service that does not know better would do something
wider than was meant. So a verb without flags is the old action, and with flags the action
``change``, which a service that does not know it refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

__all__ = [
    "LEVELS",
    "MAX_LEASE",
    "MAX_REASON",
    "Flags",
    "asked",
    "level_target",
    "means",
    "wanted",
]

MAX_REASON: Final = 200
"""Characters of a reason."""

MAX_LEASE: Final = 90 * 24 * 3600
"""Seconds of the longest lease."""

LEVELS: Final = ("debug", "info", "warning", "critical")

_APP: Final[Mapping[str, str]] = {"pause": "paused", "resume": "running"}
_BREAKER: Final[Mapping[str, str]] = {"pause": "open", "resume": "closed"}
_LEVEL: Final[Mapping[str, str]] = {
    "debuglvl": "debug",
    "infolvl": "info",
    "warnlvl": "warning",
    "critlvl": "critical",
}


@attrs.frozen(kw_only=True)
class Flags:
    """What may be said beside a verb.

    :ivar seconds: after which the service takes it back by itself.
    :ivar reason: for others to read.
    :ivar breaker: the one that is meant, instead of the whole application.
    :ivar cancel: whether it is called off.
    :ivar delay: seconds until it is done.
    """

    seconds: float | None = None
    reason: str | None = None
    breaker: str | None = None
    cancel: bool = False
    delay: float | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The flags that were given, as they are typed."""
        values = {
            "--for": self.seconds is not None,
            "--reason": self.reason is not None,
            "--breaker": self.breaker is not None,
            "--cancel": self.cancel,
            "--in": self.delay is not None,
        }
        return tuple(name for name, there in values.items() if there)


def asked(verb: str, flags: Flags) -> tuple[str, dict[str, Any] | None]:
    """Return the action that a verb means, and its inputs, ``None`` for none.

    :raises ValueError: for flags that the verb does not have.
    """
    if not flags.given:
        return verb, None
    if flags.breaker is not None and verb not in _BREAKER:
        raise ValueError(f"{verb} has no --breaker; pause and resume have")
    if flags.cancel:
        if verb != "shutdown":
            raise ValueError(f"{verb} has no --cancel; shutdown has")
        if flags.seconds is not None or flags.delay is not None:
            both = [name for name in flags.given if name in ("--for", "--in")]
            text = f"--cancel calls the shutdown off, so {both[0]} means nothing with it"
            raise ValueError(text)
        # Where none is scheduled there is nothing to call off, as the operator wants it.
        return "end", {**wanted("shutdown", None, flags), "all": True}
    if flags.delay is not None and verb != "shutdown":
        raise ValueError(f"{verb} has no --in; shutdown has")
    if flags.breaker is not None:
        return "change", wanted(f"breaker:{flags.breaker}", _BREAKER[verb], flags)
    if verb in _APP:
        return "change", wanted("app", _APP[verb], flags)
    if verb in _LEVEL:
        return "change", wanted("log:", _LEVEL[verb], flags)
    if verb == "shutdown":
        if flags.seconds is not None:
            raise ValueError("a shutdown is not taken back, so it has no --for; --in delays it")
        data = wanted("shutdown", "now", flags)
        if flags.delay is not None:
            data["for"] = math.ceil(flags.delay)
        return "change", data
    raise ValueError(f"{verb} has no {flags.given[0]}")


def level_target(logger: str | None) -> str:
    """Return the target of a logger's level, or of the whole application's."""
    return f"log:{logger or ''}"


def wanted(target: str, to: str | None, flags: Flags) -> dict[str, Any]:
    """Return the inputs of ``change``, or, without ``to``, of ``end`` or ``amend``."""
    data: dict[str, Any] = {"target": target}
    if to is not None:
        data["to"] = to
    if flags.seconds is not None:
        data["for"] = math.ceil(flags.seconds)
    if flags.reason:
        data["why"] = flags.reason
    return data


_MADE: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    **{verb: (("app", _APP[verb]), ("breaker:*", _BREAKER[verb])) for verb in _APP},
    **{verb: (("log:", level),) for verb, level in _LEVEL.items()},
    **{f"loglevel {level}": (("log:*", level),) for level in LEVELS},
    "drain": (("app", "draining"),),
    "shutdown": (("shutdown", "now"),),
}
"""By verb, the targets that ``change`` is asked to change, and to what."""

_ENDED: Final[Mapping[str, tuple[str, ...]]] = {
    "end": ("app", "breaker:*", "log:*", "shutdown"),
    "loglevel reset": ("log:*",),
    "shutdown": ("shutdown",),
}
"""By verb, the targets of which ``end`` is asked."""

_MORE: Final[Mapping[str, frozenset[str]]] = {
    "change": frozenset({"for", "why"}),
    "end": frozenset({"all", "why"}),
    "amend": frozenset({"for", "why"}),
}

_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "for": lambda value: type(value) is int and 0 < value <= MAX_LEASE,
    "why": lambda value: isinstance(value, str) and 0 < len(value) <= MAX_REASON,
    "all": lambda value: value is True,
}


def means(verb: str, action: str, data: Mapping[str, Any]) -> bool:
    """Say whether a verb, with whatever flags, asks for an action with such inputs."""
    rest = {key: value for key, value in data.items() if key not in _KINDS}
    more = {key: value for key, value in data.items() if key in _KINDS}
    if not (more.keys() <= _MORE.get(action, frozenset())):
        return False
    if not all(_KINDS[key](value) for key, value in more.items()):
        return False
    if not all(isinstance(value, str) for value in rest.values()):
        return False
    target = rest.get("target", "")
    if action == "change":
        made = _MADE.get(verb, ())
        return rest.keys() == {"target", "to"} and any(
            _is(target, of) and rest["to"] == to for of, to in made
        )
    if action == "end":
        by_id = {"end": "change", "undo": "run"}.get(verb)
        if by_id is not None and rest.keys() == {by_id}:
            return True
        return rest.keys() == {"target"} and any(_is(target, of) for of in _ENDED.get(verb, ()))
    if action == "amend":
        return verb == "extend" and "for" in data and rest.keys() in ({"target"}, {"change"})
    return action == verb and not data


def _is(target: str, of: str) -> bool:
    return target.startswith(of[:-1]) if of.endswith("*") else target == of
