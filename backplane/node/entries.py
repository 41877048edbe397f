"""What is in the outbox: sealed items, and what is counted and raised of them."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backplane.errors import LocalError

__all__ = ["Entry", "ItemRefused", "OutboxFull", "OutboxStatistics", "Sealed", "Tally"]


class OutboxFull(LocalError):
    """The outbox is full: the item was not accepted, or has made room for a newer one."""


class ItemRefused(LocalError):
    """The broker, or its stream, can never take this item; it was dropped."""


@attrs.frozen
class Sealed:
    """An item as it goes to the broker.

    :ivar subject: where to.
    :ivar payload: the document; a repeat is the same one.
    :ivar message_id: what names the item for a stream: the document's request id.
    :ivar durable: whether a stream must acknowledge it.
    """

    subject: str
    payload: bytes
    message_id: str = ""
    durable: bool = False


@attrs.define(eq=False)
class Entry:
    """A place in the outbox.

    :ivar number: its place in the order of acceptance, over all runs.
    :ivar accepted: fires when the item is in the store.
    :ivar confirmation: fires when the broker has it, where somebody waits for that.
    :ivar refusal: why the broker can never take it.
    :ivar tries: how often it was sent.
    """

    number: int
    sealed: Sealed
    accepted: Deferred[Entry] | None = None
    confirmation: Deferred[None] | None = None
    refusal: str | None = None
    tries: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes of the bound."""
        return len(self.sealed.payload)

    def fail(self, error: LocalError) -> None:
        """Tell whoever waits for the confirmation that there will be none."""
        if self.confirmation is not None and not self.confirmation.called:
            self.confirmation.errback(Failure(error))

    def confirm(self) -> None:
        """Tell whoever waits for it that the broker has the item."""
        if self.confirmation is not None and not self.confirmation.called:
            self.confirmation.callback(None)


@attrs.frozen
class OutboxStatistics:
    """Counts since the start.

    :ivar accepted: items taken in.
    :ivar restored: items of earlier runs that were in the file.
    :ivar confirmed: items that the broker has; durable ones, that their stream has.
    :ivar repeated: items sent again because a connection broke, or no stream
        acknowledged them, before their confirmation.
    :ivar dropped: accepted items that the broker or its stream can never take.
    :ivar overflowed: accepted items dropped for newer ones, because the outbox was full.
    :ivar refused: items that were not accepted.
    :ivar lost: accepted items still here at the end of the stop, where there is no file.
    :ivar waiting: producers waiting for room, now.
    :ivar held: durable items that no stream acknowledges, now.
    :ivar items: items in the outbox, now.
    :ivar bytes: their size, now.
    """

    accepted: int
    restored: int
    confirmed: int
    repeated: int
    dropped: int
    overflowed: int
    refused: int
    lost: int
    waiting: int
    held: int
    items: int
    bytes: int


@attrs.define
class Tally:
    """What only grows of :class:`OutboxStatistics`."""

    accepted: int = 0
    restored: int = 0
    confirmed: int = 0
    repeated: int = 0
    dropped: int = 0
    overflowed: int = 0
    refused: int = 0
    lost: int = 0


MAX_NUMBER: Final = 2**63 - 1
"""The last place that there is."""
