"""Somebody who listens on the broker, and says again what he heard.

``python wiretap.py CONFIG capture SUBJECT FILE`` writes the next message to a file,
``python wiretap.py CONFIG replay SUBJECT FILE`` publishes the bytes of that file.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from backplane.choria import rpc, v1
from backplane.client.credentials import load_credentials
from backplane.config.client import load_client_config
from backplane.nats.client import Message, NatsClient


def connection(reactor: Any, path: str) -> NatsClient:
    """Return a connection with the certificate that a client's configuration names."""
    config = load_client_config(path, home="", cwd=os.getcwd(), env=os.environ)
    credentials = load_credentials(config, socket.gethostname(), os.environ)
    return NatsClient(config.middleware_hosts, reactor, name="wiretap", tls=credentials.tls)


def describe(payload: bytes) -> str:
    secure = v1.decode_secure_request(v1.decode_transport(payload).data)
    request = v1.decode_request(secure.message)
    action = rpc.decode_request(request.message.encode()).action
    return f"{len(payload)} bytes: {action}, signed by {request.caller_id}"


async def capture(client: NatsClient, subject: str) -> bytes:
    heard: Deferred[Message] = Deferred()

    def hear(message: Message) -> None:
        if not heard.called:
            heard.callback(message)

    client.subscribe(subject, hear)
    await client.when_connected()
    await client.flush()
    print(f"listening on {subject}", flush=True)
    payload: bytes = (await heard).payload
    print(f"captured {describe(payload)}", flush=True)
    return payload


async def replay(client: NatsClient, subject: str, payload: bytes) -> bytes:
    await client.when_connected()
    client.publish(subject, payload)
    await client.flush()
    print(f"published {describe(payload)}")
    return payload


def main(reactor: Any, config: str, what: str, subject: str, path: str) -> Deferred[None]:
    client, file = connection(reactor, config), Path(path)
    client.startService()
    if what == "capture":
        done = Deferred.fromCoroutine(capture(client, subject))
        done.addCallback(file.write_bytes)
    else:
        done = Deferred.fromCoroutine(replay(client, subject, file.read_bytes()))
    return done.addCallback(lambda _: client.stopService())


if __name__ == "__main__":
    react(main, sys.argv[1:])
