"""What is measured with: requests like those that were captured, and certificates.

The certificates are those of the test vectors: RSA of 2048 bits throughout, as Choria
and Puppet issue them.
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from backplane.choria import rpc, subjects, v1
from backplane.choria.message import Request, new_request_id
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.chains import Authorities
from backplane.security.pemfiles import KeyPair, load_key_pair
from backplane.security.signing import SecureVerifier

__all__ = [
    "AGENT",
    "COLLECTIVE",
    "IDENTITY",
    "NAME",
    "PKI",
    "REPLIES",
    "Strangers",
    "facts_of",
    "key_pair",
    "make_request",
    "make_verifier",
    "sealed",
]

PKI: Final = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "pki"

NAME: Final = "shop"
COLLECTIVE: Final = f"{NAME}_backplane"
AGENT: Final = "backplane"
IDENTITY: Final = "app1.example.net"
REPLIES: Final = f"{COLLECTIVE}.reply.bench"


def key_pair(name: str) -> KeyPair:
    """Return a certificate of the test vectors and its key."""
    return load_key_pair(str(PKI / f"{name}.pem"), str(PKI / f"{name}.key"))


def make_verifier(max_cached: int = 1024) -> SecureVerifier:
    """Return a verifier as a service has it.

    :param max_cached: certificates that it remembers.
    """
    certificates = x509.load_pem_x509_certificates((PKI / "ca.pem").read_bytes())
    return SecureVerifier(
        Authorities(certificates, max_cached=max_cached),
        AllowList(DEFAULT_ALLOWED, setting="allow"),
        AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
    )


def make_request(caller: str, action: str = "ping", now: float | None = None) -> Request:
    """Return a request for an action without inputs, new each time."""
    return Request(
        message=rpc.encode_request(AGENT, action, {}),
        request_id=new_request_id(),
        sender_id="client1.example.net",
        caller_id=f"choria={caller}",
        collective=COLLECTIVE,
        agent=AGENT,
        ttl=60,
        time=int(time.time() if now is None else now),
    )


def sealed(request: Request, signer: v1.Signer) -> bytes:
    """Return what a client publishes for a request."""
    return v1.encode_transport(
        v1.seal_request(request, signer),
        sender=request.sender_id,
        reply_to=f"{REPLIES}.{request.request_id}",
        seen_by=(("client1.example.net", "nats.example.net"),),
    )


def subject_of(request: Request) -> str:
    """Return where a request is published."""
    return subjects.broadcast(request.collective, request.agent)


class Strangers:
    """Signs each request with a certificate of its own, which no authority of ours has issued."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ca = x509.load_pem_x509_certificate((PKI / "other-ca.pem").read_bytes())
        key = load_pem_private_key((PKI / "other-ca.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._ca_key = key
        self._pair = key_pair(name)

    def sign(self, message: bytes) -> tuple[str, str]:
        """See :class:`backplane.choria.v1.Signer`; the signature is of no account."""
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .issuer_name(self._ca.subject)
            .public_key(self._pair.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(self._ca_key, hashes.SHA256())
        )
        return "A" * 344, certificate.public_bytes(Encoding.PEM).decode()


class Forger:
    """Sends a good certificate, and a signature that its key did not make."""

    def __init__(self, pair: KeyPair) -> None:
        self._pem = pair.pem

    def sign(self, message: bytes) -> tuple[str, str]:
        """See :class:`backplane.choria.v1.Signer`."""
        return "QUJD" * 85 + "QQ==", self._pem


def facts_of(count: int) -> dict[str, Any]:
    """Return so many facts such as an inventory has them, in groups of eight."""
    return {
        f"host{number // 8}": {
            f"interface_{place}": f"10.0.{number % 250}.{place}" for place in range(8)
        }
        for number in range(0, count, 8)
    }
