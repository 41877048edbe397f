"""The operations of the NATS protocol as values, those of both roles."""

from __future__ import annotations

from typing import Any

import attrs

from backplane.nats.message import Message

__all__ = ["Connect", "Err", "Event", "Info", "Msg", "Ok", "Ping", "Pong", "Pub", "Sub", "Unsub"]


@attrs.define
class Info:
    """``INFO``: the server's settings."""

    fields: dict[str, Any]


@attrs.define
class Connect:
    """``CONNECT``: the client's settings."""

    fields: dict[str, Any]


Msg = Message
"""``MSG`` or ``HMSG``, which is what subscribers get."""


@attrs.define
class Pub:
    """``PUB`` or ``HPUB``; ``headers`` as in :class:`Msg`."""

    subject: str
    reply: str | None
    payload: bytes
    headers: bytes | None = None


@attrs.define
class Sub:
    """``SUB``."""

    subject: str
    queue: str | None
    sid: str


@attrs.define
class Unsub:
    """``UNSUB``; ``max_messages`` counts from the start of the subscription."""

    sid: str
    max_messages: int | None


@attrs.define
class Ping:
    """``PING``."""


@attrs.define
class Pong:
    """``PONG``."""


@attrs.define
class Ok:
    """``+OK``."""


@attrs.define
class Err:
    """``-ERR``; ``text`` without its quotes."""

    text: str


Event = Info | Connect | Msg | Pub | Sub | Unsub | Ping | Pong | Ok | Err
