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


def start_tls(
    transport: Any, security: Any, clock: IReactorTime, *, client: bool = True
) -> TLSMemoryBIOProtocol:
    """Put TLS between a transport and its protocol; return what is written to from now on.

    ``transport.startTLS`` would do the same on the global reactor's time, which a
    program with a reactor of its own does not run. Small writes of one turn of the
    reactor become one record.

    :param transport: without a producer.
    :param security: a :class:`Security`, or, for a server's end, an
        ``IOpenSSLServerConnectionCreator``.
    :param client: which end this is.
    """
    factory = TLSMemoryBIOFactory(security, client, Factory(), clock=clock)
    layer = factory.protocol(factory, transport.protocol, False)
    transport.protocol = layer
    layer.makeConnection(transport)
    return layer
