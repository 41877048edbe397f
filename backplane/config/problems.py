"""Mistakes of a configuration: collected, told together, each in plain words."""

from __future__ import annotations

import datetime
from typing import Any, Final

from backplane.config.nodes import Entry, Node
from backplane.errors import ConfigError, Problem

__all__ = ["Collector", "describe"]

_SHOWN: Final = 60
"""Characters of a value that a message quotes."""


class Collector:
    """Gathers the mistakes of one file, or of a configuration made in code.

    :param path: the file, or ``None``.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._problems: list[Problem] = []

    def add(self, key: str, found: str, wanted: str, at: Node | Entry | None = None) -> None:
        """Note one mistake; see :class:`~backplane.errors.Problem`."""
        if not key.isprintable():
            key = repr(key)[1:-1]
        line, column = (at.line, at.column) if at is not None else (None, None)
        problem = Problem(key, found, wanted, self.path, line, column)
        if problem not in self._problems:
            self._problems.append(problem)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The mistakes in the order of the file."""
        return tuple(sorted(self._problems, key=lambda each: (each.line or 0, each.column or 0)))

    def error(self) -> ConfigError:
        """Return all mistakes as one error."""
        return ConfigError(self.problems)

    def check(self) -> None:
        """:raises ConfigError: with all mistakes, when there are any."""
        if self._problems:
            raise self.error()


def describe(node: Node, *, secret: bool = False) -> str:
    """Say what stands there: as written, and what YAML made of it.

    :param secret: tell the kind only.
    """
    if node.entries is not None:
        return "a mapping"
    if node.items is not None:
        return "a list"
    kind = _kind(node.value)
    if isinstance(node.value, str):
        return kind if secret else _shown(repr(node.value))
    if node.written == "" and node.value is None:
        return "nothing"
    if secret:
        return kind
    if node.language is None or node.written is None:
        return _shown(repr(node.value))
    if isinstance(node.value, (int, float)) and node.written == str(node.value):
        return f"{_shown(node.written)}, which is {kind}"
    return f"{_shown(node.written)}, which {node.language} reads as {_reading(node.value, kind)}"


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (str, "text"),
    (bool, "a boolean"),
    (int, "a number"),
    (float, "a number"),
    (datetime.date, "a date"),
    (type(None), "null"),
)


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def _reading(value: Any, kind: str) -> str:
    if value is None:
        return "null, that is nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int) and abs(value) > 10**18:
        return "a very large number"
    return f"the {kind.removeprefix('a ')} {_shown(str(value))}"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
