"""What a client tells of its connection, and how it reads a server's ``-ERR``."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = [
    "BadHeaders",
    "Closed",
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Discovered",
    "Draining",
    "HandlerFailed",
    "LameDuck",
    "Moved",
    "ServerError",
    "SlowConsumer",
    "read_error",
]


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
class Discovered:
    """A server told of another one, which was not known.

    :ivar url: without credentials.
    """

    url: str


@attrs.frozen
class LameDuck:
    """The connected server is about to end, and wants its clients elsewhere.

    If another server is known the client moves there, which is told by :class:`Moved`;
    else it stays until the end.
    """

    url: str


@attrs.frozen
class Draining:
    """The client takes no more subscriptions, and will close when it is through."""


@attrs.frozen
class Closed:
    """The client is closed: this is the last event, unless it is started again.

    :ivar reason: why, or ``None`` where that was asked for.
    """

    reason: Exception | None = None


@attrs.frozen
class SlowConsumer:
    """Messages of a subscription begin to be dropped, as its callback is too slow for them.

    Told again only after one was delivered.

    :ivar sid: of the subscription.
    :ivar dropped: messages of the subscription that were dropped so far.
    """

    subject: str
    sid: str
    dropped: int


@attrs.frozen
class HandlerFailed:
    """The callback of a subscription raised something; it gets the next message all the same.

    :ivar sid: of the subscription.
    """

    subject: str
    sid: str
    reason: BaseException


@attrs.frozen
class BadHeaders:
    """A message came whose header block cannot be read; it is delivered without it.

    :ivar sid: of the subscription.
    """

    subject: str
    sid: str
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


AUTH_ERRORS: Final = (
    "authorization violation",
    "user authentication",
    "account authentication",
)
_PUBLISH: Final = "permissions violation for publish to "
_REPLY: Final = "permissions violation for publish with reply of "
_SUBSCRIBE: Final = "permissions violation for subscription to "
_TOO_MANY: Final = "maximum subscriptions exceeded"


def read_error(text: str) -> ServerError:
    """Read an ``-ERR``; case does not count.

    What is not known is of kind ``other``; whether the connection stays is the server's to say.
    """
    lowered = text.lower()
    if lowered.startswith(_PUBLISH):
        return ServerError("publish", text, _word(text[len(_PUBLISH) :]))
    if lowered.startswith(_REPLY):
        return ServerError("publish", text, _word(text[len(_REPLY) :]))
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
    if lowered.startswith(AUTH_ERRORS):
        return ServerError("auth", text)
    return ServerError("other", text)


def _word(text: str) -> str | None:
    # Subjects, groups and sids have no blanks but may have quotes: the last one ends it.
    word = text.partition(" ")[0].rstrip(",)")
    return word[1:-1] if len(word) > 2 and word[0] == word[-1] == '"' else None
