"""``backplane doctor``: certificates, key, authorities, lists, and the clock."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor.certificates import (
    check_certificates,
    check_clock,
    read_material,
)
from backplane.cli.doctor.findings import Finding, exit_code
from backplane.cli.doctor.party import Party
from backplane.client.accounting import ExitCode
from backplane.testing import PKI
from backplane.testing.minting import Request, make_certificate, make_ec_key, pem, write_file
from backplane.testing.pki import Issued
from tests.cli.doctoring import NOW, operator, service, told

NAME = "shop1.example.net"
DAY = 86_400.0


@cache
def authority() -> PKI:
    return PKI(tempfile.mkdtemp(dir="."), now=lambda: NOW, reuse_keys=True)


class CertificateTests(SynchronousTestCase):
    """One certificate each, and what is said of it."""

    def findings(self, party: Party, now: float = NOW) -> list[Finding]:
        material, found = read_material(party)
        return [*found, *check_certificates(party, material, now)]

    def bad(self, party: Party, now: float = NOW) -> list[tuple[str, str]]:
        self.found = [
            each
            for each in self.findings(party, now)
            if each.verdict.value in ("failed", "warning")
        ]
        return told(self.found)

    def detail(self) -> str:
        return "\n".join(each.detail for each in self.found)

    def test_good(self) -> None:
        """All checks that there are."""
        issued = authority().client(NAME)
        self.assertEqual(
            told(self.findings(service(issued))),
            [
                ("certificate.key", "ok"),
                ("certificate.dates", "ok"),
                ("certificate.name", "ok"),
                ("certificate.purpose", "ok"),
                ("certificate.chain", "ok"),
                ("ca.dates", "ok"),
                ("crl", "skipped"),
            ],
        )

    def test_dates(self) -> None:
        """The end is told a month before; past it, what else is wrong is still looked for."""
        party = service(authority().client(NAME, seconds=40 * DAY))
        for days, verdict, words in (
            (9.9, None, ""),
            (10.1, "warning", "expires in 29 days, on 2027-01-04 01:40 UTC"),
            (38.9, "warning", "expires in 1 day, "),
            (40.1, "failed", "expired today, "),
            (41.1, "failed", "expired a day ago, "),
            (50.1, "failed", "expired 10 days ago, "),
            (-1.1, "failed", "is valid from 2026-11-24 01:40 UTC only, and this clock says "),
        ):
            wanted = [] if verdict is None else [("certificate.dates", verdict)]
            found = [each for each in self.bad(party, NOW + days * DAY) if each[0] != "ca.dates"]
            self.assertEqual(found, wanted, days)
            self.assertIn(words, self.detail())

    def test_defects(self) -> None:
        """Each defect that a certificate of ours can have."""
        for defect, wanted, words in (
            ("expired", ["certificate.dates"], "expired a day ago"),
            ("not_yet_valid", ["certificate.dates"], "this clock says"),
            ("other_ca", ["certificate.chain"], "it was issued by 'CN=Other CA'"),
            ("self_signed", ["certificate.chain"], "it was issued by 'CN=shop1.example.net'"),
            ("wrong_purpose", ["certificate.purpose"], "is not for client authentication"),
            ("missing_intermediate", ["certificate.chain"], "it was issued by 'CN=Missing CA'"),
            ("ec_key", ["certificate", "certificate.key", "certificate.chain"], "an EC key"),
            ("ed25519_key", ["certificate", "certificate.key", "certificate.chain"], "an Ed25519"),
            ("other_key", ["certificate.key"], "the key of another certificate"),
            ("passphrase", ["certificate.key"], "protected by a passphrase"),
            ("garbage", ["certificate"], "no certificate"),
        ):
            party = service(authority().defective_client(defect, NAME))
            self.assertEqual([name for name, _ in self.bad(party)], wanted, defect)
            self.assertIn(words, self.detail())
            self.assertIs(exit_code(self.found), ExitCode.CREDENTIALS, defect)
            self.assertEqual([each.check for each in self.found if not each.fix], [], defect)

    def test_secrets(self) -> None:
        """No key is in any finding."""
        for defect in ("other_key", "passphrase", "garbage"):
            issued = authority().defective_client(defect, NAME)
            shown = str(self.findings(service(issued)))
            for line in Path(issued.key).read_text().splitlines()[1:-1]:
                self.assertNotIn(line, shown)

    def test_names(self) -> None:
        """An operator of another name is heard by nobody; a service is, but not believed."""
        issued = authority().client("sre.choria")
        self.assertEqual(self.bad(operator(issued)), [])
        other = attrs.evolve(operator(issued), certname="root.mcollective")
        self.assertEqual(self.bad(other), [("certificate.name", "failed")])
        self.assertIn("MCOLLECTIVE_CERTNAME=sre.choria", self.found[0].fix or "")
        self.assertEqual(self.bad(service(issued)), [("certificate.name", "warning")])

    def test_intermediate(self) -> None:
        """What stands in the file with it counts, its dates too."""
        issued = authority().intermediate().client(NAME)
        names = [name for name, _ in told(self.findings(service(issued)))]
        self.assertEqual(names.count("certificate.dates"), 2)
        self.assertEqual(self.bad(service(issued)), [])

    def test_authorities(self) -> None:
        """A CA file that cannot be used; one that has expired, beside a good one or alone."""
        issued = authority().client(NAME)
        folder = Path(self.mktemp())
        folder.mkdir()
        past = Request(name="Old CA", begin=NOW - 9 * DAY, end=NOW - DAY, authority=True)
        old = write_file(folder / "old.pem", pem(make_certificate(None, make_ec_key(), past)))
        bundle = folder / "bundle.pem"
        bundle.write_bytes(Path(old).read_bytes() + Path(issued.ca).read_bytes())
        self.assertEqual(
            self.bad(service(attrs.evolve(issued, ca=str(bundle)))), [("ca.dates", "warning")]
        )
        self.assertIn("'CN=Old CA' expired", self.detail())
        alone = service(attrs.evolve(issued, ca=old))
        self.assertEqual(self.bad(alone), [("certificate.chain", "failed"), ("ca.dates", "failed")])
        bundle.write_text("nothing")
        broken = service(attrs.evolve(issued, ca=str(bundle)))
        self.assertEqual(self.bad(broken), [("ca", "failed")])
        leaf = service(attrs.evolve(issued, ca=issued.cert))
        self.assertEqual(self.bad(leaf), [("ca", "failed")])
        self.assertIn("which may not issue certificates", self.detail())

    def revoked(self, *issued: Issued, seconds: float = 30 * DAY) -> str:
        return authority().revoke(*issued, file=f"{self.id()}.pem", seconds=seconds)

    def test_lists(self) -> None:
        """Fresh, overdue, damaged, and one in which we are."""
        issued = authority().client(NAME)
        party = service(issued)
        fresh = attrs.evolve(party, crl=self.revoked())
        self.assertEqual(self.bad(fresh), [])
        self.assertIn("0 withdrawn, next due 2026-12-25 01:40 UTC", self.findings(fresh)[-1].detail)
        self.assertEqual(self.bad(fresh, NOW + 31 * DAY), [("crl", "warning")])
        self.assertIn("the old one keeps applying", self.detail())
        withdrawn = attrs.evolve(party, crl=self.revoked(issued))
        self.assertEqual(self.bad(withdrawn), [("certificate.chain", "failed")])
        self.assertIn("is revoked since", self.detail())
        assert withdrawn.crl is not None
        Path(withdrawn.crl).write_text("nothing")
        self.assertEqual(self.bad(withdrawn), [("crl", "failed")])
        found = dict(told(self.findings(withdrawn)))
        self.assertEqual((found["certificate.chain"], found["ca.dates"]), ("ok", "ok"))

    def test_insecure(self) -> None:
        self.assertEqual(told(self.findings(service())), [("certificate", "skipped")])

    def test_missing(self) -> None:
        """Files that are not there are told elsewhere; the rest is looked at."""
        issued = authority().client(NAME)
        party = service(attrs.evolve(issued, key="/nonexistent", ca="/nonexistent"))
        self.assertEqual(self.bad(party), [])
        found = dict(told(self.findings(party)))
        self.assertEqual((found["certificate.dates"], found["ca.dates"]), ("ok", "skipped"))


class ClockTests(SynchronousTestCase):
    """The present time, beside dates that must have passed."""

    def setUp(self) -> None:
        self.party = service(authority().client(NAME))
        self.material, _ = read_material(self.party)

    def test_good(self) -> None:
        self.assertEqual(told([check_clock(self.material, (), NOW)]), [("clock", "ok")])

    def test_behind(self) -> None:
        """Certificates were issued later than now; or a file was written later."""
        found = check_clock(self.material, (), NOW - 2 * DAY)
        self.assertEqual(told([found]), [("clock", "failed")])
        self.assertIn("is of 2026-11-24 01:40 UTC: the clock is behind", found.detail)
        path = self.mktemp()
        Path(path).touch()
        os.utime(path, (NOW + 1000, NOW + 1000))
        found = check_clock(self.material, (path, "/nonexistent"), NOW)
        self.assertIn(path, found.detail)
        self.assertEqual(told([check_clock(self.material, (path,), NOW + 900)]), [("clock", "ok")])

    def test_nothing(self) -> None:
        material, _ = read_material(service())
        self.assertEqual(told([check_clock(material, (), NOW)]), [("clock", "skipped")])
