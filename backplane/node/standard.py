"""The agents that every Choria node has: ``discovery``, ``rpcutil``, ``choria_util``.

Without ``rpcutil`` a node is not found by ``choria discover`` and the Ruby
API. A backplane hosts no autonomous agents (machines) and no data plugins, so
their lists are empty.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs

from backplane._version import __version__
from backplane.choria.ddl import Input, Metadata, Output
from backplane.choria.facts import MISSING, lookup
from backplane.choria.rpc import ActionError, StatusCode
from backplane.node.agent import ActionRequest, Agent, PlainAgent, action
from backplane.node.facts import FactSnapshots
from backplane.node.outcome import Counters

__all__ = ["ChoriaUtilAgent", "Connection", "DiscoveryAgent", "NodeDetails", "RpcutilAgent"]

_AUTHOR: Final = "R.I.Pienaar <rip@devco.net>"


class Connection(Protocol):
    """What ``choria_util`` shows of the broker connection."""

    @property
    def connected_url(self) -> str | None: ...

    def options(self) -> Mapping[str, Any]: ...

    def counts(self) -> Mapping[str, int]: ...


@attrs.frozen(kw_only=True)
class NodeDetails:
    """What the standard agents say of this node.

    :ivar agents: all agents by name.
    :ivar classes: the node's classes.
    :ivar config: what ``get_config_item`` answers; it has no secrets.
    :ivar servers: broker addresses, ``host:port``.
    :ivar started: Unix time of the start.
    """

    identity: str
    collectives: Sequence[str]
    agents: Mapping[str, Agent]
    classes: Callable[[], Sequence[str]]
    facts: FactSnapshots
    counters: Counters
    config: Mapping[str, Any]
    servers: Sequence[str]
    connection: Connection
    started: float
    secure: bool
    tls: bool


class DiscoveryAgent(PlainAgent):
    """Answers ``pong`` to whoever the filter of the request lets through."""

    metadata = Metadata(
        name="discovery",
        description="Discovery Agent",
        author=_AUTHOR,
        license="Apache-2.0",
        url="https://choria.io",
        version=__version__,
        timeout=2,
    )

    def answer(self, body: bytes) -> str | None:
        """Answer a body that contains ``ping``."""
        return "pong" if b"ping" in body else None


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


def _output(name: str, display_as: str, type_: str) -> Output:
    return Output(name=name, description=display_as, display_as=display_as, type=type_)


class RpcutilAgent(Agent):
    """Inventory, facts and statistics of the node."""

    checks_inputs = False
    metadata = Metadata(
        name="rpcutil",
        description="Choria RPC Utilities",
        author=_AUTHOR,
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
        outputs=[_output("pong", "Timestamp", "integer")],
    )
    def ping(self, request: ActionRequest) -> dict[str, Any]:
        """Answer with the time of the request's arrival."""
        return {"pong": int(self._node.counters.last_message or request.time)}

    @action(
        "System inventory",
        role="read_only",
        display="always",
        outputs=[
            _output("agents", "Agents", "Array"),
            _output("classes", "Classes", "Array"),
            _output("collectives", "All Collectives", "Array"),
            _output("data_plugins", "Data Plugins", "Array"),
            _output("facts", "Facts", "Hash"),
            _output("machines", "Machines", "Array"),
            _output("main_collective", "Main Collective", "string"),
            _output("version", "Choria Version", "string"),
            _output("upgradable", "Upgradable", "boolean"),
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
            _output("main_collective", "Main Collective", "string"),
            _output("collectives", "All Collectives", "Array"),
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
        outputs=[_output("agents", "Agents", "Array")],
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
        outputs=[_output("fact", "Fact", "string"), _output("value", "Value", "string")],
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
        outputs=[_output("values", "Values", "Hash")],
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
            _output(name, name.capitalize(), type_)
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
        }

    @action(
        "Get the active value of a specific config property",
        display="always",
        changes=False,
        inputs=[_text("item", "The item to retrieve", 120, "^.+$", False)],
        outputs=[_output("item", "Property", "string"), _output("value", "Value", "string")],
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


class ChoriaUtilAgent(Agent):
    """Details of the node's connection, and its (never any) autonomous agents."""

    checks_inputs = False
    metadata = Metadata(
        name="choria_util",
        description="Choria Utilities",
        author=_AUTHOR,
        license="Apache-2.0",
        url="https://choria.io",
        version=__version__,
        timeout=10,
    )

    def __init__(self, node: NodeDetails) -> None:
        self._node = node

    @action(
        "Choria related information from the running daemon",
        role="read_only",
        display="always",
        outputs=[
            _output("security", "Security Provider", "string"),
            _output("connector", "Connector", "string"),
            _output("client_version", "NATS Client Version", "string"),
            _output("client_flavour", "NATS Client Flavour", "string"),
            _output("client_options", "NATS Client Options", "Hash"),
            _output("client_stats", "NATS Client Statistics", "Hash"),
            _output("connected_server", "Connected Broker", "string"),
            _output("facter_domain", "Facter Domain", "string"),
            _output("facter_command", "Facter", "string"),
            _output("srv_domain", "SRV Domain", "string"),
            _output("using_srv", "SRV Used", "boolean"),
            _output("middleware_servers", "Middleware", "Array"),
            _output("path", "Path", "string"),
            _output("choria_version", "Choria Version", "string"),
            _output("secure_protocol", "Protocol Secure", "boolean"),
            _output("connector_tls", "Connector TLS", "boolean"),
        ],
    )
    def info(self, request: ActionRequest) -> dict[str, Any]:
        """How the node is connected."""
        node = self._node
        return {
            "security": "choria",
            "connector": "choria",
            "client_version": __version__,
            "client_flavour": f"backplane.nats Python {platform.python_version()}",
            "client_options": dict(node.connection.options()),
            "client_stats": dict(node.connection.counts()),
            "connected_server": node.connection.connected_url or "",
            "facter_domain": "",
            "facter_command": "",
            "srv_domain": "",
            "using_srv": False,
            "middleware_servers": [_address(server) for server in node.servers],
            "path": os.environ.get("PATH", ""),
            "choria_version": f"backplane {__version__}",
            "secure_protocol": node.secure,
            "connector_tls": node.tls,
        }

    @action(
        "States of the hosted Choria Autonomous Agents",
        role="read_only",
        display="always",
        outputs=[
            _output("machine_ids", "Machine IDs", "Array"),
            _output("machine_names", "Machine Names", "Array"),
            _output("states", "Machine States", "Hash"),
        ],
    )
    def machine_states(self, request: ActionRequest) -> dict[str, Any]:
        """There are none."""
        return {"machine_ids": [], "machine_names": [], "states": {}}

    @action("Obtains the state of an autonomous agent", display="always", changes=False)
    def machine_state(self, request: ActionRequest) -> dict[str, Any]:
        """Always fails, with the texts of Choria's own agent."""
        criteria = any(request.data.get(name) for name in ("name", "instance", "path"))
        unknown = "unknown machine"
        raise ActionError(
            "No running machines" if criteria else "No search criteria given",
            data={
                "name": unknown,
                "version": unknown,
                "state": unknown,
                "path": "",
                "id": "",
                "start_time": 0,
                "available_transitions": None,
                "scout": False,
            },
        )

    @action("Attempts to force a transition in an autonomous agent", display="always")
    def machine_transition(self, request: ActionRequest) -> dict[str, Any]:
        """Always fails: there is no machine."""
        wanted = str(request.data.get("transition", ""))[:100]
        raise ActionError(f"Could not perform {wanted} transition: no running machines")


def _wanted(request: ActionRequest, name: str, longest: int) -> str:
    value = request.data.get(name)
    if not isinstance(value, str) or not value or len(value) > longest:
        raise ActionError(
            f"{name} must be text of 1 to {longest} characters", StatusCode.INVALID_DATA
        )
    return value


def _address(server: str) -> str:
    parts = urlsplit(server if "://" in server else f"nats://{server}")
    return parts.netloc.rpartition("@")[2]
