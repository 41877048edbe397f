"""Filters: which instances a request is for, how they match, how people type them.

Agents and identity are public and are looked at before a caller is verified;
facts, classes and expressions are not. All kinds that are present must match;
identities are alternatives, the others must match one and all. A filter that is
empty matches everyone, so nothing that was meant as a filter may become empty.

Source: Choria protocol 5.2 to 5.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria.budget import DEFAULT_STEPS, Budget
from backplane.choria.compound import evaluate
from backplane.choria.documents import check_keys, text
from backplane.choria.facts import OPERATORS, FactFilter, check_fact, parse_fact
from backplane.choria.matching import has_agent, has_class, is_identity, is_pattern
from backplane.errors import DecodeError

__all__ = [
    "DEFAULT_STEPS",
    "MAX_ENTRIES",
    "MAX_EXPRESSIONS",
    "MAX_TEXT",
    "Budget",
    "FactFilter",
    "Filter",
    "NodeView",
    "build_filter",
    "decode_filter",
    "encode_filter",
    "matches",
    "matches_public",
    "parse_fact",
    "parse_with",
]

MAX_ENTRIES: Final = 1000
"""Most entries of all kinds together; a filter is for choosing, not for lists."""

MAX_TEXT: Final = 4096
"""Longest text in a filter, in characters."""

MAX_EXPRESSIONS: Final = 16
"""Most entries within one compound filter; old Ruby clients send a few."""

_KEYS: Final = frozenset({"fact", "cf_class", "agent", "identity", "compound"})
_SORTED: Final = tuple(sorted(_KEYS))
_LAYER: Final = "filter"


@attrs.frozen(kw_only=True)
class Filter:
    """The filter of a request (``envelope.filter``). All kinds present must match.

    :ivar identity: OR; ``agent``, ``cf_class`` and ``fact``: AND.
    :ivar compound: lists of maps as on the wire, ``[[{"expr": TEXT}]]``.
    """

    fact: tuple[FactFilter, ...] = ()
    cf_class: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    compound: tuple[tuple[Mapping[str, str], ...], ...] = ()


_EVERYONE: Final = Filter()


@attrs.frozen(kw_only=True)
class NodeView:
    """What a filter may know about a node.

    :ivar agents: names of the agents that are loaded.
    :ivar facts: plain JSON values, without secrets.
    :ivar now: Unix time for the ``now()`` of expressions, which fails without.
    """

    identity: str
    agents: Sequence[str]
    classes: Sequence[str]
    facts: Mapping[str, Any]
    now: float | None = None


def decode_filter(value: object) -> Filter:
    """Return the filter of a request, from decoded JSON.

    :raises DecodeError: for anything that Choria's schema refuses, for keys that
        differ from known ones only in case, and beyond the bounds.
    """
    if not isinstance(value, dict):
        raise DecodeError("bad_field", _LAYER, "the filter is not an object")
    check_keys(value, _LAYER, _KEYS)
    lists = {key: _list(value, key) for key in _SORTED}
    entries = sum(map(len, lists.values()))
    if not entries:
        return _EVERYONE
    if entries > MAX_ENTRIES:
        raise DecodeError("too_large", _LAYER, f"more than {MAX_ENTRIES} entries")
    return Filter(
        fact=tuple(_fact(item) for item in lists["fact"]),
        cf_class=tuple(_name(item, "cf_class") for item in lists["cf_class"]),
        agent=tuple(_name(item, "agent") for item in lists["agent"]),
        identity=tuple(_name(item, "identity") for item in lists["identity"]),
        compound=tuple(_compound(item) for item in lists["compound"]),
    )


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    if key not in value:
        if key == "agent":
            return []
        raise DecodeError("missing_field", _LAYER, f"{key} is missing")
    found = value[key]
    if not isinstance(found, list):
        raise DecodeError("bad_field", _LAYER, f"{key} is not a list")
    return found


def _bounded(value: Mapping[str, Any], key: str, least: int) -> str:
    found = text(value, key, _LAYER, least=least)
    if len(found) > MAX_TEXT:
        raise DecodeError("too_large", _LAYER, f"{key[:40]} has more than {MAX_TEXT} characters")
    return found


def _name(item: object, key: str) -> str:
    return _bounded({key: item}, key, 0)


def _fact(item: object) -> FactFilter:
    if not isinstance(item, dict):
        raise DecodeError("bad_field", _LAYER, "a fact filter is not an object")
    check_keys(item, _LAYER, ("fact", "operator", "value"))
    operator = text(item, "operator", _LAYER)
    if operator not in OPERATORS:
        raise DecodeError("bad_field", _LAYER, f"the operator {operator[:20]!r}")
    return FactFilter(_bounded(item, "fact", 1), operator, _bounded(item, "value", 1))


def _compound(item: object) -> tuple[Mapping[str, str], ...]:
    if not isinstance(item, list) or not all(isinstance(entry, dict) for entry in item):
        raise DecodeError("bad_field", _LAYER, "a compound filter is not a list of objects")
    if len(item) > MAX_EXPRESSIONS or any(len(entry) > MAX_EXPRESSIONS for entry in item):
        raise DecodeError("too_large", _LAYER, "a compound filter with too many entries")
    if any(len(key) > MAX_TEXT for entry in item for key in entry):
        raise DecodeError("too_large", _LAYER, f"a key of more than {MAX_TEXT} characters")
    return tuple({key: _bounded(entry, key, 0) for key in entry} for entry in item)


def encode_filter(filter: Filter) -> dict[str, Any]:
    """Return the filter as it goes on the wire, with all its lists."""
    return {
        "fact": [
            {"fact": test.fact, "operator": test.operator, "value": test.value}
            for test in filter.fact
        ],
        "cf_class": list(filter.cf_class),
        "agent": list(filter.agent),
        "identity": list(filter.identity),
        "compound": [[dict(entry) for entry in entries] for entries in filter.compound],
    }


def matches_public(filter: Filter, node: NodeView) -> bool:
    """Say whether agent and identity filters match; never raises.

    Has a budget of its own, because strangers can ask.
    """
    if not filter.identity and not filter.agent:
        return True
    budget = Budget()
    try:
        return (
            not filter.identity
            or node.identity in filter.identity
            or any(
                is_identity(node.identity, wanted, budget)
                for wanted in filter.identity
                if is_pattern(wanted)
            )
        ) and all(has_agent(node.agents, wanted, budget) for wanted in filter.agent)
    except Exception:  # no filter may stop a service
        return False


def matches(filter: Filter, node: NodeView, budget: Budget) -> bool:
    """Say whether fact, class and compound filters match; never raises.

    An expression that fails does not match. Over budget nothing matches, and
    ``budget.exceeded`` says so.
    """
    try:
        return (
            all(has_class(node.classes, wanted, budget) for wanted in filter.cf_class)
            and all(check_fact(node.facts, test, budget) for test in filter.fact)
            and all(_expression(entries, node, budget) for entries in filter.compound)
        )
    except Exception:  # expressions fail, budgets end; no filter may stop a service
        return False


def _expression(entries: Sequence[Mapping[str, str]], node: NodeView, budget: Budget) -> bool:
    # Anything else than one map with an expression is of the old Ruby clients.
    if len(entries) != 1 or "expr" not in entries[0]:
        budget.spend()
        return False
    return evaluate(entries[0]["expr"], node, budget)


def parse_with(texts: Iterable[str]) -> tuple[list[FactFilter], list[str]]:
    """Return the fact tests and classes of ``-W`` values, which blanks separate.

    What does not read as a fact is a class. Classes come once each.
    """
    facts: list[FactFilter] = []
    classes: dict[str, None] = {}
    for part in (part for whole in texts for part in whole.split(" ")):
        try:
            facts.append(parse_fact(part))
        except ValueError:
            if part:
                classes[part] = None
    return facts, list(classes)


def build_filter(
    *,
    facts: Iterable[str] = (),
    classes: Iterable[str] = (),
    agents: Iterable[str] = (),
    identities: Iterable[str] = (),
    withs: Iterable[str] = (),
    select: Sequence[str] = (),
) -> Filter:
    """Return the filter that a command line means.

    :param facts: of ``-F``; ``classes`` of ``-C``, ``agents`` of ``-A`` with the
        command's own agent last, ``identities`` of ``-I``, ``withs`` of ``-W``,
        ``select`` of ``-S``.
    :raises ValueError: for a fact that cannot be read, and for an empty value: an
        unset variable in a script must not address everyone.
    """
    given = {
        "fact": list(facts),
        "class": list(classes),
        "agent": list(agents),
        "identity": list(identities),
        "with": list(withs),
        "select": list(select),
    }
    for name, values in given.items():
        # A blank -W would make no filter at all; any other blank matches nothing.
        if not all(value.strip(" ") if name == "with" else value for value in values):
            raise ValueError(f"an empty {name} filter; leave it out to address everyone")
    more_facts, more_classes = parse_with(given["with"])
    return Filter(
        fact=(*map(parse_fact, given["fact"]), *more_facts),
        cf_class=tuple(dict.fromkeys([*given["class"], *more_classes])),
        agent=tuple(dict.fromkeys(given["agent"])),
        identity=tuple(dict.fromkeys(given["identity"])),
        compound=tuple(({"expr": value},) for value in given["select"]),
    )
