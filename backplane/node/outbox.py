"""Published data: accepted into a bounded outbox, out of it once the broker has it.

What is promised:

* An item is *accepted* when it is in the outbox. The outbox is bounded in
  items and bytes; beyond it the producer waits, and when too many wait it is
  refused at that moment.
* An item leaves only when the broker has answered a PING that was sent after
  it (and one more, sent then). What was not confirmed when a connection broke
  is sent again, in order: to the broker an item may come twice and none is left
  out. The repeat is the same document with the same request id.
* Whether a consumer was listening is the consumer's matter.
* An item that the broker can never take (too large, forbidden subject) is
  dropped alone, counted and reported; the others go on.

It keeps its items in memory. Methods are for the reactor's thread unless
their name says otherwise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.errors import LocalError, StateError
from backplane.interfaces import DataItem
from backplane.node.callers import Callers

__all__ = ["ItemRefused", "Link", "Outbox", "OutboxFull", "OutboxStatistics", "Sealed"]

MAX_WAITING: Final = 1000
"""Producers that may wait for room; the next one is refused. So is one whose item, with those
that wait, would be larger than the outbox may be: what waits is in memory too."""

WINDOW_ITEMS: Final = 512
"""Items sent before a PING asks for their confirmation."""

WINDOW_BYTES: Final = 256 * 1024
"""The same in bytes: what can be repeated when a connection breaks."""


class OutboxFull(LocalError):
    """The outbox is full and too many producers wait already; the item was not accepted."""


class ItemRefused(LocalError):
    """The broker can never take this item; it was dropped."""


@attrs.frozen
class Sealed:
    """An item as it goes to the broker."""

    subject: str
    payload: bytes


class Link(Protocol):
    """What the outbox needs of a connection (:class:`backplane.nats.client.NatsClient`)."""

    @property
    def is_connected(self) -> bool: ...

    def publish(self, subject: str, payload: bytes) -> None: ...

    def flush(self, timeout: float | None = None) -> Deferred[Any]: ...


@attrs.frozen
class OutboxStatistics:
    """Counts since the start.

    :ivar accepted: items taken in.
    :ivar confirmed: items that the broker has.
    :ivar repeated: items sent again because a connection broke before their confirmation.
    :ivar dropped: accepted items that the broker can never take.
    :ivar refused: items that were not accepted.
    :ivar lost: accepted items still here at the end of the stop.
    :ivar waiting: producers waiting for room, now.
    :ivar items: items in the outbox, now.
    :ivar bytes: their size, now.
    """

    accepted: int
    confirmed: int
    repeated: int
    dropped: int
    refused: int
    lost: int
    waiting: int
    items: int
    bytes: int


@attrs.define(eq=False)
class _Entry:
    sealed: Sealed
    confirmation: Deferred[None] | None = None
    refusal: str | None = None
    tries: int = 0


class Outbox:
    """Accept, send, confirm.

    :param seal: makes the document of an item; raises ValueError when the item is unfit.
    :param link: the connection; :meth:`pump` must be called when it is (again) connected.
    :param reactor: for calls from threads.
    :param permanent: exceptions of ``link.publish`` that no retry can mend.
    :param log: told of dropped items, once for each subject and cause.
    :param max_items: most items kept.
    :param max_bytes: most bytes kept, sealed.
    """

    def __init__(
        self,
        seal: Callable[[DataItem], Sealed],
        link: Link,
        reactor: Any,
        *,
        permanent: tuple[type[Exception], ...],
        log: Logger,
        max_items: int,
        max_bytes: int,
    ) -> None:
        self._seal = seal
        self._link = link
        self._reactor = reactor
        self._permanent = permanent
        self._log = log
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._queue: deque[_Entry] = deque()
        self._bytes = 0
        self._waiting: deque[tuple[Sealed, bool, Deferred[_Entry]]] = deque()
        self._waiting_bytes = 0
        self._window: list[_Entry] = []
        self._closed = False
        self._idle: Deferred[None] | None = None
        self._callers = Callers()
        self._reported: set[tuple[str, str]] = set()
        self._counts = dict.fromkeys(
            ("accepted", "confirmed", "repeated", "dropped", "refused", "lost"), 0
        )

    @property
    def statistics(self) -> OutboxStatistics:
        """The counts as they are now."""
        return OutboxStatistics(
            **self._counts, waiting=len(self._waiting), items=len(self._queue), bytes=self._bytes
        )

    def put(self, item: DataItem) -> Deferred[None]:
        """Accept an item.

        :returns: fires on acceptance: at once while there is room, later when the
            producer has to wait; fails with :class:`OutboxFull` or
            :class:`~backplane.errors.StateError` after stop.
        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        :raises StateError: when called outside the reactor's thread or in an asyncio task.
        """
        self._callers.check_reactor("put")
        return self._accept(item, confirm=False).addCallback(lambda entry: None)

    def publish(self, item: DataItem) -> Deferred[None]:
        """Accept an item and wait until the broker has it; errors as :meth:`put`.

        :returns: fires with the confirmation; fails with :class:`ItemRefused` when
            the broker can never take the item.
        """
        self._callers.check_reactor("publish")

        def confirmation(entry: _Entry) -> Deferred[None]:
            assert entry.confirmation is not None
            return entry.confirmation

        return self._accept(item, confirm=True).addCallback(confirmation)

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
        accepted = self._accept(item, confirm=True)
        return accepted.addCallback(lambda entry: entry.confirmation).asFuture(loop)

    def start(self) -> None:
        """Bind to the calling thread, which is the reactor's."""
        self._callers.bind()

    def pump(self) -> None:
        """Send what waits, if the link is connected and nothing is under way."""
        if self._window or not self._queue or not self._link.is_connected:
            return
        size = 0
        for entry in self._queue:
            length = len(entry.sealed.payload)
            if len(self._window) >= WINDOW_ITEMS or (self._window and size + length > WINDOW_BYTES):
                break
            try:
                self._link.publish(entry.sealed.subject, entry.sealed.payload)
            except self._permanent as error:
                entry.refusal = str(error)
            except Exception:
                # Not connected any more: the next connection starts from the head.
                self._log.debug("publishing stopped: {reason}", reason=Failure().value)
                break
            if entry.tries:
                self._counts["repeated"] += 1
            entry.tries += 1
            size += length
            self._window.append(entry)
        if self._window:
            # Twice: the broker answers the first PING while it still hands the items to their
            # subscribers, the second once it has tried.
            answered = self._link.flush(None).addCallback(lambda _: self._link.flush(None))
            answered.addCallbacks(self._confirmed, self._interrupted)

    def forbidden(self, subject: str, reason: str) -> None:
        """The broker refused a publish to ``subject``: its items under way are dropped."""
        for entry in self._window:
            if entry.sealed.subject == subject:
                entry.refusal = reason

    def drain(self) -> Deferred[None]:
        """Refuse new items; fires when the outbox is empty."""
        self._closed = True
        self._idle = Deferred()
        self._check_idle()
        self.pump()
        return self._idle if self._idle is not None else succeed(None)

    def close(self) -> None:
        """Give up what is left; its producers are told."""
        self._closed = True
        gone = StateError("the management was stopped before the broker had this item")
        self._counts["lost"] += len(self._queue)
        entries, self._queue, self._window = list(self._queue), deque(), []
        waiting, self._waiting = list(self._waiting), deque()
        self._bytes = self._waiting_bytes = 0
        if entries:
            self._log.warn("{count} published items did not reach the broker", count=len(entries))
        for entry in entries:
            if entry.confirmation is not None:
                entry.confirmation.errback(Failure(gone))
        for _, _, accepted in waiting:
            self._counts["refused"] += 1
            if not accepted.called:
                accepted.errback(Failure(gone))
        self._check_idle()

    def _accept(self, item: DataItem, confirm: bool) -> Deferred[_Entry]:
        if self._closed:
            self._counts["refused"] += 1
            return fail(StateError("the management is stopped; the item was not accepted"))
        sealed = self._seal(item)
        if len(sealed.payload) > self._max_bytes:
            self._counts["refused"] += 1
            return fail(
                OutboxFull(f"an item of {len(sealed.payload)} bytes is larger than the outbox")
            )
        if not self._waiting and self._room(sealed):
            entry = self._append(sealed, confirm)
            self.pump()
            return succeed(entry)
        waiting_bytes = self._waiting_bytes + len(sealed.payload)
        if len(self._waiting) >= MAX_WAITING or waiting_bytes > self._max_bytes:
            self._counts["refused"] += 1
            return fail(
                OutboxFull(
                    f"the outbox is full ({len(self._queue)} items, {self._bytes} bytes) and "
                    f"{len(self._waiting)} producers wait with {self._waiting_bytes} bytes; "
                    "the item was not accepted"
                )
            )
        accepted: Deferred[_Entry] = Deferred(self._abandon)
        self._waiting.append((sealed, confirm, accepted))
        self._waiting_bytes = waiting_bytes
        return accepted

    def _abandon(self, accepted: Deferred[_Entry]) -> None:
        self._counts["refused"] += 1
        stay: deque[tuple[Sealed, bool, Deferred[_Entry]]] = deque()
        for entry in self._waiting:
            if entry[2] is accepted:
                self._waiting_bytes -= len(entry[0].payload)
            else:
                stay.append(entry)
        self._waiting = stay

    def _room(self, sealed: Sealed) -> bool:
        return (
            len(self._queue) < self._max_items
            and self._bytes + len(sealed.payload) <= self._max_bytes
        )

    def _append(self, sealed: Sealed, confirm: bool) -> _Entry:
        entry = _Entry(sealed, Deferred() if confirm else None)
        self._queue.append(entry)
        self._bytes += len(sealed.payload)
        self._counts["accepted"] += 1
        return entry

    def _confirmed(self, result: object) -> None:
        window, self._window = self._window, []
        for entry in window:
            # The window is the head of the queue.
            self._queue.popleft()
            self._bytes -= len(entry.sealed.payload)
        for entry in window:
            self._settle(entry)
        while self._waiting and self._room(self._waiting[0][0]):
            sealed, confirm, accepted = self._waiting.popleft()
            self._waiting_bytes -= len(sealed.payload)
            if not accepted.called:  # as by trial, when a test has timed out
                accepted.callback(self._append(sealed, confirm))
        self._check_idle()
        self.pump()

    def _settle(self, entry: _Entry) -> None:
        if entry.refusal is None:
            self._counts["confirmed"] += 1
            if entry.confirmation is not None:
                entry.confirmation.callback(None)
            return
        self._counts["dropped"] += 1
        cause = (entry.sealed.subject, entry.refusal)
        if cause not in self._reported and len(self._reported) < MAX_WAITING:
            self._reported.add(cause)
            self._log.error(
                "an item for {subject} was dropped: {reason}", subject=cause[0], reason=cause[1]
            )
        if entry.confirmation is not None:
            entry.confirmation.errback(Failure(ItemRefused(entry.refusal)))

    def _interrupted(self, failure: Failure) -> None:
        self._window = []
        self._log.debug("unconfirmed items will be sent again: {reason}", reason=failure.value)
        self.pump()

    def _check_idle(self) -> None:
        if self._idle is not None and not self._queue and not self._waiting:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _blocking(self, call: Callable[[DataItem], Deferred[Any]], item: DataItem) -> None:
        blockingCallFromThread(self._reactor, call, item)
