"""``python -m benchmarks.soak.proxy``: between services and broker; cuts one in N connections.

Its input is lines. The first is JSON with ``broker`` (a port), ``seed`` and ``one_in``; the
answer is the port that it listens on once it is ``open``. ``shut`` refuses further connections,
and leaves those that there are; ``open`` takes them again; ``counts`` asks what happened. Each is
answered by a line. The end of its input ends it.

A connection that is to be cut loses all after a place in the middle of a message: the one to
whom it goes gets half of it and then the end, the other one a reset.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from benchmarks.soak.framing import Framing

__all__ = ["Cut", "Half"]

TO_BROKER: Final = "to the broker"
TO_SERVICE: Final = "to the service"
MOST: Final = {TO_BROKER: 30, TO_SERVICE: 10}
"""Messages that pass at most before the one that does not."""


class Cut:
    """Where a connection is to be cut.

    :param direction: of the message.
    """

    def __init__(self, rng: random.Random) -> None:
        self.direction = rng.choice((TO_BROKER, TO_SERVICE))
        self._framing = Framing()
        self._left = rng.randrange(MOST[self.direction])
        self._part = rng.random()

    def keep(self, data: bytes) -> bytes | None:
        """Return what passes of ``data`` before the cut; ``None`` while all of it does."""
        for place, size in self._framing.feed(data):
            if not self._left:
                # What of it is not here will not come either.
                return data[: place + int(self._part * size)]
            self._left -= 1
        return None


class Half(Protocol):
    """One end of a connection; what comes goes to the other."""

    def __init__(self, proxy: Proxy, direction: str) -> None:
        self.other: Half | None = None
        self.cut: Cut | None = None
        self._proxy = proxy
        self._direction = direction

    def join(self, other: Half) -> None:
        """Be one connection."""
        self.other, other.other = other, self
        here: Any = self.transport
        there: Any = other.transport
        for one, two in ((here, there), (there, here)):
            one.setTcpNoDelay(True)
            one.registerProducer(two, True)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is None:
            return
        there: Any = self.other.transport
        here: Any = self.transport
        cut = self.cut
        if cut is not None and cut.direction == self._direction:
            kept = cut.keep(data)
            if kept is not None:
                self._proxy.was_cut(cut)
                self._part()
                there.write(kept)
                there.loseConnection()
                here.abortConnection()
                return
        there.write(data)

    def _part(self) -> None:
        """Be two connections."""
        other, self.other = self.other, None
        assert other is not None
        other.other = None
        for half in (self, other):
            half.cut = None
            transport: Any = half.transport
            transport.unregisterProducer()
            transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the other one, too."""
        self._proxy.ended(self)
        if self.other is not None:
            other = self.other
            self._part()
            there: Any = other.transport
            there.loseConnection()


class Proxy(Factory):
    """Takes connections.

    :param reactor: the reactor.
    :param broker: port of the broker.
    """

    def __init__(self, reactor: Any, broker: int, seed: int, one_in: int) -> None:
        self._reactor = reactor
        self._broker = broker
        self._rng = random.Random(seed)
        self._one_in = one_in
        self._chosen = 0
        self._port: Any = None
        self.number = 0
        self.connections = 0
        self.waiting: set[Cut] = set()
        self.cuts = {TO_BROKER: 0, TO_SERVICE: 0}

    def open(self) -> None:
        """Listen."""
        if self._port is None:
            self._port = self._reactor.listenTCP(self.number, self, 500, "127.0.0.1")
            self.number = self._port.getHost().port

    async def shut(self) -> None:
        """Do not."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()

    def buildProtocol(self, address: Any) -> Half:
        """Connect to the broker for somebody."""
        half = Near(self, TO_BROKER)
        place = self.connections % self._one_in
        if not place:
            self._chosen = self._rng.randrange(self._one_in)
        if place == self._chosen:
            half.cut = Cut(self._rng)
        self.connections += 1
        return half

    def far(self, near: Near) -> None:
        """Connect to the broker."""
        self._reactor.connectTCP("127.0.0.1", self._broker, Far(self, near), 5)

    def was_cut(self, cut: Cut) -> None:
        """It is done."""
        self.waiting.discard(cut)
        self.cuts[cut.direction] += 1

    def ended(self, half: Half) -> None:
        """A connection has ended, perhaps before it was cut."""
        if half.cut is not None:
            self.waiting.discard(half.cut)

    def counts(self) -> dict[str, int]:
        """Return what happened: connections in all, cuts that wait, and those that were made."""
        return {"connections": self.connections, "waiting": len(self.waiting), **self.cuts}


class Near(Half):
    """The end at a service."""

    def connectionMade(self) -> None:
        """Say nothing before the broker does."""
        transport: Any = self.transport
        transport.pauseProducing()
        if self.cut is not None:
            self._proxy.waiting.add(self.cut)
        self._proxy.far(self)


class Far(ClientFactory):
    """The end at the broker, for one at a service."""

    def __init__(self, proxy: Proxy, near: Near) -> None:
        self._proxy = proxy
        self._near = near

    def buildProtocol(self, address: Any) -> Half:
        """Join the two."""
        return Joining(self._proxy, TO_SERVICE, self._near)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The broker is not there."""
        transport: Any = self._near.transport
        transport.abortConnection()


class Joining(Half):
    """Belongs to an end that was there before."""

    def __init__(self, proxy: Proxy, direction: str, near: Near) -> None:
        super().__init__(proxy, direction)
        self._near = near

    def connectionMade(self) -> None:
        """Let it begin."""
        near: Any = self._near.transport
        if near is None or not near.connected:
            transport: Any = self.transport
            transport.abortConnection()
            return
        self.cut = self._near.cut
        self.join(self._near)
        near.resumeProducing()


class Control(LineOnlyReceiver):
    """Does what the lines say."""

    delimiter = b"\n"

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._proxy: Proxy | None = None

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""
        if self._proxy is None:
            self._proxy = Proxy(self._reactor, **json.loads(line))
            self._proxy.open()
            self._say(self._proxy.number)
        elif line == b"open":
            self._proxy.open()
            self._say("open")
        elif line == b"shut":
            done = Deferred.fromCoroutine(self._proxy.shut())
            done.addCallback(lambda result: self._say("shut"))
        elif line == b"counts":
            self._say(self._proxy.counts())

    def _say(self, value: object) -> None:
        self.sendLine(json.dumps(value).encode())

    def connectionLost(self, reason: object = None) -> None:
        """Nobody wants us any more."""
        self._reactor.stop()


def main() -> None:
    """Run until the input ends."""
    reactor: Any = default_reactor
    StandardIO(Control(reactor), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main()
