"""Layers of filters: documents, what people type, expressions, paths of facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from backplane.choria.budget import Budget, BudgetExceeded
from backplane.choria.compound import ExpressionError, evaluate
from backplane.choria.documents import parse_object
from backplane.choria.facts import parse_fact
from backplane.choria.filter import (
    NodeView,
    build_filter,
    decode_filter,
    encode_filter,
    matches,
    matches_public,
    parse_with,
)
from backplane.choria.paths import lookup
from backplane.choria.semver import satisfies
from backplane.errors import DecodeError
from tests.fuzz.corpus import table
from tests.fuzz.engine import Layer
from tests.fuzz.strategies import documents

__all__ = ["FACTS", "LAYERS"]

FACTS: Final[dict[str, Any]] = table("compound")["cases"][3]["facts"]

NODE: Final = NodeView(
    identity="app1.example.net",
    agents=("backplane", "discovery", "rpcutil"),
    classes=("role::web", "apache"),
    facts=FACTS,
    now=1_700_000_000.0,
)


def _filter(text: str) -> object:
    """Read a filter and ask it; whatever is read can be written again."""
    wanted = decode_filter(parse_object(text, "filter"))
    if decode_filter(encode_filter(wanted)) != wanted:
        raise AssertionError("it is another one when it was written and read")
    budget = Budget()
    return matches_public(wanted, NODE), matches(wanted, NODE, budget)


def _texts(text: str) -> object:
    """Read what people type in place of filters."""
    parse_with([text])
    build_filter(facts=[text], classes=[text], identities=[text], select=[text])
    return parse_fact(text)


def _expression(text: str) -> object:
    return evaluate(text, NODE, Budget())


def _path(text: str) -> object:
    return lookup(FACTS, text, Budget())


def _version(text: str) -> object:
    version, _, constraint = text.partition("|")
    return satisfies(version, constraint)


_WORDS: Final = (
    *('"fact":', '"cf_class":', '"agent":', '"identity":', '"compound":', '"operator":'),
    *('"value":', '"expr":', '"==",', '"=~",', '"/', '[[{"expr":"'),
)

_EXPRESSION: Final = (
    *("fact(", "with(", "include(", "semver(", "now()", "date(", "any(", "all(", "map(", "len("),
    *("filter(", "sortBy(", "groupBy(", "reduce(", "toJSON(", "fromJSON(", "classes", "agents"),
    *("identity", '"dc"', "'x'", "`y`", "==", "!=", ">=", "<", "??", "?.", "? 1 : 2", " in "),
    *(" not ", " and ", " or ", "&&", "||", "!", "(", ")", "[", "]", "{", "}", "#", "..", "|"),
    *("1", "0x10", "1e3", "9223372036854775807", "%", "**", "^", "*", "/", "-", "+", "let x = "),
    *(";", ",", ".", ":", "nil", "true", "matches", " startsWith ", " contains ", "#acc", "#index"),
)

_PATH: Final = (
    *(".", "#", "*", "?", "|", "@this", "@keys", "@values", "@flatten", "@tostr", "@reverse"),
    *("#(", ")#", "==", "%", "!%", "\\", "dc", "app", "roles", "disks", "name", "gb", "0", "1"),
    *("{", "}", "[", "]", ",", ":", '"', "!true", "@join", "@pretty:", "~true", "\\."),
)


def _expressions() -> Sequence[str]:
    return [case["expr"] for case in table("compound")["cases"]]


def _paths() -> Sequence[str]:
    return list(dict.fromkeys(case["filter"]["fact"] for case in table("fact_filters")["cases"]))


def _filters() -> Sequence[str]:
    cases = table("whole_filters")["cases"]
    return [
        case["filter_text"] if "filter_text" in case else json.dumps(case["filter"])
        for case in cases
    ]


LAYERS: Final = (
    Layer(
        name="filters",
        read=_filter,
        errors=(DecodeError,),
        seeds=_filters,
        words=_WORDS,
        made=documents("fact", "cf_class", "agent", "identity", "compound"),
        weight=6,
    ),
    Layer(
        name="filters as typed",
        read=_texts,
        errors=(ValueError,),
        seeds=lambda: [
            *(case["text"] for case in table("fact_strings")["cases"]),
            *(" ".join(case["with"]) for case in table("with_strings")["cases"]),
        ],
        words=("=", "==", "=~", "!=", ">=", "<", "/", " ", "a", "dc", "'", '"', "(", "\\", "and"),
        weight=4,
    ),
    Layer(
        name="expressions",
        read=_expression,
        errors=(ExpressionError, BudgetExceeded),
        seeds=_expressions,
        words=_EXPRESSION,
        weight=9,
    ),
    Layer(
        name="paths of facts",
        read=_path,
        errors=(BudgetExceeded,),
        seeds=_paths,
        words=_PATH,
        weight=7,
    ),
    Layer(
        name="versions",
        read=_version,
        errors=(ValueError,),
        seeds=lambda: ("1.2.3|>= 1.0.0", "1.10.2-rc1+b|~1.10 || ^2", "v1|1.x - 2.0, !=3"),
        words=(">=", "<", "~", "^", "||", ",", " - ", "1", ".", "x", "*", "-rc1", "+b", "|", "v"),
        weight=2,
    ),
)
