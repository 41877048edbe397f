"""Our tree of nodes, made of YAML's and of values in code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs
import yaml

from backplane.config.nodes import FAILED, MAX_DEPTH, Entry, Node
from backplane.config.problems import Collector

__all__ = ["Converter", "node_from"]

_STANDARD: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE: Final = "tag:yaml.org,2002:merge"
_FAILURES: Final = (
    # What PyYAML's constructors raise for text that its resolver has promised.
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
)


class Converter:
    """Makes our tree of YAML's; values that are used twice are converted once."""

    def __init__(
        self, loader: yaml.SafeLoader, problems: Collector, language: Literal["YAML", "JSON"]
    ) -> None:
        self._loader = loader
        self._problems = problems
        self._language: Literal["YAML", "JSON"] = language
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def convert(self, node: yaml.Node, key: str, depth: int) -> Node:
        """Return the tree; what is wrong in it goes to the problems."""
        done = self._done.get(id(node))
        if done is not None:
            return done
        at = self._located(node)
        if id(node) in self._open:
            self._problems.add(key, "an alias of what it stands in", "no such circle", at)
            return at
        if depth > MAX_DEPTH:
            self._problems.add(key, "a value nested too deeply", f"{MAX_DEPTH} levels at most", at)
            return at
        self._open.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            made = self._scalar(node, key, at)
        elif isinstance(node, yaml.MappingNode) and node.tag in _STANDARD:
            made = attrs.evolve(at, entries=tuple(self._entries(node, key, depth).values()))
        elif isinstance(node, yaml.SequenceNode) and node.tag in _STANDARD:
            values = enumerate(node.value)
            items = tuple(self.convert(each, f"{key}[{at}]", depth + 1) for at, each in values)
            made = attrs.evolve(at, items=items)
        else:
            made = attrs.evolve(at, value=self._construct(node, key, at))
        self._open.discard(id(node))
        self._done[id(node)] = made
        return made

    def _located(self, node: yaml.Node) -> Node:
        mark = node.start_mark
        return Node(language=self._language, line=mark.line + 1, column=mark.column + 1)

    def _scalar(self, node: yaml.ScalarNode, key: str, at: Node) -> Node:
        text = node.value
        quoted = node.style is not None
        if self._language == "JSON":
            value = _join_surrogates(text) if quoted else json.loads(text)
        else:
            value = self._construct(node, key, at)
        return attrs.evolve(at, value=value, written=text, quoted=quoted)

    def _construct(self, node: yaml.Node, key: str, at: Node) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
        except _FAILURES:
            # A tag of the author's may be a secret that begins with "!".
            prefix, _, kind = node.tag.rpartition(":")
            found = f"what YAML takes for a {kind}, but it is none"
            if not prefix:
                found = "a value that begins with !"
            self._problems.add(key, found, "text; put it in quotes", at)
            return FAILED

    def _entries(self, node: yaml.MappingNode, key: str, depth: int) -> dict[Any, Entry]:
        merged: dict[Any, Entry] = {}
        own: dict[Any, Entry] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE and self._language == "YAML":
                for name, entry in self._merged(value_node, key, depth).items():
                    merged.setdefault(name, entry)
                continue
            at = self._located(key_node)
            name = self.convert(key_node, key, depth + 1).value
            path = f"{key}.{name}" if key else str(name)
            if isinstance(key_node, yaml.CollectionNode) or not _hashable(name):
                self._problems.add(path, "a key that is not text", "text", at)
                continue
            value = self.convert(value_node, path, depth + 1)
            if name in own:
                found = f"a key that stands already in line {own[name].line}"
                self._problems.add(path, found, "each key once", at)
            own[name] = Entry(name, value, at.line, at.column)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, key: str, depth: int) -> dict[Any, Entry]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[Any, Entry] = {}
        for source in sources:
            at = self._located(source)
            entries = self.convert(source, f"{key}.<<", depth + 1).entries
            if entries is None:
                self._problems.add(f"{key}.<<", "no mapping", "a mapping to merge", at)
            for entry in entries or ():
                merged.setdefault(entry.name, entry)
        return merged


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _join_surrogates(text: str) -> str:
    # YAML reads JSON's \ud83d\ude00 as two characters.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def node_from(value: Any, problems: Collector, key: str = "", depth: int = 0) -> Node:
    """Return the tree of a value that was made in code; it has no places."""
    if depth > MAX_DEPTH:
        problems.add(key, "a value nested too deeply", f"{MAX_DEPTH} levels at most")
    elif isinstance(value, Mapping):
        return Node(
            entries=tuple(
                Entry(name, node_from(each, problems, f"{key}.{name}".lstrip("."), depth + 1))
                for name, each in value.items()
            )
        )
    elif isinstance(value, (list, tuple)):
        each = (
            node_from(item, problems, f"{key}[{at}]", depth + 1) for at, item in enumerate(value)
        )
        return Node(items=tuple(each))
    return Node(value=value)
