"""Certificates, key, authorities and revocation lists: whether they fit, and until when.

Pure but for reading the files; the time is an argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
from cryptography import x509

from backplane.cli.doctor.dates import RENEW, dates, day, time_of
from backplane.cli.doctor.findings import Finding, failed, ok, problems, skipped, warning
from backplane.cli.doctor.party import Party, counted
from backplane.client.accounting import ExitCode
from backplane.errors import ConfigError, DecodeError
from backplane.security.certificates import (
    UNREADABLE,
    check_client_purpose,
    describe,
    names_of,
)
from backplane.security.chains import Authorities
from backplane.security.pemfiles import KeyPair, pem_blocks, read_file, read_key_pair

__all__ = ["Material", "check_certificates", "check_clock", "read_material"]

_LABELS: Final = ("CERTIFICATE", "X509 CERTIFICATE")
_CAUSE: Final = ExitCode.CREDENTIALS
_TOLERANCE: Final = 300.0
# Seconds; authorities date what they issue back a little, not forward.


@attrs.frozen(kw_only=True)
class Material:
    """What could be read.

    :ivar chain: own certificate and intermediates, also where the key is bad.
    :ivar pair: ``None`` when certificate and key cannot be used together.
    """

    chain: tuple[x509.Certificate, ...] = ()
    pair: KeyPair | None = attrs.field(default=None, repr=False)
    authorities: Authorities | None = None
    lists: tuple[x509.CertificateRevocationList, ...] = ()


def read_material(party: Party) -> tuple[Material, list[Finding]]:
    """Read the files; those that are missing are not told again."""
    files = party.files
    if files is None:
        return Material(), []
    found: list[Finding] = []
    data: dict[str, bytes] = {}
    wanted = {"ca": files.ca, "cert": files.cert, "key": files.key, "crl": party.crl}
    for name, path in wanted.items():
        try:
            if path is not None and os.path.isfile(path):
                data[name] = read_file(path, name)
        except ConfigError as error:
            found += problems(f"file.{name}", error, _CAUSE)
    pair = None
    if "cert" in data and "key" in data:
        try:
            pair = read_key_pair(
                data["cert"],
                data["key"],
                certificate_path=files.cert,
                key_path=files.key,
            )
        except ConfigError as error:
            for each in error.problems:
                check = "certificate.key" if each.key == "key" else "certificate"
                told = f"{each.path}: found {each.found}"
                found.append(failed(check, told, _pair_fix(each.found, each.wanted), _CAUSE))
        else:
            size = f"RSA, {pair.key.key_size} bits"
            found.append(ok("certificate.key", f"{files.key} is that of {files.cert} ({size})"))
    authorities, trouble = _authorities(data, files.ca, party.crl)
    material = Material(
        chain=_chain(data.get("cert", b"")),
        pair=pair,
        authorities=authorities,
        lists=_lists(data.get("crl", b"")),
    )
    return material, found + trouble


def _pair_fix(found: str, wanted: str) -> str:
    if "passphrase" in found:
        return "take the passphrase off: openssl rsa -in KEY -out NEW-KEY, and chmod 0600 it"
    if "another certificate" in found:
        return f"put {wanted} there, or ask for a certificate for this key"
    return f"wanted {wanted}"


def _authorities(
    data: dict[str, bytes], ca: str, crl: str | None
) -> tuple[Authorities | None, list[Finding]]:
    if "ca" not in data:
        return None, []
    try:
        return Authorities.from_pem(data["ca"], data.get("crl"), path=ca, crl_path=crl), []
    except ConfigError as error:
        found = [
            failed(each.key, f"{each.path}: found {each.found}", f"wanted {each.wanted}", _CAUSE)
            for each in error.problems
        ]
    if not any(each.check == "crl" for each in found):
        return None, found
    return Authorities.from_pem(data["ca"], path=ca), found  # with the lists aside


def _chain(data: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(map(x509.load_pem_x509_certificate, pem_blocks(data, _LABELS)))
    except UNREADABLE:
        return ()


def _lists(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        return tuple(map(x509.load_pem_x509_crl, pem_blocks(data, ("X509 CRL",))))
    except UNREADABLE:
        return ()


def check_certificates(party: Party, material: Material, now: float) -> Iterator[Finding]:
    """Look at dates, names, purpose, chain, authorities and lists.

    :param now: Unix time.
    """
    if not party.secure:
        yield skipped("certificate", "the insecure mode has no certificates")
        return
    if not material.chain:
        yield skipped("certificate.dates", "there is no certificate that can be read")
    else:
        own = material.chain[0]
        yield dates("certificate.dates", own, now, cause=_CAUSE)
        for each in material.chain[1:]:
            yield dates("certificate.dates", each, now, cause=_CAUSE)
        yield _name(party, own)
        purpose = _purpose(material.chain)
        yield purpose
        yield _verified(material, now, purpose.detail)
    yield from _roots(party, material, now)
    yield from _revocation(party, material, now)


def _name(party: Party, own: x509.Certificate) -> Finding:
    check = "certificate.name"
    try:
        names = names_of(own)
    except DecodeError as error:
        return failed(check, error.detail, RENEW, _CAUSE)
    if party.certname in names:
        return ok(check, f"it carries {party.certname}")
    carried = ", ".join(names)[:200] or "no name"
    if party.kind == "operator":
        return failed(
            check,
            f"requests are made as {party.certname}, and the certificate is that of {carried}: "
            "every service drops them",
            f"set MCOLLECTIVE_CERTNAME={names[0] if names else 'NAME'}, or use a certificate "
            f"for {party.certname}",
            _CAUSE,
        )
    return warning(
        check,
        f"the service is {party.certname}, and its certificate is that of {carried}: "
        "what it publishes is not believed",
        "set management.tls.identity to the name in the certificate, or get one for "
        f"{party.certname}",
    )


def _purpose(chain: Sequence[x509.Certificate]) -> Finding:
    check = "certificate.purpose"
    try:
        check_client_purpose(chain[:1])
    except DecodeError as error:
        fix = "get a certificate for client authentication (extended key usage clientAuth)"
        return failed(check, error.detail, fix, _CAUSE)
    return ok(check, "it is good for clients, which services and operators are to a broker")


def _verified(material: Material, now: float, told: str) -> Finding:
    check = "certificate.chain"
    authorities, own = material.authorities, material.chain[0]
    if authorities is None:
        return skipped(check, "there is no CA file that can be used")
    # Its own dates are a check of their own: at a time when they hold, what else is wrong?
    at = max(now, own.not_valid_before_utc.timestamp())
    at = min(at, own.not_valid_after_utc.timestamp())
    text = b"".join(map(_pem, material.chain)).decode("ascii")
    try:
        verified = authorities.verify_client(text, at)
    except DecodeError as error:
        if error.detail == told:
            return skipped(check, "the purpose is wrong already")
        detail = error.detail
        if error.reason == "unknown_ca":
            detail += f"; it was issued by {own.issuer.rfc4514_string()[:80]!r}"
        return failed(check, detail, _chain_fix(error.reason), _CAUSE)
    return ok(check, f"issued by {verified.issuer!r}, verified by the CA file")


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _chain_fix(reason: str) -> str:
    return {
        "unknown_ca": "put the authority that issued it into the CA file, or the intermediate "
        "certificates after your own into the certificate's file",
        "revoked": "get a new certificate: this one was withdrawn",
        "unsupported_key": "get a certificate for an RSA key: Choria signs with no others",
        "weak_signature": "get a certificate signed with SHA-256",
        "expired": "put the authority's new certificate into the CA file",
    }.get(reason, "get a certificate from the authority in the CA file")


def _roots(party: Party, material: Material, now: float) -> Iterator[Finding]:
    check = "ca.dates"
    if material.authorities is None or party.files is None:
        yield skipped(check, "there is no CA file that can be used")
        return
    roots = material.authorities.certificates
    found = [
        dates(check, each, now, fix="put the authority's new certificate there") for each in roots
    ]
    bad = [each for each in found if each.verdict.value != "ok"]
    good = len(found) - len(bad)
    for each in bad:
        # An old authority beside the one in use harms nobody.
        yield each if not good else attrs.evolve(each, verdict=warning("", "").verdict)
    if good:
        first = min(
            each.not_valid_after_utc for each in roots if each.not_valid_after_utc > time_of(now)
        )
        count = counted(good, "authority", "authorities")
        yield ok(check, f"{party.files.ca}: {count}, valid until {day(first)} at least")


def _revocation(party: Party, material: Material, now: float) -> Iterator[Finding]:
    check = "crl"
    if party.kind == "operator":
        return
    if party.crl is None:
        yield skipped(
            check,
            "no list is configured, so withdrawn certificates are still taken",
            "management.tls.crl: PATH",
        )
        return
    if not material.lists or material.authorities is None:
        yield skipped(check, "there is no list that can be used")
        return
    at = time_of(now)
    told = [text for text in material.authorities.warnings(now) if "revocation list" in text]
    for text in told:
        yield warning(check, text, "fetch the list from the authority regularly, as by cron")
    for each in material.lists:
        due = each.next_update_utc
        if due is None or due >= at:
            until = "names no date of the next one" if due is None else f"next due {day(due)}"
            who = each.issuer.rfc4514_string()[:80]
            count = len(each)
            yield ok(
                check,
                f"list of {who!r} of {day(each.last_update_utc)}: {count} withdrawn, {until}",
            )


def check_clock(material: Material, sources: Sequence[str], now: float) -> Finding:
    """Compare the clock with dates that must have passed."""
    check, at = "clock", time_of(now)
    issued = [
        (describe(each), each.not_valid_before_utc)
        for each in (
            *material.chain,
            *(material.authorities.certificates if material.authorities else ()),
        )
    ]
    issued += [("a revocation list", each.last_update_utc) for each in material.lists]
    for path in sources:
        try:
            issued.append((path, time_of(os.stat(path).st_mtime)))
        except OSError:
            continue
    if not issued:
        return skipped(check, f"it says {day(at)}; there are no dates to compare it with")
    what, latest = max(issued, key=lambda each: each[1])
    if latest.timestamp() - now > _TOLERANCE:
        return failed(
            check,
            f"it says {day(at)}, but {what} is of {day(latest)}: the clock is behind, and "
            "requests are refused that are older or newer than a minute",
            "set the clock, and keep it right by NTP",
        )
    return ok(check, f"{day(at)}, later than every date of issue; a broker does not tell its time")
