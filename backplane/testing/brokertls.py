"""The broker's end of TLS, for :class:`~backplane.testing.FakeBroker`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

__all__ = ["BrokerSideTLS"]


@implementer(IOpenSSLServerConnectionCreator)
class BrokerSideTLS:
    """Shows a certificate, and wants one if there are roots.

    :param chain: the certificate, then intermediates.
    :param key: of the first.
    :param roots: authorities of clients; nothing is asked of clients without any.
    :ivar newest: the latest version of TLS that is spoken; may be changed.
    """

    def __init__(
        self, chain: Sequence[x509.Certificate], key: Any, roots: Sequence[x509.Certificate]
    ) -> None:
        self.newest = SSL.TLS1_3_VERSION
        self._chain = tuple(chain)
        self._key = key
        self._roots = tuple(roots)

    @property
    def verifies(self) -> bool:
        """Whether clients must show a certificate."""
        return bool(self._roots)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See :class:`IOpenSSLServerConnectionCreator`."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(self.newest)
        context.use_certificate(self._chain[0])
        for certificate in self._chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(self._key)
        if self._roots:
            store = context.get_cert_store()
            assert store is not None
            for root in self._roots:
                store.add_cert(crypto.X509.from_cryptography(root))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return SSL.Connection(context, None)
