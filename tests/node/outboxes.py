"""An outbox on a connection, a stream and a store that a test has in its hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.settings import FullPolicy
from backplane.interfaces import DataItem
from backplane.node.outbox import Outbox, Sealed
from backplane.node.storing import Store
from tests.node.messages import Lines


class NeverTaken(Exception):
    """What the broker can never take."""


class Link:
    """A connection that a test has in its hands.

    :ivar sent: what was published, in order.
    :ivar arrived: what the broker has confirmed.
    """

    def __init__(self) -> None:
        self.is_connected = True
        self.sent: list[str] = []
        self.flushes: list[Deferred[None]] = []
        self.refused: dict[str, Exception] = {}

    def publish(self, subject: str, payload: bytes) -> None:
        error = self.refused.get(subject)
        if error is not None:
            raise error
        self.sent.append(payload.decode())

    def flush(self, timeout: float | None = None) -> Deferred[Any]:
        if not self.is_connected:
            return fail(ConnectionError("not connected"))
        self.flushes.append(Deferred())
        return self.flushes[-1]

    def pong(self) -> None:
        """The broker answers the oldest PING, and the one that follows it."""
        self.flushes.pop(0).callback(None)
        self.flushes.pop(0).callback(None)

    def lose(self) -> None:
        """The connection breaks."""
        self.is_connected = False
        flushes, self.flushes = self.flushes, []
        for flush in flushes:
            flush.errback(ConnectionError("lost"))


class Acker:
    """The stream of durable items.

    :ivar asked: subject, payload, message id and what waits for the acknowledgement.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, Deferred[Any]]] = []

    def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        timeout: float = 5.0,
        retries: int = 2,
    ) -> Deferred[Any]:
        self.asked.append((subject, payload.decode(), message_id, Deferred()))
        return self.asked[-1][3]

    @property
    def sent(self) -> list[str]:
        """What was published and is not answered yet, in order."""
        return [payload for _, payload, _, _ in self.asked]

    def ack(self, payload: str | None = None) -> None:
        """Acknowledge an item, the oldest by default."""
        self._take(payload).callback(object())

    def refuse(self, error: Exception, payload: str | None = None) -> None:
        """Answer an item with an error, the oldest by default."""
        self._take(payload).errback(error)

    def refuse_all(self, error: Callable[[], Exception]) -> None:
        """Answer all that were published by now with errors."""
        asked, self.asked = self.asked, []
        for _, _, _, answer in asked:
            answer.errback(error())

    def _take(self, payload: str | None) -> Deferred[Any]:
        at = 0 if payload is None else self.sent.index(payload)
        return self.asked.pop(at)[3]


def seal(item: DataItem) -> Sealed:
    data = item.data if isinstance(item.data, str) else item.data.decode()
    if not data:
        raise ValueError("there is no data in the item")
    return Sealed(item.destination or "default", data.encode(), f"id-{data}", item.durable)


class OutboxCase(SynchronousTestCase):
    """An outbox of ten items and a hundred bytes on a link."""

    def setUp(self) -> None:
        self.link = Link()
        self.stream = Acker()
        self.log = Lines()
        self.clock = Clock()
        self.outbox = self.make()

    def make(
        self,
        max_items: int = 10,
        max_bytes: int = 100,
        full: FullPolicy = "wait",
        store: Store | None = None,
    ) -> Outbox:
        outbox = Outbox(
            seal,
            self.link,
            self.stream,
            self.clock,
            permanent=(NeverTaken,),
            log=self.log.logger(),
            max_items=max_items,
            max_bytes=max_bytes,
            full=full,
            store=store,
        )
        outbox.start()
        return outbox

    def put(self, data: str, to: str | None = None, durable: bool = False) -> Deferred[None]:
        return self.outbox.put(DataItem(data, to, durable))

    def publish(self, data: str, to: str | None = None, durable: bool = False) -> Deferred[None]:
        return self.outbox.publish(DataItem(data, to, durable))

    def connect(self) -> None:
        self.link.is_connected = True
        self.outbox.connected()

    def counts(self, *names: str) -> tuple[int, ...]:
        return tuple(getattr(self.outbox.statistics, name) for name in names)
