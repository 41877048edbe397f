"""Taking typed values out of a mapping of the configuration."""

from __future__ import annotations

import difflib
import math
import re
from contextlib import suppress
from typing import Any, Final

from backplane.config.durations import parse_duration
from backplane.config.nodes import FAILED, Node
from backplane.config.problems import Collector, describe
from backplane.config.rules import Rule

__all__ = ["Section", "read_text"]

# Python's `re` is good enough here: the pattern is ours and linear.
_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def read_text(
    node: Node,
    key: str,
    problems: Collector,
    *,
    wanted: str = "text",
    rule: Rule | None = None,
    secret: bool = False,
) -> str | None:
    """Return the text of a node; ``None`` when there is none, which is reported.

    :param wanted: what is wanted, for the message.
    :param rule: what the text must be; empty texts never do.
    :param secret: do not show what is found.
    """
    if node.value is FAILED:
        return None
    if not isinstance(node.value, str):
        scalar = node.language is not None and node.entries is None and node.items is None
        hint = "; put it in quotes" if scalar else ""
        problems.add(key, describe(node, secret=secret), wanted + hint, node)
        return None
    refused = rule(node.value) if rule is not None and node.value else None
    if not node.value:
        refused = f"{wanted}, not an empty one"
    if refused is not None:
        problems.add(key, describe(node, secret=secret), refused, node)
        return None
    return node.value


class Section:
    """Takes typed values out of a mapping and reports the keys that nobody took."""

    def __init__(self, node: Node, key: str, problems: Collector) -> None:
        self.node = node
        self.key = key
        self.problems = problems
        self._entries = {entry.name: entry for entry in node.entries or ()}
        self._known: list[str] = []
        if node.entries is None and node.value is not FAILED:
            problems.add(key, describe(node), "a mapping of keys, or no such key", node)

    def path(self, name: str) -> str:
        """Return the dotted path of a key."""
        return f"{self.key}.{name}"

    def has(self, name: str) -> bool:
        """Say whether a key is there."""
        return name in self._entries

    def take(self, name: str) -> Node | None:
        """Return a key's value, which is known from now on; ``None`` without one."""
        self._known.append(name)
        entry = self._entries.get(name)
        return entry.node if entry is not None else None

    def text(self, name: str, **rules: Any) -> str | None:
        """Return a text, or ``None``; ``rules`` are those of :func:`read_text`."""
        node = self.take(name)
        return None if node is None else read_text(node, self.path(name), self.problems, **rules)

    def texts(self, name: str, like: str, rule: Rule | None = None) -> tuple[str, ...]:
        """Return a list of texts; ``like`` is an example of one."""
        node = self.take(name)
        if node is None or node.value is FAILED:
            return ()
        if node.items is None:
            self.problems.add(self.path(name), describe(node), f"a list, such as [{like}]", node)
        read = (
            read_text(item, f"{self.path(name)}[{at}]", self.problems, rule=rule)
            for at, item in enumerate(node.items or ())
        )
        return tuple(item for item in read if item is not None)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean."""
        node = self.take(name)
        if node is None or node.value is FAILED:
            return default
        words = {"true": True, "false": False}
        if node.expanded and str(node.value).lower() in words:
            return words[str(node.value).lower()]
        if not isinstance(node.value, bool):
            self.problems.add(self.path(name), describe(node), "true or false", node)
            return False
        return node.value

    def switch(self, name: str) -> bool | None:
        """Return a boolean, or ``None`` where nothing is said."""
        said = self.has(name)
        value = self.flag(name)
        return value if said else None

    def number(self, name: str, default: float, least: float, whole: bool = False) -> float:
        """Return a number of at least ``least``."""
        node = self.take(name)
        if node is None or node.value is FAILED:
            return default
        value = _number(node)
        kind = "a whole number" if whole else "a number"
        if value is None or value < least or (whole and not value.is_integer()):
            like = f"{default:.0f}" if whole else f"{default:g}"  # never 6.7e+07
            wanted = f"{kind} of at least {least:g}, such as {like}"
            if isinstance(node.value, str):
                wanted += ", without quotes"
            elif value is None and node.language is not None:
                wanted += "; if text is meant, put it in quotes"
            self.problems.add(self.path(name), describe(node), wanted, node)
            return default
        return value

    def seconds(self, name: str, least: float) -> float | None:
        """Return seconds, given as a number or as ``1h``; ``None`` where there are none."""
        node = self.take(name)
        if node is None or node.value is FAILED:
            return None
        value = _number(node)
        if value is None and isinstance(node.value, str):
            with suppress(ValueError):
                value = parse_duration(node.value)
        if value is None or not value >= least:
            wanted = f"seconds, at least {least:g}, or a duration such as 1h"
            self.problems.add(self.path(name), describe(node), wanted, node)
            return None
        return value

    def section(self, name: str) -> Section | None:
        """Return the mapping below a key, or ``None``."""
        node = self.take(name)
        section = None if node is None else Section(node, self.path(name), self.problems)
        return section if section is not None and section.node.entries is not None else None

    def close(self) -> None:
        """Report the keys that nobody took."""
        known = sorted(self._known)
        for entry in self._entries.values():
            if entry.name in self._known:
                continue
            near = difflib.get_close_matches(str(entry.name), known, 1)
            wanted = f"{near[0]!r} perhaps; " if near else ""
            path = self.path(str(entry.name))
            at = entry if entry.line is not None else None
            self.problems.add(path, "an unknown key", f"{wanted}one of {', '.join(known)}", at)


def _number(node: Node) -> float | None:
    """Return the number that was meant, or ``None``.

    YAML 1.1 takes ``1e3`` for text, and octal and sexagesimal numbers for
    others than people mean; both show when the written text is read in decimal.
    """
    value = node.value
    if isinstance(value, str):
        usable = (not node.quoted or node.expanded) and _NUMBER.fullmatch(value)
        value = float(value) if usable else None
    elif node.written is not None and not isinstance(value, bool):
        decimal = node.written.replace("_", "")
        value = value if _NUMBER.fullmatch(decimal) and float(decimal) == value else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
