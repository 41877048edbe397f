"""Lists of certificate names, against the table of Choria's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.security.allowlist import (
    DEFAULT_ALLOWED,
    DEFAULT_PRIVILEGED,
    AllowList,
    split_items,
)

TABLE: Final = Path(__file__).parent.parent / "vectors" / "tables" / "allow_lists.json"

EMPTY: Final = "an empty item is an empty regular expression, which matches every name"
"""The one remark of the table that we go by another way, on purpose."""


class TableTests(SynchronousTestCase):
    """What Choria answers."""

    def test_table(self) -> None:
        """Items and answers are Choria's; lists with an empty item are refused."""
        cases = json.loads(TABLE.read_text())["cases"]
        self.assertGreater(len(cases), 70)
        refused = 0
        for case in cases:
            items = split_items(case["text"])
            self.assertEqual(list(items), case["items"], case)
            if case.get("quirk") == EMPTY:
                self.assertRaises(ConfigError, AllowList, items, setting="list")
                refused += 1
            else:
                self.assertEqual(
                    AllowList(items, setting="list").matches(case["name"]), case["match"], case
                )
        self.assertEqual(refused, 8)


class AllowListTests(SynchronousTestCase):
    """What the table does not say."""

    def test_defaults(self) -> None:
        """Choria's defaults: people by suffix, signers for others by a longer one."""
        allowed = AllowList(DEFAULT_ALLOWED, setting="allow")
        privileged = AllowList(DEFAULT_PRIVILEGED, setting="privileged")
        found = [
            (allowed.matches(name), privileged.matches(name))
            for name in ("sre.choria", "bob.mcollective", "x.privileged.choria", "app1.example.net")
        ]
        self.assertEqual(found, [(True, False), (True, False), (True, True), (False, False)])
        self.assertEqual((allowed.warnings, privileged.warnings), ((), ()))

    def test_nobody(self) -> None:
        """A list without items has nobody on it."""
        self.assertFalse(AllowList((), setting="list").matches("sre.choria"))

    def test_empty_items(self) -> None:
        """Each empty item is named by its number, with setting and file."""
        error = self.assertRaises(
            ConfigError, AllowList, split_items("bob,,"), setting="tls.allow", path="app.yaml"
        )
        self.assertEqual(
            [(each.key, each.path) for each in error.problems], [("tls.allow", "app.yaml")] * 2
        )
        self.assertIn("number 2", error.problems[0].found)
        self.assertIn("number 3", error.problems[1].found)

    def test_warnings(self) -> None:
        """Items that match nothing, or everything, are told of and do what they do."""
        found = AllowList(("[", "(?=x)", "bob|", "/.*/", r"\.choria$"), setting="tls.allow")
        self.assertEqual(len(found.warnings), 4)
        self.assertIn("tls.allow: item 1 matches nothing", found.warnings[0])
        self.assertIn("tls.allow: item 2 matches nothing", found.warnings[1])
        self.assertIn("'bob|' matches every name", found.warnings[2])
        self.assertIn("'/.*/' matches every name", found.warnings[3])

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_any_text(self, text: str, name: str) -> None:
        """Whatever is configured: refused at once, or it answers without an error."""
        try:
            found = AllowList(split_items(text), setting="list")
        except ConfigError:
            return
        self.assertIn(found.matches(name), (True, False))
