"""The ``choria_util`` agent: the node's connection, and its autonomous agents.

A backplane hosts no autonomous agents (machines), so their lists are empty.
Source: Choria protocol 6.3.
"""

from __future__ import annotations

import os
import platform
from typing import Any
from urllib.parse import urlsplit

from backplane._version import __version__
from backplane.choria.ddl import Metadata
from backplane.choria.rpc import ActionError
from backplane.node.agent import ActionRequest, Agent, action
from backplane.node.outputs import output
from backplane.node.standard import CHORIA_AUTHOR, NodeDetails

__all__ = ["ChoriaUtilAgent"]


class ChoriaUtilAgent(Agent):
    """Details of the node's connection, and its (never any) autonomous agents."""

    checks_inputs = False
    metadata = Metadata(
        name="choria_util",
        description="Choria Utilities",
        author=CHORIA_AUTHOR,
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
            output("security", "Security Provider", "string"),
            output("connector", "Connector", "string"),
            output("client_version", "NATS Client Version", "string"),
            output("client_flavour", "NATS Client Flavour", "string"),
            output("client_options", "NATS Client Options", "Hash"),
            output("client_stats", "NATS Client Statistics", "Hash"),
            output("connected_server", "Connected Broker", "string"),
            output("facter_domain", "Facter Domain", "string"),
            output("facter_command", "Facter", "string"),
            output("srv_domain", "SRV Domain", "string"),
            output("using_srv", "SRV Used", "boolean"),
            output("middleware_servers", "Middleware", "Array"),
            output("path", "Path", "string"),
            output("choria_version", "Choria Version", "string"),
            output("secure_protocol", "Protocol Secure", "boolean"),
            output("connector_tls", "Connector TLS", "boolean"),
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
            output("machine_ids", "Machine IDs", "Array"),
            output("machine_names", "Machine Names", "Array"),
            output("states", "Machine States", "Hash"),
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


def _address(server: str) -> str:
    parts = urlsplit(server if "://" in server else f"nats://{server}")
    return parts.netloc.rpartition("@")[2]
