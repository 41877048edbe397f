"""A network in memory, on a ``twisted.internet.task.Clock``.

Nothing here opens a socket or reads a clock of its own. Bytes move in *turns*:
whoever has something to do stands in one queue, and each turn sends what there
is and delivers one piece. A protocol that writes from inside ``dataReceived``
only joins the queue, so nothing recurses and the order is always the same. The
queue is run by ``clock.callLater(0, ...)``, or at once by :meth:`MemoryNetwork.flush`.

Between two ends lie two buffers, as in reality: what the writer's transport
still holds, and what the reader's system holds. When the second is full the
first grows, and a registered producer is paused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["MemoryEndpoint", "MemoryNetwork", "MemoryPort", "MemoryTransport", "advance"]

WINDOW: Final = 64 * 1024
"""Bytes that the reader's side takes without reading, and the most that is delivered in
one piece; also how much a transport holds before it pauses its producer (as in Twisted)."""

MAX_TURNS: Final = 1_000_000
"""Turns of one run; two ends that answer each other for ever are an error of the test."""

_ANY: Final = ""  # a listener for every host
_FIRST_FREE: Final = 49152

Address = tuple[str, int]

_log = Logger()


class _Turn(Protocol):
    queued: bool

    def turn(self) -> None: ...


def advance(clock: Clock, seconds: float, step: float = 0.1) -> None:
    """Let time pass in small steps, so that what a timer starts is seen by the next.

    :param seconds: how long; what is due at the end is still run.
    :param step: the longest step, in seconds.
    """
    end = clock.seconds() + seconds
    clock.advance(0)
    while (left := end - clock.seconds()) > 0:
        # A last step that is only rounding is joined with the one before.
        clock.advance(step if left > step * (1 + 1e-6) else left)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a connection; behaves as Twisted's TCP transport does.

    :ivar tcp_no_delay: what :meth:`setTcpNoDelay` was given.
    :ivar tcp_keep_alive: what :meth:`setTcpKeepAlive` was given.
    :ivar address: the listener's host and port, the same for both ends.
    """

    def __init__(
        self, network: MemoryNetwork, address: Address, host: IPv4Address, peer: IPv4Address
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
        """Close when all is sent and no producer is registered; stops reading."""
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
        elif self.disconnecting and self.producer is None:
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


@implementer(IListeningPort)
class MemoryPort:
    """A listener; :meth:`MemoryNetwork.listen` makes it."""

    def __init__(self, network: MemoryNetwork, address: Address, factory: IProtocolFactory) -> None:
        self.address = address
        self.factory = factory
        self._network = network

    def startListening(self) -> None:
        """Listen again after :meth:`stopListening`; :raises CannotListenError: if it is taken."""
        if self._network.ports.setdefault(self.address, self) is not self:
            raise CannotListenError("", self.address[1], OSError("address already in use"))
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Take no more connections; those that are made stay."""
        if self._network.ports.get(self.address) is self:
            del self._network.ports[self.address]
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """Return where it listens."""
        return IPv4Address("TCP", *self.address)


class _Attempt:
    """A connection that is being made."""

    def __init__(
        self, network: MemoryNetwork, address: Address, factory: IProtocolFactory, timeout: float
    ) -> None:
        self.address = address
        self.queued = False
        self.done: Deferred[IProtocol] = Deferred(self._cancel)
        self._network = network
        self._factory = factory
        self._timer: IDelayedCall = network.clock.callLater(timeout, self._fail, TimeoutError())
        factory.doStart()

    def turn(self) -> None:
        """Fail, connect, or wait: for the end of a stall or for the time-out."""
        if not self._timer.active() or self._network.is_stalled(self.address):
            return
        host, port = self.address
        if self._network.is_unknown(host):
            self._fail(DNSLookupError(f"no address for {host!r}"))
            return
        listener = self._network.find_port(self.address)
        if listener is None:
            self._fail(ConnectionRefusedError(f"nothing listens on {host}:{port}"))
            return
        try:
            protocol = self._factory.buildProtocol(IPv4Address("TCP", host, port))
            if protocol is None:
                raise NoProtocol
        except Exception as error:
            self._fail(error)
            return
        self._settle()
        self._network.join(self.address, protocol, listener, self._factory.doStop)
        self.done.callback(protocol)

    def _settle(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._network.attempts.remove(self)

    def _fail(self, error: Exception) -> None:
        self._settle()
        self._factory.doStop()
        self.done.errback(Failure(error))

    def _cancel(self, _: object) -> None:
        host, port = self.address
        self._fail(ConnectingCancelledError(IPv4Address("TCP", host, port)))


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Connects to one address of a :class:`MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, host: str, port: int, timeout: float = 30.0) -> None:
        self._network = network
        self._address = (host, port)
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :meth:`MemoryNetwork.connect`."""
        return self._network.connect(*self._address, protocolFactory, self._timeout)


class MemoryNetwork:
    """Hosts, listeners and connections.

    :param clock: runs the turns and the time-outs.
    :ivar chunk: the most bytes delivered in one piece; ``None`` for as in reality.
    :ivar transports: both ends of every open connection.
    :ivar attempts: connections that are being made.
    :ivar ports: the listeners by address.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.chunk: int | None = None
        self.transports: list[MemoryTransport] = []
        self.attempts: list[_Attempt] = []
        self.ports: dict[Address, MemoryPort] = {}
        self._numbers = _FIRST_FREE
        self._unknown: set[str] = set()
        self._stalled: set[tuple[str | None, int | None]] = set()
        self._queue: deque[_Turn] = deque()
        self._call: IDelayedCall | None = None
        self._running = False

    def listen(self, host: str, port: int, factory: IProtocolFactory) -> MemoryPort:
        """Take connections for an address.

        :param host: any name; ``""`` stands for all.
        :param port: 0 for a free one.
        :raises CannotListenError: when somebody listens there.
        """
        listener = MemoryPort(self, (host, port or self._free_number()), factory)
        listener.startListening()
        return listener

    def connect(
        self, host: str, port: int, factory: IProtocolFactory, timeout: float = 30.0
    ) -> Deferred[IProtocol]:
        """Connect, in a later turn.

        :param timeout: in seconds; it runs out only where the address is stalled.
        :returns: the protocol, connected. Fails with ``ConnectionRefusedError``,
            ``DNSLookupError``, ``TimeoutError`` or ``NoProtocol`` as a real endpoint does.
        """
        attempt = _Attempt(self, (host, port), factory, timeout)
        self.attempts.append(attempt)
        self.wake(attempt)
        return attempt.done

    def endpoint(self, host: str, port: int, timeout: float = 30.0) -> MemoryEndpoint:
        """Return an endpoint that connects to an address."""
        return MemoryEndpoint(self, host, port, timeout)

    def fail_dns(self, host: str, failing: bool = True) -> None:
        """Let the name resolve no more, or again."""
        (self._unknown.add if failing else self._unknown.discard)(host)

    def cut(self, host: str | None = None, port: int | None = None) -> None:
        """Lose the connections to an address, to a host, or all; bytes under way are lost."""
        for transport in self._matching(host, port):
            transport.cut()

    def stall(self, host: str | None = None, port: int | None = None) -> None:
        """Hold every byte, close and new connection of an address, of a host, or of all.

        What has arrived at the other end already is still delivered there.
        """
        self._stalled.add((host, port))

    def release(self) -> None:
        """End every stall."""
        self._stalled.clear()
        waiting: list[_Turn] = [*self.transports, *self.attempts]
        for one in waiting:
            self.wake(one)

    def pump(self) -> None:
        """Run turns until all is quiet; timers do not run.

        :raises RuntimeError: when it never becomes quiet.
        """
        if self._running:
            return
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._running = True
        try:
            for _ in range(MAX_TURNS):
                if not self._queue:
                    return
                turn = self._queue.popleft()
                turn.queued = False
                turn.turn()
            raise RuntimeError(f"the network is not quiet after {MAX_TURNS} turns")
        finally:
            self._running = False

    def flush(self) -> None:
        """Run turns, and timers that are due now, until all is quiet."""
        if not self._running:
            self.pump()
            self.clock.advance(0)

    def wake(self, turn: _Turn) -> None:
        """Put into the queue whoever has something to do."""
        if turn.queued:
            return
        turn.queued = True
        self._queue.append(turn)
        if self._call is None and not self._running:
            self._call = self.clock.callLater(0, self.pump)

    def is_stalled(self, address: Address) -> bool:
        """Say whether an address is stalled."""
        return bool(self._stalled) and not self._stalled.isdisjoint(
            {address, (address[0], None), (None, address[1]), (None, None)}
        )

    def is_unknown(self, host: str) -> bool:
        """Say whether a name does not resolve."""
        return host in self._unknown

    def find_port(self, address: Address) -> MemoryPort | None:
        """Return who listens there."""
        return self.ports.get(address) or self.ports.get((_ANY, address[1]))

    def join(
        self,
        address: Address,
        protocol: IProtocol,
        listener: MemoryPort,
        when_lost: Callable[[], None],
    ) -> None:
        """Connect a protocol with one that the listener makes."""
        there = IPv4Address("TCP", *address)
        here = IPv4Address("TCP", "127.0.0.1", self._free_number())
        client = MemoryTransport(self, address, here, there)
        server = MemoryTransport(self, address, there, here)
        client.other, server.other = server, client
        client.when_lost = when_lost
        self.transports += [client, server]
        answering: IProtocol | None = None
        try:
            answering = listener.factory.buildProtocol(here)
        except Exception:
            _log.failure("a listener raised in buildProtocol")
        if answering is None:
            server.connected = False
            self.transports.remove(server)
            client.end()
        else:
            server.start(answering)
        client.start(protocol)

    def _matching(self, host: str | None, port: int | None) -> list[MemoryTransport]:
        return [
            transport
            for transport in self.transports
            if host in (None, transport.address[0]) and port in (None, transport.address[1])
        ]

    def _free_number(self) -> int:
        self._numbers += 1
        return self._numbers
