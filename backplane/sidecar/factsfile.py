"""Facts from a YAML or JSON file that somebody else writes."""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool

from backplane.config.document import parse_document
from backplane.config.nodes import to_plain
from backplane.config.problems import Collector
from backplane.sidecar.errors import SidecarError
from backplane.sidecar.regular import read_regular

__all__ = ["FactsFile", "parse_facts"]

MAX_FACTS: Final = 256 * 1024
"""Bytes of the file."""


def parse_facts(data: bytes, path: str) -> dict[str, Any]:
    """Return the facts in the content of a file.

    :raises ConfigError: for what is neither YAML nor JSON, with the place.
    :raises SidecarError: for what is no mapping.
    """
    facts: Any = None
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        problems = Collector(path)
        facts = to_plain(parse_document(data, problems))
        problems.check()
    if not isinstance(facts, dict):
        raise SidecarError(f"{path} holds no mapping of names to values")
    return facts


class FactsFile:
    """The facts; what has not changed is not parsed again.

    :param path: absolute.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._data: bytes | None = None
        self._facts: dict[str, Any] = {}

    def read(self) -> Deferred[dict[str, Any]]:
        """Return the facts; fails as :func:`parse_facts` does, and with :class:`SidecarError`
        when the file cannot be read."""
        data, _ = read_regular(self._path, MAX_FACTS)
        if data == self._data:
            return succeed(self._facts)
        pool = self._reactor.getThreadPool()
        # YAML of that size takes some seconds.
        parsed: Deferred[dict[str, Any]] = deferToThreadPool(
            self._reactor, pool, parse_facts, data, self._path
        )

        def keep(facts: dict[str, Any]) -> dict[str, Any]:
            self._data, self._facts = data, facts
            return facts

        return parsed.addCallback(keep)
