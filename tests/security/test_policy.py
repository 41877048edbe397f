"""Action policies: what a line means, what is a mistake, who may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError
from backplane.patterns import MAX_SUBJECT
from backplane.security.policy import (
    MAX_POLICY,
    NO_POLICY,
    Policy,
    parse_groups,
    parse_policy,
)

RIP = "choria=rip.mcollective"
SRE = "choria=sre.choria"
BOB = "choria=bob.mcollective"

EXAMPLE = """\
# The operators may do everything, where it is not production.
policy default deny

allow\tops\t*\tenv=test\t*
allow\t/^choria=sre\\./\tinfo ping health\t*\t*
deny\tchoria=rip.mcollective\tshutdown\t*\t*
allow\tchoria=rip.mcollective\t*\t*\tweb /^role::/
"""
GROUPS = parse_groups("# who\nops choria=bob.mcollective choria=eve.mcollective\n")


def mistakes(text: str, **kwargs: object) -> list[tuple[int | None, str]]:
    """Return line and what was found of every mistake."""
    try:
        parse_policy(text, **kwargs)  # type: ignore[arg-type]
    except ConfigError as error:
        return [(problem.line, problem.found) for problem in error.problems]
    return []


class DecisionTests(SynchronousTestCase):
    """Who may."""

    def may(
        self,
        policy: Policy,
        caller: str,
        action: str,
        facts: tuple[str, ...] = (),
        classes: tuple[str, ...] | None = (),
    ) -> tuple[bool, str]:
        return policy.decide(caller, action, lambda text: text in facts, classes)

    def test_example(self) -> None:
        """Each line decides for somebody, and the default for the rest."""
        policy = parse_policy(EXAMPLE, groups=GROUPS)
        for caller, action, facts, classes, wanted in (
            (BOB, "pause", ("env=test",), (), (True, "line 4")),
            (BOB, "pause", ("env=prod",), (), (False, "default, line 2")),
            (SRE, "ping", (), (), (True, "line 5")),
            (SRE, "pause", (), (), (False, "default, line 2")),
            (RIP, "shutdown", (), ("web", "role::db"), (False, "line 6")),
            (RIP, "pause", (), ("web", "role::db"), (True, "line 7")),
            (RIP, "pause", (), ("web",), (False, "default, line 2")),
            (RIP, "pause", (), ("role::db", "webs"), (False, "default, line 2")),
        ):
            self.assertEqual(self.may(policy, caller, action, facts, classes), wanted)

    def test_first_match_wins(self) -> None:
        for first, second, wanted in (("allow", "deny", True), ("deny", "allow", False)):
            policy = parse_policy(f"{first}\t*\tpause\t*\t*\n{second}\t*\t*\t*\t*\n")
            self.assertEqual(self.may(policy, RIP, "pause"), (wanted, "line 1"))
            self.assertEqual(self.may(policy, RIP, "info"), (not wanted, "line 2"))

    def test_default(self) -> None:
        """Deny, unless it says otherwise; wherever the line stands."""
        self.assertEqual(self.may(parse_policy(""), RIP, "info"), (False, "default"))
        for word, wanted in (("allow", True), ("deny", False)):
            policy = parse_policy(f"deny\t*\tpause\t*\t*\n\npolicy  default\t{word} # so\n")
            self.assertEqual(self.may(policy, RIP, "info"), (wanted, "default, line 3"))
            self.assertEqual(self.may(policy, RIP, "pause"), (False, "line 1"))

    def test_no_file(self) -> None:
        self.assertEqual(self.may(NO_POLICY, RIP, "info"), (False, "no policy"))

    def test_callers(self) -> None:
        """Names are whole and exact; expressions are found anywhere."""
        for callers, wanted in (
            ("*", {RIP, SRE, BOB}),
            (RIP, {RIP}),
            (f"{RIP} {SRE}", {RIP, SRE}),
            (RIP.upper(), set()),
            ("choria=rip", set()),
            ("/mcoll/", {RIP, BOB}),
            ("/^choria=(rip|sre)\\./", {RIP, SRE}),
            ("/^rip/", set()),
            (f"ops {SRE}", {BOB, SRE}),
            ("/(?i)RIP/ ops", {RIP, BOB}),
        ):
            policy = parse_policy(f"allow\t{callers}\t*\t*\t*", groups=GROUPS)
            allowed = {who for who in (RIP, SRE, BOB) if self.may(policy, who, "info")[0]}
            self.assertEqual(allowed, wanted, callers)

    def test_actions(self) -> None:
        policy = parse_policy("allow\t*\tinfo  ping\t*\t*")
        allowed = [act for act in ("info", "ping", "inf", "Info") if self.may(policy, RIP, act)[0]]
        self.assertEqual(allowed, ["info", "ping"])

    def test_facts_all_hold(self) -> None:
        policy = parse_policy("allow\t*\t*\tdc=DC1 cpus>=4\t*")
        self.assertTrue(self.may(policy, RIP, "info", ("dc=DC1", "cpus>=4"))[0])
        self.assertFalse(self.may(policy, RIP, "info", ("dc=DC1",))[0])

    def test_no_classes_column(self) -> None:
        """Denies once caller and action match, whatever a later line says."""
        policy = parse_policy("allow\t*\tpause\tdc=DC1\nallow\t*\t*\t*\t*\n")
        denied = (False, "line 1: it has no column of classes")
        self.assertEqual(self.may(policy, RIP, "pause"), denied)
        self.assertEqual(self.may(policy, RIP, "pause", ("dc=DC1",)), denied)
        self.assertEqual(self.may(policy, RIP, "info"), (True, "line 2"))
        self.assertEqual([problem.line for problem in policy.warnings], [1])

    def test_unknown_denies(self) -> None:
        """Classes that are not known and facts that raise deny, also where a line denies not."""
        policy = parse_policy("deny\t*\t*\t*\tweb\nallow\t*\t*\t*\t*\n")
        self.assertEqual(
            self.may(policy, RIP, "info", classes=None),
            (False, "line 1: classes are not known here"),
        )

        def broken(text: str) -> bool:
            raise RuntimeError("the facts have gone")

        policy = parse_policy("deny\t*\t*\tdc=1\t*\nallow\t*\t*\t*\t*\n")
        self.assertEqual(
            policy.decide(RIP, "info", broken, ()), (False, "line 1: its facts cannot be evaluated")
        )

    def test_overlong_caller(self) -> None:
        """No expression looks at such a caller id, so no line may allow it."""
        policy = parse_policy("deny\t/evil/\t*\t*\t*\npolicy default allow\n")
        self.assertTrue(self.may(policy, RIP, "info")[0])
        evil = "choria=evil" + "x" * MAX_SUBJECT
        self.assertEqual(self.may(policy, evil, "info"), (False, "the caller id is too long"))


class MistakeTests(SynchronousTestCase):
    """What Choria would skip, and other mistakes, with their lines."""

    def test_each(self) -> None:
        for line, found in (
            ("allow * * * *", None),
            ("Allow\t*\t*\t*\t*", None),
            (" allow\t*\t*\t*\t*", None),
            ("permit\t*\t*\t*\t*", None),
            ("allow\t*\t*", None),
            ("allow", None),
            ("allow\t*\t*\t*\t*\t*", None),
            ("allow\t*\t*\t*\t*\t", None),
            ("allow\t*\t*\t*\t*\t ", "allow\t*\t*\t*\t*\t"),
            ("allow\t*\t \t*\t*", None),
            (f"allow\t* {RIP}\t*\t*\t*", f"* {RIP}"),
            ("allow\t*\tinfo *\t*\t*", "info *"),
            ("allow\tnobody\t*\t*\t*", "nobody"),
            ("allow\t//\t*\t*\t*", "//"),
            ("allow\t/open\t*\t*\t*", "/open"),
            ("allow\t/(/\t*\t*\t*", "/(/"),
            ("allow\t/(?=x)/\t*\t*\t*", "/(?=x)/"),
            ("allow\t/(a{900}){900}/\t*\t*\t*", "/(a{900}){900}/"),
            ("allow\t*\t*\t!dc=1\t*", "!dc=1"),
            ("allow\t*\t*\tbad\t*", "bad"),
            ("allow\t*\t*\ta=1 or b=1\t*", "or"),
            ("deny\t*\t*\t(dc=1)\t*", "(dc=1)"),
            ("deny\t*\t*\t*\tnot web", "not"),
            ("deny\t*\t*\t*\tdc=1", "dc=1"),
            ("deny\t*\t*\t*\t/[/", "/[/"),
            ("policy", None),
            ("policy default", None),
            ("policy default Allow", "Allow"),
            ("policy default allow deny", None),
            (" policy default allow", None),
        ):
            wanted = [(2, repr(line if found is None else found))]
            check = {"bad": "a fact such as dc=1"}.get
            self.assertEqual(mistakes(f"# x\n{line}\n", check_fact=check), wanted, line)

    def test_all_at_once(self) -> None:
        """Every mistake of a file, with its place; a second default names the first."""
        text = "policy default deny\nx\nallow\ta\tb *\t!c\td=e\npolicy default allow\n"
        error = self.assertRaises(ConfigError, parse_policy, text, path="/etc/p/app.policy")
        self.assertEqual([problem.line for problem in error.problems], [2, 3, 3, 3, 3, 4])
        self.assertTrue(str(error).startswith("/etc/p/app.policy:2: policy: found 'x', wanted "))
        self.assertIn("line 1 has it", str(error))

    def test_bounds(self) -> None:
        """Neither an endless file nor endless mistakes."""
        self.assertEqual(mistakes("#" * MAX_POLICY), [])
        self.assertEqual(len(mistakes("#" * MAX_POLICY + "\n")), 1)
        self.assertEqual(len(mistakes("x\n" * 1000)), 100)
        (problem,) = mistakes("x" * 1000)
        self.assertLess(len(problem[1]), 80)

    def test_harmless(self) -> None:
        """A byte-order mark, CRLF, lined-up columns, blanks at the end, comments."""
        text = "\ufeffpolicy default deny\r\n  # so\r\n\t\r\nallow\t\t*\t\t\tinfo \t*\t* \r\n"
        policy = parse_policy(text)
        self.assertEqual(policy.decide(RIP, "info", bool), (True, "line 4"))
        self.assertEqual(policy.warnings, ())

    def test_unanchored_is_warned_of(self) -> None:
        """An expression that matches within longer names is seldom meant."""
        policy = parse_policy("allow\t/sre/\t*\t*\t*\nallow\t/^choria=sre$/\t*\t*\t*\n", path="p")
        (warning,) = policy.warnings
        self.assertTrue(str(warning).startswith("p:1: policy: found '/sre/', wanted ^ and $"))

    def test_groups(self) -> None:
        """Names, members, and what is neither."""
        self.assertEqual(
            dict(parse_groups("# x\n\na-1.b  c=d e=f\ng c=d\ng h=i\n")),
            {"a-1.b": frozenset({"c=d", "e=f"}), "g": frozenset({"h=i"})},
        )
        text = "empty\nbad/name c=d\nops bob\n"
        error = self.assertRaises(ConfigError, parse_groups, text, path="/g")
        self.assertEqual([problem.line for problem in error.problems], [1, 2, 3])
        self.assertTrue(str(error).startswith("/g:1: groups: found 'empty', wanted "))


PIECES = st.sampled_from(
    [
        *("allow", "deny", "policy default allow", "policy default", "\t", "\t\t", "\n", " "),
        *("*", RIP, "/x/", "/(/", "ops", "dc=1", "!a", "(a)", "#", "\r\n", "\ufeff", "/", "or"),
    ]
)


class AnyTextTests(SynchronousTestCase):
    """No text makes the reader raise anything but its own error."""

    @given(st.text() | st.lists(PIECES | st.text(max_size=3)).map("".join))
    def test_policy(self, text: str) -> None:
        try:
            policy = parse_policy(text, groups=GROUPS)
        except ConfigError as error:
            self.assertTrue(error.problems)
        else:
            allowed, rule = policy.decide(RIP, "info", lambda fact: True, ("web",))
            self.assertIn(allowed, (True, False))
            self.assertTrue(rule.startswith(("line ", "default")))
            if "allow" not in text:
                self.assertFalse(allowed)

    @given(st.text() | st.lists(PIECES).map("".join))
    def test_groups(self, text: str) -> None:
        try:
            groups = parse_groups(text)
        except ConfigError as error:
            self.assertTrue(error.problems)
        else:
            self.assertTrue(all(groups.values()))

    @given(st.text(), st.text())
    def test_any_caller(self, caller: str, action: str) -> None:
        """The same for callers and actions: the list of one name allows no other."""
        policy = parse_policy(f"deny\t/^\\s/\t*\t*\t*\nallow\t{RIP}\tinfo\t*\t*\n")
        self.assertEqual(
            policy.decide(caller, action, bool, ())[0], (caller, action) == (RIP, "info")
        )
