"""What a client counts, from the start of the process on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import attrs

__all__ = ["Counts", "Statistics"]


@attrs.define
class Counts:
    """Counters, with the names that Choria's agents show.

    :ivar in_bytes, out_bytes: payloads, and headers where we sent them.
    :ivar reconnects: connections but the first after each start.
    :ivar moves: connections that took over from one that worked.
    :ivar failed: tries that did not lead to a connection.
    :ivar lost: publishes that were taken, kept back, and could not be sent.
    :ivar dropped: messages that came and were dropped, as too many waited for a callback.
    :ivar errors: complaints of servers, by kind.
    """

    in_msgs: int = 0
    out_msgs: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    reconnects: int = 0
    connects: int = 0
    moves: int = 0
    failed: int = 0
    lost: int = 0
    dropped: int = 0
    errors: Counter[str] = attrs.field(factory=Counter)

    def as_dict(self) -> dict[str, int]:
        """Return the counters, those of errors as ``error_KIND``."""
        counts = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "errors")
        return {**counts, **{f"error_{kind}": count for kind, count in self.errors.items()}}


def _frozen(found: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(found))


@attrs.frozen(kw_only=True)
class Statistics:
    """How a client fares; the counters are those of :class:`Counts`.

    :ivar subscriptions: how many there are.
    :ivar pending_msgs, pending_bytes: what came and waits for callbacks, or is worked on.
    :ivar buffered_bytes: publishes that wait for a connection, or for a socket that drains.
    :ivar pings_outstanding: PINGs of ours that the connected server has not answered.
    :ivar rtt: seconds of the last :meth:`backplane.nats.client.NatsClient.rtt`, or ``None``.
    :ivar last_error: why the last connection or try failed, or the last complaint of a
        server; ``None`` before the first.
    """

    in_msgs: int
    out_msgs: int
    in_bytes: int
    out_bytes: int
    reconnects: int
    connects: int
    moves: int
    failed: int
    lost: int
    dropped: int
    errors: Mapping[str, int] = attrs.field(converter=_frozen)
    subscriptions: int
    pending_msgs: int
    pending_bytes: int
    buffered_bytes: int
    pings_outstanding: int
    rtt: float | None
    last_error: str | None
