"""Simulated services on a harness: when they answer, how often, and what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backplane.choria import rpc, v1
from backplane.choria.message import Reply, Request
from backplane.nats.parser import Pub
from backplane.testing import Harness

__all__ = ["Peers", "reply"]

Payload = Callable[[Request, str], bytes]
"""Makes an answer, of a request and an identity."""


def reply(
    status: int = 0,
    message: str = "OK",
    data: Mapping[str, Any] | None = None,
    *,
    body: str | None = None,
    sender: str | None = None,
    request_id: str | None = None,
) -> Payload:
    """Return what makes a reply."""

    def make(request: Request, identity: str) -> bytes:
        text = body
        if text is None:
            text = rpc.encode_reply("ping", status, message, {} if data is None else data)
        document = Reply(
            message=text,
            request_id=request.request_id if request_id is None else request_id,
            sender_id=identity if sender is None else sender,
            agent=request.agent,
            time=request.time,
        )
        return v1.encode_transport(v1.seal_reply(document), sender=identity)

    return make


class Peers:
    """Services of ``app``; those of which nothing is said answer at once and well.

    :ivar pongs: answers to discovery: seconds after the question, and the identity or payload.
    :ivar replies: answers of an identity: seconds, and what makes them.
    :ivar discoveries: how many discoveries came.
    :ivar asked: identities that were asked, in order.
    """

    def __init__(self, harness: Harness, collective: str = "app_backplane") -> None:
        self.pongs: list[tuple[float, str | bytes]] = []
        self.replies: dict[str, list[tuple[float, Payload]]] = {}
        self.discoveries: list[Request] = []
        self.asked: list[str] = []
        self._harness = harness
        harness.broker.subscribe(f"{collective}.broadcast.agent.discovery", self._discovery)
        harness.broker.subscribe(f"{collective}.node.>", self._request)
        self._prefix = f"{collective}.node."

    def add(self, *identities: str, after: float = 0.01) -> None:
        """Add services that answer discovery."""
        self.pongs += [(after, identity) for identity in identities]

    def _discovery(self, message: Pub) -> None:
        request, to = _read(message)
        self.discoveries.append(request)
        for seconds, answer in self.pongs:
            payload = answer
            if isinstance(payload, str):
                payload = reply(body="pong")(request, payload)
            self._later(seconds, to, payload)

    def _request(self, message: Pub) -> None:
        request, to = _read(message)
        identity = message.subject.removeprefix(self._prefix)
        self.asked.append(identity)
        for seconds, make in self.replies.get(identity, [(0.01, reply())]):
            self._later(seconds, to, make(request, identity))

    def _later(self, seconds: float, to: str, payload: bytes) -> None:
        self._harness.clock.callLater(seconds, self._harness.broker.publish, to, payload)


def _read(message: Pub) -> tuple[Request, str]:
    transport = v1.decode_transport(message.payload)
    assert transport.reply_to is not None
    request = v1.decode_request(v1.decode_secure_request(transport.data).message)
    return request, transport.reply_to
