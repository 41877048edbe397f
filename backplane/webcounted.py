"""Connections of one question to a web server, on which no more may come than is allowed.

Twisted's agent bounds neither headers nor bodies, so what comes is counted below it,
and a connection that brings too much is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

__all__ = ["CountedLink", "causes"]


class CountedLink:
    """What is shared by the connections of one question.

    :param allowance: bytes that may come, headers and all.
    """

    def __init__(self, allowance: int) -> None:
        self._left = allowance
        self._protocols: list[ProtocolWrapper] = []

    @property
    def exceeded(self) -> bool:
        """Whether more came than may."""
        return self._left < 0

    def spend(self, size: int) -> bool:
        """Take note that so many bytes came; return whether they may."""
        self._left -= size
        return not self.exceeded

    def open(
        self, endpoint: IStreamClientEndpoint, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """Connect, and count from now on."""
        connecting: Deferred[Any] = endpoint.connect(_Counting(protocolFactory, self))

        def connected(wrapper: ProtocolWrapper) -> IProtocol:
            self._protocols.append(wrapper)
            return wrapper.wrappedProtocol

        return connecting.addCallback(connected)

    def abort(self) -> None:
        """Close the connection at once, if it is open."""
        for protocol in self._protocols:
            _cut(protocol.transport)


def causes(error: Exception) -> list[BaseException]:
    """Return an error, and what it was made of."""
    found: list[BaseException] = [error]
    for one in found:
        reasons = getattr(one, "reasons", None)
        if isinstance(reasons, list):
            found += [each.value for each in reasons if isinstance(each, Failure) and each.value]
    return found


def _cut(transport: Any) -> None:
    if transport is not None:
        transport.abortConnection()


class _Counted(ProtocolWrapper):
    """Hands on what comes, as long as it may."""

    factory: _Counting

    def dataReceived(self, data: bytes) -> None:
        if self.factory.link.spend(len(data)):
            super().dataReceived(data)
        else:
            _cut(self.transport)


if TYPE_CHECKING:
    _Wrapping = WrappingFactory[_Counted]
else:  # older Twisteds have no parameter there
    _Wrapping = WrappingFactory


class _Counting(_Wrapping):
    """Makes protocols that count."""

    noisy = False
    protocol = _Counted

    def __init__(self, inner: IProtocolFactory, link: CountedLink) -> None:
        quiet: Any = inner
        quiet.noisy = False  # or each question is two lines in the host's log
        super().__init__(inner)
        self.link = link
