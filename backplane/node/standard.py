"""What every Choria node has: the ``discovery`` agent, and what others say of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from backplane._version import __version__
from backplane.choria.ddl import Metadata
from backplane.node.agent import Agent, PlainAgent
from backplane.node.facts import FactSnapshots
from backplane.node.outcome import Counters

__all__ = ["CHORIA_AUTHOR", "Connection", "DiscoveryAgent", "NodeDetails"]

CHORIA_AUTHOR: Final = "R.I.Pienaar <rip@devco.net>"
"""Who made the agents that a backplane shares with Choria."""


class Connection(Protocol):
    """What ``choria_util`` shows of the broker connection."""

    @property
    def connected_url(self) -> str | None: ...

    def options(self) -> Mapping[str, Any]: ...

    def counts(self) -> Mapping[str, int]: ...


@attrs.frozen(kw_only=True)
class NodeDetails:
    """What ``rpcutil`` and ``choria_util`` say of this node.

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
        author=CHORIA_AUTHOR,
        license="Apache-2.0",
        url="https://choria.io",
        version=__version__,
        timeout=2,
    )

    def answer(self, body: bytes) -> str | None:
        """Answer a body that contains ``ping``."""
        return "pong" if b"ping" in body else None
