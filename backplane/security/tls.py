"""TLS to a broker: our certificate, its certificate, and whether it is who it should be.

The chain is checked by OpenSSL, the name by :mod:`backplane.security.servernames`;
never is the chain enough. Whatever goes wrong is told in plain words by
:meth:`BrokerSecurity.explain`.

Source: Choria protocol 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from backplane.security.certificates import UNREADABLE, describe
from backplane.security.pemfiles import KeyPair
from backplane.security.servernames import server_name_indication, verify_name

__all__ = ["BrokerSecurity", "BrokerTLS", "verify_name"]

_UNKNOWN: Final = "its authority is not in the CA file"
_CAUSES: Final = {
    2: _UNKNOWN,
    7: "its signature is not that of its authority",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    24: "one of its authorities may not issue certificates",
    25: "its chain is longer than one of its authorities allows",
    26: "it is not for servers",
    66: "its key is too small",
    67: "the key of one of its authorities is too small",
    68: "it is signed with a hash that is too weak",
    79: "one of its authorities may not issue certificates",
}
"""OpenSSL's numbers of what is wrong with a chain."""

_ALERTS: Final = {
    "certificate required": "it wants a certificate of ours",
    "bad certificate": "it does not take our certificate",
    "unknown ca": "it does not know the authority of our certificate",
    "certificate expired": "our certificate has expired",
    "certificate revoked": "our certificate was revoked",
    "certificate unknown": "it does not take our certificate",
    "unsupported certificate": "our certificate is not for clients",
    "access denied": "it does not let us in",
}
"""What a broker says of us."""

_FAILURES: Final = {
    "wrong version number": "the broker does not speak TLS, or not at once",
    "packet length too long": "the broker does not speak TLS, or not at once",
    "alert protocol version": "the broker has no version of TLS that is new enough",
    "unsupported protocol": "the broker has no version of TLS that is new enough",
    "handshake failure": "the broker and we have no cipher in common, or it wants a certificate",
}
"""What else there is in OpenSSL's words."""


class BrokerTLS:
    """Makes connections to brokers secure; call it with a host name for each connection.

    :param authorities: roots that a broker's chain must lead to.
    :param pair: our certificate and key; ``None`` to show none.
    :param legacy: take certificates without alternative names by their CN.
    :param warn: told of such certificates, once for each host and certificate.
    :raises OpenSSL.SSL.Error: for a key or certificates that OpenSSL does not take.
    """

    def __init__(
        self,
        authorities: Sequence[x509.Certificate],
        pair: KeyPair | None,
        *,
        legacy: bool = False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._authorities = tuple(authorities)
        self._pair = pair
        self._legacy = legacy
        self._warn = warn
        self._warned: dict[str, str] = {}
        self._context()  # what OpenSSL does not take should show now

    def __call__(self, host: str) -> BrokerSecurity:
        """Return the security of one connection to a host, a name or an address."""
        return BrokerSecurity(
            self._context(),
            host,
            self._legacy,
            lambda text: self._warn_once(host, text),
            bare=self._pair is None,
        )

    def _warn_once(self, host: str, text: str) -> None:
        if self._warned.get(host) != text:
            self._warned[host] = text
            self._warn(text)

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION)  # who was checked stays who he is
        store = context.get_cert_store()
        assert store is not None
        # Every certificate of the bundle is a root, whoever issued it, as for signers.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for authority in self._authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        if self._pair is not None:
            own, *between = self._pair.chain
            context.use_certificate(own)
            for certificate in between:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(self._pair.key)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class BrokerSecurity:
    """One connection; see :class:`backplane.nats.layer.Security`.

    :param bare: we have no certificate to show.
    :ivar problem: what is wrong with the broker's certificate, once that is known.
    """

    def __init__(
        self,
        context: SSL.Context,
        host: str,
        legacy: bool,
        warn: Callable[[str], None],
        *,
        bare: bool = False,
    ) -> None:
        self.problem: str | None = None
        self._host = host
        self._legacy = legacy
        self._warn = warn
        self._bare = bare
        self._context = context
        context.set_verify(SSL.VERIFY_PEER, self._chain)
        context.set_info_callback(self._info)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See :class:`IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        name = server_name_indication(self._host)
        if name is not None:
            connection.set_tlsext_host_name(name)
        return connection

    def explain(self, error: BaseException | None) -> str | None:
        """Say in plain words what a TLS error means; ``None`` for other errors."""
        if self.problem is not None:
            return self.problem
        if not isinstance(error, SSL.Error):
            return None
        parts = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = "; ".join(str(part[-1]) for part in parts)
        for alert, meaning in _ALERTS.items():
            if alert in words:
                return f"the broker rejected us: {meaning}"
        if self._bare and "alert handshake failure" in words:
            return f"the broker rejected us: {_ALERTS['certificate required']} (TLS 1.2)"
        for failure, meaning in _FAILURES.items():
            if failure in words:
                return f"{meaning} (OpenSSL: {words})"
        return f"TLS failed: {words or 'the connection was closed in the handshake'}"

    def _chain(
        self, connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        if not ok and self.problem is None:
            try:
                self.problem = _chain_problem(certificate.to_cryptography(), number)
            except Exception as error:
                # What a callback raises, OpenSSL does not hear.
                self.problem = f"the broker's certificate cannot be read: {error}"
        return bool(ok)

    def _info(self, connection: SSL.Connection, where: int, result: int) -> None:
        if not where & SSL.SSL_CB_HANDSHAKE_DONE or self.problem is not None:
            return
        protocol = connection.get_app_data()
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            if certificate is None:
                raise ValueError("the broker showed no certificate")
            warning = verify_name(certificate, self._host, self._legacy)
        except Exception as error:
            # Whatever it is, a broker that could not be checked is not believed.
            self.problem = str(error) or type(error).__name__
            protocol.failVerification(Failure(VerificationError(errors=[])))
        else:
            if warning is not None:
                self._warn(warning)


def _chain_problem(certificate: x509.Certificate, number: int) -> str:
    cause = _CAUSES.get(number, f"OpenSSL's error {number}")
    if number in (2, 20, 21):
        try:
            issuer = certificate.issuer.rfc4514_string()[:80]
        except UNREADABLE:
            issuer = "of unreadable name"
        cause += f", nor was it sent along: {issuer!r}"
    return f"the broker's certificate {describe(certificate)} is not good: {cause}"
