"""Connecting to a host by its name: all its addresses, one after the other.

Twisted's ``HostnameEndpoint`` would do, but for one thing: it imports the global
reactor, which a program with a reactor of its own must never do.

Source: RFC 8305, sections 4 and 5.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HostEndpoint"]

ATTEMPT_DELAY: Final = 0.25
"""Seconds after which the next address is tried beside the one before."""

Address = IPv4Address | IPv6Address


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """A host and a port.

    :param reactor: provides time, TCP and name resolution.
    :param timeout: seconds for each address.
    :param rng: shuffles the addresses, so that many clients do not take the same (ADR-11).
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        timeout: float,
        rng: random.Random | None = None,
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout
        self._rng = rng

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        :returns: fails with ``DNSLookupError`` when there is no address, with the error
            of the first address when none can be connected to.
        """
        return _Attempts(
            self._reactor, self._host, self._port, self._timeout, self._rng, protocolFactory
        ).result


@implementer(IResolutionReceiver)
class _Attempts:
    """One connecting, from the name on."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        timeout: float,
        rng: random.Random | None,
        factory: IProtocolFactory,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancel)
        self._reactor = reactor
        self._host = host
        self._timeout = timeout
        self._rng = rng
        self._factory = factory
        self._found: list[Address] = []
        self._left: Iterator[Address] = iter(())
        self._pending: list[Deferred[IProtocol]] = []
        self._timer: IDelayedCall | None = None
        self._error: Failure | None = None
        self._over = False
        self._resolution: IHostResolution | None = None
        reactor.nameResolver.resolveHostName(self, host, port)

    # What the resolver tells.

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See :class:`IResolutionReceiver`."""
        self._resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """See :class:`IResolutionReceiver`."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._found.append(address)

    def resolutionComplete(self) -> None:
        """See :class:`IResolutionReceiver`."""
        self._resolution = None
        if self._over:
            return
        if not self._found:
            self._end(Failure(DNSLookupError(f"no results for hostname lookup: {self._host}")))
            return
        if self._rng is not None:
            self._rng.shuffle(self._found)
        self._left = iter(_interleaved(self._found))
        self._next()

    # Trying.

    def _next(self) -> None:
        self._stop_timer()
        address = next(self._left, None)
        if address is None:
            return
        kind = TCP4ClientEndpoint if isinstance(address, IPv4Address) else TCP6ClientEndpoint
        endpoint = kind(self._reactor, address.host, address.port, self._timeout)
        attempt: Deferred[IProtocol] = endpoint.connect(self._factory)
        self._pending.append(attempt)
        self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._next)
        attempt.addCallbacks(self._connected, self._failed, (attempt,), None, (attempt,))  # type: ignore[arg-type]

    def _connected(self, protocol: IProtocol, attempt: Deferred[IProtocol]) -> None:
        self._pending.remove(attempt)
        self._end(protocol)

    def _failed(self, failure: Failure, attempt: Deferred[IProtocol]) -> None:
        self._pending.remove(attempt)
        if self._over:
            return
        self._error = self._error or failure
        self._next()
        if not self._pending:
            self._end(self._error)

    def _cancel(self, result: object) -> None:
        self._end(Failure(CancelledError()))

    def _end(self, result: Any) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        if self._resolution is not None:
            try:
                self._resolution.cancel()
            except NotImplementedError:
                pass  # Twisted's own resolver cannot; what it still says is not heard
        for attempt in list(self._pending):
            attempt.cancel()
        self.result.callback(result)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _interleaved(addresses: Sequence[Address]) -> Iterator[Address]:
    """Return them by turns of their kind, the first one's kind first."""
    first = [each for each in addresses if type(each) is type(addresses[0])]
    others = [each for each in addresses if type(each) is not type(addresses[0])]
    pairs = chain.from_iterable(zip_longest(first, others))
    return (each for each in pairs if each is not None)
