"""What follows from a server's ``-ERR``: nothing makes the client give up."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from backplane.nats.events import AUTH_ERRORS

__all__ = ["Verdict", "judge"]


class Verdict(Enum):
    """When to connect again, if the server closes the connection after its words."""

    GO_ON = auto()
    """As after any loss: at once."""
    LATER = auto()
    """After a delay: the server is full."""
    OURS = auto()
    """After a delay: we did what we must not."""
    SLOWLY = auto()
    """After the longest delay: it does not know us, and that rarely changes by itself."""


_LATER: Final = (
    "maximum connections exceeded",
    "maximum account active connections exceeded",
    "connection throttling",
    "authentication timeout",
)

_OURS: Final = (
    "maximum payload violation",
    "maximum control line exceeded",
    "unknown protocol operation",
    "invalid client protocol",
    "no responders requires headers support",
    "failed account registration",
    "secure connection - tls required",
    "parser error",
)


def judge(text: str) -> Verdict:
    """Judge by the words of a server; case does not count, nor do the words after the known."""
    lowered = text.lower()
    if lowered.startswith(AUTH_ERRORS):
        return Verdict.SLOWLY
    if lowered.startswith(_LATER):
        return Verdict.LATER
    if lowered.startswith(_OURS):
        return Verdict.OURS
    return Verdict.GO_ON
