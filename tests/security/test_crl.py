"""Revocation lists: who is on one is refused, an overdue one keeps applying."""

from __future__ import annotations

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError, DecodeError
from backplane.security.chains import Authorities
from tests.security.authority import DAY, NOW, Authority, pem


class RevocationTests(SynchronousTestCase):
    """One authority, its subordinate, and lists of both."""

    def setUp(self) -> None:
        self.root = Authority.make()
        self.one = self.root.subordinate("One")
        self.good = self.root.issue("good.choria")
        self.bad = self.root.issue("bad.choria")
        self.below = self.one.issue("below.choria")

    def authorities(self, *lists: x509.CertificateRevocationList, ca: bytes = b"") -> Authorities:
        """Return what is made of lists in one file."""
        return Authorities.from_pem(ca or self.root.pem, pem(*lists).encode())

    def refused(
        self, authorities: Authorities, *chain: x509.Certificate, now: float = NOW
    ) -> DecodeError:
        """Return the error for a revoked certificate."""
        error: DecodeError = self.assertRaises(
            DecodeError, authorities.verify_client, pem(*chain), now
        )
        self.assertEqual(error.reason, "revoked")
        return error

    def test_revoked(self) -> None:
        """Refused with the day since when; others of the same authority pass."""
        authorities = self.authorities(self.root.revoke(self.bad))
        error = self.refused(authorities, self.bad)
        self.assertIn("'CN=bad.choria' is revoked since 2026-09-11", error.detail)
        self.refused(authorities, self.bad)  # never remembered as good
        found = authorities.verify_client(pem(self.good), NOW)
        self.assertEqual(found.names, ("good.choria",))

    def test_overdue(self) -> None:
        """A list past its next issue keeps applying, and the log hears of it."""
        authorities = self.authorities(self.root.revoke(self.bad))
        self.assertEqual(authorities.warnings(NOW), ())
        late = NOW + 50 * DAY
        self.refused(authorities, self.bad, now=late)
        authorities.verify_client(pem(self.good), late)
        (text,) = authorities.warnings(late)
        self.assertIn("'CN=Tests CA' was due for renewal on 2026-10-01", text)
        newer = self.root.revoke(self.bad, begin=late, end=late + DAY)
        both = self.authorities(newer, self.root.revoke(self.bad))
        self.assertEqual(both.warnings(late), ())

    def test_not_begun(self) -> None:
        """A list from the future, as after a step of the clock, applies too."""
        begin = NOW + DAY
        authorities = self.authorities(self.root.revoke(self.bad, begin=begin, end=begin + DAY))
        self.refused(authorities, self.bad)

    def test_intermediates(self) -> None:
        """Lists of subordinates apply, and a revoked subordinate takes all with it."""
        chain = (self.below, self.one.certificate)
        own = self.root.revoke(self.bad)
        authorities = self.authorities(own, self.one.revoke(self.below))
        self.refused(authorities, *chain)
        self.assertEqual(authorities.warnings(NOW), ())
        self.refused(self.authorities(self.root.revoke(self.one.certificate)), *chain)
        found = self.authorities(own).verify_client(pem(*chain), NOW)
        self.assertEqual(found.names, ("below.choria",))

    def test_other_issuer(self) -> None:
        """The serial numbers of one authority mean nothing to another."""
        other = Authority.make("Other CA")
        ca = self.root.pem + other.pem
        authorities = self.authorities(other.revoke(self.good), ca=ca)
        authorities.verify_client(pem(self.good), NOW)
        (text,) = authorities.warnings(NOW)
        self.assertIn("no revocation list of 'CN=Tests CA'", text)

    def test_forged(self) -> None:
        """A list that the authority did not sign is a mistake, whatever it says."""
        forged = Authority.make("Tests CA").revoke(self.good)
        error = self.assertRaises(
            ConfigError,
            Authorities.from_pem,
            self.root.pem,
            pem(self.root.revoke(), forged).encode(),
            crl_setting="tls.crl",
            crl_path="crl.pem",
        )
        (problem,) = error.problems
        self.assertEqual((problem.key, problem.path), ("tls.crl", "crl.pem"))
        self.assertIn("list 2: not signed by 'CN=Tests CA'", problem.found)

    def test_forged_in_an_intermediates_name(self) -> None:
        """A list in the name of a subordinate counts only if that one signed it."""
        forged = self.root.revoke(self.below, name=self.one.certificate.subject)
        authorities = self.authorities(self.root.revoke(), forged)
        authorities.verify_client(pem(self.below, self.one.certificate), NOW)

    def test_two_keys_of_one_name(self) -> None:
        """An authority with an old and a new key has a list for each."""
        renewed = Authority.make("Tests CA")
        ca = self.root.pem + renewed.pem
        late = renewed.issue("late.choria")
        authorities = self.authorities(renewed.revoke(late), self.root.revoke(self.bad), ca=ca)
        self.refused(authorities, self.bad)
        self.refused(authorities, late)
        authorities.verify_client(pem(self.good), NOW)

    def test_partial_lists(self) -> None:
        """Lists that cannot stand alone are refused at the start."""
        delta = self.root.revoke(self.bad, extra=[(x509.DeltaCRLIndicator(1), True)])
        indirect = self.root.revoke(self.bad, extra=[(_distribution(indirect=True), True)])
        for crl in (delta, indirect):
            self.assertRaises(ConfigError, self.authorities, crl)
        users = self.root.revoke(self.bad, extra=[(_distribution(indirect=False), True)])
        self.refused(self.authorities(users), self.bad)

    def test_damaged(self) -> None:
        """An empty file and a damaged list are told apart."""
        good = pem(self.root.revoke()).encode()
        for data, found in ((b"", "no list"), (good + good[:-40], "list 2, which is damaged")):
            error = self.assertRaises(ConfigError, Authorities.from_pem, self.root.pem, data)
            self.assertEqual(error.problems[0].found, found)


def _distribution(*, indirect: bool) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier("http://ca.example.net/crl")],
        relative_name=None,
        only_contains_user_certs=not indirect,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )
