"""Subscriptions by the ids that their users chose: what is wanted, and what came of it.

Pure: nothing is sent here. :class:`~backplane.nats.protocol.NatsProtocol` keeps one.
"""

from __future__ import annotations

from typing import Any, Final

from backplane.nats.config_state import SubscriptionArgs

__all__ = ["SidTable"]

_ENDED_KEPT: Final = 1024
"""Ended subscriptions that are remembered: their messages may be on the way for a round trip."""


class SidTable:
    """The subscriptions of one protocol, over all its connections.

    :param subscriptions: by sid; changed in place, so that another protocol can go on with it.
    :param unsubs: sids and the number of messages that they may still get; likewise.
    :ivar handlers: sids of this connection and their handlers.
    """

    def __init__(self, subscriptions: dict[str, SubscriptionArgs], unsubs: dict[str, int]) -> None:
        self.handlers: dict[str, Any] = {}
        self.subscriptions = subscriptions
        self.unsubs = unsubs
        self._early: set[str] = set()  # subscribed before there was a transport
        self.begin()

    def begin(self) -> None:
        """A connection begins: its server knows nothing."""
        self.handlers = {sid: self.handlers[sid] for sid in self._early if sid in self.handlers}
        self._delivered: dict[str, int] = {}
        self._ended: dict[str, None] = {}

    def record(self, arguments: SubscriptionArgs, *, early: bool) -> None:
        """Note a subscription.

        :param early: it cannot be sent yet, see :meth:`early`.
        """
        sid = arguments.sid
        if sid not in self.handlers:
            self._delivered.pop(sid, None)
        self.handlers[sid] = arguments.on_msg
        self.subscriptions[sid] = arguments
        self._ended.pop(sid, None)
        (self._early.add if early else self._early.discard)(sid)

    def early(self) -> list[SubscriptionArgs]:
        """Return what was subscribed before it could be sent."""
        return [self.subscriptions[sid] for sid in self._early if sid in self.subscriptions]

    def limit(self, sid: str, messages: int) -> None:
        """Let a subscription end after so many messages from its start."""
        self.unsubs[sid] = messages - self._delivered.get(sid, 0)

    def total(self, sid: str) -> int | None:
        """Return the limit, as a server counts that has just this connection, or ``None``."""
        left = self.unsubs.get(sid)
        return None if left is None else self._delivered.get(sid, 0) + left

    def deliver(self, sid: str) -> bool:
        """Count a message; return False when it came after the end of its subscription."""
        if sid in self.handlers:
            self._delivered[sid] = self._delivered.get(sid, 0) + 1
        elif sid in self._ended:
            return False
        if sid in self.unsubs:
            self.unsubs[sid] -= 1
        return True

    def end_if_reached(self, sid: str) -> bool:
        """Forget a subscription that has had all its messages; return whether it had."""
        reached = self.unsubs.get(sid, 1) <= 0
        if reached:
            self.forget(sid)
        return reached

    def forget(self, sid: str) -> None:
        """End a subscription; its messages may still come for a while."""
        tables: tuple[dict[str, Any], ...] = (
            self.handlers, self.subscriptions, self.unsubs, self._delivered,
        )  # fmt: skip
        for table in tables:
            table.pop(sid, None)
        self._early.discard(sid)
        self._ended[sid] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
