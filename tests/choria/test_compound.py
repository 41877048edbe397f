"""Compound filters: the expression language, against the answers of the real peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.budget import Budget, BudgetExceeded
from backplane.choria.compound import ExpressionError, evaluate
from backplane.choria.filter import NodeView
from backplane.choria.jsontext import format_number
from backplane.choria.semver import satisfies

TABLE = Path(__file__).parent.parent / "vectors" / "tables" / "compound.json"

NOW = 1_700_000_000.0


def view(**fields: Any) -> NodeView:
    return NodeView(
        **{"identity": "n", "agents": (), "classes": (), "facts": {}, "now": NOW, **fields}
    )


class TableTests(SynchronousTestCase):
    """The answers are those of expr-lang as Choria runs it."""

    WITHOUT_FACTS = ("facts == nil", "len(facts) > 0")
    """Peers give the raw facts, secrets included, by that name. It does not exist here."""

    def test_all(self) -> None:
        cases = json.loads(TABLE.read_text())["cases"]
        self.assertEqual(len(cases), 427)
        different = 0
        for case in cases:
            node = view(facts=case["facts"], classes=case["classes"], agents=case["agents"])
            answer, failed = False, False
            try:
                answer = evaluate(case["expr"], node, Budget())
            except ExpressionError:
                failed = True
            if case["expr"] in self.WITHOUT_FACTS:
                self.assertTrue(failed)
                different += 1
                continue
            self.assertEqual((answer, failed), (case["match"], case["error"]), case["expr"])
        self.assertEqual(different, len(self.WITHOUT_FACTS))


class LanguageTests(SynchronousTestCase):
    """Details that the table does not have."""

    NODE = view(
        facts={"n": 5, "s": "abc", "list": [3, 1, 2], "m": {"a": {"b": None}}},
        agents=("backplane",),
        classes=("role::web",),
    )

    def yes(self, *expressions: str) -> None:
        for expression in expressions:
            self.assertTrue(evaluate(expression, self.NODE, Budget()), expression)

    def fails(self, *expressions: str) -> None:
        for expression in expressions:
            self.assertRaises(ExpressionError, evaluate, expression, self.NODE, Budget())

    def test_integers_have_64_bits(self) -> None:
        self.yes(
            "9223372036854775807 + 1 == -9223372036854775807 - 1",
            "4611686018427387904 * 4 == 0",
            "bitshl(1, 63) < 0",
            "bitushr(-1, 63) == 1",
            "abs(-9223372036854775807 - 1) < 0",
        )
        self.fails("9223372036854775808 == 1", 'int("9223372036854775808") == 1')

    def test_doubles(self) -> None:
        self.yes("10 ** 400 > 1e300", "-1 / 0 < -1e300", "(-8) ** 0.5 != 1", "round(-2.5) == -3")

    def test_nothing_of_python(self) -> None:
        """Names and attributes of Python mean nothing."""
        self.fails(
            '"".__class__ == nil',
            "__import__('os') == nil",
            "fact.__globals__ == nil",
            'fact("list").append(1) == nil',
            "eval('1') == 1",
        )
        self.yes("__builtins__ == nil", 'fact("m").__class__ == nil')

    def test_no_facts(self) -> None:
        """The raw document is out of reach by every way."""
        self.fails("facts", "$env.facts == nil", '$env["facts"] == nil', "not (facts == 1)")
        self.yes('"facts" not in $env', 'get($env, "facts") == nil')

    def test_scopes(self) -> None:
        self.yes(
            "any([1, 2], any([3], # == 3) and # == 2)",
            "let x = 1; any([x], # == x)",
            "findLast([1, 2, 3], # < 3) == 2",
            "findLast([1], # > 3) == nil",
            "findLastIndex([1, 1], # == 1) == 1",
            "map([7], #index) == [0]",
            "sum([1, 2], # * 2) == 6",
            "reduce([1, 2, 3], #acc + #) == 6",
            'sortBy(fact("list"), #, "desc")[0] == 3',
            "count([true, false, true]) == 2",
        )
        self.fails("let fact = 1; true", "# == 1", "any([1], #acc == 1)", "any([1], 1)")

    def test_chains(self) -> None:
        self.yes('fact("m")?.a.b == nil', "nosuch?.a.b.c == nil", 'fact("m").a?.b?.c == nil')
        self.fails('fact("m").a.b.c == nil')

    def test_functions(self) -> None:
        self.yes(
            'split("a,b,c", ",", 2) == ["a", "b,c"]',
            'string(1e21) == "1e+21" and string(0.5) == "0.5" and string(nil) == "<nil>"',
            "flatten([1, [2, [3]]]) == [1, 2, 3]",
            'fromPairs([["a", 1]]) == {"a": 1}',
            'fromBase64(toBase64("é")) == "é"',
            'toJSON("<") == "\\"\\\\u003c\\""',
            'date("2020-01-01T00:00:00Z") + duration("1h30m") > date("2020-01-01")',
            'now() - date("2023-11-14") < duration("24h")',
            "values({a: 1}) == [1] and min(2, [1, 3]) == 1 and median([4, 2]) == 3",
            'first([]) == nil and last("" == "" ? [1] : []) == 1',
            'upper("ß") == "ß" and lower("\\u03a3\\u03a3") == "\\u03c3\\u03c3"',
            '1 < 2 <= 2 and "b" > "a"',
        )
        self.fails(
            'duration("1 fortnight") > duration("1h")',
            'date("yesterday") == nil',
            'fromJSON("[") == nil',
            'fromJSON("NaN") == nil',
            'int("1.5") == 1',
            'sort([1, "a"]) == nil',
            "keys([]) == nil",
            "min([]) == nil",
            "1 .. 2.5 == nil",
        )

    def test_time_is_given(self) -> None:
        """Without a time ``now()`` fails; nothing reads a clock."""
        self.assertRaises(ExpressionError, evaluate, "now() == now()", view(now=None), Budget())

    def test_words(self) -> None:
        self.yes("'\\x41\\u0042\\u{43}\\103' == 'ABCC'", "`a``b` == 'a`b'", "1_0 == 0xA")
        self.fails("'\\ud800' == ''", "'\n' == ''", "/* ", "12abc == 1", "1.2.3 == 1", "€ == 1")

    def test_empty(self) -> None:
        self.fails("", " ", "// x", "nil", "true true", "true;;true", "{", "[1", "a ? b")


class SemverTests(SynchronousTestCase):
    """Versions and constraints."""

    def test_satisfies(self) -> None:
        for version, constraint, answer in (
            ("1.2.3", "^1.2.3", True),
            ("2.0.0", "^1.2.3", False),
            ("0.2.9", "^0.2.3", True),
            ("0.3.0", "^0.2.3", False),
            ("0.0.4", "^0.0.3", False),
            ("1.9.0", "~1", True),
            ("1.3.0", "~1.2.3", False),
            ("1.2.9", "~1.2.3", True),
            ("1.2.9", "> 1.2", False),
            ("1.3.0", "> 1.2", True),
            ("1.2.9", "<= 1.2", True),
            ("1.2.9", "!= 1.2", False),
            ("1.0.0-alpha.2", "> 1.0.0-alpha.1", True),
            ("1.0.0-alpha.10", "> 1.0.0-alpha.9", True),
            ("1.0.0", "> 1.0.0-rc1", True),
            ("3.1", "1.x || >= 3, < 4", True),
        ):
            self.assertIs(satisfies(version, constraint), answer, (version, constraint))

    def test_unreadable(self) -> None:
        for version, constraint in (
            ("", "1"),
            ("1.2.3-", "1"),
            ("1", ">"),
            ("1", "1 ||"),
            ("1" * 300, "1"),
            ("1.٣", "1"),
        ):
            self.assertRaises(ValueError, satisfies, version, constraint)


class NumberTests(SynchronousTestCase):
    """Numbers are written as Go writes them."""

    def test_format(self) -> None:
        for number, text in (
            (600.0, "600"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (-0.5, "-0.5"),
            (float("inf"), "+Inf"),
            (12345678901234567890.0, "12345678901234567000"),
        ):
            self.assertEqual(format_number(number), text)


WORDS = [
    "fact",
    "with",
    "include",
    "classes",
    "agents",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    "?.",
    "#",
    ",",
    ":",
    ";",
    "?",
    "??",
    "|",
    "and",
    "or",
    "not",
    "in",
    "==",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "..",
    "let",
    "x",
    "=",
    "if",
    "else",
    "any",
    "map",
    "reduce",
    "len",
    "keys",
    "1",
    "2.5",
    '"n"',
    '"a"',
    "nil",
    "true",
    "matches",
    "contains",
    "toJSON",
    "split",
    "max",
    "$env",
]


class AnythingTests(SynchronousTestCase):
    """Whatever is asked, there is an answer or an ``ExpressionError``."""

    NODE = view(facts={"n": 1, "a": [1, {"b": "c"}]}, agents=("x",), classes=("y",))

    def ask(self, expression: str) -> None:
        try:
            self.assertIsInstance(evaluate(expression, self.NODE, Budget()), bool)
        except (ExpressionError, BudgetExceeded):
            pass

    @settings(deadline=None)
    @given(st.text(max_size=40))
    def test_text(self, expression: str) -> None:
        self.ask(expression)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(WORDS), max_size=16).map(" ".join))
    def test_words(self, expression: str) -> None:
        self.ask(expression)

    @settings(deadline=None)
    @given(
        st.recursive(
            st.sampled_from(["1", "2.5", '"a"', "nil", "true", 'fact("a")', "classes", "[1, 2]"]),
            lambda inner: st.one_of(
                st.tuples(
                    inner,
                    st.sampled_from(["+", "-", "/", "%", "**", "==", "<", "in", "..", "matches"]),
                    inner,
                ).map(lambda parts: f"({' '.join(parts)})"),
                st.tuples(
                    st.sampled_from(["len", "keys", "sort", "toJSON", "string", "uniq", "sum"]),
                    inner,
                ).map(lambda parts: f"{parts[0]}({parts[1]})"),
                st.tuples(inner, inner).map(lambda parts: f"map({parts[0]}, {parts[1]})"),
                st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
            ),
            max_leaves=8,
        )
    )
    def test_grammar(self, expression: str) -> None:
        self.ask(f"{expression} == 1")
