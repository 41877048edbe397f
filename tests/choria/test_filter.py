"""Filters: decoding, matching, what people type; against the tables of the real peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.documents import parse_object
from backplane.choria.filter import (
    MAX_ENTRIES,
    MAX_TEXT,
    Budget,
    FactFilter,
    Filter,
    NodeView,
    build_filter,
    decode_filter,
    encode_filter,
    matches,
    matches_public,
    parse_fact,
    parse_with,
)
from backplane.errors import DecodeError

TABLES = Path(__file__).parent.parent / "vectors" / "tables"

EMPTY: dict[str, Any] = {"fact": [], "cf_class": [], "identity": [], "compound": []}


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((TABLES / f"{name}.json").read_text())["cases"]
    return found


def node(**fields: Any) -> NodeView:
    return NodeView(**{"identity": "", "agents": (), "classes": (), "facts": {}, **fields})


class TableTests(SynchronousTestCase):
    """The answers are those of Choria's own code."""

    def test_typed_facts(self) -> None:
        found = cases("fact_strings")
        self.assertEqual(len(found), 160)
        for case in found:
            if case["error"] is None:
                self.assertEqual(attrs.asdict(parse_fact(case["text"])), case["result"])
            else:
                error = self.assertRaises(ValueError, parse_fact, case["text"])
                self.assertEqual(str(error), case["error"])

    def test_with(self) -> None:
        found = cases("with_strings")
        self.assertEqual(len(found), 46)
        for case in found:
            facts, classes = parse_with(case["with"])
            self.assertEqual([attrs.asdict(test) for test in facts], case["facts"], case)
            self.assertEqual(classes, case["classes"], case)

    def test_command_lines(self) -> None:
        """What is typed makes the same filter, but nothing empty is passed over."""
        found = cases("cli_filters")
        self.assertEqual(len(found), 18)
        stricter = 0
        for case in found:
            flags = case["flags"]
            agents = [*flags.get("-A", ()), *([flags["agent"]] if "agent" in flags else [])]

            def build(flags: dict[str, Any] = flags, agents: list[str] = agents) -> Filter:
                return build_filter(
                    facts=flags.get("-F", ()),
                    classes=flags.get("-C", ()),
                    agents=agents,
                    identities=flags.get("-I", ()),
                    withs=flags.get("-W", ()),
                    select=[flags["-S"]] if "-S" in flags else [],
                )

            if case["error"] is not None:
                self.assertEqual(str(self.assertRaises(ValueError, build)), case["error"])
            elif "" in [value for values in flags.values() for value in ([*values] or [""])]:
                # Peers skip empty values and then address everyone.
                self.assertIn("empty", str(self.assertRaises(ValueError, build)))
                stricter += 1
            else:
                self.assertEqual(encode_filter(build()), case["filter"], case)
        self.assertEqual(stricter, 3)

    def test_identities(self) -> None:
        found = cases("identity_filters")
        self.assertEqual(len(found), 175)
        for case in found:
            wanted = Filter(identity=tuple(case["filter"]))
            self.assertIs(
                matches_public(wanted, node(identity=case["identity"])), case["match"], case
            )

    def test_classes(self) -> None:
        found = cases("class_filters")
        self.assertEqual(len(found), 165)
        for case in found:
            # A list that is empty is not asked.
            wanted = Filter(cf_class=tuple(case["filter"]))
            answer = matches(wanted, node(classes=case["classes"]), Budget())
            self.assertIs(answer, case["match"] or not case["filter"], case)

    def test_agents(self) -> None:
        found = cases("agent_filters")
        self.assertEqual(len(found), 60)
        for case in found:
            wanted = Filter(agent=tuple(case["filter"]))
            answer = matches_public(wanted, node(agents=case["agents"]))
            self.assertIs(answer, case["match"] or not case["filter"], case)

    def test_compound_lists(self) -> None:
        """Several expressions must all be true; peers let the majority decide."""
        found = cases("compound_lists")
        self.assertEqual(len(found), 34)
        majorities = 0
        for case in found:
            view = node(facts=case["facts"], classes=case["classes"], agents=case["agents"])
            try:
                wanted = decode_filter({**EMPTY, "compound": case["compound"]})
            except DecodeError:
                # A whole request with null in there is refused by peers as well.
                self.assertTrue(case["undecodable"] or "null" in json.dumps(case["compound"]))
                self.assertFalse(case["match"])
                continue
            self.assertFalse(case["undecodable"], case)
            answer = matches(wanted, view, Budget())
            if "quirk" in case:
                majorities += 1
                self.assertFalse(answer)
            else:
                self.assertIs(answer, case["match"] or not case["compound"], case)
        self.assertEqual(majorities, 1)

    def test_whole_filters(self) -> None:
        found = cases("whole_filters")
        self.assertEqual(len(found), 199)
        refused, majorities = 0, 0
        for case in found:
            view = NodeView(**case["node"])
            try:
                document = (
                    case["filter"]
                    if "filter" in case
                    else parse_object(case["filter_text"], "filter")
                )
                wanted = decode_filter(document)
            except DecodeError as error:
                if case["valid"]:
                    # Keys twice, or twice but for their case: nobody honest writes them.
                    self.assertIn(error.reason, ("duplicate_key", "case_variant_key"), case)
                    self.assertIn("quirk", case)
                    refused += 1
                continue
            self.assertTrue(case["valid"], case)
            answer = matches_public(wanted, view) and matches(wanted, view, Budget())
            if len(wanted.compound) > 2:
                self.assertIn("majority", case["quirk"])
                self.assertFalse(answer)
                majorities += 1
            else:
                self.assertIs(answer, case["match"], case)
        self.assertEqual((refused, majorities), (8, 2))


class DecodeTests(SynchronousTestCase):
    """What a stranger's filter may look like."""

    def reason(self, value: object) -> str:
        error = self.assertRaises(DecodeError, decode_filter, value)
        self.assertEqual(error.layer, "filter")
        return str(error.reason)

    def test_minimal(self) -> None:
        self.assertEqual(decode_filter(dict(EMPTY)), Filter())

    def test_there_and_back(self) -> None:
        wanted = Filter(
            fact=(FactFilter("dc", "==", "DC1"),),
            cf_class=("a",),
            agent=("backplane",),
            identity=("n1", "/n2/"),
            compound=(({"expr": "true"},),),
        )
        self.assertEqual(decode_filter(encode_filter(wanted)), wanted)

    def test_required(self) -> None:
        for key in EMPTY:
            self.assertEqual(
                self.reason({name: [] for name in EMPTY if name != key}), "missing_field"
            )
            self.assertEqual(self.reason({**EMPTY, key: None}), "bad_field")
            self.assertEqual(self.reason({**EMPTY, key: "x"}), "bad_field")

    def test_fact(self) -> None:
        good = {"fact": "a", "operator": "==", "value": "1"}
        for change in ({"operator": "="}, {"operator": "=>"}, {"fact": ""}, {"value": ""}):
            self.assertEqual(self.reason({**EMPTY, "fact": [{**good, **change}]}), "bad_field")
        self.assertEqual(
            self.reason({**EMPTY, "fact": [{**good, "FACT": "b"}]}), "case_variant_key"
        )
        self.assertEqual(decode_filter({**EMPTY, "fact": [{**good, "more": 1}]}).fact[0].fact, "a")

    def test_case_variants(self) -> None:
        """A peer that folds case would read another filter than we do."""
        for key in ("Fact", "IDENTITY", "cf_cla\u017fs", "cf_cla\u017fS"):
            self.assertEqual(self.reason({**EMPTY, key: []}), "case_variant_key")

    def test_bounds(self) -> None:
        self.assertEqual(self.reason({**EMPTY, "identity": ["x"] * (MAX_ENTRIES + 1)}), "too_large")
        self.assertEqual(self.reason({**EMPTY, "identity": ["x" * (MAX_TEXT + 1)]}), "too_large")
        many = [{"expr": "true"}] * 17
        self.assertEqual(self.reason({**EMPTY, "compound": [many]}), "too_large")
        self.assertEqual(self.reason({**EMPTY, "compound": [[{"x" * 9999: ""}]]}), "too_large")

    def test_surrogates(self) -> None:
        self.assertEqual(decode_filter({**EMPTY, "identity": ["\ud800"]}).identity, ("\ufffd",))


class BuildTests(SynchronousTestCase):
    """An unset variable in a script must not address everyone."""

    def test_empty_values(self) -> None:
        for kind in ("facts", "classes", "agents", "identities", "withs", "select"):
            self.assertRaises(ValueError, build_filter, **{kind: [""]})
            self.assertRaises(ValueError, build_filter, **{kind: ["", "a=1"]})
        self.assertRaises(ValueError, build_filter, withs=["  "])

    def test_nothing_given(self) -> None:
        self.assertEqual(build_filter(), Filter())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
TEXTS = st.lists(st.text(max_size=20), max_size=3)


class AnythingTests(SynchronousTestCase):
    """Whatever comes, there is an answer."""

    @settings(deadline=None)
    @given(JSON)
    def test_decode(self, value: object) -> None:
        try:
            decode_filter(value)
        except DecodeError:
            pass

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from([*EMPTY, "agent", "Fact"]), JSON))
    def test_decode_shaped(self, value: dict[str, Any]) -> None:
        try:
            decode_filter({**EMPTY, **value})
        except DecodeError:
            pass

    @settings(deadline=None)
    @given(TEXTS, TEXTS, TEXTS, JSON, st.text(max_size=10))
    def test_match(
        self, identities: list[str], classes: list[str], texts: list[str], fact: Any, path: str
    ) -> None:
        wanted = Filter(
            identity=tuple(identities),
            agent=tuple(classes),
            cf_class=tuple(classes),
            fact=tuple(FactFilter(path or "x", "=~", text) for text in texts),
            compound=tuple(({"expr": text},) for text in texts),
        )
        view = node(identity="a", agents=classes, classes=identities, facts={path: fact, "x": fact})
        self.assertIsInstance(matches_public(wanted, view), bool)
        self.assertIsInstance(matches(wanted, view, Budget()), bool)

    @settings(deadline=None)
    @given(st.text(alphabet="ab<>=!~/ \\", max_size=12))
    def test_typed(self, text: str) -> None:
        """What people typed goes over the wire as it was meant."""
        try:
            test = parse_fact(text)
        except ValueError:
            return
        wanted = Filter(fact=(test,))
        self.assertEqual(decode_filter(encode_filter(wanted)), wanted)
