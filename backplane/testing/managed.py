"""A management as a harness has it: how it is configured, and what it wrote down."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backplane.config.service import parse
from backplane.config.settings import ServiceConfig
from backplane.service import Management

__all__ = ["FULL", "READ_ONLY", "STRANGER", "Managed", "audited", "configure"]

FULL: Final = "sre.choria"
"""Certname of who may do everything in a harness."""

READ_ONLY: Final = "1stline.choria"
"""Certname of who may only look."""

STRANGER: Final = "stranger.choria"
"""Certname of who may do nothing."""

_LOCKS: Final = importlib.util.find_spec("fcntl") is not None
# What the audit log needs.


class Managed(Management):
    """A management whose counters can be looked at."""

    @property
    def dropped(self) -> Counter[str]:
        """How many requests were dropped without a word, by reason."""
        return Counter() if self._node is None else self._node.admission.counters.dropped


def configure(file: Path, settings: Mapping[str, Any], policy: str | None = None) -> ServiceConfig:
    """Return a configuration, by default with roles and an audit log.

    :param file: begins the names of its files.
    :param settings: keys of the ``management`` section; they win. ``audit=None`` is for none.
    :param policy: the text of an action policy.
    :raises ConfigError: when they cannot be used.
    """
    fields: dict[str, Any] = {
        "auth": {"full": [FULL], "read_only": [READ_ONLY]},
        **({"audit": {"logfile": f"{file}.audit"}} if _LOCKS else {}),
        **settings,
    }
    if fields.get("audit", ...) is None:
        del fields["audit"]
    if policy is not None:
        Path(f"{file}.policy").write_text(policy, encoding="utf-8")
        fields["auth"] = {**fields["auth"], "policy": f"{file}.policy"}
    return parse(fields, env={}, hostname="host.example.net", pid=1)


def audited(management: Management) -> list[dict[str, Any]]:
    """Return the lines of its audit log, oldest first; none where there is no log."""
    audit = management.config.audit
    try:
        with open(audit.logfile if audit is not None else "", encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []
