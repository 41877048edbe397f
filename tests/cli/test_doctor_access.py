"""``backplane doctor``: who is believed, and who may do what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor.access import check_access
from backplane.cli.doctor.findings import Finding
from backplane.config.settings import AuthConfig, TLSConfig
from tests.cli.doctoring import operator, service, told

LOOKED_AT = ["mode", "allow", "delegation", "policy", "roles"]


class AccessTests(SynchronousTestCase):
    """Sections ``tls`` and ``auth`` of a service."""

    def findings(self, *callers: str, tls: Any = (), **auth: Any) -> list[Finding]:
        made = TLSConfig("file", **dict(tls)) if tls is not None else None
        party = service(tls=made, auth=AuthConfig(**auth))
        return list(check_access(party, callers))

    def of(self, check: str, found: list[Finding]) -> list[tuple[str, str]]:
        return [(each.verdict.value, each.detail) for each in found if each.check == check]

    def test_all(self) -> None:
        """Each is told, whatever it is."""
        found = self.findings(full=["sre.choria"], tls={"delegation": False})
        self.assertEqual(
            told(found),
            list(zip(LOOKED_AT, ["ok", "ok", "ok", "skipped", "ok"], strict=True)),
        )
        self.assertEqual(self.of("roles", found), [("ok", "full: sre.choria; read_only: nobody")])

    def test_insecure(self) -> None:
        """Without TLS the names are not verified, and with ``auth.insecure`` they do not count."""
        found = self.findings(tls=None, insecure=True)
        self.assertEqual(
            told(found),
            list(zip(LOOKED_AT, ["warning", *["skipped"] * 3, "ok"], strict=True)),
        )
        found = self.findings(insecure=True)
        self.assertEqual([each[0] for each in self.of("mode", found)], ["ok", "warning"])
        self.assertEqual(self.of("roles", found), [("ok", "everybody may do everything")])

    def test_delegation(self) -> None:
        """It is on unless that is changed, and said."""
        ((verdict, text),) = self.of("delegation", self.findings())
        self.assertEqual(verdict, "warning")
        self.assertIn(r"\.privileged.choria$ speak for everybody", text)
        for tls in ({"delegation": False}, {"privileged": ()}):
            self.assertEqual(self.of("delegation", self.findings(tls=tls))[0][0], "ok")
        found = self.of("delegation", self.findings(tls={"privileged": (".*",)}))
        self.assertEqual([each[0] for each in found], ["failed", "warning"])

    def test_allow(self) -> None:
        """Lists that take everybody, nobody, or cannot be used."""
        for allow, verdict, words in (
            ((r"\.sre$",), "ok", r"names that match \.sre$"),
            (("",), "failed", "an empty item"),
            ((), "warning", "the list is empty"),
            ((".*",), "warning", "matches every name"),
            (("(",), "warning", "matches nothing"),
        ):
            ((seen, text),) = self.of("allow", self.findings(tls={"allow": allow}))
            self.assertEqual(seen, verdict)
            self.assertIn(words, text)

    def test_roles(self) -> None:
        """Nobody has one; an entry that cannot be used; one whom the allow list keeps out."""
        self.assertEqual(self.of("roles", self.findings())[0][0], "warning")
        self.assertEqual(self.of("roles", self.findings(full=["("]))[0][0], "failed")
        found = self.of("roles", self.findings(full=["app.example.net", r".*\.net", "a.choria"]))
        self.assertEqual([each[0] for each in found], ["ok", "warning"])
        self.assertTrue(found[1][1].startswith("full: app.example.net is not on the allow list"))

    def test_callers(self) -> None:
        """Who of given names gets which role, and whether he gets that far."""
        path = Path(self.mktemp())
        path.write_text("policy default deny\nallow\tchoria=pol.choria\tping\t*\t*\n")
        found = self.findings(
            "choria=sre.choria",
            "look.choria",
            "pol.choria",
            "nobody.choria",
            "out.example.net",
            "none.example.net",
            "choria=bad name",
            full=["sre.choria", "out.example.net"],
            read_only=["look.choria"],
            policy=str(path),
        )
        self.assertEqual(
            self.of("caller", found)[:6],
            [
                ("ok", "choria=sre.choria: full: may do everything; on the allow list"),
                ("ok", "choria=look.choria: read_only: may look; on the allow list"),
                (
                    "ok",
                    "choria=pol.choria: policy: what the policy's lines allow; on the allow list",
                ),
                (
                    "ok",
                    "choria=nobody.choria: none: may discover, and do nothing; on the allow list",
                ),
                (
                    "warning",
                    (
                        "choria=out.example.net: not on the allow list, so requests are dropped "
                        "(full: may do everything)"
                    ),
                ),
                (
                    "ok",
                    (
                        "choria=none.example.net: not on the allow list, so requests are dropped "
                        "(none: may discover, and do nothing)"
                    ),
                ),
            ],
        )
        self.assertEqual(self.of("caller", found)[6][0], "failed")

    def test_policy(self) -> None:
        """One that can be read, with what is hardly meant; one that cannot."""
        path = Path(self.mktemp())
        path.write_text("policy default allow\nallow\tchoria=a.choria\tping\t*\n")
        found = self.of("policy", self.findings(policy=str(path)))
        self.assertEqual([each[0] for each in found], ["warning", "ok"])
        self.assertIn("is allowed", found[1][1])
        path.write_text("allowed\n")
        ((verdict, text),) = self.of("policy", self.findings(policy=str(path)))
        self.assertEqual(verdict, "failed")
        self.assertIn(f"{path}:1", text)
        self.assertEqual(self.of("policy", self.findings(groups="g"))[0][0], "failed")


class OperatorTests(SynchronousTestCase):
    """An operator's own name, as services see it that change nothing."""

    def test_allow(self) -> None:
        for name, verdict in (
            ("sre.choria", "ok"),
            ("sre.mcollective", "ok"),
            ("sre.example.net", "warning"),
            ("sre.privileged.choria", "warning"),
        ):
            found = list(check_access(operator(secure=True, certname=name), ()))
            self.assertEqual(told(found), [("mode", "ok"), ("allow", verdict)])

    def test_insecure(self) -> None:
        """``--insecure``, and a question that only a service's file answers."""
        found = list(check_access(operator(), ["sre.choria"]))
        self.assertEqual(
            told(found), [("mode", "warning"), ("allow", "skipped"), ("caller", "skipped")]
        )
