"""``backplane ddl``: what an agent offers, for other clients."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

from backplane.choria.ddl import DDL
from backplane.node.agent import Agent

__all__ = ["agent_ddl"]

BUILT_IN: Final[Mapping[str, str]] = {
    "backplane": "backplane.node.backplane:BackplaneAgent",
    "rpcutil": "backplane.node.rpcutil:RpcutilAgent",
    "choria_util": "backplane.node.choria_util:ChoriaUtilAgent",
}


def agent_ddl(name: str) -> DDL:
    """Return the DDL of an agent, with all its actions.

    :raises ValueError: when there is none of that name.
    """
    module, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not colon:
        known = ", ".join(sorted(BUILT_IN))
        raise ValueError(f"there is no agent {name!r}: {known}, or package.module:Class")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise ValueError(f"importing {module} failed: {type(error).__name__}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise ValueError(f"{name} is not a subclass of backplane.Agent")
    return found.full_ddl()
