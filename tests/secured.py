"""What services and brokers of the secure captures are made of, to be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backplane.testing.brokertls import BrokerSideTLS
from tests.vectors_support import VECTORS

__all__ = ["PKI", "RUBY_PKI", "broker_side", "tls_section"]

PKI: Final = VECTORS / "pki"
RUBY_PKI: Final = VECTORS / "ruby" / "pki"


def tls_section(identity: str, pki: Path = PKI) -> dict[str, Any]:
    """Return the ``tls`` section of a service."""
    return {
        "scheme": "file",
        "ca": str(pki / "ca.pem"),
        "cert": str(pki / f"{identity}.pem"),
        "key": str(pki / f"{identity}.key"),
    }


def broker_side(pki: Path = PKI) -> BrokerSideTLS:
    """Return the broker's end of TLS; it wants certificates of the same authority."""
    name = "broker.example.net"
    return BrokerSideTLS(
        x509.load_pem_x509_certificates((pki / f"{name}.pem").read_bytes()),
        load_pem_private_key((pki / f"{name}.key").read_bytes(), None),
        x509.load_pem_x509_certificates((pki / "ca.pem").read_bytes()),
    )
