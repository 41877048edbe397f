"""What only a real nats-server can show: its signals, its cluster, its reloads."""

from __future__ import annotations

import socket
from typing import Any

from backplane.nats.client import (
    Connected,
    ConnectFailed,
    Disconnected,
    NatsClient,
    ServerError,
)
from backplane.nats.errors import ConnectionFailed
from backplane.testing.natsserver import NatsServer
from tests.contract.worlds import RealWorld, reactor

RIGHTS = (
    "authorization {{ users: [ {{ user: u, password: p, permissions: "
    '{{ publish: ">", subscribe: [{}] }} }} ] }}'
)


class RealCase(RealWorld):
    """One server with a configuration of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[Any] = []

    async def serve(self, config: str = "") -> NatsServer:
        """Start a server; it ends with the test."""
        server = self.server = NatsServer(config=config)
        self.addCleanup(server.close)
        server.start()
        await server.when_ready(reactor)
        return server

    async def watched(self, **options: Any) -> NatsClient:
        """Return a connected client, whose events from now on are kept."""
        client = self.new(**options)
        await self.result(client.when_connected())
        client.add_listener(self.events.append)
        return client

    def heard(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


class ServerTests(RealCase):
    """One server."""

    async def test_by_name(self) -> None:
        """C8: the endpoint of the client's own finds it by name, whichever family comes first."""
        server = await self.serve()
        client = NatsClient(f"localhost:{server.port}", reactor)
        client.startService()
        self.addCleanup(client.stopService)
        await self.result(client.when_connected())
        self.assertEqual(client.connected_url, f"nats://localhost:{server.port}")

    async def test_stop(self) -> None:
        """R1: a server that is stopped in order, and started again."""
        server = await self.serve()
        client = await self.watched()
        got = self.collect(client, "a")
        await self.flush(client)
        server.stop()
        await self.until(lambda: self.heard(Disconnected))
        self.assertEqual(str(self.heard(Disconnected)[0].reason), "closed by the server")
        await self.back()
        await self.result(client.when_connected())
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual(len(got), 1)
        self.assertEqual(len(self.heard(Connected)), 1)

    async def test_full(self) -> None:
        """C6: a server that takes nobody else is tried until somebody leaves."""
        await self.serve("max_connections: 1")
        first = await self.client()
        second = self.new()
        second.add_listener(self.events.append)
        await self.until(lambda: len(self.events) >= 2)
        for event in self.events:
            self.assertIsInstance(event, ConnectFailed)
            self.assertIn(
                str(event.reason),
                ("maximum connections exceeded", "closed before INFO", "closed after INFO"),
            )
        await self.result(first.stopService())
        await self.result(second.when_connected())

    async def test_idle(self) -> None:
        """K1: the server's PINGs are answered: it would not wait for a second one."""
        await self.serve('ping_interval: "100ms"\nping_max: 1')
        client = await self.watched()
        start = reactor.seconds()
        await self.until(lambda: reactor.seconds() - start > 4)
        self.assertTrue(client.is_connected)
        self.assertEqual(self.events, [])

    async def test_frozen(self) -> None:
        """K3: a server that stands still is given up; when it goes on, all is well."""
        server = await self.serve()
        client = await self.watched(ping_interval=0.2, connect_timeout=0.5)
        start = reactor.seconds()
        server.pause()
        self.addCleanup(server.resume)
        await self.until(lambda: self.heard(Disconnected))
        self.assertIn("stale connection", str(self.heard(Disconnected)[0].reason))
        self.assertTrue(0.4 < reactor.seconds() - start < 5)
        await self.until(lambda: self.heard(ConnectFailed))
        self.assertEqual(str(self.heard(ConnectFailed)[0].reason), "INFO did not come within 0.5 s")
        server.resume()
        await self.result(client.when_connected())

    async def test_password_changes(self) -> None:
        """A7: who has the old password is sent away, and comes back when it is right again."""
        server = await self.serve("authorization { user: u, password: p }")
        client = await self.watched(user="u", password="p")
        server.reload("authorization { user: u, password: q }")
        await self.until(lambda: self.heard(Disconnected))
        client.force_reconnect()
        await self.until(lambda: self.heard(ConnectFailed))
        self.assertEqual(str(self.heard(ConnectFailed)[0].reason), "Authorization Violation")
        server.reload("authorization { user: u, password: p }")

        def connected() -> bool:
            if not client.is_connected:
                client.force_reconnect()  # the delay is long after a wrong password
            return client.is_connected

        await self.until(connected)

    async def test_right_is_taken_away(self) -> None:
        """A9: the subscription is told, the others live on; after a reconnect it is alive."""
        server = await self.serve(RIGHTS.format('"a", "b"'))
        client = await self.watched(user="u", password="p")
        lost = client.subscribe("a", lambda message: None)
        kept = self.collect(client, "b")
        await self.flush(client)
        server.reload(RIGHTS.format('"b"'))
        await self.until(lambda: self.heard(ServerError))
        (error,) = self.heard(ServerError)
        self.assertEqual((error.kind, error.subject, error.sid), ("subscribe", "a", lost.sid))
        self.assertEqual(lost.denied, error.text)
        client.publish("b", b"1")
        await self.flush(client)
        self.assertEqual(len(kept), 1)
        server.reload(RIGHTS.format('"a", "b"'))
        await self.until(lambda: server.log().count("Reloaded server configuration") == 2)
        client.force_reconnect()
        await self.result(client.when_connected())
        await self.flush(client)
        self.assertIsNone(lost.denied)
        self.assertEqual(len(self.heard(ServerError)), 1)

    async def test_slow_consumer(self) -> None:
        """S13: who does not read is cut off without a word, and subscribes again."""
        await self.serve('max_pending: 1000000\nmax_payload: 100000\nwrite_deadline: "1s"')
        client, sender = await self.watched(), await self.client(buffer_size=1 << 26)
        got = self.collect(client, "a")
        await self.flush(client)
        connection = client._dialer.connection
        assert connection is not None
        transport: Any = connection.transport
        transport.pauseProducing()
        for _ in range(200):
            sender.publish("a", b"x" * 100_000)
        await self.flush(sender)
        transport.resumeProducing()
        await self.until(lambda: self.heard(Connected))
        self.assertEqual(len(self.heard(Disconnected)), 1)
        before = len(got)
        self.assertLess(before, 200)
        sender.publish("a", b"last")
        await self.flush(sender, client)
        self.assertEqual(got[-1].payload, b"last")

    async def test_default_user(self) -> None:
        """A6: credentials are sent though the server does not ask for them."""
        await self.serve(
            "authorization { users: [ { user: a, password: b, permissions: "
            '{ publish: "a", subscribe: ">" } }, { user: u, password: p } ] }\nno_auth_user: a'
        )
        for options, refused in (({}, 1), ({"user": "u", "password": "p"}, 0)):
            client = await self.watched(**options)
            self.events.clear()
            client.publish("b", b"")
            await self.flush(client)
            self.assertEqual(len(self.heard(ServerError)), refused, options)


class ClusterTests(RealCase):
    """Three servers that know of each other."""

    async def cluster(self, **extra: str) -> list[NatsServer]:
        """Start the servers."""
        routes = [_free_port() for _ in range(3)]
        servers = []
        for number, port in enumerate(routes):
            others = ", ".join(f'"nats://127.0.0.1:{other}"' for other in routes if other != port)
            server = NatsServer(
                config=f"server_name: n{number}\n"
                f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{others}] }}\n'
            )
            self.addCleanup(server.close)
            server.start()
            servers.append(server)
        for server in servers:
            await server.when_ready(reactor)
        self.routes = routes
        return servers

    def in_cluster(self, servers: list[NatsServer], **options: Any) -> NatsClient:
        """Return a client that is started with the address of the first."""
        client = NatsClient(servers[0].url, reactor, **options)
        client.add_listener(self.events.append)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    async def hears_of(self, client: NatsClient, urls: set[str]) -> None:
        """Wait until the client knows all these; a server may first tell of fewer."""
        await self.until(lambda: urls <= set(client.options()["servers"]), "all servers")

    async def test_gossip(self) -> None:
        """R9, R10: the others are heard of, and used when one after the other dies."""
        servers = await self.cluster()
        client = self.in_cluster(servers)
        got = self.collect(client, "a")
        await self.result(client.when_connected())
        urls = {server.url for server in servers}
        await self.hears_of(client, urls)
        for _ in range(2):
            used = next(server for server in servers if server.url == client.connected_url)
            servers.remove(used)
            self.events.clear()
            used.kill()
            await self.until(lambda: self.heard(Connected))
            alive = {server.url for server in servers}
            self.assertIn(client.connected_url, alive)
            await self.hears_of(client, alive)
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual(len(got), 1)
        self.assertLessEqual(set(client.options()["servers"]), urls)

    async def test_route_port(self) -> None:
        """C11: the port for servers is told from one for clients, and says why."""
        servers = await self.cluster()
        port = self.routes[0]
        client = NatsClient(f"127.0.0.1:{port}", reactor, retry=False, connect_timeout=2)
        client.startService()
        self.addCleanup(client.stopService)
        with self.assertRaises(ConnectionFailed) as caught:
            await self.result(client.when_connected())
        self.assertEqual(caught.exception.phase, "handshake")
        self.assertRegex(str(caught.exception), "route port|cluster name")
        self.assertEqual(len(servers), 3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
