"""A key of our own, and the request that asks an authority for its certificate: pure.

The same key and name make the same request, byte for byte, so that an enrolment
can be taken up again and shows the fingerprint that it showed before.

Source: Choria protocol 2.3; RFC 2986.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from backplane.security.certificates import UNREADABLE
from backplane.security.names import valid_certname, valid_identity
from backplane.security.pemfiles import pem_blocks

__all__ = [
    "KEY_BITS",
    "Request",
    "check_name",
    "fingerprint_shown",
    "is_request_of",
    "make_request",
    "new_key",
    "private_pem",
    "public_pem",
    "read_fingerprint",
]

KEY_BITS: Final = 2048
"""Size of new keys, and the least of old ones: OpenSSL takes no smaller ones in TLS.
Choria's own size; services pay for larger ones with every request."""

_EXPONENT: Final = 65537

_MAX_COMMON_NAME: Final = 64  # RFC 5280, appendix A.1: ub-common-name

_LOWER: Final = "wanted one of lower case, as Puppet's authorities sign no other: --certname {}"


@attrs.frozen(kw_only=True)
class Request:
    """A certificate signing request.

    :ivar pem: to be sent.
    :ivar fingerprint: SHA-256 of the request in hexadecimal, as the authority lists it.
    """

    pem: bytes
    fingerprint: str


def check_name(name: str) -> None:
    """Refuse a name that no certificate of a Puppet authority can have, or nobody would accept.

    :raises ValueError: with what is wrong.
    """
    shown = f"certificate name {name[:80]!r}"
    if not (valid_certname(name) and valid_identity(name)):
        raise ValueError(
            f"{shown}: only ASCII letters, digits, '_' and '-' are allowed, and single dots "
            "between them"
        )
    if name != name.lower():
        raise ValueError(f"{shown}: {_LOWER.format(name.lower())}")
    if len(name) > _MAX_COMMON_NAME:
        raise ValueError(f"{shown}: {len(name)} characters, at most {_MAX_COMMON_NAME} are allowed")
    if name == "ca":
        raise ValueError(f"{shown}: that is what the authority itself is called")


def new_key() -> rsa.RSAPrivateKey:
    """Return a key that Choria can sign with."""
    return rsa.generate_private_key(_EXPONENT, KEY_BITS)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return a key in PEM form, PKCS#1, as Puppet and Choria write it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return its public part in PEM form."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def make_request(key: rsa.RSAPrivateKey, name: str) -> Request:
    """Return the request for a certificate of this key and name.

    The name is the CN and nothing else is asked for: Puppet's authorities refuse
    alternative names unless their configuration allows them.

    :param name: one that :func:`check_name` takes.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    der = signed.public_bytes(Encoding.DER)
    return Request(
        pem=signed.public_bytes(Encoding.PEM), fingerprint=hashlib.sha256(der).hexdigest()
    )


def is_request_of(data: bytes, key: rsa.RSAPrivateKey) -> bool:
    """Say whether a request, as the authority has it, is for a certificate of this key.

    :param data: PEM; a stranger's text.
    :raises ValueError: when there is no request in it.
    """
    blocks = pem_blocks(data, ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks)} certificate requests, wanted one in PEM form")
    try:
        return x509.load_pem_x509_csr(blocks[0]).public_key() == key.public_key()
    except UNREADABLE:
        raise ValueError("a certificate request that cannot be read") from None


def read_fingerprint(text: str) -> str:
    """Return a SHA-256 as it is written in many ways: with colons or without, in any case.

    :raises ValueError: when it is none.
    """
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if len(digits) != 64 or not set("0123456789abcdef").issuperset(digits):
        raise ValueError(f"{text[:100]!r} is not a SHA-256: 64 hexadecimal digits")
    return digits


def fingerprint_shown(fingerprint: str) -> str:
    """Return a fingerprint as openssl and Puppet show it: pairs of digits between colons."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()
