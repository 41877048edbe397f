"""What goes to a socket: joined while much is written in one turn, kept back while it is full.

A write of its own for each small message costs more than the message. So from some
publishes on, those of one turn of the reactor are joined, and written when it is
over. Order is kept in any case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from backplane.nats.errors import BufferFull, NatsError
from backplane.nats.waiters import Waiters

__all__ = ["LARGE", "Outflow"]

BURST: Final = 8
"""Publishes that are written at once before others are joined."""

JOINED: Final = 64 * 1024
"""Bytes that are joined at most, which is what a transport likes to get in one turn."""

LARGE: Final = 8 * 1024
"""Bytes of a payload that is not copied to be joined with what is around it."""


@implementer(IPushProducer)
class Outflow:
    """Writes to a transport, and is its producer: it is paused beyond some 64 KiB.

    :param clock: for the end of a turn.
    :param ping: sends a PING, whose PONG fires the Deferred.
    :param bound: bytes that are kept back at most.
    :param address: of the server, for errors.
    :ivar transport: set before anything is written.
    :ivar open: whether nothing is kept back.
    :ivar kept: bytes that are kept back.
    :ivar burst: publishes that were written at once; set to 0 in a new turn.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        ping: Callable[[Deferred[None]], None],
        bound: int,
        address: str,
    ) -> None:
        self.open = True
        self.kept = 0
        self.burst = 0
        self._clock = clock
        self._ping = ping
        self._bound = bound
        self._address = address
        self._joined: list[bytes] = []
        self._joined_size = 0
        self._turn: IDelayedCall | None = None
        self._paused = False
        self._holding = False
        self._held: deque[bytes | Deferred[None]] = deque()
        self._opens = Waiters()

    def send(self, data: bytes) -> None:
        """Write a control line, after what was published before, but for what is kept back."""
        if self._joined:
            self.spill()
        self.transport.write(data)

    def publish(self, data: bytes) -> None:
        """Write a publish, soon, or keep it; :raises BufferFull: when it does not fit."""
        if not self.open:
            self._keep(data)
        elif self.burst < BURST and not self._joined:
            self.burst += 1
            self.transport.write(data)
        else:
            self._joined.append(data)
            self._joined_size += len(data)
            if self._joined_size >= JOINED:
                self.spill()
            elif self._turn is None:
                self._turn = self._clock.callLater(0, self._over)

    def publish_parts(self, *parts: bytes) -> None:
        """Do the same with a publish in parts, none of which is copied if that can be avoided."""
        if not self.open:
            self._keep(b"".join(parts))
            return
        if self._joined:
            self.spill()
        self.transport.writeSequence(parts)

    def spill(self) -> None:
        """Write what was joined."""
        joined, self._joined, self._joined_size = self._joined, [], 0
        self.transport.write(b"".join(joined))

    def flush(self, done: Deferred[None]) -> None:
        """Send a PING after all that was published."""
        if self._held:
            self._held.append(done)
        else:
            self._ping(done)

    def when_open(self) -> Deferred[None]:
        """Fire when nothing is kept back."""
        return succeed(None) if self.open else self._opens.wait()

    def end(self, why: NatsError) -> tuple[int, list[Deferred[None]]]:
        """Write nothing any more; return how many publishes were not, and who waits for a PONG."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        flushes = [item for item in self._held if isinstance(item, Deferred)]
        lost = len(self._held) - len(flushes) + len(self._joined)
        self._held.clear()
        self._joined.clear()
        self.kept = self._joined_size = 0
        self._opens.end(why)
        return lost, flushes

    def pauseProducing(self) -> None:
        """The socket does not drain."""
        self._paused = True
        self.open = False

    def resumeProducing(self) -> None:
        """The socket drains: write what was kept."""
        self._paused = False
        if self._holding:
            return
        if self._joined:
            self.spill()
        while self._held and not self._paused:
            item = self._held.popleft()
            if isinstance(item, bytes):
                self.kept -= len(item)
                self.transport.write(item)
            elif not item.called:
                self._ping(item)
        if not self._paused:
            self.open = True
            self._opens.end()

    def hold(self) -> None:
        """Keep publishes back until :meth:`release`: another connection has some before them."""
        self._holding = True
        self.open = False

    def release(self) -> None:
        """Write what was kept, if the socket drains."""
        if self._holding:
            self._holding = False
            if not self._paused:
                self.resumeProducing()

    def stopProducing(self) -> None:
        """Required of producers; there is nothing to be done."""

    def _keep(self, data: bytes) -> None:
        if self.kept + len(data) > self._bound:
            raise BufferFull(f"{self.kept} bytes wait for {self._address}, which takes none")
        self._held.append(data)
        self.kept += len(data)

    def _over(self) -> None:
        self._turn = None
        self.burst = 0
        if self._joined:
            self.spill()
