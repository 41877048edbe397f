"""A certification authority for tests: certificates and lists, good and otherwise.

Keys of signers are those of the captures, because making RSA keys is slow;
authorities have EC keys, which chains may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import DecodeError
from backplane.security.certificates import VerifiedCertificate
from backplane.security.chains import Authorities

PKI: Final = Path(__file__).parent.parent / "vectors" / "pki"

NOW: Final = 1_790_000_000.0
"""Within the validity of everything here, and of the certificates of the captures."""

DAY: Final = 86_400.0

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


@cache
def vector(name: str) -> str:
    """Return a certificate file of the captures, such as ``sre.choria``."""
    return (PKI / f"{name}.pem").read_text()


@cache
def vector_key(name: str = "sre.choria") -> rsa.RSAPrivateKey:
    """Return a key of the captures."""
    key = load_pem_private_key((PKI / f"{name}.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def at(seconds: float) -> datetime:
    """Return a Unix time as certificates want it."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def pem(*certificates: x509.Certificate | x509.CertificateRevocationList) -> str:
    """Return PEM text."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def common(name: str) -> x509.Name:
    """Return a subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


_SIGNING: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@attrs.define
class Authority:
    """Issues certificates."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes
    serials: int = 100

    @classmethod
    def make(cls, name: str = "Tests CA", *, end: float = NOW + 1000 * DAY) -> Authority:
        """Return a root."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(
            _certificate(name, common(name), key, key.public_key(), 1, ca=True, end=end), key
        )

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return pem(self.certificate).encode()

    def subordinate(
        self,
        name: str,
        *,
        ca: bool | None = True,
        path_length: int | None = None,
        purposes: Iterable[x509.ObjectIdentifier] = (),
        usages: Iterable[str] | None = None,
    ) -> Authority:
        """Return an intermediate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.issue(
            name,
            key.public_key(),
            ca=ca,
            path_length=path_length,
            purposes=purposes,
            usages=usages,
        )
        return Authority(certificate, key)

    def issue(
        self,
        name: str,
        key: CertificatePublicKeyTypes | None = None,
        *,
        sans: Sequence[x509.GeneralName] = (),
        begin: float = NOW - 100 * DAY,
        end: float = NOW + 100 * DAY,
        purposes: Iterable[x509.ObjectIdentifier] = (CLIENT,),
        usages: Iterable[str] | None = None,
        ca: bool | None = False,
        path_length: int | None = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.Certificate:
        """Return a certificate; ``ca=None`` leaves basic constraints out."""
        self.serials += 1
        return _certificate(
            name,
            self.certificate.subject,
            self.key,
            key or vector_key().public_key(),
            self.serials,
            begin=begin,
            end=end,
            sans=sans,
            purposes=purposes,
            usages=usages,
            ca=ca,
            path_length=path_length,
            extra=extra,
        )

    def revoke(
        self,
        *certificates: x509.Certificate,
        begin: float = NOW - 10 * DAY,
        end: float = NOW + 10 * DAY,
        name: x509.Name | None = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.CertificateRevocationList:
        """Return a list of withdrawn certificates."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name or self.certificate.subject)
            .last_update(at(begin))
            .next_update(at(end))
        )
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(at(begin))
                .build()
            )
        return builder.sign(self.key, hashes.SHA256())


def _certificate(
    name: str,
    issuer: x509.Name,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    key: CertificatePublicKeyTypes,
    serial: int,
    *,
    begin: float = NOW - 1000 * DAY,
    end: float = NOW + 1000 * DAY,
    sans: Sequence[x509.GeneralName] = (),
    purposes: Iterable[x509.ObjectIdentifier] = (),
    usages: Iterable[str] | None = None,
    ca: bool | None,
    path_length: int | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(common(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(at(begin))
        .not_valid_after(at(end))
    )
    if ca is not None:
        basic = x509.BasicConstraints(ca=ca, path_length=path_length)
        builder = builder.add_extension(basic, critical=True)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if listed := list(purposes):
        builder = builder.add_extension(x509.ExtendedKeyUsage(listed), critical=False)
    if usages is not None:
        usage = x509.KeyUsage(**{**_SIGNING, **dict.fromkeys(usages, True)})
        builder = builder.add_extension(usage, critical=True)
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, hashes.SHA256())


class ChainCase(SynchronousTestCase):
    """One authority and what it makes of certificates."""

    def setUp(self) -> None:
        self.root = Authority.make()
        self.authorities = Authorities.from_pem(self.root.pem)

    def verify(self, *chain: x509.Certificate, now: float = NOW) -> VerifiedCertificate:
        """Return what is made of a chain."""
        return self.authorities.verify_client(pem(*chain), now)

    def reason(self, text: str, now: float = NOW) -> str:
        """Return why a certificate text is refused."""
        error = self.assertRaises(DecodeError, self.authorities.verify_client, text, now)
        self.assertEqual(error.layer, "secure_request")
        self.assertLess(len(error.detail), 300)
        return str(error.reason)
