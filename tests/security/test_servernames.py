"""Whether a certificate is that of the server that was asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.security import servernames
from backplane.security.servernames import server_name_indication, verify_name
from backplane.testing.minting import make_ec_key

KEY = make_ec_key()
SAN = x509.ObjectIdentifier("2.5.29.17")


def certificate(
    san: bytes | Sequence[x509.GeneralName] | None, *common: str, more: bool = False
) -> x509.Certificate:
    """Return a certificate with a subjectAltName of these names, or of these bytes."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in common])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
    )
    if isinstance(san, bytes):
        builder = builder.add_extension(x509.UnrecognizedExtension(SAN, san), critical=True)
    elif san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    if more:
        key_id = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
        builder = builder.add_extension(key_id, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def names(*texts: str) -> x509.Certificate:
    """Return a certificate for DNS names."""
    return certificate([x509.DNSName(each) for each in texts], more=True)


def der(*names: tuple[int, bytes]) -> bytes:
    """Return a subjectAltName of any names."""
    body = b"".join(bytes([tag, len(content)]) + content for tag, content in names)
    return bytes([0x30, len(body)]) + body


class NameTests(SynchronousTestCase):
    """Certificates with alternative names."""

    def refusal(self, shown: x509.Certificate, host: str, legacy: bool = False) -> str:
        with self.assertRaises(ValueError) as caught:
            verify_name(shown, host, legacy)
        return str(caught.exception)

    def test_good(self) -> None:
        """Names are compared as names are: case, a last dot, underscores, wildcards."""
        for name, host in (
            ("broker.example.net", "broker.example.net"),
            ("broker.example.net", "BROKER.Example.net"),
            ("broker.example.net", "broker.example.net."),
            ("broker.example.net.", "broker.example.net"),
            ("broker_1.example.net", "broker_1.example.net"),
            ("*.example.net", "broker.example.net"),
            ("*.example.net", "broker_1.example.net."),
            ("*.example_1.net", "broker.example_1.net"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "bücher.example"),
        ):
            self.assertIsNone(verify_name(names("other.example.net", name), host, False), name)

    def test_bad(self) -> None:
        """Other names are others."""
        for name, host in (
            ("broker.example.net", "broker.example.com"),
            ("broker.example.net", "a.broker.example.net"),
            ("broker.example.net", "example.net"),
            ("*.example.net", "a.b.example.net"),
            ("*.example.net", "example.net"),
            ("*.net", "example.net"),
            ("*", "localhost"),
            ("a.*.example.net", "a.b.example.net"),
            ("127.0.0.1", "127.0.0.1"),
            ("broker.example.net..", "broker.example.net"),
        ):
            self.assertIn(f"is for {name}, not for {host}", self.refusal(names(name), host))

    def test_addresses(self) -> None:
        """A broker given as an address must have the address, not a name like it."""
        shown = certificate(
            [
                x509.DNSName("broker.example.net"),
                x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
                x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
            ]
        )
        for host in ("192.0.2.1", "2001:db8::1", "2001:DB8:0:0::1", "broker.example.net"):
            self.assertIsNone(verify_name(shown, host, False))
        for host in ("192.0.2.2", "2001:db8::2", "::1"):
            self.assertIn("not for", self.refusal(shown, host, True))

    def test_unusable_names(self) -> None:
        """What is no name, and what nobody has heard of, does not spoil a good name."""
        good = (0x82, b"broker.example.net")
        for bad in (
            (0x82, b""),
            (0x82, b"*"),
            (0x82, b"b\xfccher.example"),
            (0x82, b"nul\0.example.net"),
            (0x82, b"a b"),
            (0x87, b"\x7f\0\0"),
            (0x87, b""),
            (0xA3, b"\x30\0"),
            (0xA5, b"\x30\0"),
            (0x88, b"\x2a\x03"),
            (0x81, b"post@example.net"),
            (0x86, b"spiffe://example.net/broker"),
            (0x99, b"?"),
        ):
            for each in (der(bad, good), der(good, bad)):
                self.assertIsNone(verify_name(certificate(each), "broker.example.net", False), bad)
            self.assertIn("not for", self.refusal(certificate(der(bad)), "broker.example.net"))

    def test_nobody(self) -> None:
        """Alternative names of other kinds only are names of nobody, whatever the CN."""
        shown = certificate(der((0x81, b"post@example.net")), "broker.example.net")
        text = self.refusal(shown, "broker.example.net", True)
        self.assertEqual(text, "the broker's certificate is for nobody, not for broker.example.net")

    def test_damaged(self) -> None:
        """A damaged extension is one with nothing in it; the CN does not come instead."""
        for value in (b"", b"\x30", b"\x30\x05\x82", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80"):
            shown = certificate(value, "broker.example.net")
            self.assertIn("not for", self.refusal(shown, "broker.example.net", True))

    def test_impossible_hosts(self) -> None:
        """A host that is no name is an error, not an accident."""
        for host in ("", "a b", "12345", "broker!"):
            self.assertIn("not a name", self.refusal(names("broker.example.net"), host))

    def test_shown(self) -> None:
        """The error has no control characters, and an end."""
        shown = certificate(der(*[(0x82, b"\x1b[31mname\xff.example.net")] * 4))
        text = self.refusal(shown, "broker.example.net")
        self.assertIn("\\xff", text)
        self.assertTrue(text.isprintable(), text)
        many = names(*[f"host{number}.example.net" for number in range(1000)])
        self.assertLess(len(self.refusal(many, "broker.example.net")), 400)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, value: bytes) -> None:
        """Whatever stands there, it is not our broker."""
        self.refusal(certificate(value), "broker.example.net", True)

    @given(st.binary(max_size=60))
    def test_any_der(self, value: bytes) -> None:
        """The reader of DER raises nothing but its error."""
        try:
            for _, content in servernames._items(value):
                self.assertLessEqual(len(content), len(value))
        except ValueError:
            pass


class CommonNameTests(SynchronousTestCase):
    """Certificates without alternative names."""

    def test_refused(self) -> None:
        """They are refused with the way out."""
        with self.assertRaises(ValueError) as caught:
            verify_name(certificate(None, "broker.example.net"), "broker.example.net", False)
        self.assertEqual(
            str(caught.exception),
            "the broker's certificate has no subjectAltName, its CN is 'broker.example.net'; "
            "wanted one for broker.example.net, or, for a name, support_legacy_certificates: true",
        )

    def test_legacy(self) -> None:
        """Where that is allowed the CN is compared, ignoring case, with a warning."""
        shown = certificate(None, "Broker.example.net", more=True)
        for host in ("broker.example.net", "BROKER.EXAMPLE.NET", "broker.example.net."):
            warning = verify_name(shown, host, True)
            self.assertIn("has no subjectAltName", warning or "")

    def test_other(self) -> None:
        """Another CN is refused, and so is none; of several the last counts, as in Go."""
        for common in (["other.example.net"], [], ["broker.example.net", "other.example.net"]):
            with self.assertRaises(ValueError) as caught:
                verify_name(certificate(None, *common), "broker.example.net", True)
            self.assertIn("not broker.example.net", str(caught.exception))
        both = certificate(None, "other.example.net", "broker.example.net")
        self.assertIsNotNone(verify_name(both, "broker.example.net", True))

    def test_no_wildcards(self) -> None:
        """A CN is compared as it stands."""
        with self.assertRaises(ValueError):
            verify_name(certificate(None, "*.example.net"), "broker.example.net", True)

    def test_address(self) -> None:
        """Never for an address, not even one that is the CN."""
        for host in ("192.0.2.1", "::1"):
            with self.assertRaises(ValueError):
                verify_name(certificate(None, host), host, True)


class IndicationTests(SynchronousTestCase):
    """The name that a server is told that it is asked for."""

    def test_indication(self) -> None:
        """Names in ASCII without a last dot; nothing for an address, or for what is no name."""
        for host, expected in (
            ("broker.example.net", b"broker.example.net"),
            ("Broker.example.net.", b"broker.example.net"),
            ("broker_1", b"broker_1"),
            ("bücher.example", b"xn--bcher-kva.example"),
            ("192.0.2.1", None),
            ("::1", None),
            ("", None),
            ("a b", None),
        ):
            self.assertEqual(server_name_indication(host), expected)
