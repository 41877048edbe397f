"""The secure mode of a harness: certificates for its broker, services and callers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.signing import SecureSigner
from backplane.security.tls import BrokerTLS
from backplane.testing.brokertls import BrokerSideTLS
from backplane.testing.pki import PKI, Issued

__all__ = ["Securing"]


class Securing:
    """An authority, and what everybody on a harness has of it.

    :ivar pki: the authority; keys are those of earlier ones in the same process.
    """

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self.pki = PKI(folder, now=now, reuse_keys=True)
        self._issued: dict[str, Issued] = {}

    def broker(self, host: str) -> BrokerSideTLS:
        """Return the broker's end of TLS.

        It lets everybody in, so that whom services believe is left to services.
        """
        return self.pki.broker_tls(self.pki.server(host), verify=False)

    def service(self, identity: str) -> dict[str, str]:
        """Return the ``tls`` section of a service."""
        issued = self.issued(identity)
        return {"scheme": "file", "ca": issued.ca, "cert": issued.cert, "key": issued.key}

    def caller(
        self, name: str, certificate: Issued | None
    ) -> tuple[SecureSigner, Callable[[Server], Security]]:
        """Return what signs a caller's requests, and how he connects.

        :param certificate: his; a good one in his name by default.
        :raises ConfigError: for one that nothing can be signed with.
        """
        issued = certificate if certificate is not None else self.issued(name)
        pair = load_key_pair(issued.cert, issued.key)
        tls = BrokerTLS(load_authorities(self.pki.ca).certificates, pair)
        return SecureSigner(pair), lambda server: tls(server.tls_name or server.host)

    def issued(self, name: str) -> Issued:
        """Return the good certificate of a name, the same one each time."""
        if name not in self._issued:
            self._issued[name] = self.pki.client(name)
        return self._issued[name]
