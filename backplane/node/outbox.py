"""Published data: accepted into a bounded outbox, out of it once the broker has it.

What is promised:

* An item is *accepted* when it is in the outbox: in memory, or, where there is a file, on
  the disk. The outbox is bounded in items and bytes; beyond it the producer waits (and is
  refused when too many wait), or the oldest or the newest items are dropped, as configured.
* A plain item leaves only when the broker has answered a PING that was sent after
  it (and one more, sent then), a durable one only when its stream has acknowledged it.
  What was not confirmed when a connection broke, or the process ended, is sent
  again, in order: to the broker an item may come twice and none is left
  out. The repeat is the same document with the same request id, by which a stream stores
  it once within its window.
* Whether a consumer was listening is, of plain items, the consumer's matter.
* Items are sent in the order of acceptance. A subject whose stream does not acknowledge is
  waited for, and others pass it.
* An item that the broker or its stream can never take (too large, forbidden subject) is
  dropped alone, counted and reported; the others go on.

Methods are for the reactor's thread unless their name says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger

from backplane.config.settings import FullPolicy
from backplane.errors import StateError
from backplane.interfaces import DataItem
from backplane.node.backlog import Backlog
from backplane.node.callers import Callers
from backplane.node.entries import (
    Entry,
    ItemRefused,
    OutboxFull,
    OutboxStatistics,
    Sealed,
    Tally,
)
from backplane.node.intake import Intake
from backplane.node.sending import Link, Sender
from backplane.node.spool import SpoolError
from backplane.node.storing import MemoryStore, Store
from backplane.node.streams import Publisher

__all__ = [
    "ItemRefused",
    "Link",
    "Outbox",
    "OutboxFull",
    "OutboxStatistics",
    "Sealed",
    "SpoolError",
]

MAX_REPORTED: Final = 1000
"""Causes of which is remembered that they were logged."""


class Outbox:
    """Accept, send, confirm.

    :param seal: makes the document of an item; raises ValueError when the item is unfit.
    :param link: the connection; :meth:`connected` must be called when it is (again) connected.
    :param publisher: publishes durable items.
    :param reactor: provides time, and for calls from threads.
    :param permanent: exceptions of ``link.publish`` that no retry can mend.
    :param log: told of dropped items, once for each subject and cause.
    :param max_items: most items kept.
    :param max_bytes: most bytes kept, sealed.
    :param full: what happens beyond that.
    :param store: keeps the items; in memory by default.
    """

    def __init__(
        self,
        seal: Callable[[DataItem], Sealed],
        link: Link,
        publisher: Publisher,
        reactor: Any,
        *,
        permanent: tuple[type[Exception], ...],
        log: Logger,
        max_items: int,
        max_bytes: int,
        full: FullPolicy = "wait",
        store: Store | None = None,
    ) -> None:
        self._seal = seal
        self._reactor = reactor
        self._log = log
        self._store: Store = MemoryStore() if store is None else store
        self._backlog = Backlog(self._store)
        self._tally = Tally(restored=self._store.found.items)
        self._sender = Sender(
            link,
            publisher,
            self._backlog,
            reactor,
            permanent=permanent,
            tally=self._tally,
            settle=self._settle,
            settled=self._settled,
            log=log,
        )
        self._intake = Intake(
            self._store,
            self._backlog,
            self._tally,
            log,
            max_items=max_items,
            max_bytes=max_bytes,
            full=full,
            returned=self._sender.gather,
            changed=self._changed,
        )
        self._store.bind(self._intake)
        self._closed = False
        self._ending: list[Deferred[None]] | None = None
        self._over = False
        self._idle: Deferred[None] | None = None
        self._callers = Callers()
        self._reported: set[tuple[str, str]] = set()

    @property
    def statistics(self) -> OutboxStatistics:
        """The counts as they are now."""
        items = 0 if self._over else self._intake.items
        return OutboxStatistics(
            **attrs.asdict(self._tally),
            waiting=self._intake.waiting,
            held=min(self._sender.held, items),
            items=items,
            bytes=self._intake.bytes if items else 0,
        )

    # What producers call

    def put(self, item: DataItem) -> Deferred[None]:
        """Accept an item.

        :returns: fires on acceptance: at once while there is room in memory, when the item
            is on the disk where there is a file, later when the producer has to wait; fails with
            :class:`OutboxFull`, with :class:`SpoolError` when the disk does not take it, or
            :class:`~backplane.errors.StateError` after stop.
        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        :raises StateError: when called outside the reactor's thread or in an asyncio task.
        """
        self._callers.check_reactor("put")
        return self._accept(item, confirm=False).addCallback(lambda entry: None)

    def publish(self, item: DataItem) -> Deferred[None]:
        """Accept an item and wait until the broker has it, or its stream; errors as :meth:`put`.

        :returns: fires with the confirmation; fails with :class:`ItemRefused` when
            the broker can never take the item, and with :class:`OutboxFull` when it was
            dropped for newer ones.
        """
        self._callers.check_reactor("publish")
        return self._accept(item, confirm=True).addCallback(_confirmation)

    def put_from_thread(self, item: DataItem) -> None:
        """Accept an item from another thread; blocks until it is accepted; errors as :meth:`put`.

        Items of one thread keep their order.
        """
        self._callers.check_thread("put")
        self._blocking(self.put, item)

    def publish_from_thread(self, item: DataItem) -> None:
        """As :meth:`put_from_thread`, and blocks until the broker has the item."""
        self._callers.check_thread("publish")
        self._blocking(self.publish, item)

    def put_future(self, item: DataItem) -> asyncio.Future[None]:
        """Accept an item from an asyncio task on the reactor's loop; errors as :meth:`put`."""
        loop = self._callers.loop("put")
        return self._accept(item, confirm=False).addCallback(lambda entry: None).asFuture(loop)

    def publish_future(self, item: DataItem) -> asyncio.Future[None]:
        """As :meth:`put_future`; done once the broker has the item."""
        loop = self._callers.loop("publish")
        return self._accept(item, confirm=True).addCallback(_confirmation).asFuture(loop)

    # What the node calls

    def start(self) -> None:
        """Bind to the calling thread, which is the reactor's; begin with what is in the file."""
        self._callers.bind()
        self._backlog.refill()

    def pump(self) -> None:
        """Send what waits, if the link is connected."""
        self._sender.pump()

    def connected(self) -> None:
        """The link has a new connection."""
        self._sender.connected()

    def forbidden(self, subject: str, reason: str) -> None:
        """The broker refused a publish to ``subject``: its items under way are dropped."""
        self._sender.forbidden(subject, reason)

    def drain(self) -> Deferred[None]:
        """Refuse new items; fires when all is sent that can be."""
        self._closed = True
        self._idle = Deferred()
        self._check_idle()
        self._sender.pump()
        return self._idle if self._idle is not None else succeed(None)

    def close(self) -> Deferred[None]:
        """Give up what is left, or leave it in the file; its producers are told.

        :returns: fires when the store is closed, too.
        """
        if self._over:
            return succeed(None)
        done: Deferred[None] = Deferred()
        if self._ending is not None:
            self._ending.append(done)
            return done
        self._closed = True
        self._ending = [done]
        where = ", which is in the file and goes out with the next start"
        gone = StateError(
            "the management was stopped before the broker had this item"
            + (where if self._store.on_disk else "")
        )
        entries = self._sender.under_way
        self._sender.end()
        self._intake.end(gone)
        for entry in entries:
            entry.fail(gone)
        self._backlog.fail(gone)
        self._store.close().addCallback(self._ended)
        return done

    def _ended(self, result: object) -> None:
        count = self._intake.items
        self._over = True
        if count and self._store.on_disk:
            self._log.warn("{count} published items wait for the next start", count=count)
        elif count:
            self._tally.lost += count
            self._log.warn("{count} published items did not reach the broker", count=count)
        self._check_idle()
        ending, self._ending = self._ending or [], None
        for done in ending:
            done.callback(None)

    def _blocking(self, call: Callable[[DataItem], Deferred[Any]], item: DataItem) -> None:
        blockingCallFromThread(self._reactor, call, item)

    def _accept(self, item: DataItem, confirm: bool) -> Deferred[Entry]:
        if self._closed:
            self._tally.refused += 1
            return fail(StateError("the management is stopped; the item was not accepted"))
        return self._intake.accept(self._seal(item), confirm)

    def _settle(self, entry: Entry) -> None:
        self._intake.leave(entry)
        if entry.refusal is None:
            self._tally.confirmed += 1
            entry.confirm()
            return
        self._tally.dropped += 1
        cause = (entry.sealed.subject, entry.refusal)
        if cause not in self._reported and len(self._reported) < MAX_REPORTED:
            self._reported.add(cause)
            self._log.error(
                "an item for {subject} was dropped: {reason}", subject=cause[0], reason=cause[1]
            )
        entry.fail(ItemRefused(entry.refusal))

    def _settled(self) -> None:
        self._intake.go_on()
        self._check_idle()

    def _changed(self) -> None:
        self._sender.pump()
        self._check_idle()

    def _check_idle(self) -> None:
        if self._idle is not None and (
            self._over or (self._intake.items <= self._sender.held and not self._intake.waiting)
        ):
            idle, self._idle = self._idle, None
            idle.callback(None)


def _confirmation(entry: Entry) -> Deferred[None]:
    assert entry.confirmation is not None
    return entry.confirmation
