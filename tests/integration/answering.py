"""Thousands of services that are one client, and answer in the same moment."""

from __future__ import annotations

from typing import Any, Final

from backplane.choria import rpc, v1
from backplane.choria.message import Reply
from backplane.nats.client import Message, NatsClient

__all__ = ["FACTS", "Answering"]

FACTS: Final = {f"fact{number}": "x" * 64 for number in range(52)}
"""About 4 KiB."""


class Answering:
    """Services of the name ``many`` that are discovered, and answer ``info``.

    :param client: started; gets their subscriptions.
    :param count: how many they are.
    :param data: what each answers.
    """

    def __init__(self, client: NatsClient, count: int, data: dict[str, Any]) -> None:
        self._client = client
        self._count = count
        self._reply = rpc.encode_reply("info", 0, "OK", data)
        self._payload = b""
        client.subscribe("many_backplane.broadcast.agent.discovery", self._discovery)
        client.subscribe("many_backplane.node.>", self._asked)

    def _discovery(self, message: Message) -> None:
        for number in range(self._count):
            self._answer(message, f"host{number}", "pong")

    def _asked(self, message: Message) -> None:
        self._answer(message, message.subject.rpartition(".")[2], self._reply)

    def _answer(self, message: Message, sender: str, text: str) -> None:
        if message.payload != self._payload:  # the same document for all
            self._payload = message.payload
            self._transport = v1.decode_transport(message.payload)
            secure = v1.decode_secure_request(self._transport.data)
            self._request = v1.decode_request(secure.message)
        transport, request = self._transport, self._request
        reply = Reply(
            message=text,
            request_id=request.request_id,
            sender_id=sender,
            agent=request.agent,
            time=request.time,
        )
        assert transport.reply_to is not None
        sealed = v1.encode_transport(v1.seal_reply(reply), sender=sender)
        self._client.publish(transport.reply_to, sealed)
