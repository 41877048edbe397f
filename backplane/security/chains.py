"""Chains of certificates: from a signer to one of our authorities, by OpenSSL.

Building and checking a chain costs several signature checks, so the result is
kept in memory, bounded and for as long as the whole chain is valid. Only what
was verified is kept. A new CA or CRL file makes a new :class:`Authorities` with
an empty memory: there is nothing to forget piecemeal.

Source: Choria protocol 2.4, 2.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import crypto

from backplane.errors import ConfigError, DecodeError, Problem
from backplane.security.certificates import (
    UNREADABLE,
    VerifiedCertificate,
    check_client_purpose,
    describe,
    is_authority,
    names_of,
    read_chain,
    refused,
    rsa_key_of,
    validity,
)
from backplane.security.chaincache import MAX_CACHED, ChainCache
from backplane.security.crl import RevocationLists
from backplane.security.pemfiles import pem_blocks, read_file

__all__ = ["Authorities", "load_authorities"]

_REASONS: Final = {
    # Numbers of OpenSSL's X509_V_ERR_*; everything else is `bad_certificate`.
    2: "unknown_ca",  # UNABLE_TO_GET_ISSUER_CERT
    18: "unknown_ca",  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: "unknown_ca",  # SELF_SIGNED_CERT_IN_CHAIN
    20: "unknown_ca",  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: "unknown_ca",  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    9: "certificate_not_yet_valid",  # CERT_NOT_YET_VALID
    10: "certificate_expired",  # CERT_HAS_EXPIRED
}

_SIGNATURE_FAILURE: Final = 7

_MAX_NAMESAKES: Final = 4
"""Most authorities of one name that are tried for a certificate without identifier
of its issuer's key."""


class Authorities:
    """The certification authorities that signers' chains must lead to.

    Every certificate of the bundle is a root, whoever issued it.

    :ivar certificates: of the bundle.
    :ivar chains_built: how many chains were built and checked so far, rather
        than found in memory.
    """

    def __init__(
        self,
        certificates: Sequence[x509.Certificate],
        lists: RevocationLists | None = None,
        *,
        max_cached: int = MAX_CACHED,
    ) -> None:
        """
        :param certificates: not empty.
        :param lists: revocation lists, where there are any.
        :param max_cached: most chains that are remembered.
        """
        self.certificates: Sequence[x509.Certificate] = tuple(certificates)
        self.chains_built = 0
        self._lists = lists
        self._read = {_der(each): each for each in self.certificates}
        self._bundles = _without_namesakes(self.certificates)
        for bundle in self._bundles:
            _store(bundle)  # what OpenSSL does not take should show now
        self._cache = ChainCache(max_cached)

    @classmethod
    def from_pem(
        cls,
        data: bytes,
        crl: bytes | None = None,
        *,
        setting: str = "ca",
        path: str | None = None,
        crl_setting: str = "crl",
        crl_path: str | None = None,
    ) -> Authorities:
        """Read a CA bundle, and a CRL file if there is one.

        Text before the blocks, CRLF and blank lines do not matter.

        :raises ConfigError: when a block is damaged, when there is no certificate
            of an authority, and for revocation lists that cannot be used.
        """

        def problem(found: str) -> ConfigError:
            wanted = "certificates of certification authorities in PEM form"
            return ConfigError([Problem(setting, found, wanted, path)])

        certificates = []
        blocks = pem_blocks(data, ("CERTIFICATE", "X509 CERTIFICATE"))
        for place, block in enumerate(blocks, 1):
            try:
                certificate = x509.load_pem_x509_certificate(block)
                # What the parser leaves for later fails here, not when it is asked for.
                _ = (certificate.subject, certificate.issuer, certificate.not_valid_after_utc)
            except UNREADABLE:
                raise problem(f"certificate {place}, which is damaged") from None
            certificates.append(certificate)
        if not certificates:
            raise problem("no certificate")
        if not any(is_authority(certificate) for certificate in certificates):
            raise problem(f"only {describe(certificates[0])}, which may not issue certificates")
        lists = None
        if crl is not None:
            lists = _read_lists(crl, certificates, setting=crl_setting, path=crl_path)
        try:
            return cls(certificates, lists)
        except crypto.Error:
            raise problem("a certificate that OpenSSL does not take") from None

    def verify_client(self, pubcert: str, now: float) -> VerifiedCertificate:
        """Return the signer's certificate of a message, its chain verified.

        :param pubcert: PEM text of the certificate and perhaps intermediates.
        :param now: Unix time that everything must be valid at.
        :raises DecodeError: reason ``bad_certificate``, ``unsupported_key``,
            ``unknown_ca``, ``certificate_expired``, ``certificate_not_yet_valid``,
            ``wrong_key_usage``, ``wrong_purpose``, ``weak_signature`` or ``revoked``.
        """
        try:
            digest = hashlib.sha256(pubcert.encode()).digest()
        except UnicodeEncodeError:
            raise refused("bad_certificate", "the certificate text is not Unicode") from None
        known = self._cache.get(digest, now)
        if known is not None:
            return known
        sent = read_chain(pubcert)
        names = names_of(sent[0])
        key = rsa_key_of(sent[0])
        chain = self._build(sent, now)
        check_client_purpose(chain)
        if self._lists is not None:
            self._lists.check(chain)
        begin, end = validity(chain)
        verified = VerifiedCertificate(
            names=names,
            public_key=key,
            not_before=begin.timestamp(),
            not_after=end.timestamp(),
            fingerprint=sent[0].fingerprint(hashes.SHA256()).hex(),
            issuer=chain[0].issuer.rfc4514_string(),
        )
        self._cache.put(digest, verified)
        return verified

    def _build(self, sent: Sequence[x509.Certificate], now: float) -> list[x509.Certificate]:
        try:
            leaf, *others = (crypto.X509.from_cryptography(each) for each in sent)
            failed: crypto.X509StoreContextError | None = None
            for bundle in self._bundles:
                self.chains_built += 1
                store = _store(bundle)
                store.set_time(datetime.fromtimestamp(now, timezone.utc))
                try:
                    context = crypto.X509StoreContext(store, leaf, others)
                    return [sent[0], *map(self._known, context.get_verified_chain()[1:])]
                except crypto.X509StoreContextError as error:
                    # Among namesakes the one whose signature fits says what is wrong.
                    if failed is None or failed.errors[0] == _SIGNATURE_FAILURE:
                        failed = error
                    _forget_errors()
        except (crypto.Error, *UNREADABLE):
            failed = None
        if failed is None:
            raise refused("bad_certificate", "the certificate cannot be read")
        raise _unverified(failed)

    def _known(self, certificate: crypto.X509) -> x509.Certificate:
        """Return a certificate as the object whose extensions were read already, if it is ours."""
        found = self._read.get(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
        return certificate.to_cryptography() if found is None else found

    def warnings(self, now: float) -> tuple[str, ...]:
        """Return what to log about authorities and lists: expired, overdue, missing."""
        at = datetime.fromtimestamp(now, timezone.utc)
        texts = [
            f"authority {describe(each)} expired on {each.not_valid_after_utc:%Y-%m-%d}"
            for each in self.certificates
            if each.not_valid_after_utc < at
        ]
        return (*texts, *(self._lists.warnings(now) if self._lists is not None else ()))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _forget_errors() -> None:
    """Empty OpenSSL's error queue.

    A chain that fails leaves errors there, and the thread has one queue only: the
    TLS connection that is read from next could take them for its own. pyOpenSSL
    empties it whenever a call fails.
    """
    with suppress(crypto.Error):
        crypto.load_certificate(crypto.FILETYPE_ASN1, b"")


def _store(roots: Sequence[crypto.X509]) -> crypto.X509Store:
    # One for each chain: once set, the time of a store stays what it is.
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for root in roots:
        store.add_cert(root)
    return store


def _without_namesakes(certificates: Sequence[x509.Certificate]) -> list[list[crypto.X509]]:
    """Return the bundle, then, if it has several roots of one name, parts without.

    An authority with a new key keeps its name. OpenSSL tells the two apart by key
    identifiers, which certificates need not have, and tries no more than one.
    """
    named: dict[x509.Name, list[crypto.X509]] = {}
    for each in certificates:
        named.setdefault(each.subject, []).append(crypto.X509.from_cryptography(each))
    bundles = [[root for roots in named.values() for root in roots]]
    most = max(map(len, named.values()))
    if most > 1:
        for place in range(min(most, _MAX_NAMESAKES)):
            bundles.append([roots[min(place, len(roots) - 1)] for roots in named.values()])
    return bundles


def _unverified(error: crypto.X509StoreContextError) -> DecodeError:
    number, depth, message = error.errors[0], error.errors[1], error.errors[2]
    try:
        name = describe(error.certificate.to_cryptography())
    except UNREADABLE:
        name = f"number {depth + 1}"
    return refused(_REASONS.get(number, "bad_certificate"), f"certificate {name}: {message}")


def _read_lists(
    data: bytes, roots: Sequence[x509.Certificate], *, setting: str, path: str | None
) -> RevocationLists:
    lists = []
    for place, block in enumerate(pem_blocks(data, ("X509 CRL",)), 1):
        try:
            lists.append(x509.load_pem_x509_crl(block))
        except UNREADABLE:
            found = f"list {place}, which is damaged"
            raise ConfigError([Problem(setting, found, "X.509 CRLs in PEM form", path)]) from None
    if not lists:
        raise ConfigError([Problem(setting, "no list", "X.509 CRLs in PEM form", path)])
    return RevocationLists(lists, roots, setting=setting, path=path)


def load_authorities(
    ca: str, crl: str | None = None, *, ca_setting: str = "ca", crl_setting: str = "crl"
) -> Authorities:
    """Read the authorities from files.

    :param ca: path of the bundle.
    :param crl: path of the revocation lists, if there are any.
    :param ca_setting: the key that names the bundle, for errors.
    :param crl_setting: the key that names the lists, for errors.
    :raises ConfigError: as :meth:`Authorities.from_pem`, and for files that cannot
        be read.
    """
    lists = None if crl is None else read_file(crl, crl_setting)
    return Authorities.from_pem(
        read_file(ca, ca_setting),
        lists,
        setting=ca_setting,
        path=ca,
        crl_setting=crl_setting,
        crl_path=crl,
    )
