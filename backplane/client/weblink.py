"""One question to a web server, over TLS, that cannot come to more than it may."""

from __future__ import annotations

import os
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from backplane.security.tls import BrokerSecurity
from backplane.webcounted import CountedLink, causes

__all__ = ["MAX_TOLD", "Body", "Link", "of_server"]

MAX_HEAD: Final = 64 * 1024
"""Bytes of headers."""

MAX_TOLD: Final = 300
"""Characters of what a server says about an error."""


def of_server(text: str) -> str:
    """Return a text about a broker as one about a server."""
    return text.replace("the broker", "the server")


@implementer(IBodyProducer)
@attrs.frozen
class Body:
    """A body that is there already."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written."""

    def resumeProducing(self) -> None:
        """All is written."""

    def stopProducing(self) -> None:
        """All is written."""


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class Link(CountedLink):
    """The connection of one question: where to, by which TLS, and how much may come."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        security: BrokerSecurity,
        timeout: float,
        limit: int,
    ) -> None:
        super().__init__(limit + MAX_HEAD)
        endpoint = HostnameEndpoint(reactor, host.encode(), port, timeout)
        self._endpoint = wrapClientTLS(security, endpoint)
        self._host = host
        self._security = security
        self._limit = limit

    def endpointForURI(self, uri: Any) -> Link:
        """See :class:`IAgentEndpointFactory`."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :class:`IStreamClientEndpoint`."""
        return self.open(self._endpoint, protocolFactory)

    def explain(self, error: Exception) -> str:
        """Say in plain words why there is no answer."""
        if self.exceeded:
            return f"the server sends more than {self._limit} bytes"
        for cause in causes(error):
            told = self._security.explain(cause)
            if told is not None:
                return of_server(told)
        cause = causes(error)[-1]
        if isinstance(cause, ConnectError) and isinstance(cause.osError, int):
            return os.strerror(cause.osError)
        if isinstance(cause, DNSLookupError):
            return f"there is no host {self._host!r}"
        if isinstance(cause, ConnectionDone | ConnectionLost):
            return "the server closed the connection before it had answered"
        return " ".join(str(cause).split())[:MAX_TOLD].rstrip(".") or type(cause).__name__
