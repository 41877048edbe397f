"""The ``rpcutil`` agent: inventory, facts and statistics of the node.

Without it a node is not found by ``choria discover`` and the Ruby API. A backplane
has no data plugins. Source: Choria protocol 6.2.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from backplane._version import __version__
from backplane.choria.ddl import Input, Metadata
from backplane.choria.facts import MISSING, lookup
from backplane.choria.rpc import ActionError, StatusCode
from backplane.node.agent import ActionRequest, Agent, action
from backplane.node.outputs import output
from backplane.node.standard import CHORIA_AUTHOR, NodeDetails

__all__ = ["RpcutilAgent"]


def _text(name: str, description: str, maxlength: int, validation: str, optional: bool) -> Input:
    return Input(
        name=name,
        prompt=name.capitalize(),
        description=description,
        type="string",
        optional=optional,
        validation=validation,
        maxlength=maxlength,
    )


class RpcutilAgent(Agent):
    """Inventory, facts and statistics of the node."""

    checks_inputs = False
    metadata = Metadata(
        name="rpcutil",
        description="Choria RPC Utilities",
        author=CHORIA_AUTHOR,
        license="Apache-2.0",
        url="https://choria.io",
        version=__version__,
        timeout=2,
    )

    def __init__(self, node: NodeDetails) -> None:
        self._node = node

    @action(
        "Responds to requests with the node's time",
        role="read_only",
        display="always",
        outputs=[output("pong", "Timestamp", "integer")],
    )
    def ping(self, request: ActionRequest) -> dict[str, Any]:
        """Answer with the time of the request's arrival."""
        return {"pong": int(self._node.counters.last_message or request.time)}

    @action(
        "System inventory",
        role="read_only",
        display="always",
        outputs=[
            output("agents", "Agents", "Array"),
            output("classes", "Classes", "Array"),
            output("collectives", "All Collectives", "Array"),
            output("data_plugins", "Data Plugins", "Array"),
            output("facts", "Facts", "Hash"),
            output("machines", "Machines", "Array"),
            output("main_collective", "Main Collective", "string"),
            output("version", "Choria Version", "string"),
            output("upgradable", "Upgradable", "boolean"),
        ],
    )
    def inventory(self, request: ActionRequest) -> dict[str, Any]:
        """Agents, classes, collectives and facts."""
        node = self._node
        return {
            "agents": sorted(node.agents),
            "classes": sorted(node.classes()),
            "collectives": list(node.collectives),
            "data_plugins": [],
            "facts": node.facts.shown(),
            "machines": [],
            "main_collective": node.collectives[0],
            "version": __version__,
            "upgradable": False,
        }

    @action(
        "Info about the main and sub collectives",
        role="read_only",
        display="always",
        outputs=[
            output("main_collective", "Main Collective", "string"),
            output("collectives", "All Collectives", "Array"),
        ],
    )
    def collective_info(self, request: ActionRequest) -> dict[str, Any]:
        """The node's collectives."""
        collectives = list(self._node.collectives)
        return {"main_collective": collectives[0], "collectives": collectives}

    @action(
        "Inventory of all agents on the node",
        role="read_only",
        display="always",
        outputs=[output("agents", "Agents", "Array")],
    )
    def agent_inventory(self, request: ActionRequest) -> dict[str, Any]:
        """Metadata of every agent."""
        return {
            "agents": [
                {
                    "agent": name,
                    "license": agent.metadata.license,
                    "author": agent.metadata.author,
                    "timeout": agent.metadata.timeout,
                    "name": name,
                    "version": agent.metadata.version,
                    "url": agent.metadata.url,
                    "description": agent.metadata.description,
                }
                for name, agent in sorted(self._node.agents.items())
            ]
        }

    @action(
        "Retrieve a single fact from the fact store",
        role="read_only",
        display="always",
        inputs=[_text("fact", "The fact to retrieve", 512, "^.+$", False)],
        outputs=[output("fact", "Fact", "string"), output("value", "Value", "string")],
    )
    def get_fact(self, request: ActionRequest) -> dict[str, Any]:
        """One fact by its path; ``None`` when unknown."""
        name = _wanted(request, "fact", 512)
        return {"fact": name, "value": self._fact(name)}

    @action(
        "Retrieve multiple facts from the fact store",
        role="read_only",
        display="always",
        inputs=[
            _text("facts", "Facts to retrieve", 200, r"^\s*[\w\.\-]+(\s*,\s*[\w\.\-]+)*$", False)
        ],
        outputs=[output("values", "Values", "Hash")],
    )
    def get_facts(self, request: ActionRequest) -> dict[str, Any]:
        """Several facts; unknown ones are ``None``."""
        names = [name.strip() for name in _wanted(request, "facts", 200).split(",")]
        return {"values": {name: self._fact(name) for name in names if name}}

    @action(
        "Get statistics from the running daemon",
        role="read_only",
        display="always",
        outputs=[
            output(name, name.capitalize(), type_)
            for name, type_ in (
                ("agents", "Array"),
                ("configfile", "string"),
                ("filtered", "integer"),
                ("pid", "integer"),
                ("passed", "integer"),
                ("threads", "Array"),
                ("replies", "integer"),
                ("starttime", "integer"),
                ("ttlexpired", "integer"),
                ("events", "integer"),
                ("times", "Hash"),
                ("total", "integer"),
                ("unvalidated", "integer"),
                ("validated", "integer"),
                ("version", "string"),
            )
        ],
    )
    def daemon_stats(self, request: ActionRequest) -> dict[str, Any]:
        """Counters of what arrived and what became of it."""
        node, counters = self._node, self._node.counters
        times = os.times()
        return {
            "agents": sorted(node.agents),
            "configfile": str(node.config.get("configfile") or ""),
            "filtered": counters.filtered,
            "pid": os.getpid(),
            "passed": counters.passed,
            "threads": [f"Python {platform.python_version()} on {sys.platform}"],
            "replies": counters.replies,
            "starttime": int(node.started),
            "ttlexpired": counters.ttlexpired,
            "events": counters.events,
            "times": {
                "cstime": int(times.children_system),
                "cutime": int(times.children_user),
                "stime": int(times.system),
                "utime": int(times.user),
            },
            "total": counters.total,
            "unvalidated": counters.unvalidated,
            "validated": counters.validated,
            "version": __version__,
            "dropped": dict(counters.dropped),
            "refused": dict(counters.refused),
        }

    @action(
        "Get the active value of a specific config property",
        display="always",
        changes=False,
        inputs=[_text("item", "The item to retrieve", 120, "^.+$", False)],
        outputs=[output("item", "Property", "string"), output("value", "Value", "string")],
    )
    def get_config_item(self, request: ActionRequest) -> dict[str, Any]:
        """One setting of a fixed list that holds no secrets."""
        name = _wanted(request, "item", 120)
        if name not in self._node.config:
            raise ActionError("Unknown key")
        return {"item": name, "value": self._node.config[name]}

    @action(
        "Get data from a data plugin",
        display="always",
        changes=False,
        inputs=[
            _text("source", "Data plugin", 50, r"^\w+$", False),
            _text("query", "Query for the plugin", 200, "^.+$", True),
        ],
    )
    def get_data(self, request: ActionRequest) -> dict[str, Any]:
        """There are no data plugins."""
        raise ActionError("Unknown data plugin")

    def _fact(self, name: str) -> Any:
        value = lookup(self._node.facts.shown(), name)
        return None if value is MISSING else value


def _wanted(request: ActionRequest, name: str, longest: int) -> str:
    value = request.data.get(name)
    if not isinstance(value, str) or not value or len(value) > longest:
        raise ActionError(
            f"{name} must be text of 1 to {longest} characters", StatusCode.INVALID_DATA
        )
    return value
