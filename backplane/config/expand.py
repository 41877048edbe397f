"""``${NAME}`` in the texts of a configuration."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Final

import attrs

from backplane.config.nodes import FAILED, Node
from backplane.config.problems import Collector

__all__ = ["ExpandError", "expand", "expand_tree", "variables_for"]


class ExpandError(ValueError):
    """A ``${…}`` cannot be replaced.

    :ivar found: what stands there, without the text around it.
    :ivar wanted: what would be right.
    """

    def __init__(self, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(f"found {found}, wanted {wanted}")


_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{((?:[^{}$]|\$(?!\{))*)(\}?))")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.ASCII | re.DOTALL)


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``$$``.

    The default also stands for an empty variable, as in the shell. Any other
    ``$`` is itself, as at the end of a regular expression. What a variable
    holds is not looked at again.

    :raises ExpandError: for an unset variable without a default, and for a
        ``${`` that is neither form.
    """

    def replaced(match: re.Match[str]) -> str:
        dollar, inside, close = match.groups()
        if dollar:
            return "$"
        named = _NAME.fullmatch(inside)
        if not close or named is None:
            raise ExpandError("a ${ that is no ${NAME}", "${NAME} or ${NAME:-default}; $${ for ${")
        name, alternative, default = named.groups()
        if env.get(name) or (alternative is None and name in env):
            return env[name]
        if alternative is None:
            found = f"${{{name}}}, which is not set in the environment"
            raise ExpandError(found, f"the variable, or ${{{name}:-default}}")
        return str(default).replace("$$", "$")

    return _REFERENCE.sub(replaced, text)


def expand_tree(node: Node, env: Mapping[str, str], key: str, problems: Collector) -> Node:
    """Return the tree with every text expanded; keys stay as they are."""
    done: dict[int, Node] = {}

    def walk(node: Node, key: str) -> Node:
        if id(node) not in done:
            done[id(node)] = expanded(node, key)
        return done[id(node)]

    def expanded(node: Node, key: str) -> Node:
        if node.entries is not None:
            entries = (
                attrs.evolve(entry, node=walk(entry.node, f"{key}.{entry.name}"))
                for entry in node.entries
            )
            return attrs.evolve(node, entries=tuple(entries))
        if node.items is not None:
            items = (walk(item, f"{key}[{at}]") for at, item in enumerate(node.items))
            return attrs.evolve(node, items=tuple(items))
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            text = expand(node.value, env)
        except ExpandError as error:
            problems.add(key, error.found, error.wanted, node)
            return attrs.evolve(node, value=FAILED)
        return attrs.evolve(node, value=text, expanded=text != node.value)

    return walk(node, key)


def variables_for(env: Mapping[str, str], hostname: str, pid: int) -> Mapping[str, str]:
    host = env.get("HOSTNAME") or hostname
    return ChainMap({"HOSTNAME": host, "PID": str(pid)}, dict(env))
