"""Keys, requests, fingerprints, names: what goes to an authority, and what comes from it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.security import csr, issued
from backplane.security.pemfiles import load_key_pair, read_key
from backplane.security.ssldir import SSLDir
from backplane.testing.minting import Authority, key_pem, make_ec_key, make_rsa_key, pem
from backplane.testing.pki import PKI
from tests.cli.fakeca import FakeCA, make_authority

NOW = 1795570848.0

KEY = csr.new_key()


class RequestTests(SynchronousTestCase):
    """What goes to the authority."""

    def test_key(self) -> None:
        """RSA of 2,048 bits, PKCS#1 without a passphrase, as Choria and Puppet have it."""
        data = csr.private_pem(KEY)
        self.assertTrue(data.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n"))
        self.assertEqual(KEY.key_size, 2048)
        self.assertEqual(read_key(data).private_numbers(), KEY.private_numbers())
        self.assertTrue(csr.public_pem(KEY).startswith(b"-----BEGIN PUBLIC KEY-----\n"))

    def test_request(self) -> None:
        """The name as CN, nothing else asked for, signed; its fingerprint is over the DER form."""
        request = csr.make_request(KEY, "bob.mcollective")
        read = x509.load_pem_x509_csr(request.pem)
        self.assertEqual(read.subject.rfc4514_string(), "CN=bob.mcollective")
        self.assertTrue(read.is_signature_valid)
        self.assertEqual(len(read.extensions), 0)
        digest = hashlib.sha256(read.public_bytes(Encoding.DER)).hexdigest()
        self.assertEqual(request.fingerprint, digest)

    def test_again(self) -> None:
        """The same key and name make the same request; others do not."""
        request = csr.make_request(KEY, "bob.mcollective")
        self.assertEqual(csr.make_request(KEY, "bob.mcollective"), request)
        self.assertNotEqual(csr.make_request(KEY, "eve.mcollective"), request)

    def test_whose(self) -> None:
        """Whether a request that waits at the authority is ours."""
        request = csr.make_request(KEY, "bob.mcollective")
        self.assertTrue(csr.is_request_of(request.pem, KEY))
        self.assertFalse(csr.is_request_of(request.pem, csr.new_key()))
        for data in (b"", request.pem * 2, request.pem[:200], pem()):
            with self.assertRaises(ValueError):
                csr.is_request_of(data, KEY)

    @given(st.binary(max_size=300), st.booleans())
    def test_garbage_request(self, data: bytes, framed: bool) -> None:
        """Garbage is a ValueError and nothing else."""
        if framed:
            label = b"CERTIFICATE REQUEST-----\n"
            data = b"-----BEGIN " + label + data + b"\n-----END " + label
        with self.assertRaises(ValueError):
            csr.is_request_of(data, KEY)

    def test_names(self) -> None:
        """Names that Puppet would refuse, or no peer would take, are refused before."""
        for name in ("bob.mcollective", "app1.example.net", "a_b-c", "x" * 64):
            csr.check_name(name)
        for name, words in (
            ("", "only ASCII"),
            ("..", "single dots"),
            ("a/../b", "only ASCII"),
            ("bob.", "single dots"),
            ("bob\n", "only ASCII"),
            ("böb", "only ASCII"),
            ("Bob.mcollective", "--certname bob.mcollective"),
            ("x" * 65, "at most 64"),
            ("ca", "the authority itself"),
        ):
            with self.assertRaises(ValueError) as caught:
                csr.check_name(name)
            self.assertIn(words, str(caught.exception))

    @given(st.binary(min_size=32, max_size=32), st.booleans(), st.sampled_from(["", "sha256:"]))
    def test_fingerprints(self, digest: bytes, colons: bool, prefix: str) -> None:
        """Whichever way it is written it is the same."""
        shown = csr.fingerprint_shown(digest.hex())
        self.assertEqual(len(shown), 95)
        text = prefix + (shown if colons else digest.hex())
        self.assertEqual(csr.read_fingerprint(text), digest.hex())

    @given(st.text())
    def test_no_fingerprint(self, text: str) -> None:
        """Everything else is refused, what is shorter too."""
        try:
            self.assertEqual(len(csr.read_fingerprint(text)), 64)
        except ValueError as error:
            self.assertIn("64 hexadecimal digits", str(error))


class BundleTests(SynchronousTestCase):
    """The certificates of an authority, a root and one below it."""

    def setUp(self) -> None:
        self.ca = FakeCA()
        self.root, self.signer = self.ca.root.certificate, self.ca.signer.certificate

    def check(self, data: bytes, pin: str) -> None:
        issued.read_bundle(data, "https://ca/").check_pin(pin)

    def refusal(self, data: bytes, pin: str) -> str:
        with self.assertRaises(ValueError) as caught:
            self.check(data, pin)
        return str(caught.exception)

    def test_pins(self) -> None:
        """The root's fingerprint, that of the file as it came, and as it will be stored."""
        data = b"Certificate:\n\tsome text\n" + self.ca.bundle
        self.check(data, issued.fingerprint_of(self.root))
        self.check(data, hashlib.sha256(data).hexdigest())
        self.check(data, hashlib.sha256(self.ca.bundle).hexdigest())
        self.assertEqual(issued.read_bundle(data, "").pem, self.ca.bundle)

    def test_other(self) -> None:
        """Another authority is refused, with the fingerprints that it has."""
        words = self.refusal(self.ca.bundle, "ab" * 32)
        shown = csr.fingerprint_shown(issued.fingerprint_of(self.root))
        self.assertIn(f"{shown}, and not {'AB:' * 31}AB", words)

    def test_smuggled(self) -> None:
        """One that the pinned one has not issued is not let in beside it."""
        pin = issued.fingerprint_of(self.root)
        evil = make_authority("Puppet CA: test").certificate
        self.assertIn("has not issued it", self.refusal(self.ca.bundle + pem(evil), pin))
        # It is the root that proves the one below, not the other way round.
        below = issued.fingerprint_of(self.signer)
        self.assertIn("give that of the root", self.refusal(self.ca.bundle, below))

    def test_issued_by_no_authority(self) -> None:
        """A certificate by the root that may issue no others proves nothing."""
        holder = make_ec_key()
        leaf = self.ca.issue(holder, "node", self.ca.root)
        holding = Authority(x509.load_pem_x509_certificate(leaf), holder)
        forged = make_authority("Evil", holding).certificate
        pin = issued.fingerprint_of(self.root)
        self.check(self.ca.bundle + leaf, pin)
        words = self.refusal(self.ca.bundle + leaf + pem(forged), pin)
        self.assertIn("certificate 'CN=Evil' is there too", words)

    def test_unusable(self) -> None:
        """Nothing, garbage, a certificate that is no authority's, and too many."""
        leaf = self.ca.issue(make_rsa_key(), "node")
        for data in (b"", b"<html>", leaf, self.ca.bundle[:-80]):
            with self.assertRaises(ConfigError) as caught:
                issued.read_bundle(data, "https://ca/x")
            self.assertIn("https://ca/x: found ", str(caught.exception))
        with self.assertRaises(ValueError):
            issued.read_bundle(self.ca.bundle * 11, "https://ca/x")

    @given(st.binary(max_size=300), st.booleans())
    def test_garbage(self, data: bytes, framed: bool) -> None:
        """Garbage has two names and no others."""
        if framed:
            label = b"CERTIFICATE-----\n"
            data = b"-----BEGIN " + label + data + b"\n-----END " + label
        with self.assertRaises((ConfigError, ValueError)):
            issued.read_bundle(data, "x")


class CertificateTests(SynchronousTestCase):
    """The certificate that is to be ours."""

    def setUp(self) -> None:
        self.pki = PKI(self.mktemp())
        self.authorities = issued.read_bundle(Path(self.pki.ca).read_bytes(), "x").authorities
        self.good = self.pki.client("bob.mcollective")

    def check(self, data: bytes, key: object) -> bytes:
        now = self.good.certificate.not_valid_before_utc.timestamp() + 86_400
        assert hasattr(key, "public_key")
        _, chain = issued.check_certificate(
            data,
            authorities=self.authorities,
            name="bob.mcollective",
            key=key,  # type: ignore[arg-type]
            now=now,
        )
        return chain

    def test_good(self) -> None:
        """It is stored as it is, without the text around it."""
        data = Path(self.good.cert).read_bytes()
        self.assertEqual(self.check(b"text\n" + data, self.good.private_key), data)

    def test_defects(self) -> None:
        """Each is told by its own words."""
        for defect, words in (
            ("expired", "expired"),
            ("not_yet_valid", "not yet valid"),
            ("other_ca", "unable to get"),
            ("self_signed", "self"),
            ("wrong_purpose", "not for client authentication"),
            ("other_name", "is for 'other-bob.mcollective', not for 'bob.mcollective'"),
            ("ec_key", "EC key"),
            ("garbage", "cannot be read"),
        ):
            bad = self.pki.defective_client(defect, "bob.mcollective")
            with self.assertRaises(ValueError) as caught:
                self.check(Path(bad.cert).read_bytes(), bad.private_key)
            self.assertIn(words, str(caught.exception), defect)

    def test_other_key(self) -> None:
        """A good certificate of somebody else is an error of its own."""
        with self.assertRaises(issued.OtherKey):
            self.check(Path(self.good.cert).read_bytes(), make_rsa_key())

    @given(st.binary(max_size=300), st.booleans())
    def test_garbage(self, data: bytes, framed: bool) -> None:
        """Garbage is a ValueError and nothing else."""
        if framed:
            label = b"CERTIFICATE-----\n"
            data = b"-----BEGIN " + label + data + b"\n-----END " + label
        with self.assertRaises(ValueError):
            self.check(data, self.good.private_key)


class FilesTests(SynchronousTestCase):
    """What is written, and what never is."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.files = SSLDir(str(self.folder / "deep" / "ssl"), "bob.mcollective")
        self.addCleanup(os.umask, os.umask(0o077))
        self.files.make()

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.stat(path).st_mode)

    def test_modes(self) -> None:
        """Puppet's modes, whatever the umask; again is no mistake."""
        self.files.make()
        top = Path(self.files.path)
        modes = {path.name: self.mode(str(path)) for path in top.iterdir()}
        public = dict.fromkeys(("certs", "certificate_requests", "public_keys"), 0o755)
        self.assertEqual(modes, {**public, "private_keys": 0o750})
        self.assertEqual(self.mode(str(top)), 0o771)
        self.assertTrue(self.files.write_key(b"key"))
        self.files.write(self.files.cert, b"old")
        self.files.write(self.files.cert, b"new")
        self.assertEqual(self.mode(self.files.key), 0o600)
        self.assertEqual(self.mode(self.files.cert), 0o644)
        self.assertEqual(self.files.read(self.files.cert), b"new")

    def test_key_stays(self) -> None:
        """A key that is there is never written over, and nothing is left beside it."""
        self.assertTrue(self.files.write_key(b"first"))
        self.assertFalse(self.files.write_key(b"second"))
        self.assertEqual(self.files.read(self.files.key), b"first")
        self.assertEqual(os.listdir(Path(self.files.key).parent), ["bob.mcollective.pem"])

    def test_modes_stay(self) -> None:
        """Directories that are there keep their modes."""
        keys = Path(self.files.key).parent
        keys.chmod(0o700)
        self.files.make()
        self.assertEqual(self.mode(str(keys)), 0o700)

    def test_missing(self) -> None:
        """What is not there is no error; what cannot be read or written is one."""
        self.assertIsNone(self.files.read(self.files.crl))
        os.mkdir(self.files.crl)
        for do in (
            lambda: self.files.read(self.files.crl),
            lambda: self.files.write(self.files.crl, b"x"),
        ):
            with self.assertRaises(ConfigError) as caught:
                do()
            self.assertIn(self.files.crl, str(caught.exception))
        self.assertEqual([name for name in os.listdir(self.files.path) if name[0] == "."], [])

    def test_in_the_way(self) -> None:
        """A file where a directory should be."""
        path = self.folder / "file"
        path.write_bytes(b"")
        for place in (path, path / "ssl"):
            with self.assertRaises(ConfigError) as caught:
                SSLDir(str(place), "bob").make()
            self.assertIn(str(path), str(caught.exception))

    def test_together(self) -> None:
        """Key and certificate in the layout are read as any others."""
        pki = PKI(self.folder / "pki")
        made = pki.client("bob.mcollective")
        self.files.write_key(Path(made.key).read_bytes())
        self.files.write(self.files.cert, Path(made.cert).read_bytes())
        pair = load_key_pair(self.files.cert, self.files.key)
        self.assertEqual(pair.chain[0], made.certificate)

    def test_keys(self) -> None:
        """A key alone is read as strictly as one with its certificate."""
        for data, words in (
            (b"", "no private key"),
            (key_pem(make_ec_key()), "EC key"),
            (key_pem(KEY, b"secret"), "passphrase"),
            (csr.private_pem(KEY)[:400], "damaged"),
        ):
            with self.assertRaises(ConfigError) as caught:
                read_key(data, path="/k.pem")
            self.assertIn(words, str(caught.exception))
            self.assertIn("/k.pem", str(caught.exception))
        self.assertIsNotNone(load_pem_private_key(csr.private_pem(KEY), None))
