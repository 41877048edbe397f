"""Shows data that services publish: ``python listen.py BROKER SUBJECT [COUNT]``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from backplane.choria import v1
from backplane.errors import DecodeError
from backplane.nats.client import Message, NatsClient


async def listen(reactor: Any, broker: str, subject: str, count: int) -> None:
    done: Deferred[None] = Deferred()
    left = [count]

    def show(message: Message) -> None:
        try:
            secure = v1.decode_secure_request(v1.decode_transport(message.payload).data)
            request = v1.decode_request(secure.message)
        except DecodeError as error:
            print(f"{message.subject}: not data of a service: {error}")
            return
        print(f"{message.subject}: {request.sender_id}: {request.message}", flush=True)
        left[0] -= 1
        if left[0] == 0:
            done.callback(None)

    client = NatsClient(broker, reactor, name="listen")
    client.subscribe(subject, show)
    client.startService()
    await done
    await client.stopService()


def main(reactor: Any, broker: str, subject: str, count: str = "0") -> Deferred[None]:
    return Deferred.fromCoroutine(listen(reactor, broker, subject, int(count)))


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    react(main, sys.argv[1:])
