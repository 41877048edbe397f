"""Loads the captured messages, and says in one table where we differ from them.

What is opened here is opened with ``json`` and ``base64`` alone, so that a
mistake of our own reader cannot hide itself.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = [
    "ADDED",
    "ANSWERED_HERE_ONLY",
    "ANSWERED_OTHERWISE",
    "CONFIG",
    "LEFT_OUT",
    "SILENT_HERE",
    "VECTORS",
    "Captured",
    "Kind",
    "Opened",
    "Scenario",
    "compare_data",
    "open_document",
    "scenarios",
    "unused",
]

VECTORS: Final = Path(__file__).parent / "vectors"
CONFIG: Final = VECTORS / "config" / "insecure"


class Kind(enum.Enum):
    """What a captured message is."""

    REQUEST = "request"
    REPLY = "reply"
    FEDERATED_REQUEST = "request to the federation broker"
    FEDERATED_REPLY = "reply that the federation broker passed on"
    ITEM = "published item"
    ADAPTED = "document of the data adapter"
    EVENT = "lifecycle event"


@attrs.frozen(kw_only=True)
class Captured:
    """One captured message.

    :ivar time: Unix time at which it was seen.
    :ivar reply: NATS reply subject, or ``None``.
    """

    kind: Kind
    time: float
    subject: str
    reply: str | None
    payload: bytes

    def opened(self) -> Opened:
        """Return its layers; only for what travels in a transport document."""
        return open_document(self.payload)


@attrs.frozen(kw_only=True)
class Scenario:
    """One file of ``insecure/`` or ``ruby/``.

    :ivar name: ``insecure/bp-ping``.
    :ivar captured_at: Unix time.
    :ivar servers: who answered, as the Ruby captures say it; otherwise empty.
    :ivar output: what the client printed on standard output.
    """

    name: str
    captured_at: float
    servers: str
    output: str
    messages: tuple[Captured, ...]

    def of(self, *kinds: Kind) -> tuple[Captured, ...]:
        """Return its messages of some kinds."""
        return tuple(message for message in self.messages if message.kind in kinds)


@attrs.frozen(kw_only=True)
class Opened:
    """The layers of a transport document.

    :ivar inner: the request or reply document.
    :ivar body: of a reply: JSON where it is RPC, text where it is discovery.
    """

    headers: Mapping[str, Any]
    secure: Mapping[str, Any]
    inner: Mapping[str, Any]
    body: Any

    @property
    def envelope(self) -> Mapping[str, Any]:
        """Of the request or reply."""
        envelope: Mapping[str, Any] = self.inner["envelope"]
        return envelope

    @property
    def is_reply(self) -> bool:
        """Whether it is a reply."""
        return bool(self.secure["protocol"] == "choria:secure:reply:1")

    @property
    def hash_is_right(self) -> bool:
        """Whether a reply's hash is that of its message."""
        digest = hashlib.sha256(self.secure["message"].encode()).digest()
        return bool(base64.b64encode(digest).decode() == self.secure["hash"])


def open_document(payload: bytes) -> Opened:
    """Open a transport document."""
    transport = json.loads(payload)
    if transport["protocol"] != "choria:transport:1":
        raise ValueError(f"not a transport document: {transport['protocol']}")
    secure = json.loads(base64.b64decode(transport["data"]))
    inner = json.loads(secure["message"])
    body = inner["message"]
    if body.startswith("{") and secure["protocol"] == "choria:secure:reply:1":
        body = json.loads(body)
    return Opened(headers=transport["headers"], secure=secure, inner=inner, body=body)


def _kind(message: Mapping[str, Any]) -> Kind:
    if message["subject"].startswith("choria.lifecycle."):
        return Kind.EVENT
    if json.loads(message["payload"])["protocol"].startswith("choria:adapters:"):
        return Kind.ADAPTED
    opened = open_document(message["payload"].encode())
    federated = message.get("side") == "federation"
    if opened.is_reply:
        return Kind.FEDERATED_REPLY if federated else Kind.REPLY
    if opened.envelope["agent"] == "registration":
        return Kind.ITEM
    return Kind.FEDERATED_REQUEST if federated else Kind.REQUEST


def _load(path: Path) -> Scenario:
    document = json.loads(path.read_text())
    at, offset = document["captured_at"], 0.0
    if isinstance(at, str):  # Ruby: seconds count from the start of the capture
        at = offset = datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    return Scenario(
        name=f"{path.parent.name}/{path.stem}",
        captured_at=at,
        servers=document.get("servers", ""),
        output=document.get("stdout") or document.get("output") or "",
        messages=tuple(
            Captured(
                kind=_kind(message),
                time=offset + message["t"],
                subject=message["subject"],
                reply=message["reply"] or None,
                payload=message["payload"].encode(),
            )
            for message in document["messages"]
        ),
    )


@cache
def scenarios(mode: str = "insecure") -> Mapping[str, Scenario]:
    """Return all scenarios of a mode by name, oldest first."""
    patterns = (f"{mode}/*.json", f"ruby/{mode}-*.json")
    paths = (path for pattern in patterns for path in VECTORS.glob(pattern))
    found = sorted((_load(path) for path in paths), key=lambda each: (each.captured_at, each.name))
    return {scenario.name: scenario for scenario in found}


# ---------------------------------------------------------------------------------------
# The table: what is left out of the comparison, and where we answer otherwise. Every
# entry has its reason, and one that is not needed any more fails the tests.

LEFT_OUT: Final[Mapping[str, str]] = {
    # "agent#action path": the value is not compared, its presence and JSON type are.
    "backplane#info backplane_version": "our version",
    "backplane#ping version": "our version",
    "backplane#shutdown delay": "drawn at random",
    **dict.fromkeys(
        ("rpcutil#daemon_stats agents", "rpcutil#inventory agents", "rpcutil#agent_inventory *"),
        "a choria server has other agents; of each, the same is told",
    ),
    "rpcutil#inventory data_plugins": "we have no data plugins",
    "rpcutil#* version": "our version",
    "rpcutil#daemon_stats configfile": "the configuration may come from anywhere",
    "rpcutil#daemon_stats pid": "of the process",
    "rpcutil#daemon_stats starttime": "of the process",
    "rpcutil#daemon_stats threads": "of the process",
    "rpcutil#daemon_stats times.*": "of the process",
    **dict.fromkeys(
        (f"rpcutil#daemon_stats {name}" for name in ("passed", "replies", "total", "validated")),
        "counts since a start with other traffic",
    ),
    "rpcutil#daemon_stats events": "counts since a start with other traffic",
    "choria_util#info *version": "our versions",
    "choria_util#info client_flavour": "our client",
    "choria_util#info client_options.*": "our client's settings",
    "choria_util#info client_stats.*": "counts since a start with other traffic",
    "choria_util#info path": "of the process",
}

ADDED: Final[Mapping[str, str]] = {
    "backplane#info health_age": "how old the health result is",
    "backplane#info secure": "whether callers are verified",
    "backplane#info health_state": "whether it is known",
    "backplane#info state": "running, draining, paused or stopping",
    "backplane#info in_flight": "how much work is under way",
    "backplane#info breakers": "breakers with names",
    "backplane#info changes": "what is changed, by whom, until when",
    "rpcutil#daemon_stats dropped": "what was dropped, by reason",
    "rpcutil#daemon_stats refused": "what was refused with a reply, by reason",
    "rpcutil#inventory facts.backplane_*": "a choria server is not a backplane",
    "choria_util#info client_stats.*": "more counts",
}

ANSWERED_HERE_ONLY: Final[Mapping[str, tuple[str, str]]] = {
    # scenario: the agent that answers, why.
    **dict.fromkeys(
        (
            "insecure/ping-agent-absent",
            "insecure/discover-backplane",
            "insecure/discover-backplane-agent-filter-cannot-find",
            "ruby/insecure-old-find-needs-rpcutil",
            "ruby/insecure-current-api-info-fact",
            "ruby/insecure-current-api-compound",
        ),
        ("discovery", "we have the agent rpcutil, by which clients find nodes"),
    ),
    "ruby/insecure-old-inventory-no-rpcutil": ("rpcutil", "we have the agent rpcutil"),
    "insecure/bp-bare-pause-no-facts": (
        "discovery",
        "the backplane_* facts are there without an info source too",
    ),
}

SILENT_HERE: Final[Mapping[str, str]] = {
    "insecure/server-discover-compound-data": "we have no data plugins, so no data functions",
}

ANSWERED_OTHERWISE: Final[Mapping[str, tuple[int, str, str]]] = {
    # scenario: status code, status message, why.
    "insecure/rpcutil-get_data": (1, "Unknown data plugin", "we have no data plugins"),
    "insecure/rpcutil-unauthorised": (
        1,
        "You are not authorized to call this agent or action.",
        "the words of the Go backplane for every agent",
    ),
}

_used: set[str] = set()


def unused(table: Iterable[str]) -> list[str]:
    """Return the entries of LEFT_OUT and ADDED that no comparison has needed."""
    return sorted(set(table) - _used)


def _listed(table: Iterable[str], place: str) -> bool:
    for pattern in table:
        if fnmatchcase(place, pattern):
            _used.add(pattern)
            return True
    return False


def compare_data(action: str, captured: Any, ours: Any, path: str = "") -> list[str]:
    """Return where the data of two replies differ, but for what the table lists.

    :param action: such as ``backplane#info``.
    """
    place = f"{action} {path}"
    if isinstance(captured, dict) and isinstance(ours, dict):
        found = []
        for key in sorted(captured.keys() | ours.keys()):
            below = f"{path}.{key}" if path else key
            if key not in captured:
                if not _listed(ADDED, f"{action} {below}"):
                    found.append(f"{action} {below}: only we have it")
            elif key not in ours:
                found.append(f"{action} {below}: we do not have it")
            else:
                found += compare_data(action, captured[key], ours[key], below)
        return found
    if isinstance(captured, list) and captured and isinstance(captured[0], dict):
        wanted = _shape(captured[0])
        given = [_shape(each) for each in ours] if isinstance(ours, list) else []
        if not given or any(shape != wanted for shape in given):
            return [f"{place}: not a list of objects like {captured[0]!r}, but {ours!r}"]
    if _json_type(captured) != _json_type(ours):
        return [f"{place}: {captured!r} captured, {ours!r} here"]
    if captured != ours and not _listed(LEFT_OUT, place):
        return [f"{place}: {captured!r} captured, {ours!r} here"]
    return []


def _shape(value: Any) -> Mapping[str, str]:
    """Return the JSON types of an object's members."""
    items = value.items() if isinstance(value, dict) else ()
    return {name: _json_type(item) for name, item in items}


def _json_type(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
