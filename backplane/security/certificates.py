"""What a certificate says: names, key, dates and purposes; PEM in, values out.

Whoever signs a request sends his certificate along, so everything here that
reads a *message* takes it for a stranger's text: bounded, and every failure a
:class:`~backplane.errors.DecodeError` with a reason. Whether a chain is good is
asked of OpenSSL, in :mod:`backplane.security.chains`. Pure.

Source: Choria protocol 2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

from backplane.errors import DecodeError

__all__ = [
    "MAX_CHAIN",
    "MAX_PUBCERT",
    "MAX_RSA_BITS",
    "MIN_RSA_BITS",
    "UNREADABLE",
    "VerifiedCertificate",
    "check_client_purpose",
    "describe",
    "is_authority",
    "key_problem",
    "names_of",
    "read_chain",
    "refused",
    "rsa_key_of",
    "validity",
]

MAX_CHAIN: Final = 10
"""Most PEM blocks of a message: a certificate and its intermediates. Real chains
have three."""

MAX_PUBCERT: Final = 64 * 1024
"""Longest certificate text of a message, in characters. Real ones have some
kilobytes, with the text of ``openssl x509 -text`` in front a few more."""

MIN_RSA_BITS: Final = 1024
"""Smallest RSA key; smaller ones have been broken in public."""

MAX_RSA_BITS: Final = 8192
"""Largest RSA key; the work of one verification grows with its square."""

MAX_EXPONENT: Final = 2**31 - 1
"""Largest public exponent, as in Go. Everybody uses 65537; a large one is a way
to make others work."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)

UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What ``cryptography`` raises for a certificate that it cannot read; warnings among
it, in a program that makes them errors."""


@attrs.frozen(kw_only=True)
class VerifiedCertificate:
    """The certificate of a signer, whose chain leads to one of our authorities.

    :ivar names: the subject's common name, then the DNS names.
    :ivar public_key: verifies what the holder signed.
    :ivar not_before: Unix time from which the whole chain is valid.
    :ivar not_after: Unix time up to which the whole chain is valid.
    :ivar fingerprint: SHA-256 of the certificate, in hexadecimal.
    :ivar issuer: who issued it, for logs.
    """

    names: tuple[str, ...]
    public_key: rsa.RSAPublicKey
    not_before: float
    not_after: float
    fingerprint: str
    issuer: str


def refused(reason: str, detail: str) -> DecodeError:
    """Return the error for a request whose signer cannot be taken."""
    return DecodeError(reason, "secure_request", detail)


def read_chain(pubcert: str) -> list[x509.Certificate]:
    """Return the certificates of a message: the signer's, then intermediates.

    Text between the PEM blocks, CRLF and blank lines do not matter, nor do
    blocks of other kinds.

    :raises DecodeError: with the reason ``bad_certificate``.
    """
    if len(pubcert) > MAX_PUBCERT:
        raise refused(
            "bad_certificate",
            f"certificate text of {len(pubcert)} characters, at most {MAX_PUBCERT} are read",
        )
    blocks = pubcert.count("-----BEGIN ")
    if blocks > MAX_CHAIN:
        raise refused("bad_certificate", f"{blocks} PEM blocks, at most {MAX_CHAIN} are read")
    try:
        return x509.load_pem_x509_certificates(pubcert.encode())
    except UNREADABLE:
        raise refused("bad_certificate", "the certificate cannot be read") from None


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names that a certificate carries: common name, then DNS names.

    Of several common names the last counts, as in Go.

    :raises DecodeError: with the reason ``bad_certificate``.
    """
    try:
        found = [
            attribute.value
            for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ][-1:]
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            found += names.value.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            pass
    except UNREADABLE:
        raise refused("bad_certificate", "the names of the certificate cannot be read") from None
    texts = (name for name in found if isinstance(name, str) and name)
    return tuple(dict.fromkeys(texts))


def rsa_key_of(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    """Return the key of a certificate, if it is one that Choria signs with.

    :raises DecodeError: with the reason ``unsupported_key``.
    """
    try:
        oid = certificate.public_key_algorithm_oid
        if oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            raise refused("unsupported_key", "the key is for RSA-PSS only, wanted plain RSA")
        key = certificate.public_key()
    except UNREADABLE:
        raise refused("unsupported_key", "the key of the certificate cannot be used") from None
    problem = key_problem(key)
    if problem is not None or not isinstance(key, rsa.RSAPublicKey):
        raise refused("unsupported_key", f"the certificate has {problem}")
    return key


def key_problem(key: PublicKeyTypes) -> str | None:
    """Say why a key cannot sign Choria requests, as an object of "has", or ``None``."""
    if not isinstance(key, rsa.RSAPublicKey):
        return f"{_kind(key)}, wanted an RSA key"
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return (
            f"an RSA key of {key.key_size} bits, "
            f"wanted one of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
        )
    exponent = key.public_numbers().e
    if exponent < 3 or exponent > MAX_EXPONENT or exponent % 2 == 0:
        return "an RSA key with an unusual exponent, wanted 65537"
    return None


def _kind(key: PublicKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key ({key.curve.name})"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "an Ed25519 key"
    if isinstance(key, ed448.Ed448PublicKey):
        return "an Ed448 key"
    return "a key of another kind"


def is_authority(certificate: x509.Certificate) -> bool:
    """Say whether a certificate may issue others; old ones say nothing of it."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return certificate.issuer == certificate.subject
    except UNREADABLE:
        return False
    return basic.value.ca


def check_client_purpose(chain: Sequence[x509.Certificate]) -> None:
    """Refuse a chain that was not issued for what is done with it.

    The signer's certificate must allow signing, every certificate client
    authentication, and those between signer and root issuing. What a certificate
    does not mention is allowed. OpenSSL looks at the rest; pyOpenSSL has no way
    to tell it the purpose.

    :param chain: from the signer to the root, as verified.
    :raises DecodeError: with the reason ``wrong_key_usage``, ``wrong_purpose``,
        ``bad_certificate`` or ``weak_signature``.
    """
    try:
        usage = _extension(chain[0], x509.KeyUsage)
        if usage is not None and not usage.digital_signature:
            raise refused("wrong_key_usage", "the certificate's key usage does not allow signing")
        for certificate in chain:
            purposes = _extension(certificate, x509.ExtendedKeyUsage)
            if purposes is not None and not _CLIENT.intersection(purposes):
                raise refused(
                    "wrong_purpose",
                    f"certificate {describe(certificate)} is not for client authentication",
                )
        for certificate in chain[:-1]:
            if isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
                raise refused(
                    "weak_signature",
                    f"certificate {describe(certificate)} is signed with MD5 or SHA-1",
                )
        for certificate in chain[1:-1]:
            if not is_authority(certificate):
                raise refused(
                    "bad_certificate", f"certificate {describe(certificate)} may issue no others"
                )
    except UNREADABLE:
        raise refused("bad_certificate", "an extension cannot be read") from None


_CLIENT: Final = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def describe(certificate: x509.Certificate) -> str:
    """Return the subject of a certificate, quoted and shortened, for logs."""
    try:
        return repr(certificate.subject.rfc4514_string()[:80])
    except UNREADABLE:
        return "of unreadable name"


def validity(chain: Sequence[x509.Certificate]) -> tuple[datetime, datetime]:
    """Return from when and until when every certificate of a chain is valid."""
    return (
        max(certificate.not_valid_before_utc for certificate in chain),
        min(certificate.not_valid_after_utc for certificate in chain),
    )
