"""TLS on a connection that exists: a layer between its transport and its protocol."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

__all__ = ["Security", "start_tls"]


class Security(Protocol):
    """How one connection is secured; also a Twisted ``IOpenSSLClientConnectionCreator``."""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Any:
        """Return an ``OpenSSL.SSL.Connection`` that checks the server's certificate."""

    def explain(self, error: BaseException | None) -> str | None:
        """Say in plain words why TLS failed; ``None`` when it was something else."""


def start_tls(transport: Any, security: Security, clock: IReactorTime) -> TLSMemoryBIOProtocol:
    """Put TLS between a transport and its protocol; return what is written to from now on.

    ``transport.startTLS`` would do the same on the global reactor's time, which a
    program with a reactor of its own does not run.

    :param transport: without a producer.
    """
    creator: Any = security
    factory = TLSMemoryBIOFactory(creator, True, Factory(), clock=clock)
    layer = TLSMemoryBIOProtocol(factory, transport.protocol, False)
    transport.protocol = layer
    layer.makeConnection(transport)
    return layer
