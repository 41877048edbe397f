"""One end of a connection in memory, which behaves as Twisted's TCP transport does.

Between two ends lie two buffers, as in reality: what the writer's transport
still holds, and what the reader's system holds. When the second is full the
first grows, and a registered producer is paused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["WINDOW", "Address", "MemoryTransport", "Turn", "Wires"]

WINDOW: Final = 64 * 1024
"""Bytes that the reader's side takes without reading, and the most that is delivered in
one piece; also how much a transport holds before it pauses its producer (as in Twisted)."""

Address = tuple[str, int]

_log = Logger()


class Turn(Protocol):
    """Somebody who stands in the queue of a network."""

    queued: bool

    def turn(self) -> None:
        """Do what there is to do, once."""


class Wires(Protocol):
    """What a transport needs of its network.

    :ivar chunk: the most bytes delivered in one piece; ``None`` for as in reality.
    :ivar transports: those that are connected.
    """

    chunk: int | None
    transports: list[MemoryTransport]

    def wake(self, turn: Turn) -> None:
        """Put somebody into the queue, who is not in it."""

    def is_stalled(self, address: Address) -> bool:
        """Say whether nothing moves to and from there."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a connection; behaves as Twisted's TCP transport does.

    :ivar tcp_no_delay: what :meth:`setTcpNoDelay` was given.
    :ivar tcp_keep_alive: what :meth:`setTcpKeepAlive` was given.
    :ivar address: the listener's host and port, the same for both ends.
    """

    def __init__(
        self, network: Wires, address: Address, host: IPv4Address, peer: IPv4Address
    ) -> None:
        self.address = address
        self.connected = True
        self.disconnecting = False
        self.tcp_no_delay = False
        self.tcp_keep_alive = False
        self.producer: Any = None  # as in Twisted, a push or a pull producer
        self.protocol: IProtocol
        self.other: MemoryTransport
        self.when_lost: Callable[[], None] | None = None
        self.queued = False
        self._network = network
        self._host = host
        self._peer = peer
        self._streaming = False
        self._producer_paused = False
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._reading = True
        self._ended = False  # the other end said good-bye, after what is incoming
        self._lost: Failure | None = None  # to be told in a turn
        self._lost_afar = False  # by the other end, so that a stall holds the news

    # ITransport, ITCPTransport

    def write(self, data: bytes) -> None:
        """Queue bytes; ignored once the connection is lost."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"Data must be bytes, not {type(data).__name__}")
        if not self.connected or not data:
            return
        self._outgoing += data
        if self._streaming and not self._producer_paused and len(self._outgoing) > WINDOW:
            self._producer_paused = True
            self.producer.pauseProducing()
        self._network.wake(self)

    def writeSequence(self, data: Any) -> None:
        """Queue several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all is sent and no producer is paused; stops reading."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._reading = False
            self._network.wake(self)

    def loseWriteConnection(self) -> None:
        """Close altogether: there are no half-closed connections here."""
        self.loseConnection()

    def abortConnection(self) -> None:
        """Close at once; what is under way in both directions is lost."""
        if self.connected:
            self._reset(ConnectionAborted())
            self.other._reset(ConnectionLost(), afar=True)

    def getPeer(self) -> IPv4Address:
        """Return the other end's address."""
        return self._peer

    def getHost(self) -> IPv4Address:
        """Return this end's address."""
        return self._host

    def getTcpNoDelay(self) -> bool:
        """Return what was set."""
        return self.tcp_no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember it."""
        self.tcp_no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return what was set."""
        return self.tcp_keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remember it."""
        self.tcp_keep_alive = bool(enabled)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take a producer; :raises RuntimeError: when there is one already."""
        if self.producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer; a pending close goes on."""
        self.producer = None
        self._streaming = False
        self._network.wake(self)

    # IPushProducer: our bytes come in for the protocol

    def pauseProducing(self) -> None:
        """Deliver nothing more, the end of the connection included."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Deliver again."""
        if self.connected and not self.disconnecting:
            self._reading = True
            self._network.wake(self)

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # What the network does with it

    def turn(self) -> None:
        """Send what there is, then deliver one piece or the end."""
        stalled = self._network.is_stalled(self.address)
        if self._lost is not None and not (stalled and self._lost_afar):
            self._lose(self._lost)
        if self.connected and not stalled:
            self._send()
        if self.connected and self._reading:
            self._receive(stalled)

    def start(self, protocol: IProtocol) -> None:
        """Give it to the protocol that reads from it."""
        self.protocol = protocol
        self._run(protocol.makeConnection, self)

    def cut(self) -> None:
        """Lose the connection at once, as when a cable is pulled; on this end only."""
        self._reset(ConnectionLost())

    def end(self) -> None:
        """Learn that the other end is gone."""
        self._ended = True
        self._network.wake(self)

    def _run(self, call: Callable[..., object], argument: object) -> None:
        try:
            call(argument)
        except Exception as error:
            # As the reactor does with a protocol that raises.
            _log.failure("{protocol} raised; its connection is closed", protocol=self.protocol)
            self._lose(Failure(error))

    def _send(self) -> None:
        other = self.other
        room = max(WINDOW - len(other._incoming), 0) if other.connected else len(self._outgoing)
        if room and self._outgoing:
            if other.connected:
                other._incoming += self._outgoing[:room]
                self._network.wake(other)
            del self._outgoing[:room]
        if self._outgoing:
            return
        if self.producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            # As in Twisted, whether or not a producer is registered that is not paused.
            self._lose(Failure(ConnectionDone()))

    def _receive(self, stalled: bool) -> None:
        if self._incoming:
            size = min(self._network.chunk or WINDOW, WINDOW)
            piece = bytes(self._incoming[:size])
            del self._incoming[:size]
            # There may be more, and the other end has room again.
            self._network.wake(self)
            self._network.wake(self.other)
            self._run(self.protocol.dataReceived, piece)
        elif self._ended and not stalled:
            self._lose(Failure(ConnectionDone()))

    def _reset(self, reason: Exception, afar: bool = False) -> None:
        if self.connected and (self._lost is None or self._lost_afar):
            self._lost, self._lost_afar = Failure(reason), afar
            self._network.wake(self)
            if not afar:
                self._outgoing.clear()
                self._incoming.clear()
                self._reading = False

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._network.transports.remove(self)
        self._outgoing.clear()
        self._incoming.clear()
        self.other.end()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        try:
            self.protocol.connectionLost(reason)
        except Exception:
            _log.failure("{protocol} raised in connectionLost", protocol=self.protocol)
        if self.when_lost is not None:
            self.when_lost()
