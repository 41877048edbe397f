"""Whether a certificate is that of the server that was asked for.

The rules are RFC 9525's, by ``service_identity``: alternative names only, DNS names
for a name, addresses for an address. One name in a certificate that is no name must
not spoil the others, so they are read one by one from the certificate's bytes:
``cryptography`` reads all of its extensions or none.

A certificate without alternative names is compared by its CN where that is
allowed, ignoring case, never for a server given as an address. Pure.

Source: Choria protocol 2.6; RFC 9525; RFC 5280, 4.2.1.6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)

__all__ = ["address_of", "server_name_indication", "verify_name"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_SHOWN: Final = 200
"""Characters of a certificate's names in an error."""

_SUBJECT_ALT_NAME: Final = b"\x55\x1d\x11"  # 2.5.29.17
_EXTENSIONS: Final = 0xA3
_OID: Final = 0x06
_OCTETS: Final = 0x04
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87


def address_of(host: str) -> Address | None:
    """Return the address that a host is given as; ``None`` for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def server_name_indication(host: str) -> bytes | None:
    """Return the name to tell a server that it is asked for; ``None`` where that is not done."""
    host = _without_dot(host)
    if address_of(host) is not None:
        return None
    try:
        name: bytes = DNS_ID(host).hostname
    except (ValueError, ImportError):
        return None  # no certificate will have such a name either
    return name


def verify_name(certificate: x509.Certificate, host: str, legacy: bool) -> str | None:
    """Check that a certificate is that of a host.

    :param host: name or address, as configured.
    :param legacy: compare the CN where there are no alternative names.
    :returns: a warning, or ``None``.
    :raises ValueError: when it is not, with the names that it has.
    """
    host = _without_dot(host)
    address = address_of(host)
    names = _alternative_names(certificate)
    if names is None:
        return _common_name(certificate, host, legacy and address is None)
    patterns: list[CertificatePattern] = []
    for name in names:
        with suppress(CertificateError):
            patterns.append(_pattern(name))
    try:
        wanted = DNS_ID(host) if address is None else IPAddress_ID(str(address))
    except (ValueError, ImportError) as error:
        raise ValueError(f"{host!r} is not a name that a certificate can have: {error}") from None
    try:
        verify_service_identity(patterns, [wanted], [])
    except (CertificateError, VerificationError):
        has = ", ".join(map(_shown, names))[:MAX_SHOWN] or "nobody"
        raise ValueError(f"the broker's certificate is for {has}, not for {host}") from None
    return None


def _common_name(certificate: x509.Certificate, host: str, allowed: bool) -> str | None:
    common = [
        str(each.value)
        for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    ][-1:]
    shown = "".join(common)[:MAX_SHOWN]
    without = f"the broker's certificate has no subjectAltName, its CN is {shown!r}"
    if not allowed:
        raise ValueError(
            f"{without}; wanted one for {host}, or, for a name, support_legacy_certificates: true"
        )
    if [_without_dot(name).lower() for name in common] != [host.lower()]:
        raise ValueError(f"{without}, not {host}")
    return f"{without}; it was compared with {host}, as for old certificates"


def _pattern(name: bytes | Address) -> CertificatePattern:
    if isinstance(name, bytes):
        return DNSPattern.from_bytes(name.removesuffix(b"."))
    return IPAddressPattern(pattern=name)


def _shown(name: bytes | Address) -> str:
    if isinstance(name, bytes):
        # It comes from a stranger and ends up in logs.
        return name.decode("latin-1").encode("unicode_escape").decode("ascii")
    return str(name)


def _without_dot(host: str) -> str:
    return host.removesuffix(".")


# A reader of DER, as far as it is needed.


def _alternative_names(certificate: x509.Certificate) -> list[bytes | Address] | None:
    """Return DNS names and addresses; ``None`` for a certificate without the extension."""
    try:
        value = _extension(certificate.tbs_certificate_bytes)
        return None if value is None else list(_names(value))
    except ValueError:
        return []  # damaged: there is the extension, and nothing in it is to be believed


def _extension(body: bytes) -> bytes | None:
    for tag, content in _items(_only(body)):
        if tag != _EXTENSIONS:
            continue
        for _, extension in _items(_only(content)):
            fields = list(_items(extension))
            if fields and fields[0] == (_OID, _SUBJECT_ALT_NAME) and fields[-1][0] == _OCTETS:
                return fields[-1][1]
    return None


def _names(value: bytes) -> Iterator[bytes | Address]:
    for tag, content in _items(_only(value)):
        if tag == _DNS_NAME:
            yield content
        elif tag == _IP_ADDRESS:
            with suppress(ValueError):  # neither 4 nor 16 bytes
                yield ipaddress.ip_address(content)


def _only(data: bytes) -> bytes:
    """Return the content of the first item.

    :raises ValueError: when there is none.
    """
    for _, content in _items(data):
        return content
    raise ValueError("nothing where something is wanted")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take data apart into items, each a tag and its content.

    :raises ValueError: when one is longer than the data.
    """
    position = 0
    while position < len(data):
        head = data[position : position + 2]
        if len(head) < 2:
            raise ValueError("a cut item")
        tag, length = head
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise ValueError("a cut item")
        yield tag, data[position : position + length]
        position += length
