"""Health over HTTP, from a server that answers as it likes."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as default
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from backplane.config.sidecarvalues import HttpConfig
from backplane.sidecar.errors import CommandError
from backplane.sidecar.web import MAX_BODY, ask
from tests.sidecar.outside import LogBook

reactor: Any = default


class Server(Protocol):
    """Answers what the test says, whatever is asked."""

    factory: ServerFactory
    gone = False

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.factory.asked += data
        if b"\r\n\r\n" in self.factory.asked:
            answer = self.factory.answer
            if answer is None:
                return
            self.transport.write(answer)
            if self.factory.endless:
                self.more()
            elif self.factory.closes:
                self.transport.loseConnection()

    def more(self) -> None:
        if not self.gone and self.transport is not None:
            self.transport.write(b"x" * 65536)
            reactor.callLater(0, self.more)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.closed += 1
        self.gone = True


class ServerFactory(Factory):
    """What to answer, and what was asked."""

    noisy = False
    protocol: Any = Server

    def __init__(self) -> None:
        self.answer: bytes | None = b""
        self.asked = b""
        self.endless = False
        self.closes = True
        self.closed = 0


class AskTests(TestCase):
    """One question."""

    def setUp(self) -> None:
        self.server = ServerFactory()
        self.port: Any = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/health?deep=1"

    def ask(self, timeout: float = 30.0, url: str | None = None) -> Deferred[Any]:
        return Deferred.fromCoroutine(ask(reactor, HttpConfig(url or self.url, timeout)))

    async def refused(self, asking: Deferred[Any]) -> str:
        return str(await self.assertFailure(asking, CommandError))

    async def closed(self) -> None:
        while not self.server.closed:
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.01, waiting.callback, None)
            await waiting

    async def test_answer(self) -> None:
        """Status and body; the whole address is asked for."""
        self.server.answer = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'
        self.assertEqual(await self.ask(), (200, b'{"a": 1}'))
        self.assertTrue(self.server.asked.startswith(b"GET /health?deep=1 HTTP/1.1\r\n"))
        self.assertIn(b"User-Agent: choria-backplane/", self.server.asked)

    async def test_says_nothing(self) -> None:
        """A check is no line in the host's log, as there are many of them."""
        self.server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        book = LogBook()
        globalLogPublisher.addObserver(book)
        self.addCleanup(globalLogPublisher.removeObserver, book)
        await self.ask()
        self.assertNotIn("ClientFactory", book.text)

    async def test_other_answers(self) -> None:
        """Errors and redirections are answers, and none is followed."""
        for status in (503, 302, 204):
            self.server.asked = b""
            self.server.answer = (
                f"HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            self.assertEqual(await self.ask(), (status, b""))

    async def test_keeps_open(self) -> None:
        """The connection is closed, whether the server does it or not."""
        self.server.closes = False
        self.server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.assertEqual(await self.ask(), (200, b"ok"))
        await self.closed()

    async def test_silent(self) -> None:
        """A server that says nothing, or not all of it, in time."""
        self.server.closes = False
        for answer in (
            None,
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        ):
            self.server.asked, self.server.closed = b"", 0
            self.server.answer = answer
            self.assertIn("did not answer within 0.3 s", await self.refused(self.ask(0.3)))
            await self.closed()

    async def test_floods(self) -> None:
        """Headers or bodies without end are cut."""
        much = "sends more than 65536 bytes"
        for answer, words in (
            (b"HTTP/1.1 200 OK\r\n\r\n", much),
            (b"HTTP/1.1 200 OK\r\nX: ", "before it had answered"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", much),
        ):
            self.server.asked, self.server.closed = b"", 0
            self.server.answer, self.server.endless = answer, True
            said = await self.refused(self.ask())
            self.assertIn(words, said)
            await self.closed()
        self.assertTrue(MAX_BODY <= 65536)

    async def test_nonsense(self) -> None:
        """What is no HTTP, and an answer that breaks off."""
        for answer, words in (
            (b"hello\r\n\r\n", "gave no answer: "),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "closed the connection"),
            (b"", "closed the connection"),
        ):
            self.server.asked = b""
            self.server.answer = answer
            self.assertIn(words, await self.refused(self.ask()))

    async def test_old_server(self) -> None:
        """A server that ends its answer by closing the connection."""
        self.server.answer = b"HTTP/1.0 200 OK\r\n\r\nall is well"
        self.assertEqual(await self.ask(), (200, b"all is well"))

    async def test_nobody(self) -> None:
        """Nobody listens."""
        await self.port.stopListening()
        said = await self.refused(self.ask())
        self.assertIn(f"{self.url} cannot be reached: Connection refused", said)

    async def test_cancelled(self) -> None:
        """Who does not wait any more hangs up."""
        self.server.answer = None
        asking = self.ask()
        while not self.server.asked:
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.01, waiting.callback, None)
            await waiting
        asking.cancel()
        await self.assertFailure(asking, CancelledError)
        await self.closed()
