"""Certificates for tests: good ones are good, defective ones have their defect and no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError, DecodeError
from backplane.security.certificates import VerifiedCertificate
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair, mode_warning
from backplane.security.providers import puppet_files
from backplane.security.servernames import verify_name
from backplane.testing import PKI
from backplane.testing.pki import DEFECTS, Issued

NOW = 1_790_000_000.0


class PKITests(SynchronousTestCase):
    """One authority in a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.pki = PKI(self.folder, now=lambda: NOW)

    def verify(self, issued: Issued, crl: str | None = None) -> VerifiedCertificate:
        pubcert = Path(issued.cert).read_text()
        return load_authorities(self.pki.ca, crl).verify_client(pubcert, NOW)

    def test_client(self) -> None:
        """A client's certificate verifies, and its key is that of it."""
        issued = self.pki.client("sre.choria")
        self.assertEqual(self.verify(issued).names, ("sre.choria",))
        pair = load_key_pair(issued.cert, issued.key)
        self.assertEqual(pair.chain, (issued.certificate,))
        self.assertIsNone(mode_warning(issued.key))

    def test_intermediate(self) -> None:
        """What an intermediate authority issues comes with its certificate."""
        below = self.pki.intermediate()
        issued = below.intermediate("Third CA").client("sre.choria")
        self.assertEqual(self.verify(issued).names, ("sre.choria",))
        self.assertEqual(len(load_key_pair(issued.cert, issued.key).chain), 3)
        self.assertEqual(below.ca, self.pki.ca)

    def test_server(self) -> None:
        """A server's certificate is for its names and addresses."""
        issued = self.pki.server("broker.example.net", "localhost", "127.0.0.1", "::1")
        for host in ("broker.example.net", "localhost", "127.0.0.1", "::1"):
            self.assertIsNone(verify_name(issued.certificate, host, False))
        with self.assertRaises(ValueError):
            verify_name(issued.certificate, "127.0.0.2", False)

    def test_again(self) -> None:
        """Issuing the same name again replaces both files."""
        first = self.pki.client("sre.choria")
        second = self.pki.client("sre.choria")
        self.assertEqual(first.cert, second.cert)
        self.assertTrue(os.path.isabs(first.cert))
        pair = load_key_pair(second.cert, second.key)
        self.assertEqual(pair.chain, (second.certificate,))
        self.assertEqual([each for each in os.listdir(self.folder) if "new" in each], [])

    def test_validity(self) -> None:
        """A certificate is valid for as long as was asked for."""
        issued = self.pki.client("sre.choria", seconds=60)
        self.assertEqual(issued.certificate.not_valid_after_utc.timestamp(), NOW + 60)

    def test_revoke(self) -> None:
        """A withdrawn certificate is refused, another one is not."""
        one, other = self.pki.client("one.choria"), self.pki.client("other.choria")
        crl = self.pki.revoke(one)
        self.assertEqual(self.verify(other, crl).names, ("other.choria",))
        with self.assertRaises(DecodeError) as caught:
            self.verify(one, crl)
        self.assertEqual(caught.exception.reason, "revoked")

    def test_puppet_layout(self) -> None:
        """The files are where the scheme puppet looks, the key for nobody else."""
        ssl_dir = self.pki.puppet_layout(self.pki.client("app1.example.net"))
        files = puppet_files(ssl_dir, "app1.example.net")
        load_authorities(files.ca)
        load_key_pair(files.cert, files.key)
        self.assertIsNone(mode_warning(files.key))

    def test_defective_clients(self) -> None:
        """Each defect of a client's certificate is refused for its own reason."""
        reasons = {
            "expired": "certificate_expired",
            "not_yet_valid": "certificate_not_yet_valid",
            "other_ca": "unknown_ca",
            "self_signed": "unknown_ca",
            "wrong_purpose": "wrong_purpose",
            "missing_intermediate": "unknown_ca",
            "ec_key": "unsupported_key",
            "ed25519_key": "unsupported_key",
            "garbage": "bad_certificate",
        }
        for defect, reason in reasons.items():
            issued = self.pki.defective_client(defect, "sre.choria")
            with self.assertRaises(DecodeError, msg=defect) as caught:
                self.verify(issued)
            self.assertEqual(caught.exception.reason, reason, defect)

    def test_defective_names(self) -> None:
        """A certificate for another name verifies, and is for another name."""
        issued = self.pki.defective_client("other_name", "sre.choria")
        self.assertEqual(self.verify(issued).names, ("other-sre.choria",))
        issued = self.pki.defective_client("no_san", "sre.choria")
        self.assertEqual(self.verify(issued).names, ("sre.choria",))
        with self.assertRaises(x509.ExtensionNotFound):
            issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    def test_defective_keys(self) -> None:
        """Keys that are not of use are one clear error each."""
        for defect, words in (
            ("other_key", "found the key of another certificate"),
            ("passphrase", "found a key protected by a passphrase"),
            ("ec_key", "found a certificate with an EC key"),
            ("garbage", "found no certificate"),
        ):
            issued = self.pki.defective_client(defect, "sre.choria")
            with self.assertRaises(ConfigError, msg=defect) as caught:
                load_key_pair(issued.cert, issued.key)
            self.assertIn(words, str(caught.exception))
        issued = self.pki.defective_client("readable_key", "sre.choria")
        self.assertEqual(stat.S_IMODE(os.stat(issued.key).st_mode), 0o644)
        load_key_pair(issued.cert, issued.key)

    def test_every_defect(self) -> None:
        """Every defect that is listed can be had, for servers too; others cannot."""
        for defect in DEFECTS:
            self.pki.defective_server(defect, "broker.example.net", "127.0.0.1")
        with self.assertRaises(ValueError):
            self.pki.defective_server("tired", "broker.example.net")
