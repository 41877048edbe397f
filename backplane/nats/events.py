"""What a client tells of its connection, and how it reads a server's ``-ERR``."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["ConnectFailed", "Connected", "Disconnected", "ServerError", "read_error"]


@attrs.frozen
class Connected:
    """A connection is up, its subscriptions and buffered publishes are sent.

    :ivar first: not a reconnect.
    """

    url: str
    first: bool


@attrs.frozen
class Disconnected:
    """The connection is gone."""

    url: str
    reason: Exception


@attrs.frozen
class ConnectFailed:
    """A try to connect failed."""

    server: str
    reason: Exception


@attrs.frozen
class ServerError:
    """The server complained.

    :ivar kind: ``publish``, ``subscribe``, ``auth`` or ``other``.
    :ivar text: its words.
    :ivar subject: what it is about, where it says so.
    """

    kind: str
    text: str
    subject: str | None = None


_AUTH: Final = (
    "authorization violation",
    "user authentication",
    "account authentication",
    "authentication",
)


def read_error(text: str) -> tuple[str, str | None]:
    """Return the kind of an ``-ERR`` and the subject that it names, if any."""
    lowered = text.lower()
    for words, kind in (
        ("permissions violation for publish to ", "publish"),
        ("permissions violation for subscription to ", "subscribe"),
    ):
        if lowered.startswith(words):
            return kind, text[len(words) :].partition('"')[2].partition('"')[0]
    if lowered.startswith(_AUTH):
        return "auth", None
    return "other", None
