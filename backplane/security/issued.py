"""What an authority hands out: its own certificates, and the one that it has made for us.

Both are taken for a stranger's text until they are proven: the authority's by a
fingerprint, which somebody has looked up elsewhere or will compare, ours by its key,
its name and its chain. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from backplane.errors import DecodeError
from backplane.security.certificates import UNREADABLE, describe, is_authority, names_of, read_chain
from backplane.security.chains import Authorities
from backplane.security.csr import fingerprint_shown

__all__ = ["Bundle", "OtherKey", "check_certificate", "facts_of", "fingerprint_of", "read_bundle"]

MAX_AUTHORITIES: Final = 20
"""Most certificates of a bundle. Puppet's have two."""


class OtherKey(ValueError):
    """A certificate is good for somebody else, who has its key."""


@attrs.frozen(kw_only=True)
class Bundle:
    """The certificates of an authority.

    :ivar authorities: what verifies chains that end in one of them.
    :ivar pem: the certificates and nothing else, in PEM form.
    :ivar digests: SHA-256 of the text as it came, and of :attr:`pem`, in hexadecimal;
        the former is what Puppet's ``ca_fingerprint`` means.
    """

    authorities: Authorities
    pem: bytes
    digests: tuple[str, str]

    @property
    def certificates(self) -> Sequence[x509.Certificate]:
        """In the order of the text."""
        return self.authorities.certificates

    def check_pin(self, pin: str) -> None:
        """Refuse a bundle that is not the one that somebody has looked up.

        The pin is the fingerprint of a certificate, and all others must have been issued
        by it, or by one so proven; or it is that of the whole text.

        :raises ValueError: with the fingerprints that there are instead.
        """
        if pin in self.digests:
            return
        proven = [each for each in self.certificates if fingerprint_of(each) == pin]
        if not proven:
            has = ", ".join(fingerprint_shown(fingerprint_of(each)) for each in self.certificates)
            raise ValueError(
                f"its SHA-256 fingerprint is {has}, and not {fingerprint_shown(pin)}, which was "
                "given"
            )
        rest = [each for each in self.certificates if each not in proven]
        while rest:
            found = [each for each in rest if any(_issued(each, by) for by in proven)]
            if not found:
                raise ValueError(
                    f"certificate {describe(rest[0])} is there too, and the one whose fingerprint "
                    "was given has not issued it; give that of the root, or of the whole file"
                )
            proven += found
            rest = [each for each in rest if each not in found]


def read_bundle(data: bytes, source: str) -> Bundle:
    """Read the certificates of an authority.

    :param source: where the text comes from, for errors.
    :raises ConfigError: when there are none that can be used.
    :raises ValueError: when there are too many.
    """
    authorities = Authorities.from_pem(data, setting=source)
    certificates = authorities.certificates
    if len(certificates) > MAX_AUTHORITIES:
        raise ValueError(
            f"{source}: {len(certificates)} certificates, at most {MAX_AUTHORITIES} are taken"
        )
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
    digests = (hashlib.sha256(data).hexdigest(), hashlib.sha256(pem).hexdigest())
    return Bundle(authorities=authorities, pem=pem, digests=digests)


def check_certificate(
    data: bytes, *, authorities: Authorities, name: str, key: rsa.RSAPrivateKey, now: float
) -> tuple[x509.Certificate, bytes]:
    """Return our certificate, and its chain in PEM form without anything else.

    :param data: PEM; a stranger's text.
    :param now: Unix time that it must be valid at.
    :raises OtherKey: when it is not for this key.
    :raises ValueError: when it is not by one of the authorities, in date, for clients
        and for this name.
    """
    try:
        text = data.decode("utf-8", "replace")
        chain = read_chain(text)
        certificate = chain[0]
        try:
            ours = certificate.public_key() == key.public_key()
        except UNREADABLE:
            ours = False
        if not ours:
            raise OtherKey(f"certificate {describe(certificate)} is for another key")
        authorities.verify_client(text, now)
        names = names_of(certificate)
    except DecodeError as error:
        raise ValueError(error.detail) from None
    if name not in names:
        raise ValueError(f"the certificate is for {', '.join(names)[:200]!r}, not for {name!r}")
    return certificate, b"".join(each.public_bytes(Encoding.PEM) for each in chain)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def facts_of(certificate: x509.Certificate) -> dict[str, str]:
    """Return what is worth telling of a certificate."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "sha256": fingerprint_of(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return is_authority(issuer)
