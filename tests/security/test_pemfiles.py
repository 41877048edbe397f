"""Our own certificate and key, as files."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import KeyPair, load_key_pair, mode_warning, read_key_pair
from tests.security.authority import NOW, PKI, vector, vector_key

PKCS1 = PrivateFormat.TraditionalOpenSSL
PKCS8 = PrivateFormat.PKCS8


def key_pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    form: PrivateFormat = PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    """Return a key in PEM form."""
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


class PairTests(SynchronousTestCase):
    """A certificate and its key."""

    def read(self, certificate: str | bytes, key: bytes) -> KeyPair:
        """Return what is made of both."""
        data = certificate.encode() if isinstance(certificate, str) else certificate
        return read_key_pair(data, key, certificate_path="c.pem", key_path="k.pem")

    def problem(self, certificate: str | bytes, key: bytes) -> tuple[str, str | None, str]:
        """Return setting, file and what was found of the only mistake."""
        error = self.assertRaises(ConfigError, self.read, certificate, key)
        (problem,) = error.problems
        return problem.key, problem.path, problem.found

    def test_forms(self) -> None:
        """PKCS#1 and PKCS#8, text in front, CRLF, an intermediate behind."""
        text = "Certificate:\n    Issuer: CN=Example\n\n" + vector("sre.choria")
        for form in (PKCS1, PKCS8):
            key = key_pem(vector_key(), form)
            for data in (key, b"Bag Attributes\n" + key, key.replace(b"\n", b"\r\n")):
                found = self.read(text.replace("\n", "\r\n"), data)
                self.assertEqual(found.key.public_key(), vector_key().public_key())
                self.assertEqual(found.pem, vector("sre.choria"))
        chained = self.read(vector("chained.choria"), key_pem(vector_key("chained.choria")))
        self.assertEqual(len(chained.chain), 2)
        self.assertEqual(chained.pem, vector("chained.choria"))

    def test_key_beside_the_certificate(self) -> None:
        """From a file with both, the key is never sent along, nor shown."""
        both = key_pem(vector_key()) + vector("sre.choria").encode()
        found = self.read(both, both)
        self.assertEqual(found.pem, vector("sre.choria"))
        self.assertNotIn("RSAPrivateKey", repr(found))

    def test_passphrase(self) -> None:
        """A protected key is told apart from a damaged one, in both forms."""
        for form in (PKCS1, PKCS8):
            key = key_pem(vector_key(), form, BestAvailableEncryption(b"secret"))
            self.assertEqual(
                self.problem(vector("sre.choria"), key),
                ("key", "k.pem", "a key protected by a passphrase"),
            )

    def test_other_key(self) -> None:
        """The key of another certificate is told with the certificate's name."""
        error = self.assertRaises(
            ConfigError, self.read, vector("sre.choria"), key_pem(vector_key("rip.mcollective"))
        )
        self.assertEqual(
            str(error),
            "k.pem: key: found the key of another certificate, "
            "wanted that of certificate 'CN=sre.choria'",
        )

    def test_kinds(self) -> None:
        """Keys that Choria does not sign with are named."""
        curve = ec.generate_private_key(ec.SECP256R1())
        edwards = ed25519.Ed25519PrivateKey.generate()
        for key, found in (
            (key_pem(curve), "an EC key (secp256r1), wanted an RSA key"),
            (
                b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
                + key_pem(curve, PKCS1),
                "an EC key (secp256r1), wanted an RSA key",
            ),
            (key_pem(edwards), "an Ed25519 key, wanted an RSA key"),
        ):
            self.assertEqual(self.problem(vector("sre.choria"), key), ("key", "k.pem", found))
        error = self.assertRaises(
            ConfigError, self.read, vector("defective/ec-p256"), key_pem(curve)
        )
        self.assertEqual([each.key for each in error.problems], ["cert", "key"])
        self.assertIn("a certificate with an EC key", error.problems[0].found)

    def test_damaged(self) -> None:
        """Missing and damaged contents are told, never the contents of a key."""
        good = key_pem(vector_key())
        for key, found in (
            (b"", "no private key"),
            (vector("sre.choria").encode(), "no private key"),
            (good[:-50], "a private key that is damaged"),
            (good.replace(b"MII", b"NII", 1), "a private key that is damaged"),
        ):
            self.assertEqual(self.problem(vector("sre.choria"), key), ("key", "k.pem", found))
        one = vector("sre.choria")
        for certificate, found in (
            ("", "no certificate"),
            (good, "no certificate"),
            (one[:-30], "certificate 1, which is damaged"),
            (one.replace("MII", "M\u2028II", 1), "certificate 1, which is damaged"),
            (one + one.replace("MII", "NII", 1), "certificate 2, which is damaged"),
            (one * 11, "11 certificates"),
        ):
            self.assertEqual(self.problem(certificate, good), ("cert", "c.pem", found))

    @given(st.binary(max_size=100), st.binary(max_size=100))
    def test_garbage(self, certificate: bytes, key: bytes) -> None:
        """Whatever the files hold, it is a mistake in the configuration."""
        self.assertRaises(ConfigError, read_key_pair, certificate, key)
        head = b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN PRIVATE KEY-----\n"
        self.assertRaises(ConfigError, read_key_pair, head[0] + certificate, head[1] + key)


class FileTests(SynchronousTestCase):
    """Files on disk."""

    def test_load(self) -> None:
        """Certificate, key and authorities are read from where they lie."""
        pair = load_key_pair(str(PKI / "sre.choria.pem"), str(PKI / "sre.choria.key"))
        found = load_authorities(str(PKI / "ca.pem")).verify_client(pair.pem, NOW)
        self.assertEqual(found.names, ("sre.choria",))

    def test_one_setting(self) -> None:
        """Both may stand under one setting, as in Puppet's layout."""
        pair = load_key_pair(
            str(PKI / "sre.choria.pem"),
            str(PKI / "sre.choria.key"),
            certificate_setting="ssl_dir",
            key_setting="ssl_dir",
        )
        self.assertEqual(pair.pem, vector("sre.choria"))

    def test_unreadable(self) -> None:
        """Every file that cannot be read is named, with its setting and the reason."""
        error = self.assertRaises(
            ConfigError,
            load_key_pair,
            "/nowhere/c.pem",
            str(PKI),
            certificate_setting="tls.cert",
            key_setting="tls.key",
        )
        self.assertEqual(
            [(each.key, each.found, each.path) for each in error.problems],
            [
                ("tls.cert", "No such file or directory", "/nowhere/c.pem"),
                ("tls.key", "Is a directory", str(PKI)),
            ],
        )
        for ca, crl, key in (("/nowhere", None, "ca"), (str(PKI / "ca.pem"), "/nowhere", "crl")):
            error = self.assertRaises(ConfigError, load_authorities, ca, crl)
            self.assertEqual([each.key for each in error.problems], [key])
        self.assertRaises(ConfigError, load_authorities, "a\0b")

    def test_pipe(self) -> None:
        """A pipe that nobody writes to is an error, and nobody waits for it."""
        pipe = self.mktemp()
        os.mkfifo(pipe)
        error = self.assertRaises(ConfigError, load_authorities, pipe)
        self.assertEqual([each.found for each in error.problems], ["not a regular file"])

    def test_modes(self) -> None:
        """A key that others can read or change is told of; the group may read."""
        path = Path(self.mktemp())
        path.write_bytes(b"")
        told = {}
        for mode in (0o400, 0o600, 0o640, 0o644, 0o604, 0o660, 0o622):
            os.chmod(path, mode)
            told[mode] = mode_warning(str(path))
        self.assertEqual(
            [mode for mode, text in told.items() if text], [0o644, 0o604, 0o660, 0o622]
        )
        self.assertIn("read by others (mode 0644, wanted 0600)", told[0o644] or "")
        self.assertIn("changed by others", told[0o622] or "")
        self.assertIsNone(mode_warning(str(path) + ".absent"))
