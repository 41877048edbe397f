"""Signers' certificates: chains, purposes, keys, names, dates; what is remembered."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto
from twisted.trial import util

from backplane.errors import DecodeError
from backplane.security.certificates import (
    MAX_CHAIN,
    MAX_PUBCERT,
    check_client_purpose,
)
from backplane.security.chains import Authorities
from tests.security.authority import (
    CLIENT,
    DAY,
    NOW,
    SERVER,
    Authority,
    ChainCase,
    common,
    pem,
    vector,
    vector_key,
)


class ChainTests(ChainCase):
    """From a signer to the root."""

    def test_value(self) -> None:
        """Names, key and the time in which the whole chain is valid."""
        name = x509.DNSName
        found = self.verify(
            self.root.issue("a.choria", sans=[name("b.choria"), name("a.choria"), name("c")])
        )
        self.assertEqual(found.names, ("a.choria", "b.choria", "c"))
        self.assertEqual(found.public_key, vector_key().public_key())
        self.assertEqual(found.not_before, NOW - 100 * DAY)
        self.assertEqual(found.not_after, NOW + 100 * DAY)
        self.assertEqual(found.issuer, "CN=Tests CA")
        self.assertEqual(len(found.fingerprint), 64)

    def test_names(self) -> None:
        """DNS names alone will do; other names do not count; of two common names the last."""
        sans = [x509.RFC822Name("mail@example.net"), x509.DNSName("only.choria")]
        self.assertEqual(self.verify(self.root.issue("", sans=sans)).names, ("only.choria",))
        self.assertEqual(self.verify(self.root.issue("")).names, ())
        both = x509.Name([*common("first.choria"), *common("last.choria")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(both)
            .issuer_name(self.root.certificate.subject)
            .public_key(vector_key().public_key())
            .serial_number(7)
            .not_valid_before(self.root.certificate.not_valid_before_utc)
            .not_valid_after(self.root.certificate.not_valid_after_utc)
        )
        found = self.verify(builder.sign(self.root.key, hashes.SHA256()))
        self.assertEqual(found.names, ("last.choria",))

    def test_intermediates(self) -> None:
        """They lead to the root, in any order, with others among them; missing ones do not."""
        one = self.root.subordinate("One")
        two = one.subordinate("Two")
        leaf = two.issue("a.choria")
        stranger = Authority.make("Stranger").certificate
        for chain in (
            (leaf, two.certificate, one.certificate),
            (leaf, one.certificate, two.certificate),
            (leaf, stranger, two.certificate, one.certificate, self.root.certificate),
        ):
            self.assertEqual(self.verify(*chain).names, ("a.choria",))
        self.assertEqual(self.reason(pem(leaf, two.certificate)), "unknown_ca")
        self.assertEqual(self.reason(pem(leaf)), "unknown_ca")

    def test_every_certificate_of_the_bundle_is_a_root(self) -> None:
        """An intermediate in the bundle needs nothing above it."""
        one = self.root.subordinate("One")
        leaf = one.issue("a.choria")
        self.authorities = Authorities.from_pem(one.pem)
        self.assertEqual(self.verify(leaf).names, ("a.choria",))
        other = Authority.make("Other")
        self.authorities = Authorities.from_pem(other.pem + self.root.pem)
        self.assertEqual(self.verify(leaf, one.certificate).names, ("a.choria",))

    def test_same_name_other_key(self) -> None:
        """An authority that only calls itself like ours is not ours."""
        self.assertIn(
            self.reason(pem(Authority.make().issue("a.choria"))), ("unknown_ca", "bad_certificate")
        )

    def test_new_key_of_an_authority(self) -> None:
        """Certificates of the old and of the new key pass, while both are in the bundle."""
        renewed = Authority.make()
        for bundle in (self.root.pem + renewed.pem, renewed.pem + self.root.pem):
            self.authorities = Authorities.from_pem(bundle)
            for authority in (self.root, renewed):
                self.assertEqual(self.verify(authority.issue("a.choria")).names, ("a.choria",))
            stranger = Authority.make().issue("a.choria")
            self.assertIn(self.reason(pem(stranger)), ("unknown_ca", "bad_certificate"))

    def test_new_key_and_expired(self) -> None:
        """Of two authorities of one name the expired one is not in the other's way."""
        old = Authority.make(end=NOW - DAY)
        for bundle in (self.root.pem + old.pem, old.pem + self.root.pem):
            self.authorities = Authorities.from_pem(bundle)
            self.assertEqual(self.verify(self.root.issue("a.choria")).names, ("a.choria",))
            self.assertEqual(self.reason(pem(old.issue("a.choria"))), "certificate_expired")
            past = self.root.issue("a.choria", end=NOW - DAY)
            self.assertEqual(self.reason(pem(past)), "certificate_expired")

    def test_leaves_no_errors_behind(self) -> None:
        """OpenSSL's queue of errors is as it was, or TLS would read them as its own."""

        def errors() -> object:
            error = self.assertRaises(
                crypto.Error, crypto.load_certificate, crypto.FILETYPE_ASN1, b""
            )
            return error.args

        clean = (errors(), errors())[1]
        self.authorities = Authorities.from_pem(vector("ca").encode())
        head, *lines, end = vector("sre.choria").strip().split("\n")
        raw = bytearray(base64.b64decode("".join(lines)))
        for place in (15, 20, 200, len(raw) - 20):
            changed = bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
            self.reason("\n".join((head, base64.b64encode(changed).decode(), end)))
            self.assertEqual(errors(), clean)
        for name in ("expired", "other-ca", "ec-p256", "server-auth-only"):
            self.reason(vector(f"defective/{name}"))
            self.assertEqual(errors(), clean)

    def test_not_an_authority(self) -> None:
        """Who may not issue certificates cannot lend his name."""
        for ca, usages in ((False, None), (None, None), (None, ("key_cert_sign",))):
            plain = self.root.subordinate("plain", ca=ca, purposes=[CLIENT], usages=usages)
            chain = [plain.issue("a.choria"), plain.certificate, self.root.certificate]
            self.assertEqual(self.reason(pem(*chain)), "bad_certificate")
            # Not all versions of OpenSSL refuse all of these.
            error = self.assertRaises(DecodeError, check_client_purpose, chain)
            self.assertEqual(error.reason, "bad_certificate")

    def test_path_length(self) -> None:
        """A subordinate without leave to make others cannot."""
        one = self.root.subordinate("One", path_length=0)
        two = one.subordinate("Two")
        text = pem(two.issue("a.choria"), two.certificate, one.certificate)
        self.assertEqual(self.reason(text), "bad_certificate")

    def test_unknown_critical_extension(self) -> None:
        """What must be understood and is not is refused."""
        strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        leaf = self.root.issue("a.choria", extra=[(strange, True)])
        self.assertEqual(self.reason(pem(leaf)), "bad_certificate")
        leaf = self.root.issue("a.choria", extra=[(strange, False)])
        self.assertEqual(self.verify(leaf).names, ("a.choria",))

    def test_dates(self) -> None:
        """Before and after its time a certificate has different reasons."""
        leaf = self.root.issue("a.choria", begin=NOW, end=NOW + DAY)
        self.assertEqual(self.reason(pem(leaf), NOW - 1), "certificate_not_yet_valid")
        self.assertEqual(self.verify(leaf, now=NOW).names, ("a.choria",))
        self.assertEqual(self.verify(leaf, now=NOW + DAY - 1).names, ("a.choria",))
        self.assertEqual(self.reason(pem(leaf), NOW + DAY + 1), "certificate_expired")

    def test_purposes(self) -> None:
        """Client use must be allowed, by everyone in the chain; nothing said is allowed."""
        signing = ("digital_signature",)
        for purposes in (
            (),
            (CLIENT,),
            (SERVER, CLIENT),
            (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,),
        ):
            leaf = self.root.issue("a.choria", purposes=purposes, usages=signing)
            self.assertEqual(self.verify(leaf).names, ("a.choria",))
        for wrong in ((SERVER,), (ExtendedKeyUsageOID.CODE_SIGNING,)):
            leaf = self.root.issue("a.choria", purposes=wrong)
            self.assertEqual(self.reason(pem(leaf)), "wrong_purpose")
        leaf = self.root.issue("a.choria", usages=("key_encipherment",))
        self.assertEqual(self.reason(pem(leaf)), "wrong_key_usage")
        servers = self.root.subordinate("Servers", purposes=[SERVER])
        text = pem(servers.issue("a.choria"), servers.certificate)
        self.assertEqual(self.reason(text), "wrong_purpose")

    def test_weak_signature(self) -> None:
        """SHA-1 in a chain is refused, in a root it does not matter."""
        weak = x509.load_pem_x509_certificate(SHA1)
        error = self.assertRaises(DecodeError, check_client_purpose, [weak, self.root.certificate])
        self.assertEqual(error.reason, "weak_signature")
        check_client_purpose([weak])

    def test_warnings(self) -> None:
        """An authority that has expired is told of."""
        self.assertEqual(self.authorities.warnings(NOW), ())
        (text,) = self.authorities.warnings(NOW + 2000 * DAY)
        self.assertIn("Tests CA' expired on 20", text)


class KeyTests(ChainCase):
    """Only RSA keys of a sensible size sign."""

    def test_unsupported(self) -> None:
        """Each other key is refused and named."""
        numbers = rsa.RSAPublicNumbers
        modulus = vector_key().public_key().public_numbers().n
        keys: Sequence[tuple[CertificatePublicKeyTypes, str]] = (
            (ec.generate_private_key(ec.SECP256R1()).public_key(), "an EC key (secp256r1)"),
            (ec.generate_private_key(ec.SECP521R1()).public_key(), "an EC key (secp521r1)"),
            (ed25519.Ed25519PrivateKey.generate().public_key(), "an Ed25519 key"),
            (numbers(65537, (1 << 8199) | 1).public_key(), "8200 bits"),
            (numbers(65537, modulus >> 1032 | 1).public_key(), "1016 bits"),
            (numbers((1 << 33) | 1, modulus).public_key(), "exponent"),
        )
        for key, text in keys:
            leaf = self.root.issue("a.choria", key)
            error = self.assertRaises(DecodeError, self.authorities.verify_client, pem(leaf), NOW)
            self.assertEqual(error.reason, "unsupported_key", text)
            self.assertIn(text, error.detail)
        self.assertEqual(self.authorities.chains_built, 0)


class TextTests(ChainCase):
    """The text in which certificates come."""

    suppress = (util.suppress(category=CryptographyDeprecationWarning),)

    def test_forms(self) -> None:
        """Text in front, CRLF, blank lines and blocks of other kinds do not matter."""
        leaf = pem(self.root.issue("a.choria"))
        for text in (
            "Certificate:\n    Data: ü\n\n" + leaf,
            leaf.replace("\n", "\r\n"),
            leaf.strip(),
            leaf + "\n\n\n",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n" + leaf,
        ):
            self.assertEqual(self.authorities.verify_client(text, NOW).names, ("a.choria",))

    def test_unreadable(self) -> None:
        """Whatever is no certificate is a bad one."""
        leaf = pem(self.root.issue("a.choria"))
        for text in (
            "",
            "insecure registration",
            leaf[:-30],
            leaf[: len(leaf) // 2],
            leaf.replace("MII", "NII", 1),
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "\ud800" + leaf,
        ):
            self.assertEqual(self.reason(text), "bad_certificate")

    def test_bounds(self) -> None:
        """A number of blocks and of characters, beyond which nothing is read."""
        leaf = pem(self.root.issue("a.choria"))
        self.assertEqual(self.authorities.verify_client(leaf * MAX_CHAIN, NOW).names, ("a.choria",))
        self.assertEqual(self.reason(leaf * (MAX_CHAIN + 1)), "bad_certificate")
        padding = " " * (MAX_PUBCERT - len(leaf))
        self.assertEqual(self.authorities.verify_client(padding + leaf, NOW).names, ("a.choria",))
        self.assertEqual(self.reason(padding + " " + leaf), "bad_certificate")

    @given(st.data())
    def test_garbage(self, data: st.DataObject) -> None:
        """Whatever is done to a certificate: its reason, or it was not changed at all."""
        authorities = Authorities.from_pem(vector("ca").encode())
        raw = bytearray(
            x509.load_pem_x509_certificate(vector("sre.choria").encode()).public_bytes(Encoding.DER)
        )
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(raw) - 1))
            raw[place] ^= data.draw(st.integers(1, 255))
        label = "-----{} CERTIFICATE-----\n"
        encoded = base64.b64encode(bytes(raw)).decode()
        text = label.format("BEGIN") + encoded + "\n" + label.format("END")
        try:
            authorities.verify_client(text, NOW)
        except DecodeError as error:
            self.assertEqual(error.layer, "secure_request")
        else:
            self.assertIn(encoded, vector("sre.choria").replace("\n", ""))


SHA1 = b"""-----BEGIN CERTIFICATE-----
MIIDDTCCAfWgAwIBAgIUbpu3C4DMqp9n8FsXso+l3QPZv1UwDQYJKoZIhvcNAQEF
BQAwFTETMBEGA1UEAwwKb2xkLmNob3JpYTAgFw0yNjExMjYwMTMzNTlaGA8yMTI2
MTEwMjAxMzM1OVowFTETMBEGA1UEAwwKb2xkLmNob3JpYTCCASIwDQYJKoZIhvcN
AQEBBQADggEPADCCAQoCggEBAKk8ZAOeEBUxO4ViGBRxdSq0bVJh1dOCrLLoz39q
NYC9PmuNcfLe5i0lYiRtR/d48jToI+yobpqtUQ6Sr4//IMkb0yZc603kF72ax4WM
EJaOvChaVS0gw6GTBOl9wy8OGH520Xb0ZZwAgBhlwSuihmSdL3JpJbDM54cYDfmA
EenKzdmrLd4/zsKJkDRbiu4vFNqYZwEcvghXotjNeHhfsRCUJ//zrv3r5qInmMXf
pI11dgTNW3MNCkN/epUTrx6BrR2szdw61Vj27nfKBn4NQ6SAn6Ojjs6e0LNE78Ey
C74c38ZGMrw8b7aRi9Ztf4fqOC+QRWdMQ2wqOFw4Eb7O8lkCAwEAAaNTMFEwHQYD
VR0OBBYEFLCeAd271BZFSBMzLmcGfA/djou+MB8GA1UdIwQYMBaAFLCeAd271BZF
SBMzLmcGfA/djou+MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQEFBQADggEB
AI1NlS2RiCV6hvFiSPXY/45fzbEtJ/sWN5YxyiujLEtuLv5Hh9d9b172q3FIuhFG
CnaEK7rFq8eicGEcjTFhToQJiIbvXQ4WU6d2BpSuTHSilAAa2Omtcfl4+HqNv7Ms
4fC9IsHATDeAqQlalj6ytZ7jn54kWKcsdI4exwb5+RJYGl6QjiisnE4OB8SvTTVr
+CLEXhpNBRaX4G9wQABgI6fFs1hKhQkNJNSrFNNt1jaWMuE/FO/0HC0B5JbwAych
YgS//vXIQNbOczUTP75aCcCCVBrvCMAYhl6rx/wy3/W65RNQmlUZAA+KZzo+bg9s
DYqJySWayTES7na6sz07OXw=
-----END CERTIFICATE-----
"""
