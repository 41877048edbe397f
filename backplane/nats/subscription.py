"""One subscription of a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Message", "Subscription"]


@attrs.frozen
class Message:
    """A message as a subscriber gets it.

    :ivar headers: the header block as it came, or ``None``; see
        :func:`backplane.nats.headers.decode_headers`.
    """

    subject: str
    payload: bytes
    reply: str | None = None
    headers: bytes | None = None


@attrs.define(eq=False)
class Subscription:
    """Made by :meth:`backplane.nats.client.NatsClient.subscribe`.

    :ivar sid: never used again within the client's life.
    :ivar limit: messages to deliver in all, or ``None``.
    :ivar delivered: messages so far.
    :ivar denied: the server's words, when it does not allow the subject.
    """

    subject: str
    queue: str | None
    sid: str
    callback: Callable[[Message], Any] = attrs.field(repr=False)
    _remove: Callable[[Subscription], None] = attrs.field(repr=False)
    _limited: Callable[[Subscription], None] = attrs.field(repr=False)
    limit: int | None = None
    delivered: int = 0
    denied: str | None = None
    active: bool = True

    def unsubscribe(self, max_messages: int | None = None) -> None:
        """End the subscription; no message is delivered after this returns. Twice does nothing.

        :param max_messages: end it after so many, counted from its start.
        """
        if not self.active:
            return
        if max_messages is None or self.delivered >= max_messages:
            self.active = False
            self._remove(self)
            return
        self.limit = max_messages
        self._limited(self)

    @property
    def left(self) -> int | None:
        """Messages still to come, or ``None`` without a limit."""
        return None if self.limit is None else self.limit - self.delivered
