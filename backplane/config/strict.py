"""What ``strict`` wants of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from backplane.config.nodes import Node
from backplane.config.problems import Collector
from backplane.config.settings import ServiceConfig

__all__ = ["STRICT_TTL", "check_strict"]

STRICT_TTL: Final = 60
"""Longest time to live of a request, in seconds; it is what Choria's clients give them."""

_KEY: Final = "management"


def check_strict(config: ServiceConfig, node: Node, problems: Collector) -> None:
    """Report what a strict service must not have, and what it must.

    Keys that are not given have been read with strict values already.
    """
    for name, found, wanted in _loose(config):
        place = _at(node, name.split("."))
        problems.add(f"{_KEY}.{name}", found, f"{wanted}, as `strict` is set", place)


def _loose(config: ServiceConfig) -> Iterator[tuple[str, str, str]]:
    if config.tls is None:
        yield "tls", "nothing", "a section with certificates"
    elif config.tls.delegation:
        yield "tls.delegation", "true", "false or nothing"
    if config.auth.insecure:
        yield "auth.insecure", "true", "false or nothing"
    if config.audit is None:
        yield "audit", "nothing", "a section with logfile"
    elif not config.audit.required:
        yield "audit.required", "false", "true or nothing"
    if config.classes_file is not None:
        yield "classes_file", "a file", "no classes of the host"


def _at(node: Node, names: list[str]) -> Node:
    """Return the node that is nearest to a key."""
    for name in names:
        for entry in node.entries or ():
            if entry.name == name:
                node = entry.node
                break
        else:
            return node
    return node
