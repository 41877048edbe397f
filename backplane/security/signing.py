"""Signing and verifying requests.

Here is the insecure mode (Choria protocol 1.11): signature and certificate are
both the word ``insecure`` and nothing is looked at when reading. The secure
mode puts other objects in the same two places.
"""

from __future__ import annotations

from typing import Final, Protocol

from backplane.security.names import certname_of

__all__ = ["INSECURE", "InsecureSigner", "InsecureVerifier", "Verifier"]

INSECURE: Final = "insecure"
"""What stands for the signature and for the certificate in the insecure mode."""


class Verifier(Protocol):
    """Decides whether a request really comes from the caller that it names."""

    def verify(
        self, message: str, signature: str, pubcert: str, caller_id: str, now: float
    ) -> None:
        """Return when the request is the caller's, raise when it is not.

        :param message: ``message`` of the secure request; its UTF-8 bytes are
            what was signed.
        :param signature: as it stands in the secure request.
        :param pubcert: certificate of the signer, as it stands there.
        :param caller_id: ``envelope.callerid`` of the same message.
        :param now: Unix time, for the validity of certificates.
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

    def verify(
        self, message: str, signature: str, pubcert: str, caller_id: str, now: float
    ) -> None:
        """See :meth:`Verifier.verify`; only ``bad_callerid`` is raised."""
        certname_of(caller_id)
