"""Who has which role, and what the actions need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.security.roles import (
    ACTION_ROLES,
    Role,
    RoleError,
    Roles,
    check_pattern,
    required_role,
)

TABLE: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "tables" / "callerids.json").read_text("utf-8")
)

# Deliberate deviations from the Go backplane, whose patterns are unanchored
# regular expressions over the whole caller id. Patterns -> who is allowed here.
ALLOWED_HERE: dict[tuple[str, ...], set[str]] = {
    # A name is a name: its dots are dots, and it is the whole certname.
    ("sre.choria",): {"choria=sre.choria", "okta=sre.choria"},
    ("choria",): set(),
    ("1stline", "sre"): set(),
    # Expressions match the whole certname, without the part before "=" ...
    ("^sre.choria$",): {"choria=sre.choria", "choria=sreXchoria", "okta=sre.choria"},
    ("sre\\.choria$",): {"choria=sre.choria", "okta=sre.choria"},
    ("(?i)SRE",): set(),
    ("\\.choria$",): set(),
    # ... or the whole caller id, when they have a "=".
    ("=sre",): set(),
    ("^okta=",): set(),
}

# Patterns that are refused at start-up.
REFUSED = {(".*",), ("",), ("[",), ("[", "sre"), ("^$",)}


class AuthTableTests(SynchronousTestCase):
    """The Go backplane's own decisions, and where we differ on purpose."""

    def test_patterns(self) -> None:
        """Each pattern allows whom it allows in Go, or the list of deviations says otherwise."""
        cases = TABLE["auth_patterns"]
        self.assertGreater(len(cases), 150)
        used = set()
        for case in cases:
            patterns = tuple(case["patterns"])
            if patterns in REFUSED:
                used.add(patterns)
                self.assertRaises(RoleError, Roles.compile, full=patterns)
                continue
            wanted = case["allowed"]
            if patterns in ALLOWED_HERE:
                used.add(patterns)
                wanted = case["callerid"] in ALLOWED_HERE[patterns]
            role = Roles.compile(full=patterns).role_of(case["callerid"])
            self.assertEqual(role, Role.FULL if wanted else None, case)
        self.assertEqual(used, REFUSED | set(ALLOWED_HERE))

    def test_deviations_are_deviations(self) -> None:
        """Every entry of the list of deviations differs from Go for at least one caller."""
        for patterns, here in ALLOWED_HERE.items():
            go = {
                case["callerid"]
                for case in TABLE["auth_patterns"]
                if tuple(case["patterns"]) == patterns and case["allowed"]
            }
            self.assertNotEqual(go, here, patterns)

    def test_sections(self) -> None:
        """Whole sections give the roles of Go, but short names match no longer ones."""
        cases = TABLE["auth_sections"]
        self.assertGreater(len(cases), 20)
        for case in cases:
            auth = case["auth"]
            lists = [*auth.get("full", ()), *auth.get("read_only", ())]
            if {".*", "["} & set(lists):
                self.assertRaises(RoleError, Roles.compile, **auth)
                continue
            wanted = None
            # The lists of the table hold parts of names ("sre"), which are whole names here.
            if not lists or auth.get("insecure"):
                wanted = Role.FULL if case["full"] else None
            self.assertIs(Roles.compile(**auth).role_of(case["callerid"]), wanted, case)


class RolesTests(SynchronousTestCase):
    """Roles of callers."""

    def test_example_of_the_readme(self) -> None:
        """One may do everything, one may look, others have no role."""
        roles = Roles.compile(full=["sre.choria"], read_only=["1stline.choria"])
        self.assertIs(roles.role_of("choria=sre.choria"), Role.FULL)
        self.assertIs(roles.role_of("choria=1stline.choria"), Role.READ_ONLY)
        self.assertIsNone(roles.role_of("choria=other.choria"))

    def test_full_wins(self) -> None:
        """Who is on both lists may do everything."""
        roles = Roles.compile(full=["a"], read_only=["a", "[ab]"])
        self.assertIs(roles.role_of("choria=a"), Role.FULL)
        self.assertIs(roles.role_of("choria=b"), Role.READ_ONLY)

    def test_empty_denies_all(self) -> None:
        """Without entries nobody has a role."""
        self.assertIsNone(Roles.compile().role_of("choria=sre.choria"))

    def test_insecure_allows_all(self) -> None:
        """With ``insecure`` everyone may do everything, if his caller id has the form."""
        roles = Roles.compile(insecure=True)
        self.assertIs(roles.role_of("choria=anyone"), Role.FULL)
        self.assertIsNone(roles.role_of("choria=anyone else"))

    def test_bad_caller_id_has_no_role(self) -> None:
        """A second name behind the first gives no rights, whatever the patterns are."""
        roles = Roles.compile(full=["sre.choria", ".+", "choria=.+", ".*=.*"])
        for caller_id in (
            "choria=nobody.choria sre.choria",
            "choria=sre.choria\n",
            "sre.choria",
            "",
            "CHORIA=sre.choria",
            "choria=" + "a" * 100_000,
        ):
            self.assertIsNone(roles.role_of(caller_id), caller_id[:40])

    def test_expression_with_caller_id(self) -> None:
        """An expression with ``=`` says where the name must come from."""
        roles = Roles.compile(full=[r"okta=.+\.choria"])
        self.assertIs(roles.role_of("okta=sre.choria"), Role.FULL)
        self.assertIsNone(roles.role_of("choria=sre.choria"))

    def test_alternatives_are_anchored_as_a_whole(self) -> None:
        """``a|b`` is a or b, not "begins with a" or "ends with b"."""
        roles = Roles.compile(full=["alice|bob"])
        self.assertIs(roles.role_of("choria=alice"), Role.FULL)
        self.assertIs(roles.role_of("choria=bob"), Role.FULL)
        for name in ("alicex", "xbob", "alice-bob"):
            self.assertIsNone(roles.role_of(f"choria={name}"))

    def test_multiline_flag_gives_nothing_more(self) -> None:
        """Flags that move the anchors do not help, since names have no lines."""
        roles = Roles.compile(full=[r"(?m)^sre$"])
        self.assertIs(roles.role_of("choria=sre"), Role.FULL)
        self.assertIsNone(roles.role_of("choria=x\nsre"))

    @given(st.from_regex(r"[A-Za-z0-9_\-.]{1,20}", fullmatch=True), st.text(max_size=20))
    def test_name_matches_itself_only(self, name: str, other: str) -> None:
        """A name in the list is that one certname and no other."""
        roles = Roles.compile(read_only=[name])
        self.assertIs(roles.role_of(f"choria={name}"), Role.READ_ONLY)
        wanted = Role.READ_ONLY if other == name else None
        self.assertIs(roles.role_of(f"choria={other}"), wanted)


class CheckPatternTests(SynchronousTestCase):
    """What is refused at start-up."""

    def test_good(self) -> None:
        """Names and expressions that say something are taken."""
        for text in ("sre.choria", "-", ".", r".+\.choria", "[ab]", "choria=.+", "^sre$", "(?i)x"):
            self.assertIsNone(check_pattern(text), text)

    def test_bad(self) -> None:
        """Empty, uncompilable, oversized and all-matching entries are refused with the reason."""
        for text, reason in (
            ("", "is empty"),
            ("[", "regular expression"),
            ("(?=x)y", "regular expression"),
            ("\ud800[a]", "regular expression"),
            ("x" * 3000 + "+", "longer than"),
            ("(((a{30}){30}){30})", "regular expression"),
            (".*", "empty string"),
            ("^$", "empty string"),
            ("a|", "empty string"),
            ("(sre)?", "empty string"),
            ("//*", ""),
        ):
            found = check_pattern(text)
            if reason:
                self.assertIn(reason, found or "", text)
            else:
                self.assertIsNone(found, text)

    def test_not_text(self) -> None:
        """An entry that YAML made a number, a boolean or nothing of is refused."""
        for entry in (1, True, None, ["x"]):
            self.assertEqual(check_pattern(entry), "is not text")  # type: ignore[arg-type]

    def test_error_names_the_entry(self) -> None:
        """The error says which entry of which list is wrong and why; it is a ValueError."""
        error = self.assertRaises(ValueError, Roles.compile, read_only=["a", "["])
        assert isinstance(error, RoleError)
        self.assertEqual(error.key, "read_only[1]")
        self.assertEqual(error.entry, "[")
        self.assertIn("auth.read_only[1]: '['", str(error))

    def test_text_in_place_of_a_list(self) -> None:
        """``full: sre`` does not allow callers named s, r and e."""
        error = self.assertRaises(RoleError, Roles.compile, full="sre")
        self.assertIn("auth.full: 'sre' is not a list", str(error))

    def test_checked_even_if_insecure(self) -> None:
        """Mistakes are found before the day on which ``insecure`` is taken out."""
        self.assertRaises(RoleError, Roles.compile, insecure=True, full=[""])

    @given(st.text(max_size=12))
    def test_accepted_entries_compile(self, text: str) -> None:
        """What the check accepts compiles, what it refuses does not; nothing else is raised."""
        if check_pattern(text) is None:
            Roles.compile(full=[text]).role_of("choria=x")
        else:
            self.assertRaises(RoleError, Roles.compile, full=[text])


class RequiredRoleTests(SynchronousTestCase):
    """What the actions need."""

    READ_ONLY = {
        "backplane": {"info", "ping", "health", "changes"},
        "rpcutil": {
            *("ping", "inventory", "collective_info", "agent_inventory"),
            *("get_fact", "get_facts", "daemon_stats"),
        },
        "choria_util": {"info", "machine_states"},
        "discovery": set(),
    }

    def test_read_only_list(self) -> None:
        """Callers who may look may do exactly what the documentation lists."""
        found = {
            agent: {action for action, role in actions.items() if role is Role.READ_ONLY}
            for agent, actions in ACTION_ROLES.items()
        }
        self.assertEqual(found, self.READ_ONLY)
        for agent, actions in self.READ_ONLY.items():
            for action in actions:
                self.assertIs(required_role(agent, action), Role.READ_ONLY)

    def test_everything_else_is_full(self) -> None:
        """Other actions of built-in agents need the full role, unknown ones too."""
        for agent, action in (
            *(("backplane", name) for name in ("pause", "threaddump", "stalls", "", "INFO", "x")),
            *(("rpcutil", name) for name in ("get_config_item", "get_data")),
            ("choria_util", "machine_transition"),
        ):
            self.assertIs(required_role(agent, action), Role.FULL)
            self.assertIs(required_role(agent, action, Role.READ_ONLY), Role.FULL)

    def test_discovery_needs_no_role(self) -> None:
        """Anyone may discover."""
        self.assertIsNone(required_role("discovery", ""))

    def test_own_agents_declare(self) -> None:
        """An application's own action is full unless it declares otherwise."""
        self.assertIs(required_role("shop", "refund"), Role.FULL)
        self.assertIs(required_role("shop", "orders", Role.READ_ONLY), Role.READ_ONLY)

    def test_order(self) -> None:
        """The full role includes the other."""
        self.assertGreater(Role.FULL, Role.READ_ONLY)
