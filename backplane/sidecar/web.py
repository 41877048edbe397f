"""One question to a web server of the outside process, within its bounds."""

from __future__ import annotations

import os
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from backplane._version import __version__
from backplane.config.sidecarvalues import HttpConfig
from backplane.logs import printable
from backplane.sidecar.errors import CommandError
from backplane.webcounted import CountedLink, causes

__all__ = ["ask"]

MAX_BODY: Final = 64 * 1024
"""Bytes of a body that are used; one that has more is refused."""

MAX_HEAD: Final = 32 * 1024
"""Bytes of headers."""

_HEADERS: Final = {
    "User-Agent": [f"choria-backplane/{__version__}"],
    "Accept": ["application/json, text/plain"],
}


async def ask(reactor: Any, http: HttpConfig) -> tuple[int, bytes]:
    """Return status and body of the answer; cancelling ends the question.

    :raises CommandError: when there is none in time, or too much of one.
    """
    link = _Link(reactor, http.timeout)
    agent = Agent.usingEndpointFactory(reactor, link)
    answer: Deferred[tuple[int, bytes]] = Deferred.fromCoroutine(_answer(agent, http.url))
    overdue = reactor.callLater(http.timeout, link.expire, answer)
    try:
        answered = await answer
        link.check()
        return answered
    except Exception as error:
        if not link.expired and any(isinstance(each, CancelledError) for each in causes(error)):
            raise CancelledError from None
        raise CommandError(f"health: {http.url} {link.explain(error)}") from None
    finally:
        if overdue.active():
            overdue.cancel()
        link.abort()


async def _answer(agent: Any, url: str) -> tuple[int, bytes]:
    response: IResponse = await agent.request(b"GET", url.encode("ascii"), Headers(_HEADERS))
    body = _Body()
    response.deliverBody(body)  # type: ignore[no-untyped-call,unused-ignore]
    return response.code, await body.done


class _Body(Protocol):
    def __init__(self) -> None:
        self._data = bytearray()
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            # The latter where the server says the length by closing.
            self.done.callback(bytes(self._data))
        else:
            self.done.errback(reason)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Link(CountedLink):
    """The connection of one question, and how much may come on it."""

    def __init__(self, reactor: Any, timeout: float) -> None:
        super().__init__(MAX_BODY + MAX_HEAD)
        self._reactor = reactor
        self._timeout = timeout
        self._uri: Any = None
        self.expired = False

    def endpointForURI(self, uri: Any) -> _Link:
        """See :class:`IAgentEndpointFactory`."""
        self._uri = uri
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :class:`IStreamClientEndpoint`."""
        host, port = self._uri.host.decode("ascii").strip("[]"), self._uri.port
        kind: Any = HostnameEndpoint
        # Numbers need no resolver, which has threads.
        if ":" in host:
            kind = TCP6ClientEndpoint
        elif host.replace(".", "").isdigit():
            kind = TCP4ClientEndpoint
        endpoint = kind(self._reactor, host, port, self._timeout)
        return self.open(endpoint, protocolFactory)

    def expire(self, answer: Deferred[Any]) -> None:
        """The time is over."""
        self.expired = True
        answer.cancel()

    def check(self) -> None:
        """:raises CommandError: when the answer was cut, though it may look whole."""
        if self.exceeded:
            raise CommandError("was cut")

    def explain(self, error: Exception) -> str:
        """Say in plain words why there is no answer."""
        if self.exceeded:
            return f"sends more than {MAX_BODY} bytes"
        if self.expired:
            return f"did not answer within {self._timeout:g} s"
        found = causes(error)
        cause = found[-1]
        if isinstance(cause, ConnectError) and isinstance(cause.osError, int):
            return f"cannot be reached: {os.strerror(cause.osError)}"
        if any(isinstance(each, ConnectionDone | ConnectionLost) for each in found):
            return "closed the connection before it had answered"
        text = printable(" ".join(str(cause).split()), 200).rstrip(".")
        return f"gave no answer: {text or type(cause).__name__}"
