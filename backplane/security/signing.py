"""Signing and verifying requests.

In the insecure mode (Choria protocol 1.11) signature and certificate are both the
word ``insecure`` and nothing is looked at when reading. In the secure mode (2.4) a
request is signed with the key of a certificate that is sent along, and taken when
the certificate is good, carries the caller's name, and its key made the signature.
Pure: the time is an argument.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from backplane.security.allowlist import AllowList
from backplane.security.certificates import VerifiedCertificate, refused
from backplane.security.chains import Authorities
from backplane.security.names import certname_of
from backplane.security.pemfiles import KeyPair

__all__ = [
    "INSECURE",
    "InsecureSigner",
    "InsecureVerifier",
    "SecureSigner",
    "SecureVerifier",
    "Verifier",
]

INSECURE: Final = "insecure"
"""What stands for the signature and for the certificate in the insecure mode."""

_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()


class Verifier(Protocol):
    """Decides whether a request really comes from the caller that it names."""

    def verify(self, message: str, signature: str, pubcert: str, caller_id: str, now: float) -> str:
        """Return who signed a request of the caller's, raise when it is not his.

        :param message: ``message`` of the secure request; its UTF-8 bytes are
            what was signed.
        :param signature: as it stands in the secure request.
        :param pubcert: certificate of the signer, as it stands there.
        :param caller_id: ``envelope.callerid`` of the same message.
        :param now: Unix time, for the validity of certificates.
        :returns: the certificate name of the signer: the caller's own, or that of
            one who may speak for others.
        :raises backplane.errors.DecodeError: layer ``secure_request`` or
            ``request``, with the reason.
        """


class InsecureSigner:
    """Signs nothing."""

    def sign(self, message: bytes) -> tuple[str, str]:
        """Return ``("insecure", "insecure")``, whatever ``message`` is."""
        return INSECURE, INSECURE


class InsecureVerifier:
    """Takes every request, properly signed ones among them, for what it says.

    The caller id must have the right form all the same, because roles and the
    replay memory go by it.
    """

    def verify(self, message: str, signature: str, pubcert: str, caller_id: str, now: float) -> str:
        """See :meth:`Verifier.verify`; only ``bad_callerid`` is raised."""
        return certname_of(caller_id)


class SecureSigner:
    """Signs with the key of a certificate, and sends the certificate along."""

    def __init__(self, pair: KeyPair) -> None:
        """
        :param pair: as :func:`backplane.security.pemfiles.load_key_pair` reads it.
        """
        self._pair = pair

    def sign(self, message: bytes) -> tuple[str, str]:
        """Return signature and certificate: RSASSA-PKCS1-v1_5 with SHA-256, base64."""
        signature = self._pair.key.sign(message, _PADDING, _HASH)
        return base64.b64encode(signature).decode("ascii"), self._pair.pem


class SecureVerifier:
    """Takes requests that are signed by whom they name, or by one who may do that.

    :ivar authorities: may be replaced at any time, as when the CA file is renewed.
    """

    def __init__(
        self,
        authorities: Authorities,
        allow: AllowList,
        privileged: AllowList,
        *,
        delegation: bool = True,
    ) -> None:
        """
        :param authorities: that signers' chains must lead to.
        :param allow: callers whose requests are taken.
        :param privileged: names of certificates whose holders may speak for others.
        :param delegation: whether they may do so here; if not, a privileged
            certificate is like any other.
        """
        self.authorities = authorities
        self._allow = allow
        self._privileged = privileged
        self._delegation = delegation

    def verify(self, message: str, signature: str, pubcert: str, caller_id: str, now: float) -> str:
        """See :meth:`Verifier.verify`.

        :raises DecodeError: reason ``bad_callerid``, ``insecure``, those of
            :meth:`~backplane.security.chains.Authorities.verify_client`,
            ``name_mismatch``, ``not_allowed``, ``bad_base64`` or ``bad_signature``.
        """
        certname = certname_of(caller_id)
        if INSECURE in (signature, pubcert):
            raise refused("insecure", f"unsigned, in the name of {certname[:60]!r}")
        signer = self.authorities.verify_client(pubcert, now)
        name = self._speaker(signer, certname)
        _check_signature(signer, signature, message)
        return name

    def _speaker(self, signer: VerifiedCertificate, certname: str) -> str:
        """Return under which name the signer may speak for ``certname``."""
        own = certname in signer.names
        if self._delegation:
            privileged = next(filter(self._privileged.matches, signer.names), None)
            if privileged is not None:
                return certname if own else privileged
        if not own:
            carried = ", ".join(signer.names[:3])[:60]
            raise refused("name_mismatch", f"certificate of {carried!r} used by {certname[:60]!r}")
        if not self._allow.matches(certname):
            raise refused("not_allowed", f"{certname[:60]!r} is not on the allow list")
        return certname


def _check_signature(signer: VerifiedCertificate, signature: str, message: str) -> None:
    encoded = signature.replace("\r", "").replace("\n", "")
    try:
        if len(encoded) % 4:  # Python 3.10 takes a lone "=" for padding
            raise ValueError("incomplete")
        raw = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise refused("bad_base64", "the signature is not standard base64") from None
    data = message.encode("utf-8", "surrogatepass")
    try:
        signer.public_key.verify(raw, data, _PADDING, _HASH)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        wanted = (signer.public_key.key_size + 7) // 8
        detail = f"not signed with the key of {signer.names[0][:60]!r}"
        if len(raw) != wanted:
            detail = f"a signature of {len(raw)} bytes, wanted {wanted}"
        raise refused("bad_signature", detail) from None
