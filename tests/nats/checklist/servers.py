"""Real servers for the checklist, by recipe, and the case that its tests stand on."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import TestCase

from backplane.nats.client import NatsClient
from backplane.testing.natsserver import NatsServer

__all__ = [
    "JETSTREAM", "R0", "RNOAUTH", "RPERM", "RPING", "RSLOW", "RTOK", "RUSER", "RealCase",
    "cluster_config", "free_ports", "greeting", "rlim", "routed",
]  # fmt: skip

R0 = ""
RUSER = "authorization { user: u, password: p }"
RTOK = "authorization { token: t }"
RPERM = """authorization { users: [ { user: u, password: p, permissions: {
  publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "q work", "_INBOX.>"] } } ] }"""
RNOAUTH = """authorization { users: [ { user: a, password: b }, { user: c, password: d } ] }
no_auth_user: a"""
RPING = 'ping_interval: "400ms"\nping_max: 1'
JETSTREAM = "jetstream { store_dir: store }"
RSLOW = 'max_payload: 100000\nmax_pending: 1000000\nwrite_deadline: "1s"'


def rlim(**limits: int) -> str:
    """Return a configuration with limits: ``max_payload=64``, ``max_connections=1``…"""
    return "\n".join(f"{name}: {value}" for name, value in limits.items())


def cluster_config(name: str, port: int, routes: Sequence[int], more: str = "") -> str:
    """Return the configuration of a member of a cluster.

    :param port: where it listens for its routes.
    :param routes: ports of members to join.
    :param more: of the ``cluster`` block.
    """
    joined = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    return f"""server_name: {name}
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{joined}], {more} }}"""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody has at the moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def greeting(server: NatsServer) -> dict[str, Any]:
    """Return the INFO with which a server greets at this moment."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        line = wire.makefile("rb").readline()
    document: dict[str, Any] = json.loads(line.removeprefix(b"INFO "))
    return document


def routed(server: NatsServer, size: int) -> bool:
    """Whether a server has routes to all others of a cluster of so many."""
    if "no_advertise" in server.config:
        # A pool of three, and one of the system account.
        return server.log().count("Route connection created") >= 4 * (size - 1)
    return len(greeting(server).get("connect_urls", [])) == size


class RealCase(TestCase):
    """A test with real servers and clients on the real reactor.

    In the end clients are stopped and servers closed; trial looks for what is left.

    :ivar events: what the clients of :meth:`client` told, in order.
    :ivar routes: the ports of the cluster's members, for their routes.
    """

    timeout = 60

    def setUp(self) -> None:
        self.events: list[Any] = []
        self.log_events: list[LogEvent] = []
        self.routes: list[int] = []

    async def server(
        self, config: str = R0, *, port: int | None = None, ready: bool = True
    ) -> NatsServer:
        """Start a server, which is closed in the end."""
        server = NatsServer(config=config, port=port)
        self.addCleanup(server.close)
        server.start()
        if ready:
            await server.when_ready(reactor)
        return server

    async def cluster(self, size: int = 3, more: str = "") -> list[NatsServer]:
        """Start a cluster whose members know each other; each is a route of the others.

        :param more: of the ``cluster`` block of each.
        """
        self.routes = routes = free_ports(size)
        servers = [
            await self.server(
                cluster_config(
                    f"n{number}", port, [route for route in routes if route != port], more
                ),
                ready=False,
            )
            for number, port in enumerate(routes)
        ]
        for server in servers:
            await server.when_ready(reactor)
        await self.until(lambda: all(routed(server, size) for server in servers))
        return servers

    async def ready(self, server: NatsServer) -> None:
        """Wait until a server takes connections."""
        await server.when_ready(reactor)

    async def restart(self, server: NatsServer) -> None:
        """Stop a server and start it again."""
        server.restart()
        await server.when_ready(reactor)

    def client(self, servers: str | NatsServer | Sequence[Any], **options: Any) -> NatsClient:
        """Return a client that is not started; with short times, and stopped in the end."""
        given = [servers] if isinstance(servers, str | NatsServer) else list(servers)
        urls = [each.url if isinstance(each, NatsServer) else each for each in given]
        # A network that is fast: what the client waits for comes at once, or never.
        options = {"rng": random.Random(1), "name": "c", "stop_timeout": 0.5, **options}
        log = Logger("test", observer=self.log_events.append)  # type: ignore[arg-type]
        client = NatsClient(urls, reactor, log=log, **options)
        client.add_listener(self.events.append)
        self.addCleanup(client.stopService)
        return client

    async def connected(
        self, servers: str | NatsServer | Sequence[Any], **options: Any
    ) -> NatsClient:
        """Return a client that is connected."""
        client = self.client(servers, **options)
        client.startService()
        await client.when_connected()
        return client

    async def until(self, condition: Callable[[], Any], seconds: float = 15.0) -> None:
        """Let the reactor run until a condition holds.

        :raises AssertionError: when it takes longer.
        """
        clock: Any = reactor
        end = clock.seconds() + seconds
        while not condition():
            if clock.seconds() > end:
                names = ", ".join(self.event_names())
                raise AssertionError(f"not within {seconds} s; events: {names}")
            await self.turn(0.01)

    async def counted(self, kind: type[Any], count: int, seconds: float = 15.0) -> None:
        """Let the reactor run until there were so many events of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count, seconds)

    async def failure(self, done: Deferred[Any], *kinds: type[Exception]) -> Any:
        """Return the error with which something fails."""
        return await self.assertFailure(done, *kinds)

    async def turn(self, seconds: float = 0.0) -> None:
        """Let the reactor run once, or a little."""
        await deferLater(reactor, seconds)

    def event_names(self) -> list[str]:
        """Return the kinds of events so far."""
        return [type(event).__name__ for event in self.events]

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def lines(self, level: LogLevel = LogLevel.info) -> list[str]:
        """Return what clients wrote into the log, from a level on."""
        return [formatEvent(e) for e in self.log_events if e["log_level"] >= level]

    def collect(self, client: NatsClient, subject: str, queue: str | None = None) -> list[bytes]:
        """Subscribe; return the list to which payloads are added."""
        payloads: list[bytes] = []
        client.subscribe(subject, lambda message: payloads.append(message.payload), queue)
        return payloads
