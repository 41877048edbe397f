"""Lifecycle events as they are heard: who has started, who ends. Pure.

Nobody signs them. They say when it is worth to look.
"""

from __future__ import annotations

from typing import Final

import attrs

from backplane.choria.documents import parse_object
from backplane.errors import DecodeError
from backplane.security.names import valid_identity

__all__ = ["EVENTS", "Lived", "read_lifecycle"]

EVENTS: Final = "choria.lifecycle.event.*.backplane"
"""Where services like ours tell of it."""

MAX_EVENT: Final = 64 * 1024
"""Bytes of an event; genuine ones have some hundreds."""

_KINDS: Final = frozenset({"startup", "shutdown", "alive"})
_PROTOCOL: Final = "io.choria.lifecycle.v1."


@attrs.frozen
class Lived:
    """Somebody has started, is alive, or ends.

    :ivar kind: ``startup``, ``alive`` or ``shutdown``.
    """

    kind: str
    identity: str


def read_lifecycle(payload: bytes) -> Lived | None:
    """Return what an event says; ``None`` for what is none."""
    try:
        data = parse_object(payload, "lifecycle event", max_size=MAX_EVENT).get("data")
    except DecodeError:
        return None
    if not isinstance(data, dict):
        return None
    protocol, identity = data.get("protocol"), data.get("identity")
    if not isinstance(protocol, str) or not isinstance(identity, str):
        return None
    kind = protocol.removeprefix(_PROTOCOL)
    if kind == protocol or kind not in _KINDS or not valid_identity(identity):
        return None
    return Lived(kind, identity)
