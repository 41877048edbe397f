"""What a client counts, from the start of the process on."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["Counts"]


@attrs.define
class Counts:
    """Counters, with the names that Choria's agents show.

    :ivar in_bytes, out_bytes: payloads, and headers where we sent them.
    :ivar reconnects: connections but the first after each start.
    :ivar moves: connections that took over from one that worked.
    :ivar failed: tries that did not lead to a connection.
    :ivar lost: publishes that were taken, kept back, and could not be sent.
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
    errors: Counter[str] = attrs.field(factory=Counter)

    def as_dict(self) -> dict[str, int]:
        """Return the counters, those of errors as ``error_KIND``."""
        counts = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "errors")
        return {**counts, **{f"error_{kind}": count for kind, count in self.errors.items()}}
