"""TLS on a connection that exists: a layer between its transport and its protocol."""

from __future__ import annotations

from typing import Any, Final, Protocol

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

__all__ = ["Creator", "Security", "explain", "refuses", "start_tls"]

_REFUSALS: Final = ("certificate", "unknown ca", "access denied", "handshake failure")


class Security(Protocol):
    """How one connection is secured, and what to say when it cannot be.

    Twisted wants it declared that it provides ``IOpenSSLClientConnectionCreator``.
    """

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Any:
        """Return an ``OpenSSL.SSL.Connection`` that checks the server's certificate."""

    def explain(self, error: BaseException | None) -> str | None:
        """Say in plain words why TLS failed; ``None`` when it was something else.

        :param error: how the connection ended; ``None`` after the handshake, when the
            question is whether the server is to be believed.
        """


Creator = Security | IOpenSSLClientConnectionCreator
"""What ``twisted.internet.ssl.optionsForClientTLS`` makes will do as well."""


def explain(security: Creator, error: BaseException | None) -> str | None:
    """Say why TLS failed, in the security's own words if it has any.

    :returns: ``None`` when it was something else.
    """
    own = getattr(security, "explain", None)
    if own is not None:
        said: str | None = own(error)
        return said
    if isinstance(error, SSL.Error | VerificationError):
        return f"TLS failed: {error}"
    return None


def refuses(error: BaseException | None) -> bool:
    """Whether it is an alert of a server that does not take our certificate, or wants one."""
    if not isinstance(error, SSL.Error):
        return False
    words = str(error)
    return "alert" in words and any(word in words for word in _REFUSALS)


def start_tls(
    transport: Any, security: Any, clock: IReactorTime, *, client: bool = True
) -> TLSMemoryBIOProtocol:
    """Put TLS between a transport and its protocol; return what is written to from now on.

    ``transport.startTLS`` would do the same on the global reactor's time, which a
    program with a reactor of its own does not run. Small writes of one turn of the
    reactor become one record.

    :param transport: without a producer.
    :param security: a :data:`Creator`, or, for a server's end, an
        ``IOpenSSLServerConnectionCreator``.
    :param client: which end this is.
    """
    factory = TLSMemoryBIOFactory(security, client, Factory(), clock=clock)
    layer = factory.protocol(factory, transport.protocol, False)
    transport.protocol = layer
    layer.makeConnection(transport)
    return layer
