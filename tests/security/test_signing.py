"""The insecure mode."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import DecodeError
from backplane.security.signing import InsecureSigner, InsecureVerifier, Verifier


class InsecureTests(SynchronousTestCase):
    """Signing and verifying without keys."""

    def test_signs_nothing(self) -> None:
        """Signature and certificate are the word that Choria's insecure mode has there."""
        self.assertEqual(InsecureSigner().sign(b"anything"), ("insecure", "insecure"))

    def test_accepts_everything(self) -> None:
        """Insecure, signed and nonsensical requests are all taken for what they say."""
        verifier: Verifier = InsecureVerifier()
        for signature, pubcert in (
            ("insecure", "insecure"),
            ("c2lnbmF0dXJl", "-----BEGIN CERTIFICATE-----\n"),
            ("\ud800", "\0"),
        ):
            verifier.verify("{}", signature, pubcert, "choria=sre.choria", 0.0)

    def test_caller_id_needs_its_form(self) -> None:
        """A caller id with text after the name is refused in the insecure mode, too."""
        error = self.assertRaises(
            DecodeError, InsecureVerifier().verify, "{}", "insecure", "insecure", "choria=a b", 0.0
        )
        self.assertEqual(error.reason, "bad_callerid")
