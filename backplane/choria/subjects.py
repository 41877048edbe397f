"""Subjects of Choria on NATS, and which reply-to is lawful.

Sources: Choria protocol 1.7, 3.1 and 11 (row 27).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

__all__ = [
    "MAX_SUBJECT",
    "broadcast",
    "check_reply_to",
    "event",
    "federation",
    "node",
    "reply",
    "service",
]

MAX_SUBJECT: Final = 1024
"""Longest reply-to, in bytes. A broker takes control lines of 4,096 bytes and
closes the connection of whoever sends a longer one."""


def broadcast(collective: str, agent: str) -> str:
    """Return where broadcast requests for ``agent`` go."""
    return f"{collective}.broadcast.agent.{agent}"


def service(collective: str, agent: str) -> str:
    """Return where requests for one of the hosts of a service agent go."""
    return f"{collective}.broadcast.service.{agent}"


def node(collective: str, identity: str) -> str:
    """Return where requests for one node go; dots of the identity make tokens."""
    return f"{collective}.node.{identity}"


def reply(collective: str, caller_id: str, request_id: str) -> str:
    """Return where a caller awaits the replies to a request."""
    name = hashlib.md5(caller_id.encode(), usedforsecurity=False).hexdigest()
    return f"{collective}.reply.{name}.{request_id}"


def event(kind: str, component: str) -> str:
    """Return where lifecycle events go."""
    return f"choria.lifecycle.event.{kind}.{component}"


def federation(name: str) -> str:
    """Return where clients of a federation publish."""
    return f"choria.federation.{name}.federation"


def check_reply_to(subject: str, extras: Sequence[str] = ()) -> str | None:
    """Return why nothing may be published to this reply-to, or ``None`` when it may.

    Lawful are ``*.reply.>``, ``choria.federation.*.collective``, and ``extras``.

    :param extras: further subjects, with NATS wildcards.
    """
    if len(subject.encode("utf-8", "replace")) > MAX_SUBJECT:
        return f"longer than {MAX_SUBJECT} bytes"
    if not subject.isprintable() or " " in subject:
        return "has blanks or control characters"
    tokens = subject.split(".")
    if "" in tokens:
        return "has an empty token"
    if "*" in tokens or ">" in tokens:
        return "has a wildcard"
    if tokens[1:2] == ["reply"] and len(tokens) > 2:
        return None
    lawful = ("choria.federation.*.collective", *extras)
    if not any(_covers(pattern.split("."), tokens) for pattern in lawful):
        return _unlawful(tokens)
    return None


def _unlawful(tokens: list[str]) -> str:
    if tokens[0].startswith("$"):
        return "is a subject of the broker's own"
    if tokens[1:2] in (["node"], ["broadcast"]):
        return "is where requests go"
    return "is not a reply subject"


def _covers(pattern: list[str], tokens: list[str]) -> bool:
    if pattern[-1] == ">":
        pattern = pattern[:-1]
        if len(tokens) <= len(pattern):
            return False
        tokens = tokens[: len(pattern)]
    return len(pattern) == len(tokens) and all(
        want in ("*", token) for want, token in zip(pattern, tokens, strict=True)
    )
