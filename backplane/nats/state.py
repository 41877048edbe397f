"""What a client is doing."""

from __future__ import annotations

from enum import Enum

__all__ = ["State"]


class State(Enum):
    """What a client is doing; the value is for logs."""

    DISCONNECTED = "disconnected"
    """It was not started yet."""
    CONNECTING = "connecting"
    """It has never been connected since its start."""
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    """It was connected, and will be again."""
    DRAINING_SUBS = "draining subscriptions"
    """What is on the way to subscribers is handled; one may publish, but not subscribe."""
    DRAINING_PUBS = "draining publishes"
    """What was published is on its way; nothing more is taken."""
    CLOSED = "closed"
    """It was stopped or drained, or has given up. Only a start as a service changes that."""
