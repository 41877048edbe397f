"""The replies to one request: who answered, more often than expected, or unasked. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from backplane.choria import rpc, v1
from backplane.client.accounting import Answer
from backplane.errors import DecodeError

__all__ = ["MAX_STRANGERS", "Replies"]

MAX_STRANGERS: Final = 100
"""Identities that answered unasked, or too often, beyond the number of those that were asked."""


class Replies:
    """What came.

    :ivar answers: those that count.
    :ivar invalid: replies that could not be used, by reason.
    :ivar unexpected: identities that answered without having been asked.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.invalid: Counter[str] = Counter()
        self.unexpected: set[str] = set()
        self._answered: Counter[str] = Counter()
        self._surplus: list[Answer] = []

    def read(self, payload: bytes, request_id: str) -> tuple[str, rpc.RpcReply] | None:
        """Return who says what; ``None`` for what cannot be used, which is counted."""
        try:
            _, reply = v1.open_reply(payload)
            if reply.request_id != request_id:
                raise DecodeError("other_request", "reply", "it answers another request")
            return reply.sender_id, rpc.decode_reply(reply.message)
        except DecodeError as error:
            self.invalid[error.reason] += 1
            return None

    def stranger(self, sender: str, asked: int) -> None:
        """Take note of somebody who was not asked; ``asked`` is how many were."""
        if len(self.unexpected) < asked + MAX_STRANGERS:
            self.unexpected.add(sender)

    def take(self, answer: Answer, wanted: int, asked: int) -> bool:
        """Take an answer; say whether it counts.

        :param wanted: how many services have the identity.
        """
        if self._answered[answer.sender] < wanted:
            self._count(answer)
            return True
        if len(self._surplus) < asked + MAX_STRANGERS:
            self._surplus.append(answer)
        return False

    def one_more(self, sender: str) -> Answer | None:
        """Count an answer of an identity that was one too many before, if there is one."""
        for answer in self._surplus:
            if answer.sender == sender:
                self._surplus.remove(answer)
                self._count(answer)
                return answer
        return None

    def _count(self, answer: Answer) -> None:
        self._answered[answer.sender] += 1
        self.answers.append(answer)

    @property
    def repeated(self) -> tuple[str, ...]:
        """Who answered once more, for each time."""
        return tuple(sorted(answer.sender for answer in self._surplus))

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Who answered once more, and said something else than before."""
        said: dict[str, list[rpc.RpcReply]] = {}
        for answer in self.answers:
            said.setdefault(answer.sender, []).append(answer.reply)
        other = {each.sender for each in self._surplus if each.reply not in said[each.sender]}
        return tuple(sorted(other))
