"""What is accepted and not under way: in order, at most its head in memory.

Where there is a file, what lies behind the head is in that only. Durable items of a
subject that no stream acknowledges are set aside, so that others pass them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backplane.errors import LocalError
from backplane.node.entries import Entry
from backplane.node.storing import Store

__all__ = ["Backlog"]

HEAD_ITEMS: Final = 2048
"""Items of a file that are read ahead of their sending; more are read at half of it."""

HEAD_BYTES: Final = 2 * 1024 * 1024
"""The same in bytes."""

ASIDE_ITEMS: Final = 10_000
"""Items that may be set aside before the others behind them wait, too, in the file."""

ASIDE_BYTES: Final = 32 * 1024 * 1024
"""The same in bytes."""


class Backlog:
    """The queue.

    :param store: keeps what is behind the head, if it is on disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._head: deque[Entry] = deque()
        self._head_bytes = 0
        self._aside: dict[str, deque[Entry]] = {}
        self._aside_items = 0
        self._aside_bytes = 0
        self._last = 0  # number of the last one that was ever in the head
        self._tail = store.found.items
        self._loading = False
        self._since = 0  # of the tail, what came while it was being read
        self._confirmations: dict[int, Deferred[None]] = {}  # of what is behind the head

    @property
    def aside(self) -> int:
        """How many are set aside."""
        return self._aside_items

    @property
    def is_loading(self) -> bool:
        """Whether entries are being read from the file."""
        return self._loading

    def append(self, entry: Entry) -> None:
        """Take an entry that is in the store."""
        if self._store.on_disk and (
            self._tail
            or self._loading
            or len(self._head) >= HEAD_ITEMS
            or (self._head and self._head_bytes + entry.size > HEAD_BYTES)
            or not self._may_set_aside
        ):
            self._tail += 1
            self._since += 1
            if entry.confirmation is not None:
                self._confirmations[entry.number] = entry.confirmation
        else:
            self._last = entry.number
            self._push(entry)

    def first(self) -> Entry | None:
        """Return the first one, which may be sent."""
        return self._head[0] if self._head else None

    def pop(self) -> Entry:
        """Take the first one out."""
        entry = self._head.popleft()
        self._head_bytes -= entry.size
        return entry

    def back(self, entries: Iterable[Entry]) -> None:
        """Put entries that were sent in vain into their old places."""
        entries = sorted(entries, key=_number)
        if not entries:
            return
        self._head_bytes += sum(entry.size for entry in entries)
        if not self._head or entries[-1].number < self._head[0].number:
            self._head.extendleft(reversed(entries))
        else:
            self._head = deque(heapq.merge(entries, self._head, key=_number))

    def set_aside(self, entry: Entry) -> None:
        """Let others pass an entry, until :meth:`call_back` of its subject."""
        queue = self._aside.setdefault(entry.sealed.subject, deque())
        if queue and queue[-1].number > entry.number:
            merged = heapq.merge(queue, [entry], key=_number)
            self._aside[entry.sealed.subject] = deque(merged)
        else:
            queue.append(entry)
        self._aside_items += 1
        self._aside_bytes += entry.size

    def pop_aside(self, subject: str) -> Entry | None:
        """Take out the first one of a subject that was set aside."""
        queue = self._aside.get(subject)
        if not queue:
            return None
        entry = queue.popleft()
        if not queue:
            del self._aside[subject]
        self._aside_items -= 1
        self._aside_bytes -= entry.size
        return entry

    def call_back(self, subject: str) -> int:
        """Put what was set aside into its old places; return how many."""
        queue = self._aside.pop(subject, deque())
        self._aside_items -= len(queue)
        self._aside_bytes -= sum(entry.size for entry in queue)
        self.back(queue)
        return len(queue)

    def pop_oldest(self) -> Entry | None:
        """Take out the oldest one of all in memory."""
        oldest = self._head[0] if self._head else None
        subject = None
        for name, queue in self._aside.items():
            if oldest is None or queue[0].number < oldest.number:
                oldest, subject = queue[0], name
        if subject is not None:
            return self.pop_aside(subject)
        return self.pop() if oldest is not None else None

    def refill(self) -> None:
        """Ask the store for more, where the head has become short."""
        if (
            self._tail
            and not self._loading
            and len(self._head) <= HEAD_ITEMS // 2
            and self._head_bytes <= HEAD_BYTES // 2
            and self._may_set_aside
        ):
            self._loading = True
            self._since = 0
            self._store.load(self._last, HEAD_ITEMS, HEAD_BYTES)

    def loaded(self, entries: Sequence[Entry]) -> None:
        """Take what :meth:`refill` has asked for."""
        self._loading = False
        if not entries:  # somebody else has emptied the file
            self._tail = self._since
        for entry in entries:
            self._tail -= 1
            self._last = entry.number
            entry.confirmation = self._confirmations.pop(entry.number, None)
            self._push(entry)

    def fail(self, error: LocalError) -> None:
        """Tell all who wait for confirmations that there will be none."""
        for entry in [*self._head, *(each for queue in self._aside.values() for each in queue)]:
            entry.fail(error)
        behind, self._confirmations = self._confirmations, {}
        for confirmation in behind.values():
            if not confirmation.called:
                confirmation.errback(Failure(error))

    def _push(self, entry: Entry) -> None:
        self._head.append(entry)
        self._head_bytes += entry.size

    @property
    def _may_set_aside(self) -> bool:
        return self._aside_items < ASIDE_ITEMS and self._aside_bytes < ASIDE_BYTES


def _number(entry: Entry) -> int:
    return entry.number
