"""Requests and replies as values, independent of how they travel.

Sources: Choria protocol version 1, ``choria:request:1`` and ``choria:reply:1``.
"""

from __future__ import annotations

import uuid

import attrs

from backplane.choria.filter import Filter

__all__ = ["Reply", "Request", "new_request_id"]


def new_request_id() -> str:
    """Return a version 4 UUID without dashes: 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


@attrs.frozen(kw_only=True)
class Request:
    """A request to an agent (``choria:request:1``).

    :ivar message: the body exactly as it stands in the document; agents see
        :func:`backplane.choria.v1.request_body` of it.
    :ivar request_id: 32 characters.
    :ivar sender_id: identity of the sending host.
    :ivar caller_id: who asks, such as ``choria=sre.choria``.
    :ivar ttl: seconds that the request is good for, at least 30.
    :ivar time: Unix time in whole seconds at which it was made.
    """

    message: str
    request_id: str
    sender_id: str
    caller_id: str
    collective: str
    agent: str
    ttl: int
    time: int
    filter: Filter = attrs.field(factory=Filter)


@attrs.frozen(kw_only=True)
class Reply:
    """An answer to a request (``choria:reply:1``).

    :ivar message: RPC replies: JSON text; discovery: ``pong``.
    :ivar request_id: that of the request.
    :ivar sender_id: identity of the answering service.
    :ivar agent: agent that answered.
    :ivar time: Unix time in whole seconds.
    """

    message: str
    request_id: str
    sender_id: str
    agent: str
    time: int
