"""Where accepted items are: in memory, or in a file as well.

A store tells of what it has taken, in the order in which it was given, and forgets what it is
told to. :class:`DiskStore` commits in groups: what comes while a commit is under way makes
the next one, so that many items share the wait for the disk, which the reactor never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from backplane.node.entries import Entry
from backplane.node.invoking import ThreadRunner
from backplane.node.spool import Found, Spool, SpoolError

__all__ = ["DiskStore", "Keeper", "MemoryStore", "Store"]

GROUP_BYTES: Final = 4 * 1024 * 1024
"""Bytes after which a commit takes no further item."""

PENDING_BYTES: Final = 64 * 1024 * 1024
"""Bytes that may wait for a commit, in memory; producers wait beyond it."""

RETRY: Final = 5.0
"""Seconds until what the disk has not taken is tried again."""


class Keeper(Protocol):
    """Whom a store tells."""

    def stored(self, entries: Sequence[Entry]) -> None:
        """The entries are kept from now on."""

    def not_stored(self, entries: Sequence[Entry], error: SpoolError) -> None:
        """The entries are not kept."""

    def loaded(self, entries: Sequence[Entry]) -> None:
        """The entries that :meth:`Store.load` has asked for."""


class Store(Protocol):
    """What keeps items."""

    on_disk: bool
    found: Found

    @property
    def has_room(self) -> bool:
        """Whether it takes more now."""

    def bind(self, keeper: Keeper) -> None:
        """Tell ``keeper`` from now on."""

    def check(self) -> None:
        """Let calls of the process pass that it belongs to.

        :raises SpoolError: in a forked one.
        """

    def add(self, entry: Entry) -> None:
        """Keep an entry."""

    def remove(self, number: int) -> None:
        """Forget an entry."""

    def load(self, after: int, items: int, size: int) -> None:
        """Ask for entries behind one that were stored before; see :meth:`Spool.read`."""

    def close(self) -> Deferred[None]:
        """Do what was asked for, and end."""


class MemoryStore:
    """Keeps nothing but what is in memory anyway."""

    on_disk = False
    found = Found(0, 0, 0)
    has_room = True

    def bind(self, keeper: Keeper) -> None:
        """See :class:`Store`."""
        self._keeper = keeper

    def check(self) -> None:
        """See :class:`Store`."""

    def add(self, entry: Entry) -> None:
        """See :class:`Store`."""
        self._keeper.stored([entry])

    def remove(self, number: int) -> None:
        """See :class:`Store`."""

    def load(self, after: int, items: int, size: int) -> None:
        """See :class:`Store`: there is nothing else."""
        self._keeper.loaded([])

    def close(self) -> Deferred[None]:
        """See :class:`Store`."""
        return succeed(None)


class DiskStore:
    """Keeps items in a file.

    :param spool: open.
    :param threads: runs what blocks; it is given one thing after the other.
    :param clock: for further tries.
    :param log: told when the disk does not take anything, and when it does again.
    """

    on_disk = True

    def __init__(
        self, spool: Spool, threads: ThreadRunner, clock: IReactorTime, log: Logger
    ) -> None:
        self.found = spool.found
        self._spool = spool
        self._threads = threads
        self._clock = clock
        self._log = log
        self._added: list[Entry] = []
        self._removed: list[int] = []
        self._wanted: tuple[int, int, int] | None = None
        self._pending = 0
        self._busy = False
        self._broken: set[str] = set()  # what does not work now
        self._again: IDelayedCall | None = None
        self._ended: Deferred[None] | None = None

    @property
    def has_room(self) -> bool:
        """See :class:`Store`."""
        return self._pending < PENDING_BYTES

    def bind(self, keeper: Keeper) -> None:
        """See :class:`Store`."""
        self._keeper = keeper

    def check(self) -> None:
        """See :class:`Store`."""
        self._spool.check()

    def add(self, entry: Entry) -> None:
        """See :class:`Store`."""
        self._added.append(entry)
        self._pending += entry.size
        self._begin()

    def remove(self, number: int) -> None:
        """See :class:`Store`."""
        self._removed.append(number)
        self._begin()

    def load(self, after: int, items: int, size: int) -> None:
        """See :class:`Store`."""
        self._wanted = (after, items, size)
        self._begin()

    def close(self) -> Deferred[None]:
        """See :class:`Store`."""
        self._wanted = None
        ended: Deferred[None] = Deferred()
        self._ended = ended
        self._begin()
        return ended

    def _begin(self) -> None:
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._work()).addErrback(
                lambda failure: self._log.failure("keeping published items failed", failure)
            )

    async def _work(self) -> None:
        try:
            while await self._step():
                pass
        finally:
            self._busy = False
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            await self._threads(self._spool.close)
            ended.callback(None)
        elif self._removed or self._wanted is not None:
            self._again = self._clock.callLater(RETRY, self._begin)

    async def _step(self) -> bool:
        """Do the next thing; say whether to go on."""
        good = True
        if self._added or self._removed:
            good = await self._change()
        elif self._wanted is not None:
            good = await self._read()
        else:
            return False
        if good or self._added:
            return True
        # Also what cannot be written can be read.
        return self._wanted is not None and bool(self._removed) and await self._read()

    async def _change(self) -> bool:
        added = self._group()
        removed, self._removed = self._removed, []

        def change() -> SpoolError | None:
            # What is removed has to be written, too: without room for that nothing would ever go.
            refused = self._spool.refuses() if added else None
            self._spool.change([] if refused is not None else added, removed)
            return refused

        try:
            refused = await self._threads(change)
        except Exception as error:
            failed = self._fail("writing", error)
            self._removed[:0] = removed
            if added:
                self._keeper.not_stored(added, failed)
            return False
        if refused is not None:
            self._keeper.not_stored(added, self._fail("adding", refused))
            return True
        self._works("writing")
        if added:
            self._works("adding")
            self._keeper.stored(added)
        return True

    def _group(self) -> list[Entry]:
        size = count = 0
        for entry in self._added:
            if size >= GROUP_BYTES:
                break
            size += entry.size
            count += 1
        group, self._added = self._added[:count], self._added[count:]
        self._pending -= size
        return group

    async def _read(self) -> bool:
        wanted, self._wanted = self._wanted, None
        assert wanted is not None
        try:
            entries = await self._threads(lambda: self._spool.read(*wanted))
        except Exception as error:
            self._fail("reading", error)
            self._wanted = wanted
            return False
        self._works("reading")
        self._keeper.loaded(entries)
        return True

    def _fail(self, what: str, error: Exception) -> SpoolError:
        if not isinstance(error, SpoolError):
            error = SpoolError(f"{self._spool.path}: {what} failed: {error!r}")
        if what not in self._broken:
            self._broken.add(what)
            self._log.error("{error}; {what} is tried again", error=error, what=what)
        return error

    def _works(self, what: str) -> None:
        if what in self._broken:
            self._broken.discard(what)
            self._log.warn("{path}: {what} works again", path=self._spool.path, what=what)
