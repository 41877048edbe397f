"""TLS to a broker: our certificate, its certificate, and whether it is who it should be.

The chain is checked by OpenSSL, the name by ``service_identity``. A certificate
without alternative names is compared by its CN where that is allowed, never for a
broker that is given as an address, and never is the chain enough.

Source: Choria protocol 2.6; RFC 9525.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from backplane.security.certificates import describe
from backplane.security.pemfiles import KeyPair

__all__ = ["BrokerSecurity", "BrokerTLS", "verify_name"]

_CAUSES: Final = {
    2: "its authority is not in the CA file",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is not in the CA file",
    20: "its authority is not in the CA file",
    21: "its authority is not in the CA file",
    24: "one of its authorities may not issue certificates",
    26: "it is not for servers",
}
"""OpenSSL's numbers of what is wrong with a chain."""

_ALERTS: Final = {
    "certificate required": "it wants a certificate of ours",
    "bad certificate": "it does not take our certificate",
    "unknown ca": "it does not know the authority of our certificate",
    "certificate expired": "our certificate has expired",
    "certificate unknown": "it does not take our certificate",
    "unsupported certificate": "our certificate is not for clients",
}
"""What a broker says of us."""


class BrokerTLS:
    """Makes connections to brokers secure; call it with a host name for each connection.

    :param authorities: roots that a broker's chain must lead to.
    :param pair: our certificate and key; ``None`` to show none.
    :param legacy: take certificates without alternative names by their CN.
    :param warn: told of such certificates.
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
        self._context()  # what OpenSSL does not take should show now

    def __call__(self, host: str) -> BrokerSecurity:
        """Return the security of one connection to a host, a name or an address."""
        return BrokerSecurity(self._context(), host, self._legacy, self._warn)

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        store = context.get_cert_store()
        assert store is not None
        for authority in self._authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        if self._pair is not None:
            own, *between = self._pair.chain
            context.use_certificate(crypto.X509.from_cryptography(own))
            for certificate in between:
                context.add_extra_chain_cert(crypto.X509.from_cryptography(certificate))
            context.use_privatekey(crypto.PKey.from_cryptography_key(self._pair.key))
        return context


@implementer(IOpenSSLClientConnectionCreator)
class BrokerSecurity:
    """One connection; see :class:`backplane.nats.layer.Security`."""

    def __init__(
        self, context: SSL.Context, host: str, legacy: bool, warn: Callable[[str], None]
    ) -> None:
        self.problem: str | None = None
        self._host = host.rstrip(".")
        self._legacy = legacy
        self._warn = warn
        self._context = context
        context.set_verify(SSL.VERIFY_PEER, self._chain)
        context.set_info_callback(self._info)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See :class:`IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if _address(self._host) is None:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection

    def explain(self, error: BaseException | None) -> str | None:
        """Say in plain words what a TLS error means; ``None`` for other errors."""
        if self.problem is not None:
            return self.problem
        if not isinstance(error, SSL.Error):
            return None
        words = "; ".join(str(part[-1]) for part in error.args[0]) if error.args else ""
        for alert, meaning in _ALERTS.items():
            if alert in words:
                return meaning
        return f"TLS failed: {words or 'the connection was closed in the handshake'}"

    def _chain(
        self, connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        if not ok:
            shown = describe(certificate.to_cryptography())
            cause = _CAUSES.get(number, f"OpenSSL's error {number}")
            self.problem = f"the broker's certificate {shown} is not good: {cause}"
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


def verify_name(certificate: x509.Certificate, host: str, legacy: bool) -> str | None:
    """Check that a certificate is that of a host.

    :param host: name or address, as configured.
    :param legacy: compare the CN where there are no alternative names.
    :returns: a warning, or ``None``.
    :raises ValueError: when it is not, with the names that it has.
    """
    host = host.rstrip(".")
    address = _address(host)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _common_name(certificate, host, legacy and address is None)
    found: list[CertificatePattern] = []
    for name in names.get_values_for_type(x509.DNSName):
        try:
            found.append(
                DNSPattern.from_bytes(name.encode("idna" if not name.isascii() else "ascii"))
            )
        except (CertificateError, UnicodeError):
            continue  # a name that is none must not spoil the others
    found += [
        IPAddressPattern(pattern=each)
        for each in names.get_values_for_type(x509.IPAddress)
        if isinstance(each, (ipaddress.IPv4Address, ipaddress.IPv6Address))
    ]
    wanted = DNS_ID(host) if address is None else IPAddress_ID(address)
    try:
        verify_service_identity(found, [wanted], [])
    except VerificationError:
        has = [*names.get_values_for_type(x509.DNSName)]
        has += [str(each) for each in names.get_values_for_type(x509.IPAddress)]
        raise ValueError(
            f"the broker's certificate is for {', '.join(has)[:200] or 'nobody'}, not for {host}"
        ) from None
    return None


def _common_name(certificate: x509.Certificate, host: str, allowed: bool) -> str | None:
    common = [
        str(each.value)
        for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    ]
    shown = ", ".join(common)[:120]
    without = f"the broker's certificate has no subjectAltName, its CN is {shown!r}"
    if not allowed:
        raise ValueError(
            f"{without}; wanted one for {host}, or, for a name, support_legacy_certificates: true"
        )
    if host.lower() not in [name.lower() for name in common]:
        raise ValueError(f"{without}, not {host}")
    return f"{without}; it was compared with {host}, as support_legacy_certificates asks for"


def _pattern(name: str) -> DNSPattern:
    return DNSPattern.from_bytes(name.encode("ascii" if name.isascii() else "idna"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
