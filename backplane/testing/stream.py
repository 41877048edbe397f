"""A JetStream stream of a :class:`~backplane.testing.broker.FakeBroker`: it stores, and answers.

There is nothing of JetStream but that: no consumers, no API, no limits.
"""

from __future__ import annotations

import json
from typing import Any

from backplane.choria import v1
from backplane.nats.headers import decode_headers
from backplane.nats.jetstream import MESSAGE_ID
from backplane.nats.parser import Pub
from backplane.testing.broker import FakeBroker

__all__ = ["FakeStream"]


class FakeStream:
    """Acknowledges what is published to its subjects, as a stream does.

    :param broker: whose clients publish.
    :param subjects: with wildcards.
    :param name: the stream's.
    :ivar messages: ``(subject, payload)`` of what it has stored, each message id once.
    :ivar duplicates: how many came again.
    :ivar silent: take what comes, and do not answer.
    :ivar lost: neither take it nor answer.
    :ivar error: ``(code, err_code, description)`` to refuse everything with.
    """

    def __init__(self, broker: FakeBroker, *subjects: str, name: str = "TEST") -> None:
        self.name = name
        self.messages: list[tuple[str, bytes]] = []
        self.duplicates = 0
        self.silent = False
        self.lost = False
        self.error: tuple[int, int, str] | None = None
        self._broker = broker
        self._sequences: dict[str, int] = {}
        self._subscriptions = [broker.subscribe(subject, self._take) for subject in subjects]

    @property
    def data(self) -> list[str]:
        """What a management's durable items were made of, each once."""
        found = []
        for _, payload in self.messages:
            secure = v1.decode_secure_request(v1.decode_transport(payload).data)
            found.append(v1.decode_request(secure.message).message)
        return found

    def remove(self) -> None:
        """Be no more; what is published then has no stream."""
        for subscription in self._subscriptions:
            self._broker.remove(subscription)

    def _take(self, message: Pub) -> None:
        if self.lost:
            return
        if self.error is not None:
            code, err_code, description = self.error
            error = {"code": code, "err_code": err_code, "description": description}
            self._answer(message, {"error": error, "stream": self.name, "seq": 0})
            return
        name = _message_id(message)
        known = self._sequences.get(name) if name is not None else None
        if known is None:
            self.messages.append((message.subject, message.payload))
            sequence = len(self.messages)
            if name is not None:
                self._sequences[name] = sequence
            self._answer(message, {"stream": self.name, "seq": sequence})
        else:
            self.duplicates += 1
            self._answer(message, {"stream": self.name, "seq": known, "duplicate": True})

    def _answer(self, message: Pub, document: dict[str, Any]) -> None:
        if message.reply is not None and not self.silent:
            self._broker.publish(message.reply, json.dumps(document).encode())


def _message_id(message: Pub) -> str | None:
    return None if message.headers is None else decode_headers(message.headers).get(MESSAGE_ID)
