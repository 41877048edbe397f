"""CA bundles, and the memory of verified chains."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.security.chaincache import MAX_TEXTS
from backplane.security.chains import Authorities
from tests.security.authority import DAY, NOW, Authority, ChainCase, pem, vector


class MemoryTests(ChainCase):
    """Chains that were verified are remembered."""

    def test_once(self) -> None:
        """One text is built into a chain once, refused ones every time."""
        good = self.root.issue("a.choria")
        for _ in range(5):
            self.verify(good)
        self.assertEqual(self.authorities.chains_built, 1)
        other = pem(Authority.make("Other").issue("a.choria"))
        for _ in range(2):
            self.assertEqual(self.reason(other), "unknown_ca")
        self.assertEqual(self.authorities.chains_built, 3)

    def test_validity(self) -> None:
        """It is believed only while the whole chain is valid, intermediates too."""
        one = self.root.subordinate("One")
        leaf = one.issue("a.choria", begin=NOW - 200 * DAY, end=NOW + 200 * DAY)
        self.verify(leaf, one.certificate)
        late = self.reason(pem(leaf, one.certificate), NOW + 101 * DAY)
        self.assertEqual(late, "certificate_expired")
        text = pem(leaf, one.certificate)
        self.assertEqual(self.reason(text, NOW - 101 * DAY), "certificate_not_yet_valid")
        built = self.authorities.chains_built
        self.verify(leaf, one.certificate, now=NOW + 99 * DAY)
        self.assertEqual(self.authorities.chains_built, built)

    def test_new_authorities(self) -> None:
        """What old authorities vouched for is nothing to new ones."""
        leaf = self.root.issue("a.choria")
        self.verify(leaf)
        self.authorities = Authorities.from_pem(Authority.make("New").pem)
        self.assertEqual(self.reason(pem(leaf)), "unknown_ca")

    def test_bounds(self) -> None:
        """The one not used for longest goes first."""
        self.authorities = Authorities([self.root.certificate], max_cached=2)
        a, b, c = (self.root.issue(name) for name in ("a.choria", "b.choria", "c.choria"))
        for leaf in (a, b, a, c):  # b goes
            self.verify(leaf)
        self.verify(a)
        self.assertEqual(self.authorities.chains_built, 3)
        self.verify(b)
        self.assertEqual(self.authorities.chains_built, 4)

    def test_texts_of_one_certificate(self) -> None:
        """Its text varied over and over pushes out nobody else's entry."""
        self.authorities = Authorities([self.root.certificate], max_cached=MAX_TEXTS + 1)
        own, copied = self.root.issue("a.choria"), pem(self.root.issue("b.choria"))
        self.verify(own)
        for number in range(20):
            self.authorities.verify_client(f"{number}\n{copied}", NOW)
        self.assertEqual(self.authorities.chains_built, 21)
        self.verify(own)
        self.authorities.verify_client(f"19\n{copied}", NOW)
        self.assertEqual(self.authorities.chains_built, 21)


class BundleTests(SynchronousTestCase):
    """CA bundles."""

    def problem(self, data: bytes) -> str:
        """Return what is found wrong with a bundle."""
        error = self.assertRaises(
            ConfigError, Authorities.from_pem, data, setting="tls.ca", path="ca.pem"
        )
        (problem,) = error.problems
        self.assertEqual((problem.key, problem.path), ("tls.ca", "ca.pem"))
        return str(problem.found)

    def test_forms(self) -> None:
        """Text of openssl in front, CRLF, blank lines, a byte-order mark, two roots."""
        one, two = vector("ca"), vector("other-ca")
        for text in (
            "Certificate:\n    Data:\n        Version: 3 (0x2)\n" + one + "\n\nmore\n" + two,
            (one + two).replace("\n", "\r\n"),
            "\n\n" + two + "\n\n\n" + one + "\n\n",
            "\ufeff" + one + two.strip(),
        ):
            authorities = Authorities.from_pem(text.encode())
            self.assertEqual(len(authorities.certificates), 2)
            for name in ("sre.choria", "defective/other-ca"):
                found = authorities.verify_client(vector(name), NOW)
                self.assertEqual(found.names, ("sre.choria",))

    def test_unusable(self) -> None:
        """Nothing, nothing usable and damage are three mistakes."""
        ca, key = (
            vector("ca").encode(),
            b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----",
        )
        for data in (b"", b"\0\xff", key):
            self.assertEqual(self.problem(data), "no certificate")
        self.assertIn("may not issue", self.problem(vector("sre.choria").encode()))
        for damaged in (ca[:-40], ca.replace(b"MII", b"NII", 1)):
            self.assertEqual(self.problem(ca + damaged), "certificate 2, which is damaged")

    @given(st.binary(max_size=200), st.sampled_from([b"", b"-----BEGIN CERTIFICATE-----\n"]))
    def test_garbage(self, data: bytes, head: bytes) -> None:
        """Whatever the file holds, it is a mistake in the configuration."""
        self.assertRaises(ConfigError, Authorities.from_pem, head + data, head + data)
