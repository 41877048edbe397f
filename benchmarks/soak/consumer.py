"""Who gets the plain items: a subscription of its own, straight at the broker."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

from benchmarks.soak.items import SUBJECT, Item
from benchmarks.soak.wire import Wire, WireLost

__all__ = ["Arrivals", "Consumer"]


class Arrivals:
    """What came of one kind.

    :ivar copies: of each service's items, how often each came.
    :ivar late: of each service, items that came for the first time, but after a later one.
    :ivar strange: what was none of ours, or not whole.
    """

    def __init__(self) -> None:
        self.copies: dict[int, bytearray] = {}
        self.late: Counter[int] = Counter()
        self.strange: list[str] = []

    def take(self, document: bytes) -> None:
        """Count one."""
        try:
            item = Item.read(document)
        except ValueError as error:
            self.strange.append(str(error))
            return
        copies = self.copies.setdefault(item.service, bytearray())
        if item.number >= len(copies):
            copies.extend(bytes(item.number + 1 - len(copies)))
        elif not copies[item.number]:
            self.late[item.service] += 1
        copies[item.number] = min(255, copies[item.number] + 1)


class Consumer:
    """Subscribes, again and again, in a thread.

    :ivar arrivals: what came.
    :ivar connections: how often it was subscribed.
    """

    def __init__(self, port: int) -> None:
        self.arrivals = Arrivals()
        self.connections = 0
        self._port = port
        self._wire: Wire | None = None
        self._pongs = 0
        self._changed = threading.Condition()
        self._on = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._on:
            with contextlib.suppress(OSError):
                self._listen()
            time.sleep(0.01)

    def _listen(self) -> None:
        wire = Wire(self._port, None)
        self._wire = wire
        try:
            wire.subscribe(f"{SUBJECT}.plain", 1)
            if wire.read().subject:
                raise WireLost("a message came before the subscription")
            with self._changed:
                self.connections += 1
                self._changed.notify_all()
            while self._on:
                got = wire.read()
                if got.subject:
                    self.arrivals.take(got.payload)
                else:
                    with self._changed:
                        self._pongs += 1
                        self._changed.notify_all()
        finally:
            wire.close()

    def wait(self, connections: int, timeout: float) -> None:
        """Wait until it was subscribed so often. :raises RuntimeError: when it is not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.connections >= connections, timeout):
                raise RuntimeError("the consumer is not connected")

    def settle(self, timeout: float) -> None:
        """Wait until all is here that the broker has sent. :raises RuntimeError: if it is not."""
        assert self._wire is not None
        with self._changed:
            pongs = self._pongs
            self._wire.send(b"PING\r\n")
            if not self._changed.wait_for(lambda: self._pongs > pongs, timeout):
                raise RuntimeError("the broker does not answer the consumer")

    def close(self) -> None:
        """End it."""
        self._on = False
        if self._wire is not None:
            self._wire.close()
        self._thread.join(10)
