"""Layers of certificates, their authorities, revocation lists and keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from backplane.errors import ConfigError, DecodeError
from backplane.security.chains import Authorities
from backplane.security.pemfiles import read_key_pair
from tests.fuzz.corpus import PKI, certificates
from tests.fuzz.engine import Layer
from tests.security.authority import Authority

__all__ = ["LAYERS", "NOW", "authorities", "issued_with", "known_extensions"]

NOW: Final = 1_795_570_522.5
"""Within the captures, and the validity of good certificates."""

_WORDS: Final = (
    *("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "\n", "MII", "====", "AAAA"),
    *("-----BEGIN X509 CRL-----\n", "-----END X509 CRL-----\n", "-----BEGIN RSA PRIVATE KEY-----"),
    *("\x30\x80", "\x30\x82\xff\xff", "\x06\x03", "\x55\x1d", "\x02\x01", "\x13\x00", "\xa3"),
)


@cache
def _authority() -> Authority:
    key = load_pem_private_key((PKI / "ca.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Authority(x509.load_pem_x509_certificate((PKI / "ca.pem").read_bytes()), key)


@cache
def authorities() -> Authorities:
    """Return the authority of the captures."""
    return Authorities.from_pem(_authority().pem)


def _pem(label: str, der: bytes) -> bytes:
    encoded = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{encoded}-----END {label}-----\n".encode()


def _client(text: str) -> object:
    return authorities().verify_client(text, NOW)


def _client_inside(der: bytes) -> object:
    return _client(_pem("CERTIFICATE", der).decode())


EXTENSIONS: Final = (
    *("2.5.29.17", "2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.35", "2.5.29.14"),
    *("2.5.29.30", "2.5.29.32", "2.5.29.36", "2.5.29.54", "1.3.6.1.5.5.7.1.1", "2.5.29.18"),
)
"""Those that say something of names, purposes and chains."""


@cache
def _small() -> tuple[Authority, Authorities]:
    authority = Authority.make()
    return authority, Authorities.from_pem(authority.pem)


def issued_with(data: bytes) -> x509.Certificate:
    """Return a certificate that is good but for what its authority wrote into an extension.

    :param data: the first byte says which extension, and whether it is critical.
    """
    authority, _ = _small()
    first = data[0] if data else 0
    oid = x509.ObjectIdentifier(EXTENSIONS[first % len(EXTENSIONS)])
    extension = x509.UnrecognizedExtension(oid, data[1:])
    return authority.issue(
        "sre.choria",
        begin=NOW - 1000,
        end=NOW + 1000,
        purposes=(),
        ca=None,
        extra=[(extension, first >= 128)],
    )


def _issued(data: bytes) -> object:
    _, trusted = _small()
    text = issued_with(data).public_bytes(Encoding.PEM).decode()
    return trusted.verify_client(text, NOW)


def known_extensions() -> Sequence[bytes]:
    """Return what :func:`issued_with` makes good certificates of."""
    known = {oid: number for number, oid in enumerate(EXTENSIONS)}
    found = []
    for der in _ders():
        for extension in x509.load_der_x509_certificate(der).extensions:
            if extension.oid.dotted_string in known:
                value = extension.value.public_bytes()
                found.append(bytes([known[extension.oid.dotted_string]]) + value)
    constraints = x509.NameConstraints([x509.DNSName("choria")], None)
    others = {6: constraints, 9: x509.InhibitAnyPolicy(0), 8: x509.PolicyConstraints(0, None)}
    return [
        *dict.fromkeys(found),
        *(bytes([n]) + each.public_bytes() for n, each in others.items()),
    ]


@cache
def _good() -> str:
    return (PKI / "chained.choria.pem").read_text()


def _bundle(data: bytes) -> object:
    found = Authorities.from_pem(data)
    found.warnings(NOW)
    try:
        return found.verify_client(_good(), NOW)
    except DecodeError:
        return found


def _list(data: bytes) -> object:
    found = Authorities.from_pem(_authority().pem, data)
    found.warnings(NOW)
    try:
        return found.verify_client(_good(), NOW)
    except DecodeError:
        return found


def _inside(label: str, read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return lambda der: read(_pem(label, der))


@cache
def _crls() -> Sequence[x509.CertificateRevocationList]:
    authority = _authority()
    withdrawn = [x509.load_pem_x509_certificate(each.encode()) for each in certificates()[:3]]
    point = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier("http://a")],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    return (
        authority.revoke(),
        authority.revoke(*withdrawn),
        authority.revoke(withdrawn[0], extra=[(x509.CRLNumber(7), False), (point, True)]),
        authority.revoke(extra=[(x509.DeltaCRLIndicator(3), True)]),
    )


def _ders() -> Sequence[bytes]:
    return [
        each.public_bytes(Encoding.DER)
        for text in certificates()
        for each in x509.load_pem_x509_certificates(text.encode())
    ]


def _pair(data: bytes) -> object:
    """Read a certificate, a key, or both from one file."""
    return read_key_pair(data, data)


def _pairs() -> Sequence[bytes]:
    found = []
    for name in ("sre.choria", "1stline.choria", "defective/ec-p256", "chained.choria"):
        pem, key = ((PKI / f"{name}.{kind}").read_bytes() for kind in ("pem", "key"))
        found += [pem, key, pem + key, key + pem]
    return found


def _authority_files() -> Sequence[bytes]:
    names = ("ca.pem", "other-ca.pem", "intermediate.pem", "chained.choria.pem")
    files = [(PKI / name).read_bytes() for name in names]
    return [*files, b"".join(files), files[0] * 3]


LAYERS: Final = (
    Layer(
        name="certificates, PEM",
        read=_client,
        errors=(DecodeError,),
        seeds=certificates,
        words=_WORDS,
        weight=4,
    ),
    Layer(
        name="certificates, inside",
        read=_client_inside,
        errors=(DecodeError,),
        seeds=_ders,
        words=_WORDS,
        binary=True,
        weight=6,
    ),
    Layer(
        name="certificates, extensions",
        read=_issued,
        errors=(DecodeError,),
        seeds=known_extensions,
        words=_WORDS,
        binary=True,
        weight=3,
    ),
    Layer(
        name="CA bundles",
        read=_bundle,
        errors=(ConfigError,),
        seeds=_authority_files,
        words=_WORDS,
        binary=True,
        weight=2,
    ),
    Layer(
        name="CA bundles, inside",
        read=_inside("CERTIFICATE", _bundle),
        errors=(ConfigError,),
        seeds=_ders,
        words=_WORDS,
        binary=True,
        weight=3,
    ),
    Layer(
        name="revocation lists, PEM",
        read=_list,
        errors=(ConfigError,),
        seeds=lambda: [each.public_bytes(Encoding.PEM) for each in _crls()],
        words=_WORDS,
        binary=True,
        weight=2,
    ),
    Layer(
        name="revocation lists, inside",
        read=_inside("X509 CRL", _list),
        errors=(ConfigError,),
        seeds=lambda: [each.public_bytes(Encoding.DER) for each in _crls()],
        words=_WORDS,
        binary=True,
        weight=3,
    ),
    Layer(
        name="certificates and keys",
        read=_pair,
        errors=(ConfigError,),
        seeds=_pairs,
        words=_WORDS,
        binary=True,
        weight=1,
    ),
)
