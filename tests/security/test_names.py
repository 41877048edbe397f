"""Names of callers and of nodes."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import DecodeError
from backplane.security.names import (
    MAX_CALLER_ID,
    MAX_IDENTITY,
    caller_id_for,
    certname_of,
    default_certname,
    default_identity,
    valid_identity,
)

TABLE = Path(__file__).parent.parent / "vectors" / "tables" / "callerids.json"


class CertnameOfTests(SynchronousTestCase):
    """What a caller id says about the certificate."""

    def test_table(self) -> None:
        """Caller ids are read as Go reads them, but text after the name is refused."""
        cases = json.loads(TABLE.read_text(encoding="utf-8"))["cases"]
        self.assertGreater(len(cases), 40)
        for case in cases:
            wanted = None if "quirk" in case else case["certname"]
            try:
                found = certname_of(case["callerid"])
            except DecodeError as error:
                self.assertEqual(error.reason, "bad_callerid")
                found = None
            self.assertEqual(found, wanted, case)

    def test_long(self) -> None:
        """A caller id that would only fill tables is refused, and the error stays short."""
        self.assertEqual(len(certname_of("a=" + "x" * (MAX_CALLER_ID - 2))), MAX_CALLER_ID - 2)
        for text in ("a=" + "x" * (MAX_CALLER_ID - 1), "=" * 10**6):
            error = self.assertRaises(DecodeError, certname_of, text)
            self.assertLess(len(str(error)), 200)

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text either has the form as a whole or is refused with the one error."""
        try:
            name = certname_of(text)
        except DecodeError as error:
            self.assertEqual(error.reason, "bad_callerid")
        else:
            prefix, _, rest = text.partition("=")
            self.assertEqual(rest, name)
            self.assertTrue(prefix.isascii() and prefix.isalpha() and prefix.islower())
            self.assertTrue(name.isascii())

    def test_made_ids_are_read_back(self) -> None:
        """The caller id made of a certname gives that certname."""
        self.assertEqual(caller_id_for("sre.choria"), "choria=sre.choria")
        self.assertEqual(certname_of(caller_id_for("a.b-c_D9")), "a.b-c_D9")

    def test_unusable_certname(self) -> None:
        """A user name that cannot be a caller is refused where the caller id is made."""
        for name in ("", "bob smith", "bob@example.net", "böb", "x\n", "x" * MAX_CALLER_ID):
            self.assertRaises(ValueError, caller_id_for, name)


class IdentityTests(SynchronousTestCase):
    """The identity of a node."""

    def test_valid(self) -> None:
        """Host names, short names and names with underscores are identities."""
        for name in ("app1", "app1.example.net", "a_b-c.9", "A", "-", "x" * MAX_IDENTITY):
            self.assertTrue(valid_identity(name), name)

    def test_invalid(self) -> None:
        """What would break a subject, a log line or a file name is no identity."""
        for name in (
            *("", " ", "a b", "a\n", "a*", ">", "a/b", "é", "\u0661", "a=b", "x" * 256),
            *("a..b", ".a", "a.", "."),
        ):
            self.assertFalse(valid_identity(name), name)

    def test_full_host_name(self) -> None:
        """A host name with two dots is taken without asking anybody."""

        def lookup() -> str:
            raise AssertionError("asked")

        self.assertEqual(default_identity("app1.example.net", [lookup]), "app1.example.net")

    def test_lookups(self) -> None:
        """A short host name is completed by the first look-up that knows a usable name."""
        answers = [lambda: None, lambda: "", lambda: "a b", lambda: "app1.example.net.\n"]
        self.assertEqual(default_identity("app1", answers), "app1.example.net")
        self.assertEqual(default_identity("app1.local", answers), "app1.example.net")

    def test_short(self) -> None:
        """When nobody knows more, the first part of the host name is used."""
        self.assertEqual(default_identity("app1.local", [lambda: None]), "app1")
        self.assertEqual(default_identity("app1"), "app1")

    def test_unusable_host_name(self) -> None:
        """A host name that cannot be an identity is an error that says what to do."""
        error = self.assertRaises(ValueError, default_identity, "bad host!")
        self.assertIn("please configure", str(error))


class DefaultCertnameTests(SynchronousTestCase):
    """The certname of a process that was given none."""

    def name(
        self, environ: dict[str, str], uid: int | None, provider: str = "file", server: bool = False
    ) -> str:
        return default_certname(
            "app1.example.net", environ=environ, uid=uid, provider=provider, server=server
        )

    def test_environment_wins(self) -> None:
        """MCOLLECTIVE_CERTNAME is used by everyone, whatever else is set."""
        environ = {"MCOLLECTIVE_CERTNAME": "rip.mcollective", "USER": "bob"}
        for uid in (0, 1000, None):
            for provider in ("file", "puppet"):
                for server in (False, True):
                    self.assertEqual(self.name(environ, uid, provider, server), "rip.mcollective")

    def test_user(self) -> None:
        """An ordinary user is USER.mcollective."""
        self.assertEqual(self.name({"USER": "bob"}, 1000), "bob.mcollective")
        self.assertEqual(self.name({"USER": "bob"}, 1000, "puppet"), "bob.mcollective")

    def test_root(self) -> None:
        """Root is the node with provider file, and a user with provider puppet, as with Go."""
        self.assertEqual(self.name({"USER": "root"}, 0), "app1.example.net")
        self.assertEqual(self.name({"USER": "root"}, 0, "puppet"), "root.mcollective")

    def test_no_user(self) -> None:
        """Without USER, file falls back to the identity and puppet says what is missing."""
        self.assertEqual(self.name({}, 1000), "app1.example.net")
        self.assertEqual(self.name({"USER": ""}, 1000), "app1.example.net")
        error = self.assertRaises(ValueError, self.name, {}, 1000, "puppet")
        self.assertIn("ensure USER environment variable is set", str(error))

    def test_no_uid(self) -> None:
        """Where there are no user ids, the node's name is used."""
        self.assertEqual(self.name({"USER": "bob"}, None), "app1.example.net")
        self.assertEqual(self.name({"USERNAME": "bob"}, None, "puppet"), "bob.mcollective")

    def test_server(self) -> None:
        """A server process with provider puppet is the node."""
        self.assertEqual(self.name({"USER": "bob"}, 1000, "puppet", True), "app1.example.net")
        self.assertEqual(self.name({}, 1000, "puppet", True), "app1.example.net")
