"""Why a connection ended, in words for whoever reads the log."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from backplane.nats.errors import ConnectionFailed, NotConnected

__all__ = ["Stage", "lost", "lost_early", "too_slow"]


class Stage(Enum):
    """How far a connection is with TLS."""

    PLAIN = auto()
    """There is none."""
    HANDSHAKE = auto()
    """Its handshake goes on."""
    CHECKED = auto()
    """We believe the server."""
    MUTUAL = auto()
    """It believes us, having said something since."""


_FIRST: Final = "; a broker that wants TLS first says nothing before it"

_REJECTED: Final = (
    "closed by the broker after the TLS handshake: in all likelihood it rejected our certificate"
)
# With TLS 1.3 our handshake is done before the server has seen our certificate, and
# its refusal can get lost.

_OPEN: Final = ("permissions violation", "invalid subject", "invalid publish", "maximum subscr")


def too_slow(
    address: str, stage: Stage, informed: bool, words: str, *, limit: float, expects_info: bool
) -> ConnectionFailed:
    """Return the error for a handshake that took too long.

    :param informed: INFO has come.
    :param words: the last ``-ERR``, or nothing.
    :param limit: seconds that it may take.
    :param expects_info: INFO is to come before TLS.
    """
    within = f"within {limit:g} s"
    if stage is Stage.HANDSHAKE:
        phase, text = "tls", f"the TLS handshake was not done {within}"
    elif informed:
        phase, text = "handshake", f"the PONG that ends the handshake did not come {within}"
    else:
        phase, text = "info", f"INFO did not come {within}{_FIRST if expects_info else ''}"
    return ConnectionFailed(f"{words}; {text}" if words else text, address, phase)


def lost_early(
    address: str,
    stage: Stage,
    informed: bool,
    words: str,
    said: str | None,
    *,
    expects_info: bool,
    refused: bool = False,
) -> ConnectionFailed:
    """Return the error for a connection that was lost before its handshake was done.

    :param said: what TLS has to say of it.
    :param refused: which is that our certificate is not taken.
    """
    phase = "handshake" if informed else "info"
    if words:
        text = words
    elif said is not None:
        phase, text = "tls", said
    elif stage is Stage.HANDSHAKE:
        phase, text = "tls", "closed by the broker in the TLS handshake"
    elif stage is Stage.CHECKED:
        phase, text = "tls", _REJECTED
    elif informed:
        text = "closed after INFO"
    else:
        text = f"closed before INFO{_FIRST if expects_info else ''}"
    return ConnectionFailed(text, address, phase, refused=refused)


def lost(words: str, said: str | None, reason: Failure) -> NotConnected:
    """Return the error for the loss of a connection that worked."""
    if words and not words.lower().startswith(_OPEN):  # the server closes after it
        return NotConnected(words)
    if said is not None:
        return NotConnected(said)
    if reason.check(ConnectionDone):
        return NotConnected("closed by the server")
    if reason.check(ConnectionLost, ConnectionAborted):
        return NotConnected("reset by the server")
    return NotConnected(f"{type(reason.value).__name__}: {reason.value}")
