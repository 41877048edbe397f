"""How certificates for tests are made; :mod:`backplane.testing.pki` is what one uses."""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

__all__ = [
    "Authority",
    "Key",
    "Request",
    "address_of",
    "key_pem",
    "make_certificate",
    "make_ec_key",
    "make_rsa_key",
    "pem",
    "rsa_key_of",
    "time_of",
    "write_file",
]

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_RSA_BITS: Final = 2048


@attrs.frozen
class Authority:
    """Who issues.

    :ivar chain: what holders show beside their own certificates.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


@attrs.frozen(kw_only=True)
class Request:
    """What a certificate is to say.

    :ivar name: the CN.
    :ivar names: alternative names and addresses; none for no such extension.
    :ivar begin: Unix time from which it is valid.
    :ivar end: Unix time up to which it is valid.
    :ivar authority: whether it may issue others.
    """

    name: str
    begin: float
    end: float
    names: tuple[str, ...] = ()
    purposes: tuple[x509.ObjectIdentifier, ...] = ()
    authority: bool = False


def make_certificate(issuer: Authority | None, key: Key, wanted: Request) -> x509.Certificate:
    """Issue a certificate for a key; without issuer it is signed by the key itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.name)])
    signer: Key = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(time_of(wanted.begin))
        .not_valid_after(time_of(wanted.end))
        .add_extension(x509.BasicConstraints(wanted.authority, None), critical=True)
        .add_extension(_usage(wanted.authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )
    if wanted.names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(_general_name, wanted.names))), critical=False
        )
    if wanted.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.purposes), critical=False)
    hashed = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, hashed)


def write_file(path: Path, data: bytes, mode: int = 0o644) -> str:
    """Write a file with this mode, whatever the umask, replacing it at once; return its path."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    new.chmod(mode)
    os.replace(new, path)
    return str(path)


def make_rsa_key() -> rsa.RSAPrivateKey:
    """Return a key that Choria can sign with."""
    return rsa.generate_private_key(65537, _RSA_BITS)


@lru_cache(256)
def rsa_key_of(name: str) -> rsa.RSAPrivateKey:
    """Return a key like :func:`make_rsa_key`; for the same name the same one again."""
    return make_rsa_key()


def make_ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a key that is made in no time."""
    return ec.generate_private_key(ec.SECP256R1())


def time_of(seconds: float) -> datetime:
    """Return a Unix time as certificates want it."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM form."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    """Return a key in PEM form, PKCS#8."""
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a name is; ``None`` for other names."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _general_name(name: str) -> x509.GeneralName:
    address = address_of(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
