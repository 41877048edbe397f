"""What is published to a socket that does not drain: kept back, in order, within a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from backplane.nats.errors import BufferFull, NatsError
from backplane.nats.waiters import Waiters

__all__ = ["Outflow"]


@implementer(IPushProducer)
class Outflow:
    """The producer of a transport, which pauses it beyond some 64 KiB.

    :param write: writes to the transport.
    :param ping: sends a PING, whose PONG fires the Deferred.
    :param bound: bytes that are kept back at most.
    :param address: of the server, for errors.
    :ivar open: whether everything is written at once.
    :ivar size: bytes that are kept back.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        ping: Callable[[Deferred[None]], None],
        bound: int,
        address: str,
    ) -> None:
        self.open = True
        self.size = 0
        self._write = write
        self._ping = ping
        self._bound = bound
        self._address = address
        self._paused = False
        self._held: deque[bytes | Deferred[None]] = deque()
        self._drains = Waiters()

    def put(self, data: bytes) -> None:
        """Write a publish, or keep it; :raises BufferFull: when it does not fit."""
        if self.open:
            self._write(data)
            return
        if self.size + len(data) > self._bound:
            raise BufferFull(f"{self.size} bytes wait for {self._address}, which takes none")
        self._held.append(data)
        self.size += len(data)

    def flush(self, done: Deferred[None]) -> None:
        """Send a PING after what is kept back."""
        if self._held:
            self._held.append(done)
        else:
            self._ping(done)

    def when_open(self) -> Deferred[None]:
        """Fire when everything is written at once, again."""
        return succeed(None) if self.open else self._drains.wait()

    def end(self, why: NatsError) -> tuple[int, list[Deferred[None]]]:
        """Keep nothing any more; return how many publishes were, and who waits for a PONG."""
        flushes = [item for item in self._held if isinstance(item, Deferred)]
        lost = len(self._held) - len(flushes)
        self._held.clear()
        self.size = 0
        self._drains.end(why)
        return lost, flushes

    def pauseProducing(self) -> None:
        """The socket does not drain."""
        self._paused = True
        self.open = False

    def resumeProducing(self) -> None:
        """The socket drains: write what was kept."""
        self._paused = False
        while self._held and not self._paused:
            item = self._held.popleft()
            if isinstance(item, bytes):
                self.size -= len(item)
                self._write(item)
            elif not item.called:
                self._ping(item)
        if not self._paused:
            self.open = True
            self._drains.end()

    def stopProducing(self) -> None:
        """Required of producers; there is nothing to be done."""
