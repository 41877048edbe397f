"""Taking items in: bounds, who waits for room, what is dropped where nobody may wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.config.settings import FullPolicy
from backplane.errors import LocalError, StateError
from backplane.node.backlog import Backlog
from backplane.node.entries import Entry, OutboxFull, Sealed, Tally
from backplane.node.spool import SpoolError
from backplane.node.storing import Store

__all__ = ["Intake"]

MAX_WAITING: Final = 1000
"""Producers that may wait for room; the next one is refused. So is one whose item, with those
that wait, would be larger than the outbox may be: what waits is in memory, too."""


class Intake:
    """What is accepted, and who waits for it.

    :param store: keeps what is accepted.
    :param backlog: gets what the store has.
    :param tally: counts.
    :param log: told of what is dropped for want of room, ever more rarely.
    :param max_items: most items in the outbox.
    :param max_bytes: the same in bytes.
    :param full: what happens beyond that.
    :param returned: puts what was sent in vain back into the backlog.
    :param changed: called when there is something to send, or nothing more.
    :ivar items: in the outbox, or being stored.
    :ivar bytes: the same in bytes.
    """

    def __init__(
        self,
        store: Store,
        backlog: Backlog,
        tally: Tally,
        log: Logger,
        *,
        max_items: int,
        max_bytes: int,
        full: FullPolicy,
        returned: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._backlog = backlog
        self._tally = tally
        self._log = log
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._full = full
        self._returned = returned
        self._changed = changed
        self.items = store.found.items
        self.bytes = store.found.bytes
        self._last = store.found.last
        self._waiting: deque[tuple[Sealed, bool, Deferred[Entry]]] = deque()
        self._waiting_bytes = 0
        self._admitting = False
        self._gone: StateError | None = None
        self._next_report = 1

    @property
    def waiting(self) -> int:
        """Producers that wait for room."""
        return len(self._waiting)

    def accept(self, sealed: Sealed, confirm: bool) -> Deferred[Entry]:
        """Take an item in, now or when there is room.

        :param confirm: whether the entry has a ``confirmation``.
        :returns: fires with its entry; fails with :class:`OutboxFull` or :class:`SpoolError`.
        """
        accepted: Deferred[Entry] = Deferred(self._abandon)
        size = len(sealed.payload)
        try:
            self._store.check()
        except SpoolError as error:
            self._refuse(accepted, error)
            return accepted
        if size > self._max_bytes:
            self._refuse(accepted, OutboxFull(f"an item of {size} bytes is larger than the outbox"))
        elif not self._waiting and self._room(sealed):
            self._take(sealed, confirm, accepted)
        elif self._full == "drop_newest":
            self._refuse(accepted, OutboxFull(f"{self._told()}; the item was not accepted"))
            self._report(self._tally.refused, "newest")
        elif len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > self._max_bytes:
            text = (
                f"{self._told()} and {len(self._waiting)} producers wait with "
                f"{self._waiting_bytes} bytes; the item was not accepted"
            )
            self._refuse(accepted, OutboxFull(text))
        else:
            self._waiting.append((sealed, confirm, accepted))
            self._waiting_bytes += size
        return accepted

    def leave(self, entry: Entry) -> None:
        """Let an entry go that was accepted."""
        self.items -= 1
        self.bytes -= entry.size
        self._store.remove(entry.number)

    def go_on(self) -> None:
        """Take in what has waited for the room that there is now."""
        if self._admitting:
            return
        self._admitting = True
        try:
            while self._waiting and self._room(self._waiting[0][0]):
                sealed, confirm, accepted = self._waiting.popleft()
                self._waiting_bytes -= len(sealed.payload)
                if not accepted.called:
                    self._take(sealed, confirm, accepted)
        finally:
            self._admitting = False

    def end(self, gone: StateError) -> None:
        """Refuse those who wait; what is being stored is stored, and its producers told."""
        self._gone = gone
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        for _, _, accepted in waiting:
            self._refuse(accepted, gone)

    # What the store tells

    def stored(self, entries: Sequence[Entry]) -> None:
        """See :class:`backplane.node.storing.Keeper`."""
        self._tally.accepted += len(entries)
        for entry in entries:
            if self._gone is not None:
                entry.fail(self._gone)
            self._backlog.append(entry)
        for entry in entries:
            if entry.accepted is not None and not entry.accepted.called:
                entry.accepted.callback(entry)
        self.go_on()
        self._changed()

    def not_stored(self, entries: Sequence[Entry], error: SpoolError) -> None:
        """See :class:`backplane.node.storing.Keeper`."""
        for entry in entries:
            self.items -= 1
            self.bytes -= entry.size
        for entry in entries:
            self._refuse(entry.accepted, error)
        self.go_on()
        self._changed()

    def loaded(self, entries: Sequence[Entry]) -> None:
        """See :class:`backplane.node.storing.Keeper`."""
        self._backlog.loaded(entries)
        self.go_on()
        self._changed()

    # Small things

    def _take(self, sealed: Sealed, confirm: bool, accepted: Deferred[Entry]) -> None:
        self._last += 1
        self.items += 1
        self.bytes += len(sealed.payload)
        self._store.add(Entry(self._last, sealed, accepted, Deferred() if confirm else None))

    def _refuse(self, accepted: Deferred[Entry] | None, error: LocalError) -> None:
        self._tally.refused += 1
        if accepted is not None and not accepted.called:  # as by trial, after a timeout
            accepted.errback(Failure(error))

    def _abandon(self, accepted: Deferred[Entry]) -> None:
        """Somebody does not wait any more; what is being stored already goes on."""
        stay: deque[tuple[Sealed, bool, Deferred[Entry]]] = deque()
        for each in self._waiting:
            if each[2] is accepted:
                self._waiting_bytes -= len(each[0].payload)
                self._tally.refused += 1
            else:
                stay.append(each)
        self._waiting = stay

    def _room(self, sealed: Sealed) -> bool:
        size = len(sealed.payload)
        if self._full == "drop_oldest" and not self._fits(size):
            self._make_room(size)
        return self._fits(size) and self._store.has_room

    def _fits(self, size: int) -> bool:
        return self.items < self._max_items and self.bytes + size <= self._max_bytes

    def _make_room(self, size: int) -> None:
        """Drop the oldest items that are not under way."""
        self._returned()
        while not self._fits(size) and (entry := self._backlog.pop_oldest()) is not None:
            full = self._told()
            self.leave(entry)
            self._tally.overflowed += 1
            self._report(self._tally.overflowed, "oldest")
            entry.fail(OutboxFull(f"{full}; the item was dropped for newer ones"))
        self._backlog.refill()

    def _told(self) -> str:
        return f"the outbox is full ({self.items} items, {self.bytes} bytes)"

    def _report(self, count: int, which: str) -> None:
        if count >= self._next_report:
            self._next_report = count * 10
            self._log.error(
                "the outbox is full: its {which} items are dropped, {count} so far",
                which=which,
                count=count,
            )
