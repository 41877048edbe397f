"""What one service publishes."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from backplane import Management
from backplane.interfaces import DataItem
from benchmarks.soak.items import SUBJECT, Item, text_of

__all__ = ["Producer"]


class Producer:
    """Publishes items of one kind, one after the other, until it is told to end.

    Every other item is published, that is, its confirmation is waited for (not by the next
    one); the others are put.

    :param service: number of the service.
    :param rate: items a second.
    :ivar accepted: how many the outbox has taken.
    :ivar confirmed: of plain ones that were published, numbers and times (monotonic) of the
        confirmations, until they are asked for.
    :ivar unconfirmed: published, and not confirmed yet.
    :ivar failures: what went wrong.
    """

    def __init__(
        self, reactor: Any, management: Management, service: int, rate: float, durable: bool
    ) -> None:
        self._reactor = reactor
        self._management = management
        self._service = service
        self._pause = 1 / rate
        self._durable = durable
        self._on = True
        self.accepted = 0
        self.unconfirmed = 0
        self.confirmed: deque[tuple[int, float]] = deque()
        self.failures: list[str] = []

    def start(self) -> Deferred[None]:
        """Publish from now on.

        :returns: fires once no more is published.
        """
        return Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    def stop(self) -> None:
        """Publish no more."""
        self._on = False

    async def _run(self) -> None:
        kind = "durable" if self._durable else "plain"
        while self._on:
            number = self.accepted
            text = text_of(Item(self._service, number))
            item = DataItem(text, f"{SUBJECT}.{kind}", durable=self._durable)
            if number % 2:
                await self._management.data_outbox.put(item)
            else:
                self.unconfirmed += 1
                done = self._management.publish(item)
                done.addCallback(self._came, number).addErrback(self._failed)
            self.accepted += 1
            await deferLater(self._reactor, self._pause)

    def _came(self, result: object, number: int) -> None:
        self.unconfirmed -= 1
        if not self._durable:
            self.confirmed.append((number, time.monotonic()))

    def _failed(self, failure: Failure) -> None:
        self.failures.append(repr(failure.value))
