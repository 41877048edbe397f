"""One line of the audit log: what it says and how it is tied to the line before it.

A line begins with the eight fields of Choria's audit log. Then come
``decision``, ``rule``, ``outcome``, ``duration``, ``signer``, ``secure`` and
``phase``, then the links of the chain: ``seq`` counts lines and ``previous`` is
the SHA-256 of the line before it, its line end included, so that
``tail -n 1 FILE | sha256sum`` is what the next line will hold. ``lost`` and
``torn`` are there when they have something to tell.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final, TypeGuard

import attrs

__all__ = [
    "MAX_LINE",
    "START",
    "AuditEntry",
    "Link",
    "Phase",
    "Torn",
    "build_line",
    "digest",
    "parse_line",
]

MAX_LINE: Final = 64 * 1024
"""Longest line in bytes; what :func:`build_line` makes is always shorter."""

MAX_DATA: Final = 16 * 1024
"""Most characters of JSON that ``data`` may have; beyond it only its beginning is kept."""

MAX_TEXT: Final = 256
"""Most characters of any other field."""

_SHOWN_DATA: Final = 1000
"""Characters that are kept of ``data`` that is too large."""

START: Final = "0" * 64
"""``previous`` of the first line of a chain."""

_HEX: Final = frozenset("0123456789abcdef")
_MAX_SEQ: Final = 1 << 63


class Phase(enum.Enum):
    """What the line is about: all of a request, or the beginning or end of a change."""

    ONLY = "only"
    BEGIN = "begin"
    END = "end"


@attrs.frozen(kw_only=True)
class AuditEntry:
    """One request, as its lines show it.

    :ivar request_id: the request's id.
    :ivar request_time: when it says it was made, in whole seconds since 1970.
    :ivar caller: the caller id that it acts for.
    :ivar sender: identity of the sender that it names.
    :ivar data: its inputs, as they came; secrets are masked when it is written.
    :ivar signer: certificate name of who signed it; ``None`` when nobody did.
    :ivar secure: the signature was verified; false in the insecure mode.
    """

    request_id: str
    request_time: int
    caller: str
    sender: str
    agent: str
    action: str
    data: Any = None
    signer: str | None = None
    secure: bool = False


@attrs.frozen
class Torn:
    """What is known of unreadable bytes before a line.

    :ivar size: how many, the line end that closes them included.
    :ivar sha256: their hash, as hexadecimal text.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, fragment: bytes) -> Torn:
        """Describe a fragment; the line end that will close it is counted when it lacks one."""
        return cls(len(fragment) + (not fragment.endswith(b"\n")), digest(fragment))


@attrs.frozen
class Link:
    """What the chain knows of one whole line.

    :ivar seq: its number in the chain, from 1.
    :ivar previous: hash of the line before it.
    :ivar timestamp: when it was written.
    :ivar secure: false for a request of the insecure mode.
    :ivar lost: how many lines could not be written before it.
    :ivar torn: the unreadable bytes between the line before and this one.
    """

    seq: int
    previous: str
    timestamp: str
    secure: bool
    lost: int = 0
    torn: Torn | None = None


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line with its line end, which is added when missing."""
    return hashlib.sha256(line if line.endswith(b"\n") else line + b"\n").hexdigest()


def build_line(
    entry: AuditEntry,
    now: float,
    *,
    phase: Phase,
    decision: str,
    rule: str,
    outcome: str | None,
    duration: float | None,
    link: tuple[int, str],
    mask: Callable[[Any], Any],
    lost: int = 0,
    torn: Torn | None = None,
) -> bytes:
    """Return the line with its line end: ASCII, shorter than :data:`MAX_LINE`.

    Its beginning is, byte for byte, what Choria writes, except that characters
    beyond ASCII are escaped, so that no text drives a terminal.

    :param now: seconds since 1970.
    :param link: ``seq`` and ``previous``.
    """
    fields: dict[str, Any] = {
        "timestamp": _timestamp(now),
        "request_id": _cut(entry.request_id),
        "request_time": entry.request_time,
        "caller": _cut(entry.caller),
        "sender": _cut(entry.sender),
        "agent": _cut(entry.agent),
        "action": _cut(entry.action),
        "data": _data(entry.data, mask),
        "decision": _cut(decision),
        "rule": _cut(rule),
        "outcome": None if outcome is None else _cut(outcome),
        "duration": None if duration is None else round(duration, 6),
        "signer": None if entry.signer is None else _cut(entry.signer),
        "secure": entry.secure,
        "phase": phase.value,
        "seq": link[0],
        "previous": link[1],
    }
    if lost:
        fields["lost"] = lost
    if torn is not None:
        fields["torn"] = {"size": torn.size, "sha256": torn.sha256}
    return _json(fields).encode("ascii") + b"\n"


def parse_line(line: bytes) -> Link | None:
    """Return the links of a line, or ``None`` for what is not a whole line of this log."""
    if len(line) > MAX_LINE or not line.startswith(b'{"timestamp":"'):
        return None
    try:
        fields: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    seq, previous, torn = fields.get("seq"), fields.get("previous"), fields.get("torn")
    timestamp, lost = fields.get("timestamp"), fields.get("lost", 0)
    if not (
        _is_count(seq)
        and seq > 0
        and _is_hash(previous)
        and isinstance(timestamp, str)
        and _is_count(lost)
    ):
        return None
    if torn is not None:
        if not (
            isinstance(torn, dict) and _is_count(torn.get("size")) and _is_hash(torn.get("sha256"))
        ):
            return None
        torn = Torn(torn["size"], torn["sha256"])
    return Link(seq, previous, timestamp, fields.get("secure") is True, lost, torn)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_SEQ


def _is_hash(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 64 and _HEX.issuperset(value)


def _timestamp(now: float) -> str:
    # Choria writes microseconds and the zone without a colon.
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _data(value: Any, mask: Callable[[Any], Any]) -> Any:
    """Return what can be written for the inputs of a request."""
    try:
        masked = mask(value)
        text = _json(masked)
    except (ValueError, TypeError, RecursionError) as error:
        # The line matters more than its data.
        return {"audit_unwritable": type(error).__name__}
    if len(text) <= MAX_DATA:
        return masked
    return {"audit_cut": len(text), "audit_begins": text[:_SHOWN_DATA]}


def _json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    # As Go writes JSON. These stand in texts only, so they may be replaced anywhere.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
