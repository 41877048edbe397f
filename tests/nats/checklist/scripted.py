"""A TCP server that says what a test tells it: what no real server would do."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from tests.nats.checklist.servers import RealCase

__all__ = ["HELLO", "F", "ScriptedCase", "ScriptedServer", "info"]


def info(**fields: Any) -> bytes:
    """Return an ``INFO`` line, by default that of a server with headers."""
    given = {"server_id": "F", "proto": 1, "headers": True, "max_payload": 1048576, **fields}
    return b"INFO " + json.dumps(given).encode() + b" \r\n"


HELLO = info()


class F(Protocol):
    """One end of the scripted server.

    :ivar received: every byte so far.
    :ivar connects: documents of CONNECT.
    :ivar pings: PING lines so far.
    :ivar answering: PINGs are answered by PONG.
    :ivar lost: the client is gone.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.received = b""
        self.connects: list[dict[str, Any]] = []
        self.pings = 0
        self.answering = server.answering
        self.lost = False
        self._rest = b""

    def connectionMade(self) -> None:
        if self.server.greeting:
            self.send(self.server.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            word = line.strip()
            if word.startswith(b"CONNECT "):
                self.connects.append(json.loads(word[8:]))
            elif word == b"PING":
                self.pings += 1
                if self.answering:
                    self.send(b"PONG\r\n")
            self.server.heard(self, word)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    @property
    def wire(self) -> Any:
        """The transport."""
        return self.transport

    def send(self, data: bytes) -> None:
        """Say something."""
        if not self.lost:
            self.wire.write(data)

    def hang_up(self) -> None:
        """Close after what was said."""
        self.wire.loseConnection()

    def reset(self) -> None:
        """Close with a reset."""
        self.wire.abortConnection()


class ScriptedServer(ServerFactory):
    """Listens on the loopback.

    :param greeting: said at once to each who connects; INFO by default.
    :param answering: PINGs are answered by PONG.
    :ivar ends: all so far, oldest first.
    """

    noisy = False

    def __init__(self, greeting: bytes = HELLO, answering: bool = True) -> None:
        self.greeting = greeting
        self.answering = answering
        self.ends: list[F] = []
        self._port: Any = None

    def heard(self, end: F, line: bytes) -> None:
        """Called with each line that came; payloads are lines, too. Replace it to react."""

    def buildProtocol(self, addr: IAddress | None) -> F:
        end = F(self)
        self.ends.append(end)
        return end

    def listen(self, port: int = 0) -> None:
        """Listen, on any port by default."""
        listening: Any = reactor
        self._port = listening.listenTCP(port, self, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    async def close(self) -> None:
        """Listen no more, and drop everybody."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        for end in self.ends:
            if not end.lost:
                end.reset()

    @property
    def url(self) -> str:
        """``nats://127.0.0.1:PORT``."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def end(self) -> F:
        """The last one."""
        return self.ends[-1]


class ScriptedCase(RealCase):
    """A test with scripted servers."""

    async def scripted(
        self, greeting: bytes = HELLO, *, answering: bool = True, port: int = 0
    ) -> ScriptedServer:
        """Return a server that listens; in the end everything of it is gone."""
        server = ScriptedServer(greeting, answering)
        server.listen(port)
        self.addCleanup(self._close, server)
        return server

    async def _close(self, server: ScriptedServer) -> None:
        await server.close()
        await self.until(lambda: all(end.lost for end in server.ends))
