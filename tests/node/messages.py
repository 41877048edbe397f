"""Requests as they arrive, each part of which a test can change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import implementer

from backplane.choria import rpc, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request, new_request_id
from backplane.security.signing import InsecureSigner

__all__ = ["COLLECTIVE", "IDENTITY", "NOW", "REPLY_TO", "Lines", "request", "seconds_of"]

NOW: Final = 1_700_000_000.0
IDENTITY: Final = "app1.example.net"
COLLECTIVE: Final = "app_backplane"
REPLY_TO: Final = f"{COLLECTIVE}.reply.cb504717a797947060cbb33d3b20229e.1"


def request(
    *,
    caller: str = "choria=sre.choria",
    agent: str = "backplane",
    action: str = "ping",
    data: Mapping[str, Any] | None = None,
    body: str | None = None,
    collective: str = COLLECTIVE,
    ttl: int = 60,
    time: int = int(NOW),
    filter: Filter | None = None,
    reply_to: str | None = REPLY_TO,
    request_id: str | None = None,
    federation: Mapping[str, Any] | None = None,
    seen_by: Sequence[Sequence[str]] = (),
) -> bytes:
    """Return the payload of a NATS message with a request."""
    document = Request(
        message=body if body is not None else rpc.encode_request(agent, action, data or {}),
        request_id=request_id if request_id is not None else new_request_id(),
        sender_id="client1.example.net",
        caller_id=caller,
        collective=collective,
        agent=agent,
        ttl=ttl,
        time=time,
        filter=filter if filter is not None else Filter(),
    )
    return v1.encode_transport(
        v1.seal_request(document, InsecureSigner()),
        sender="client1.example.net",
        reply_to=reply_to,
        federation=federation,
        seen_by=seen_by,
    )


def seconds_of(delay: str) -> float:
    """Return the seconds of one of Go's durations below a minute."""
    for unit, factor in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)):
        if delay.endswith(unit):
            return float(delay.removesuffix(unit)) * factor
    raise ValueError(delay)


@implementer(ILogObserver)
class Lines:
    """A log that is looked at.

    :ivar events: all of them, in order.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

    def logger(self, namespace: str = "backplane.test") -> Logger:
        """Return a logger that writes here."""
        return Logger(namespace=namespace, observer=self)

    def texts(self, level: str | None = None) -> list[str]:
        """Return the messages, of one level or of all."""
        return [
            formatEvent(event)
            for event in self.events
            if level is None or event["log_level"].name == level
        ]
