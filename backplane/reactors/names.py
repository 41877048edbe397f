"""Names, resolved in threads that nobody waits for.

The threads of reactors, and those of asyncio loops, are waited for at the end, however
long a name server stays silent; an operator has something else to do.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

__all__ = ["ImpatientResolver"]


@implementer(IHostResolution)
class _Resolution:
    """One name that is being resolved."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@implementer(IHostnameResolver)
class ImpatientResolver:
    """Resolves names with the operating system.

    :param reactor: gets the answers.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See :class:`IHostnameResolver`."""
        resolution = _Resolution(hostName)

        def deliver(found: list[Any]) -> None:
            if resolution.cancelled:
                return
            for family, _, _, _, address in found:
                kind = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}.get(family)
                if kind is not None and (addressTypes is None or kind in addressTypes):
                    resolutionReceiver.addressResolved(kind("TCP", *address))
            resolutionReceiver.resolutionComplete()

        def resolve() -> None:
            try:
                found = socket.getaddrinfo(hostName, portNumber, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                found = []
            try:
                self._reactor.callFromThread(deliver, found)
            except RuntimeError:
                pass  # the loop was closed meanwhile

        resolutionReceiver.resolutionBegan(resolution)
        threading.Thread(target=resolve, daemon=True, name=f"resolve {hostName}").start()
        return resolution
