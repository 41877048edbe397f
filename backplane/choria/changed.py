"""Change events: a service tells that something was changed in it, by whom, until when.

They are this project's own, beside Choria's lifecycle events, on a subject that no peer
listens to. Like those they are not signed: they say when it is worth to look, and an audit
log is the evidence. They tell of no more than ``who`` shows, and of no fact.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

from backplane.choria.documents import dumps, parse_object
from backplane.errors import DecodeError

__all__ = ["ChangeEvent", "change_subject", "decode_change", "encode_change"]

PROTOCOL: Final = "backplane.v1.change"

MAX_EVENT: Final = 16 * 1024
"""Bytes of an event; genuine ones have less than one thousand."""

_LAYER: Final = "change event"


@attrs.frozen(kw_only=True)
class ChangeEvent:
    """A change that was made, taken back, amended, has run out, or failed.

    :ivar at: Unix time.
    :ivar who: caller id; for what ran out, whose it was.
    :ivar what: in words, such as ``app: running → paused``.
    :ivar outcome: ``done``, ``ended``, ``amended``, ``expired`` or ``failed``.
    :ivar target: such as ``app``; ``change`` is the id of the change.
    :ivar until: Unix time at which it is taken back, or ``None``.
    :ivar run: the run of which it is a part, or ``""``.
    """

    service: str
    identity: str
    at: float
    who: str
    what: str
    outcome: str
    why: str = ""
    target: str = ""
    change: str = ""
    until: float | None = None
    run: str = ""


_FIELDS: Final = tuple(field.name for field in attrs.fields(ChangeEvent))
_NUMBERS: Final = frozenset({"at", "until"})


def change_subject(service: str) -> str:
    """Return where the change events of a service go."""
    return f"choria.backplane.event.{service}"


def encode_change(event: ChangeEvent) -> bytes:
    """Return the payload of an event."""
    return dumps({"protocol": PROTOCOL, **attrs.asdict(event)}).encode()


def decode_change(payload: bytes) -> ChangeEvent:
    """Return the event in a payload.

    :raises DecodeError: for anything else.
    """
    document = parse_object(payload, _LAYER, known=("protocol", *_FIELDS), max_size=MAX_EVENT)
    if document.get("protocol") != PROTOCOL:
        raise DecodeError("bad_protocol", _LAYER, "it is no change event")
    return ChangeEvent(**{name: _field(document, name) for name in _FIELDS})


def _field(document: dict[str, Any], name: str) -> Any:
    value = document.get(name)
    if name in _NUMBERS:
        if value is None and name == "until":
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DecodeError("bad_field", _LAYER, f"{name} is no time")
        if not math.isfinite(value):
            raise DecodeError("bad_field", _LAYER, f"{name} is no time")
        return float(value)
    if not isinstance(value, str):
        raise DecodeError("bad_field", _LAYER, f"{name} is no text")
    return value
