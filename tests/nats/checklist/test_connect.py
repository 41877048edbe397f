"""C1 to C11: how a connection comes about, and how it does not."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from backplane.nats.client import Connected, ConnectFailed, NatsClient, State
from backplane.nats.errors import ConnectionClosed, ConnectionFailed
from tests.nats.checklist.scripted import HELLO, F, ScriptedCase, info
from tests.nats.checklist.servers import cluster_config, free_ports, rlim


@implementer(IHostnameResolver)
class Names:
    """Resolves each name to the addresses that a test gives it."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = addresses

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolutionReceiver.resolutionBegan(None)  # type: ignore[arg-type]
        for address in self.addresses.get(hostName, []):
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()


class Resolving:
    """The reactor, with other names."""

    def __init__(self, names: Names) -> None:
        self.nameResolver = names

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class ConnectTests(ScriptedCase):
    """One client, and whoever listens."""

    def failures(self) -> list[str]:
        """Return why tries failed."""
        return [str(event.reason) for event in self.of(ConnectFailed)]

    async def refused(self, servers: Any, **options: Any) -> ConnectionFailed:
        """Return the error of one walk."""
        client = self.client(servers, retry=False, **options)
        client.startService()
        error: ConnectionFailed = await self.failure(client.when_connected(), ConnectionFailed)
        self.assertIs(client.state, State.CLOSED)
        self.assertIn("Closed", self.event_names())
        return error

    async def test_C1_real(self) -> None:
        """What is known then, and that the second INFO changes nothing."""
        server = await self.server("server_name: mine")
        client = self.client(server)
        self.assertIs(client.state, State.DISCONNECTED)
        client.startService()
        self.assertIs(client.state, State.CONNECTING)
        await client.when_connected()
        self.assertIs(client.state, State.CONNECTED)
        got = self.collect(client, "a")
        client.publish("a", b"1")
        for _ in range(3):
            await client.flush()
        self.assertEqual(got, [b"1"])
        self.assertEqual(self.events, [Connected(server.url, True)])
        self.assertEqual(client.max_payload, 1048576)
        self.assertEqual(client.server_info["server_name"], "mine")
        self.assertGreater(client.server_info["client_id"], 0)
        self.assertTrue(client.server_info["connect_info"])

    async def test_C1_one_connect(self) -> None:
        """No later INFO is answered by a CONNECT."""
        f = await self.scripted()
        client = await self.connected(f.url)
        for number in range(3):
            f.end.send(info(client_id=number, connect_info=True))
        await client.flush()
        self.assertEqual(len(f.end.connects), 1)
        self.assertEqual(f.end.received.count(b"CONNECT"), 1)
        self.assertEqual(client.server_info["client_id"], 2)

    async def test_C2_nobody(self) -> None:
        """The error names the server, and comes at once; a service comes when one starts."""
        (port,) = free_ports(1)
        error = await self.refused(f"127.0.0.1:{port}", connect_timeout=30)
        self.assertIn(f"127.0.0.1:{port}", str(error))
        self.assertEqual(error.phase, "connect")
        client = self.client(f"127.0.0.1:{port}")
        client.startService()
        await self.until(lambda: len(self.failures()) > 1)
        await self.server(port=port)
        await client.when_connected()

    async def test_C3_silent(self) -> None:
        """A server without a word, or with INFO only, is given up in time."""
        for greeting, phase in ((b"", "info"), (HELLO, "handshake")):
            f = await self.scripted(greeting, answering=False)
            error = await self.refused(f.url, connect_timeout=0.2)
            self.assertEqual(error.phase, phase)
            self.assertIn("within 0.2 s", str(error))
            await f.close()

    async def test_C3_other_protocol(self) -> None:
        """Something that is not NATS is called that, with its words."""
        for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"-ERR 'no'\r\n"):
            f = await self.scripted(greeting)
            text = str(await self.refused(f.url))
            self.assertIn("not a NATS server", text)
            await f.close()

    async def test_C3_in_bytes(self) -> None:
        """The greeting comes byte by byte."""
        f = await self.scripted(b"", answering=False)
        client = self.client(f.url)
        client.startService()
        await self.until(lambda: f.ends)
        for byte in HELLO + b"PONG\r\n":
            f.end.send(bytes([byte]))
            await self.turn()
        await client.when_connected()

    async def test_C4_closes(self) -> None:
        """Closed after INFO or CONNECT: the error names the phase, and the next one is tried."""
        good = await self.scripted()
        for when, phase in (("info", "handshake"), ("connect", "handshake"), ("tcp", "info")):
            f = await self.scripted(HELLO if when != "tcp" else b"", answering=False)

            def heard(end: F, line: bytes, when: str = when) -> None:
                if when == "connect":
                    end.hang_up()

            f.heard = heard  # type: ignore[method-assign]
            self.events.clear()
            client = self.client([f.url, good.url], randomize=False)
            client.startService()
            if when != "connect":
                while not f.ends:
                    await self.turn(0.01)
                f.end.hang_up()
            await client.when_connected()
            (failed,) = self.of(ConnectFailed)
            self.assertEqual(failed.reason.phase, phase)
            self.assertEqual(client.connected_url, good.url)
            await client.stopService()

    async def test_C4_after_pong(self) -> None:
        """Closed right after PONG: a connection that is lost, and the next one is tried."""
        good = await self.scripted()
        f = await self.scripted()

        def heard(end: F, line: bytes) -> None:
            if line == b"PING":
                end.hang_up()

        f.heard = heard  # type: ignore[method-assign]
        client = self.client([f.url, good.url], randomize=False)
        client.startService()
        await self.until(lambda: client.connected_url == good.url)
        self.assertEqual(self.event_names(), ["Connected", "Disconnected", "Connected"])
        self.assertEqual(client.counts()["reconnects"], 1)

    async def test_C5_walk(self) -> None:
        """A dead, a silent and a good one: one timeout, no delay."""
        good, silent = await self.server(), await self.scripted(b"")
        (dead,) = free_ports(1)
        client = self.client(
            [f"127.0.0.1:{dead}", silent.url, good], randomize=False, connect_timeout=0.3
        )
        client.startService()
        await client.when_connected()
        self.assertEqual(client.connected_url, good.url)
        self.assertEqual(self.event_names(), ["ConnectFailed", "ConnectFailed", "Connected"])

    async def test_C6_full(self) -> None:
        """A full server says so, or resets; the client comes in when there is room."""
        server = await self.server(rlim(max_connections=1))
        first = await self.connected(server)
        second = self.client(server)
        second.startService()
        await self.until(lambda: len(self.failures()) > 1)
        for text in self.failures():
            known = ("maximum connections exceeded", "closed before INFO", "closed after INFO")
            self.assertTrue(text.startswith(known), text)
        await first.stopService()
        await second.when_connected()

    async def test_C7_verbose_pedantic(self) -> None:
        """Acknowledgements and strict checks change nothing, also over a reconnect."""
        server = await self.server()
        for options in ({"verbose": True}, {"pedantic": True}, {"verbose": True, "pedantic": True}):
            client = await self.connected(server, **options)
            got = self.collect(client, "a")
            for payload in (b"1", b"2"):
                client.publish("a", payload)
                await client.flush()
                client.force_reconnect()
                await client.when_connected()
            await client.flush()
            self.assertEqual(got, [b"1", b"2"])
            await client.stopService()

    async def test_C8_addresses(self) -> None:
        """A literal IPv6 address, a name of both families, one with a dead address."""
        (port,) = free_ports(1)
        await self.server(f'listen: "[::]:{port}"', port=port)
        self.assertTrue(socket.has_ipv6)
        names = Names(both=["::1", "127.0.0.1"], dead=["127.0.0.2", "127.0.0.1"], six=["::1"])
        for host in ("localhost", "[::1]", "both", "dead", "six"):
            given: Any = reactor if host in ("localhost", "[::1]") else Resolving(names)
            client = NatsClient(f"{host}:{port}", given, stop_timeout=1)
            self.addCleanup(client.stopService)
            client.startService()
            await client.when_connected()
            await client.flush()
            await client.stopService()

    async def test_C9_close_in_each_phase(self) -> None:
        """A stop is done at once, whatever was under way; trial looks for what is left."""
        (dead,) = free_ports(1)
        full = self.full_backlog()
        stalled = await self.scripted(info(tls_required=True))
        security: Any = optionsForClientTLS("localhost")
        info_only = await self.scripted(HELLO, answering=False)
        silent = await self.scripted(b"")
        for place, started, tls in (
            (f"127.0.0.1:{full}", lambda: True, None),
            (silent.url, lambda: silent.ends, None),
            (stalled.url, lambda: stalled.ends and stalled.end.received, lambda server: security),
            (info_only.url, lambda: info_only.ends and info_only.end.connects, None),
            (f"127.0.0.1:{dead}", lambda: self.failures(), None),
        ):
            client = self.client(place, connect_timeout=30, tls=tls)
            waiting = client.when_connected()
            client.startService()
            await self.until(started)
            await client.stopService()
            self.failureResultOf(waiting, ConnectionClosed)
            self.assertIs(client.state, State.CLOSED)

    def full_backlog(self) -> int:
        """Return a port that answers nobody any more."""
        sockets = [socket.socket() for _ in range(4)]
        for each in sockets:
            self.addCleanup(each.close)
            each.setblocking(False)
        listener, *others = sockets
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for other in others:
            other.connect_ex(("127.0.0.1", port))
        return port

    async def test_C10_one_segment(self) -> None:
        """PONG, INFO and a message in one piece are taken in order."""
        f = await self.scripted(HELLO, answering=False)
        client = self.client(f.url)
        got = self.collect(client, "a")
        client.startService()
        await self.until(lambda: f.ends and f.end.pings)
        f.end.send(
            b"PONG\r\n" + info(connect_urls=["127.0.0.1:1", "127.0.0.2:2"]) + b"MSG a 1 1\r\nx\r\n"
        )
        await self.until(lambda: got)
        self.assertEqual(self.event_names(), ["Connected", "Discovered", "Discovered"])
        self.assertEqual(len(client.options()["servers"]), 3)

    async def test_C11_wrong_ports(self) -> None:
        """The port of the routes and one of HTTP are told, and not tried in a fast loop."""
        (route,) = free_ports(1)
        await self.server(cluster_config("n0", route, []))
        listening: Any = reactor
        site = Site(Resource())
        site.noisy = False
        http = listening.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(http.stopListening)
        for port, words in (
            (route, ("route port", "cluster")),
            (http.getHost().port, ("INFO", "not a NATS")),
        ):
            self.events.clear()
            client = self.client(f"127.0.0.1:{port}", connect_timeout=0.3)
            client.startService()
            await self.until(lambda: self.failures())
            self.assertTrue(any(word in self.failures()[0] for word in words), self.failures())
            await client.stopService()
            tries = len(self.failures())
            self.assertLess(tries, 3)
