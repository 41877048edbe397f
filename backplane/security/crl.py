"""Certificate revocation lists: which certificates are withdrawn.

A list whose next issue is overdue keeps applying and is warned of: dropping it
would let withdrawn certificates back in, and refusing everybody would lock the
operators out of every service at once. Lists are matched to their issuers by
name and signature here, because OpenSSL treats an overdue list as an error for
everyone. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import pairwise
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

from backplane.errors import ConfigError, Problem
from backplane.security.certificates import UNREADABLE, describe, is_authority, refused

__all__ = ["RevocationLists"]

_MAX_PROVEN: Final = 256
"""Most pairs of list and issuer whose signature check is remembered."""


class RevocationLists:
    """All lists of a CRL file."""

    def __init__(
        self,
        lists: Sequence[x509.CertificateRevocationList],
        roots: Sequence[x509.Certificate],
        *,
        setting: str = "crl",
        path: str | None = None,
    ) -> None:
        """
        :param lists: as read from the file.
        :param roots: our authorities.
        :raises ConfigError: for a list in the name of an authority that the
            authority did not sign, and for one that cannot stand alone.
        """
        self._lists = tuple(lists)
        self._roots = tuple(roots)
        self._proven: dict[tuple[int, bytes], bool] = {}
        problems = []
        for place, crl in enumerate(self._lists):
            found = _unusable(crl) or self._forged(place)
            if found is not None:
                problems.append(
                    Problem(setting, f"list {place + 1}: {found}", "a complete, signed list", path)
                )
        if problems:
            raise ConfigError(problems)

    def _forged(self, place: int) -> str | None:
        named = [root for root in self._roots if root.subject == self._lists[place].issuer]
        if named and not any(self._is_of(place, root) for root in named):
            return f"not signed by {describe(named[0])}, in whose name it is"
        return None

    def _is_of(self, place: int, issuer: x509.Certificate) -> bool:
        crl = self._lists[place]
        if crl.issuer != issuer.subject:
            return False
        # Issuers come from verified chains only, so there are few of them.
        key = (place, issuer.fingerprint(hashes.SHA256()))
        known = self._proven.get(key)
        if known is None:
            known = _signed(crl, issuer)
            if len(self._proven) < _MAX_PROVEN:
                self._proven[key] = known
        return known

    def check(self, chain: Sequence[x509.Certificate]) -> None:
        """Refuse a chain with a withdrawn certificate.

        A certificate whose issuer has no list here passes.

        :param chain: from the signer to the root, as verified.
        :raises DecodeError: with the reason ``revoked``.
        """
        for certificate, issuer in pairwise(chain):
            for place, crl in enumerate(self._lists):
                if not self._is_of(place, issuer):
                    continue
                try:
                    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
                except UNREADABLE:
                    raise refused("revoked", "the revocation list cannot be read") from None
                if entry is not None:
                    since = entry.revocation_date_utc.strftime("%Y-%m-%d")
                    raise refused(
                        "revoked", f"certificate {describe(certificate)} is revoked since {since}"
                    )

    def warnings(self, now: float) -> tuple[str, ...]:
        """Return what to log about the lists at a time: overdue and missing ones."""
        at = datetime.fromtimestamp(now, timezone.utc)
        texts = []
        newest: dict[x509.Name, datetime | None] = {}
        for crl in sorted(self._lists, key=lambda each: each.last_update_utc):
            newest[crl.issuer] = crl.next_update_utc
        for issuer, due in newest.items():
            if due is not None and due < at:
                texts.append(
                    f"the revocation list of {issuer.rfc4514_string()[:80]!r} was due for renewal "
                    f"on {due:%Y-%m-%d %H:%M} UTC; the old one keeps applying"
                )
        for root in self._roots:
            if root.subject not in newest and is_authority(root):
                texts.append(
                    f"no revocation list of {describe(root)}: "
                    "certificates that it issued are not looked up"
                )
        return tuple(texts)


def _unusable(crl: x509.CertificateRevocationList) -> str | None:
    try:
        # What the parser leaves for later fails here, not when it is asked for.
        _ = (len(crl), crl.issuer, crl.last_update_utc, crl.next_update_utc)
        for extension in crl.extensions:
            value = extension.value
            if isinstance(value, x509.DeltaCRLIndicator):
                return "only the changes since another list"
            if isinstance(value, x509.IssuingDistributionPoint) and (
                value.indirect_crl or value.only_some_reasons
            ):
                return "covers other issuers, or some reasons only"
    except UNREADABLE:
        return "cannot be read"
    return None


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        key = cast(CertificateIssuerPublicKeyTypes, issuer.public_key())
        return crl.is_signature_valid(key)
    except (*UNREADABLE, InvalidSignature):
        return False
