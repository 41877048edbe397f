"""A network in memory, on a ``twisted.internet.task.Clock``.

Nothing here opens a socket or reads a clock of its own. Bytes move in *turns*:
whoever has something to do stands in one queue, and each turn sends what there
is and delivers one piece. A protocol that writes from inside ``dataReceived``
only joins the queue, so nothing recurses and the order is always the same. The
queue is run by ``clock.callLater(0, ...)``, or at once by :meth:`MemoryNetwork.flush`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from backplane.testing.transport import Address, MemoryTransport, Turn

__all__ = ["MemoryEndpoint", "MemoryNetwork", "MemoryPort", "advance"]

MAX_TURNS: Final = 1_000_000
"""Turns of one run; two ends that answer each other for ever are an error of the test."""

_ANY: Final = ""  # a listener for every host
_FIRST_FREE: Final = 49152


_log = Logger()


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
        self._queue: deque[Turn] = deque()
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
        waiting: list[Turn] = [*self.transports, *self.attempts]
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
                if not self._turn():
                    return
            raise RuntimeError(f"the network is not quiet after {MAX_TURNS} turns")
        finally:
            self._running = False

    def step(self) -> bool:
        """Run one turn, which moves bytes one way over one connection; say if there was one.

        For tests that want to do something at each point of a conversation.
        """
        if self._running:
            return False
        self._running = True
        try:
            return self._turn()
        finally:
            self._running = False

    def _turn(self) -> bool:
        if not self._queue:
            return False
        turn = self._queue.popleft()
        turn.queued = False
        turn.turn()
        return True

    def flush(self) -> None:
        """Run turns, and timers that are due now, until all is quiet."""
        if not self._running:
            self.pump()
            self.clock.advance(0)

    def wake(self, turn: Turn) -> None:
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
