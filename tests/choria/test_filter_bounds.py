"""The work that a filter may cause: each bound with its worst case.

Steps are counted, not time. A step stands for about 0.5 µs (see ``budget``), so the
default budget is 2 to 4 ms at worst where verifying an RSA signature takes 40 µs.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.budget import DEFAULT_STEPS, Budget, BudgetExceeded, program_estimate
from backplane.choria.compound import ExpressionError, evaluate
from backplane.choria.expression import MAX_DEPTH, parse
from backplane.choria.facts import MISSING, lookup
from backplane.choria.filter import FactFilter, Filter, NodeView, matches, matches_public
from backplane.choria.lexer import MAX_EXPRESSION, MAX_TOKENS
from backplane.patterns import MAX_SUBJECT, compile_pattern

FACTS: dict[str, Any] = {
    "huge": "ab" * 500_000,
    "text": "ab" * (MAX_SUBJECT // 2),
    "many": {f"key{number:05}": number for number in range(5000)},
    "list": list(range(5000)),
    "words": [f"word{number}" for number in range(3000)],
    "k1": "v1",
    "deep": {"a": {"b": {"c": 1}}},
}
NODE = NodeView(
    identity="app1.example.net",
    agents=("backplane", "discovery"),
    classes=[f"role::c{number}" for number in range(1000)],
    facts=FACTS,
    now=1.7e9,
)


def facts(path: str, operator: str, value: str, times: int = 1) -> Filter:
    return Filter(fact=(FactFilter(path, operator, value),) * times)


def expression(text: str) -> Filter:
    return Filter(compound=(({"expr": text},),))


class BudgetTests(SynchronousTestCase):
    """One budget for all filters of a request."""

    def test_spend(self) -> None:
        budget = Budget(steps=3)
        budget.spend(3)
        self.assertFalse(budget.exceeded)
        for _ in range(2):
            self.assertRaises(BudgetExceeded, budget.spend)
            self.assertTrue(budget.exceeded)

    def test_shared(self) -> None:
        """What one filter has used is not there for the next."""
        budget = Budget()
        wanted = expression("all(1..300, {# > 0})")
        self.assertTrue(matches(wanted, NODE, budget))
        answers = [matches(wanted, NODE, budget) for _ in range(10)]
        self.assertFalse(answers[-1])
        self.assertTrue(budget.exceeded)
        self.assertFalse(matches(facts("k1", "==", "v1"), NODE, budget))

    def test_same_outcome_again(self) -> None:
        """What is cached costs as much as what is not."""
        for wanted in (expression('fact("k1") matches "^v[0-9]"'), facts("k1", "=~", "cold[0-9]")):
            left = []
            for _ in range(2):
                budget = Budget()
                matches(wanted, NODE, budget)
                left.append(budget.steps)
            self.assertEqual(left[0], left[1])


class EnoughTests(SynchronousTestCase):
    """What people do ask is far from the bounds."""

    def test_ordinary(self) -> None:
        for wanted in (
            facts("k1", "=~", "/^v[0-9]{1,3}$/", 20),
            facts("deep.a.b.c", ">=", "1", 50),
            facts("list.#", ">", "4", 50),
            Filter(cf_class=tuple(f"role::c{number}" for number in range(40))),
            expression('"role::c999" in classes and len(fact("words")) > 1'),
            expression('any(classes, {# startsWith "role::c999"})'),
            expression(" or ".join(["false"] * 60) + " or true"),
        ):
            budget = Budget()
            self.assertTrue(matches(wanted, NODE, budget), (wanted, budget))

    def test_pattern_over_classes(self) -> None:
        budget = Budget()
        view = NodeView(identity="", agents=(), classes=NODE.classes[:300], facts={})
        self.assertTrue(matches(Filter(cf_class=("/^role::c299$/",)), view, budget))

    def test_many_identities(self) -> None:
        """A thousand names by hand are a comparison each."""
        names = (*(f"n{number}" for number in range(999)), "app1.example.net")
        self.assertTrue(matches_public(Filter(identity=names, agent=("backplane",)), NODE))


class PatternTests(SynchronousTestCase):
    """Regular expressions are charged before they run."""

    def refused(self, pattern: str, path: str = "k1") -> None:
        budget = Budget()
        self.assertFalse(matches(facts(path, "=~", pattern), NODE, budget))
        self.assertTrue(budget.exceeded, pattern[:40])

    def test_nested_quantifiers_on_a_huge_fact(self) -> None:
        """42 characters on 1 MB: nothing is searched."""
        pattern = "((a{0,5}){0,5}|(b{0,5}){0,5}|(ab){0,5})*$z"
        self.assertEqual(len(pattern), 42)
        self.refused(pattern, "huge")
        # With any budget the text is too long.
        rich = Budget(steps=10**9)
        self.assertFalse(matches(facts("huge", "=~", pattern), NODE, rich))
        self.assertFalse(rich.exceeded)
        plain = Budget()
        self.assertFalse(matches(facts("huge", "=~", "b"), NODE, plain))
        self.assertFalse(plain.exceeded)

    def test_states_without_end(self) -> None:
        """A pattern for which RE2 must give up its fast way is charged for the slow one."""
        self.refused("(a|b)*a(a|b){30}c", "text")
        self.refused("[ab]*a[ab]{300}c", "text")

    def test_dear_to_compile(self) -> None:
        for pattern in (
            "." * 2000,
            "a{1000}" * 200,
            r"\pL" * 100,
            r"\pL{900}",
            r"\W" * 500,
            "[^a]" * 500,
            "(((a{9}){9}){9}){9}",
            "é" * 2000,
            "((a{0,9}){0,9}b){0,9}",
        ):
            self.refused(pattern)

    def test_estimate(self) -> None:
        """The estimate is not below what RE2 makes, by more than a little."""
        for pattern in (
            "abc",
            r"^web\d+\.dc[0-9]{1,3}$",
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}",
            ".{100}",
            "[^a]" * 50,
            r"\W" * 50,
            r"\w" * 200,
            r"\pL",
            "(a+)+" * 100,
            "(ab|cd){50}",
            "a{50}" * 5,
            "é" * 100,
        ):
            size = compile_pattern(pattern, ignore_case=True).programsize
            self.assertGreaterEqual(2 * program_estimate(pattern) + 20, size, pattern)

    def test_many_different(self) -> None:
        """Patterns before the signature is looked at: a few dozen, not a thousand."""
        wanted = Filter(identity=(*(f"/x{number}y/" for number in range(999)), "/app1/"))
        self.assertFalse(matches_public(wanted, NODE))


class ExpressionBoundTests(SynchronousTestCase):
    """Expressions are bounded in length, words, depth, steps and sizes of values."""

    def fails(self, text: str) -> None:
        self.assertRaises(ExpressionError, evaluate, text, NODE, Budget())

    def test_length_and_words(self) -> None:
        self.fails('"' + "x" * MAX_EXPRESSION + '" == ""')
        self.fails("true" + " and true" * MAX_TOKENS)

    def test_depth(self) -> None:
        for text in (
            "(" * 1000 + ")" * 1000,
            "not " * 300 + "true",
            "-" * 390 + "1 == 1",
            "[" * 350 + "]" * 40,
            "+".join(["1"] * 150) + " == 1",
            "x" + ".x" * 150,
            "x" + "[0]" * 120,
            "true ? " * (MAX_DEPTH + 1) + "1",
            "2" + " ** 2" * 100 + " == 1",
            "if true { " * (MAX_DEPTH + 1),
            "len(" * (MAX_DEPTH + 1),
        ):
            self.fails(text)

    def test_length_is_charged(self) -> None:
        budget = Budget()
        self.assertRaises(ExpressionError, evaluate, ". " * 2048, NODE, budget)
        self.assertLess(budget.steps, DEFAULT_STEPS - 1000)

    def test_steps(self) -> None:
        for text in (
            "any(0..1000, any(0..1000, # > 99999))",
            "len(map(0..3000, # + 1)) > 0",
            "0..9223372036854775807 == nil",
            'fact("list") == fact("list")',
            'fact("many") == nil',
            "any(0..2000, classes[0] in classes and 'zz' in classes)",
            'any(0..1000, fact("huge") contains "bb")',
            'any(0..1000, {len(upper(repeat("abcdefgh", 2000))) < 0})',
            'len(sort(fact("words"))) < 0',
            'len(uniq(fact("words"))) < 0',
            'any(0..1000, semver("1.2.3", "' + "||".join([">1.2, <1"] * 40) + '"))',
            'any(0..1000, with("zzz=1"))',
            'any(0..1000, with("zzz"))',
            'any(0..1000, fact("deep.a.b.c") == 7)',
            'any(0..1000, {len(fromJSON("[' + "1," * 500 + '1]")) < 0})',
            "let a = 1..50; "
            + " ".join(
                f"let {new} = concat({old}, {old});"
                for old, new in zip("abcdefghijkl", "bcdefghijklm", strict=True)
            )
            + " len(m) < 0",
            'fact("many.@tostr") == ""',
            'toJSON(fact("words")) == ""',
        ):
            budget = Budget()
            self.assertRaises(BudgetExceeded, evaluate, text, NODE, budget)
            self.assertTrue(budget.exceeded)

    def test_sizes_of_values(self) -> None:
        for text in (
            'repeat("ab", 9999999999) == ""',
            'join(map(0..40, repeat("x", 1000)), "") == ""',
            'replace(repeat("a", 1000), "a", repeat("b", 1000)) == ""',
            'let x = repeat("a", 16000); x + x == ""',
            'upper(fact("huge")) == ""',
            'fromJSON("' + "[" * 3000 + '") == nil',
        ):
            self.fails(text)

    def test_cache_is_bounded(self) -> None:
        for number in range(500):
            parse(f"x == {number}")
        self.assertLessEqual(parse.cache_info().currsize, parse.cache_info().maxsize or 0)


class PathBoundTests(SynchronousTestCase):
    """Paths are charged by their length and by what they look at."""

    def test_dear_paths(self) -> None:
        for path, times in (
            ("many.*9*9*9*9*x", 50),
            ("*.*.*.*.x", 50),
            ("[" * 500 + "]" * 500, 50),
            ("list.#(>4999999)#|#", 50),
            ("list.#.x", 50),
            ("many.@tostr", 50),
            ("many.@keys", 50),
            ("[" + "@this," * 100 + "@this]|#.#.#", 50),
            ("words.#(%*9*9*9x)", 50),
            ("k1|" * 300 + "x", 50),
        ):
            budget = Budget()
            self.assertFalse(matches(facts(path, "==", "1", times), NODE, budget), path[:40])
            total = Budget(steps=10**9)
            for _ in range(times):
                lookup(FACTS, path, total)
            self.assertGreater(10**9 - total.steps, DEFAULT_STEPS, path[:40])

    def test_alone(self) -> None:
        """Without a budget of a request there is one for the call, and no error."""
        self.assertIs(lookup(FACTS, "list.#(>4999999)#|#"), MISSING)
        self.assertEqual(lookup(FACTS, "list.#"), 5000)
