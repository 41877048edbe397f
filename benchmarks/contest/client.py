"""``python -m benchmarks.contest.client {ours|nats-py} URL [CA]``: does what its input says.

Each line is JSON with ``work`` (``receive``, ``publish`` or ``request``), ``count`` and ``size``
in bytes. It answers ``ready`` when it is about to begin, which is when messages may be
sent to it, and then with the seconds, by the clock and of CPU, that it took; for ``request`` with
the median of the single ones. The end of its input ends it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

SUBJECT = "contest.data"
SERVICE = "contest.service"
PATIENCE = 60.0


class Contestant(Protocol):
    """A client that is connected."""

    async def receive(self, count: int, ready: Callable[[], None]) -> None: ...

    async def publish(self, count: int, payload: bytes) -> None: ...

    async def request(self, payload: bytes) -> None: ...


class Ours:
    """:class:`backplane.nats.client.NatsClient`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def receive(self, count: int, ready: Callable[[], None]) -> None:
        from twisted.internet.defer import Deferred

        done: Deferred[None] = Deferred()
        left = count

        def heard(message: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.callback(None)

        subscription = self._client.subscribe(SUBJECT, heard)
        await self._client.flush()
        ready()
        await done
        subscription.unsubscribe()

    async def publish(self, count: int, payload: bytes) -> None:
        client = self._client
        for _ in range(count):
            if not client.writable:
                await client.when_writable()
            client.publish(SUBJECT, payload)
        await client.flush(PATIENCE)

    async def request(self, payload: bytes) -> None:
        await self._client.request(SERVICE, payload, timeout=PATIENCE)


class Theirs:
    """nats-py."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def receive(self, count: int, ready: Callable[[], None]) -> None:
        done = asyncio.get_running_loop().create_future()
        left = count

        async def heard(message: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        subscription = await self._client.subscribe(
            SUBJECT, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await self._client.flush()
        ready()
        await done
        await subscription.unsubscribe()

    async def publish(self, count: int, payload: bytes) -> None:
        for _ in range(count):
            await self._client.publish(SUBJECT, payload)
        await self._client.flush(int(PATIENCE))

    async def request(self, payload: bytes) -> None:
        await self._client.request(SERVICE, payload, timeout=PATIENCE)


async def serve(contestant: Contestant, line: Callable[[], Awaitable[str]]) -> None:
    """Do what the lines say until there are no more."""
    while text := await line():
        asked = json.loads(text)
        work, count, payload = asked["work"], asked["count"], b"x" * asked["size"]
        began = time.perf_counter(), time.process_time()

        def ready() -> None:
            nonlocal began
            print('"ready"', flush=True)
            began = time.perf_counter(), time.process_time()

        singles = []
        if work == "receive":
            await contestant.receive(count, ready)
        elif work == "publish":
            ready()
            await contestant.publish(count, payload)
        else:
            ready()
            for _ in range(count):
                before = time.perf_counter()
                await contestant.request(payload)
                singles.append(time.perf_counter() - before)
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        median = statistics.median(singles) if singles else None
        print(json.dumps({"wall": wall, "cpu": cpu, "median": median}), flush=True)


def run_ours(url: str, ca: str | None) -> None:
    """Run ours."""
    from twisted.internet import reactor as default_reactor
    from twisted.internet import ssl as ssl_twisted
    from twisted.internet.defer import Deferred
    from twisted.internet.threads import deferToThread

    from backplane.nats.client import NatsClient

    reactor: Any = default_reactor

    def tls(server: Any) -> Any:
        trusted = ssl_twisted.trustRootFromCertificates(
            [ssl_twisted.Certificate.loadPEM(Path(str(ca)).read_bytes())]
        )
        return ssl_twisted.optionsForClientTLS(server.host, trusted)

    client = NatsClient(url, reactor, tls=None if ca is None else tls)

    async def work() -> None:
        client.startService()
        await client.when_connected()

        async def line() -> str:
            return await deferToThread(sys.stdin.readline)

        await serve(Ours(client), line)
        await client.stopService()

    async def all_of_it() -> None:
        try:
            await work()
        finally:
            reactor.stop()

    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(all_of_it()).addErrback(lambda f: f.printTraceback())
    )
    reactor.run()


async def run_theirs(url: str, ca: str | None) -> None:
    """Run nats-py."""
    import nats

    context = None if ca is None else ssl.create_default_context(cafile=ca)
    client = await nats.connect(url, tls=context)
    loop = asyncio.get_running_loop()

    async def line() -> str:
        return await loop.run_in_executor(None, sys.stdin.readline)

    await serve(Theirs(client), line)
    await client.close()


def main() -> None:
    """Run until the input ends."""
    which, url, *more = sys.argv[1:]
    ca = more[0] if more else None
    if which == "ours":
        run_ours(url, ca)
    else:
        asyncio.run(run_theirs(url, ca))


if __name__ == "__main__":
    main()
