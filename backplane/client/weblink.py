"""One question to a web server, over TLS, that cannot come to more than it may.

Twisted's agent bounds neither headers nor bodies, so what comes is counted below it,
and a connection that brings too much is cut.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from backplane.security.tls import BrokerSecurity

__all__ = ["MAX_TOLD", "Body", "Link", "causes", "of_server"]

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
class Link:
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
        endpoint = HostnameEndpoint(reactor, host.encode(), port, timeout)
        self._endpoint = wrapClientTLS(security, endpoint)
        self._host = host
        self._security = security
        self._limit = limit
        self._left = limit + MAX_HEAD
        self._protocols: list[ProtocolWrapper] = []

    def endpointForURI(self, uri: Any) -> Link:
        """See :class:`IAgentEndpointFactory`."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :class:`IStreamClientEndpoint`."""
        connecting: Deferred[Any] = self._endpoint.connect(_Counting(protocolFactory, self))

        def connected(wrapper: ProtocolWrapper) -> IProtocol:
            self._protocols.append(wrapper)
            return wrapper.wrappedProtocol

        return connecting.addCallback(connected)

    def spend(self, size: int) -> bool:
        """Take note that so many bytes came; return whether they may."""
        self._left -= size
        return self._left >= 0

    def abort(self) -> None:
        """Close the connection at once, if it is open."""
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abortConnection()  # type: ignore[attr-defined]

    def explain(self, error: Exception) -> str:
        """Say in plain words why there is no answer."""
        if self._left < 0:
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


def causes(error: Exception) -> list[BaseException]:
    """Return an error, and what it was made of."""
    found: list[BaseException] = [error]
    for one in found:
        reasons = getattr(one, "reasons", None)
        if isinstance(reasons, list):
            found += [each.value for each in reasons if isinstance(each, Failure) and each.value]
    return found


class _Counted(ProtocolWrapper):
    """Hands on what comes, as long as it may."""

    factory: _Counting

    def dataReceived(self, data: bytes) -> None:
        if self.factory.link.spend(len(data)):
            super().dataReceived(data)
        else:
            self.transport.abortConnection()  # type: ignore[union-attr]


if TYPE_CHECKING:
    _Wrapping = WrappingFactory[_Counted]
else:  # older Twisteds have no parameter there
    _Wrapping = WrappingFactory


class _Counting(_Wrapping):
    """Makes protocols that count."""

    noisy = False
    protocol = _Counted

    def __init__(self, inner: IProtocolFactory, link: Link) -> None:
        super().__init__(inner)
        self.link = link
