"""What becomes of a message that arrives, as values, and the counters of it."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from backplane.choria.message import Request
from backplane.choria.v1 import Transport
from backplane.security.roles import Role

__all__ = ["Accepted", "Counters", "Dropped", "Outcome", "Refused", "Wait"]

_EXPIRED: Final = frozenset({"expired", "future", "ttl_too_long", "ttl_too_short"})


@attrs.frozen(kw_only=True)
class Accepted:
    """The request may be dispatched.

    :ivar body: what the agent sees of ``request.message``.
    :ivar transport: with the reply-to and the headers that the reply copies.
    :ivar role: the caller's role; ``None`` when he has none.
    :ivar signer: certificate name of who signed it.
    """

    request: Request
    body: bytes
    transport: Transport
    role: Role | None
    signer: str | None = None


@attrs.frozen
class Dropped:
    """The message is thrown away in silence.

    :ivar reason: short stable slug, for counters and for one log line each.
    :ivar detail: a sentence for people; remote text in it is quoted and short.
    """

    reason: str
    detail: str

    @property
    def is_filtered(self) -> bool:
        """Whether it was for others, which is nothing to log about."""
        return self.reason == "filtered"


@attrs.frozen(kw_only=True)
class Refused:
    """The request is refused with a reply.

    :ivar reason: short stable slug.
    :ivar message: what the caller is told.
    """

    request: Request
    body: bytes
    transport: Transport
    role: Role | None
    reason: str
    message: str
    signer: str | None = None


@attrs.frozen
class Wait:
    """The message is to be handed in again at this Unix time, and not before."""

    until: float


Outcome = Accepted | Dropped | Refused | Wait


@attrs.define
class Counters:
    """What came and what became of it; the first eight as Choria names them.

    :ivar total: messages looked at.
    :ivar validated: accepted.
    :ivar unvalidated: dropped for what they are or who sent them.
    :ivar passed: for this service by their filter, and good otherwise.
    :ivar filtered: for others by their filter.
    :ivar ttlexpired: too old, too far in the future, or good for too long.
    :ivar replies: published; counted by whoever publishes.
    :ivar events: lifecycle events published; counted by whoever publishes.
    :ivar last_message: Unix time of the last accepted one, or 0.
    :ivar over_budget: filters that were given up because they cost too much.
    :ivar dropped: all dropped ones by reason.
    :ivar refused: all refused ones by reason.
    """

    total: int = 0
    validated: int = 0
    unvalidated: int = 0
    passed: int = 0
    filtered: int = 0
    ttlexpired: int = 0
    replies: int = 0
    events: int = 0
    over_budget: int = 0
    last_message: float = 0.0
    dropped: Counter[str] = attrs.field(factory=Counter)
    refused: Counter[str] = attrs.field(factory=Counter)

    def count(self, outcome: Outcome) -> None:
        """Count one outcome. A message that waits is counted when it comes again."""
        if isinstance(outcome, Wait):
            return
        self.total += 1
        if isinstance(outcome, Accepted):
            self.passed += 1
            self.validated += 1
        elif isinstance(outcome, Refused):
            self.passed += 1
            self.refused[outcome.reason] += 1
        else:
            self.dropped[outcome.reason] += 1
            if outcome.reason == "filtered":
                self.filtered += 1
            elif outcome.reason in _EXPIRED:
                self.ttlexpired += 1
            elif outcome.reason == "repeated":
                self.passed += 1
            else:
                self.unvalidated += 1
