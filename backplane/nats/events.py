"""What a client tells of its connection, and how it reads a server's ``-ERR``."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["ConnectFailed", "Connected", "Disconnected", "Moved", "ServerError", "read_error"]


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
class Moved:
    """A new connection has taken over from one that worked.

    :ivar url: where it leads.
    :ivar before: where the old one leads, which may be the same server.
    """

    url: str
    before: str


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
    :ivar queue: the queue group of a subscription, where it says so.
    :ivar sid: that of a subscription, where it says so.
    """

    kind: str
    text: str
    subject: str | None = None
    queue: str | None = None
    sid: str | None = None


_AUTH: Final = (
    "authorization violation",
    "user authentication",
    "account authentication",
)
_PUBLISH: Final = "permissions violation for publish to "
_SUBSCRIBE: Final = "permissions violation for subscription to "
_TOO_MANY: Final = "maximum subscriptions exceeded"


def read_error(text: str) -> ServerError:
    """Read an ``-ERR``; case does not count.

    What is not known is of kind ``other``; whether the connection stays is the server's to say.
    """
    lowered = text.lower()
    if lowered.startswith(_PUBLISH):
        return ServerError("publish", text, _word(text[len(_PUBLISH) :]))
    if lowered.startswith(_SUBSCRIBE):
        return ServerError(
            "subscribe",
            text,
            _word(text[len(_SUBSCRIBE) :]),
            _word(text.partition(" using queue ")[2]),
            _word(text.partition("(sid ")[2]),
        )
    if lowered.startswith(_TOO_MANY):
        return ServerError("subscribe", text)
    if lowered.startswith(_AUTH):
        return ServerError("auth", text)
    return ServerError("other", text)


def _word(text: str) -> str | None:
    # Subjects, groups and sids have no blanks but may have quotes: the last one ends it.
    word = text.partition(" ")[0].rstrip(",)")
    return word[1:-1] if len(word) > 2 and word[0] == word[-1] == '"' else None
