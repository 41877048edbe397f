"""T: TLS to real servers, and to what pretends to be one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from backplane.nats.client import Connected, ConnectFailed, Disconnected, NatsClient
from backplane.nats.errors import ConnectionFailed
from backplane.nats.events import Discovered
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerTLS
from backplane.testing import PKI
from backplane.testing.natsserver import NatsServer
from backplane.testing.pki import Issued
from tests.nats.checklist.scripted import ScriptedCase, info
from tests.nats.checklist.servers import R0, cluster_config, free_ports, routed

NAME = "broker.example.net"

TRACE = "debug: true\ntrace: true\n"

SECRET = "s3cret"


@cache
def pki() -> PKI:
    """Return the authority of all tests."""
    return PKI(tempfile.mkdtemp(dir="."), reuse_keys=True)


@cache
def stranger() -> PKI:
    """Return one that nobody knows."""
    return PKI(tempfile.mkdtemp(dir="."), "Strange CA", reuse_keys=True)


def config(
    server: Issued | None = None, *, verify: bool = False, more: str = "", after: str = ""
) -> str:
    """Return the configuration of a server with TLS.

    :param more: in the block.
    :param after: behind it.
    """
    shown = pki().server(NAME, "127.0.0.1") if server is None else server
    return f"{TRACE}{pki().nats_config(shown, verify=verify, more=more)}{after}\n"


class Versioned(BrokerTLS):
    """Up to a version of TLS."""

    newest = SSL.TLS1_3_VERSION

    def _context(self) -> SSL.Context:
        context = super()._context()
        context.set_max_proto_version(self.newest)
        return context


def security(
    own: Issued | None = None, ca: str | None = None, newest: int = SSL.TLS1_3_VERSION
) -> Callable[[Server], Any]:
    """Return what secures a client.

    :param own: its certificate.
    :param ca: file with the authorities that it believes.
    """
    pair = None if own is None else load_key_pair(own.cert, own.key)

    class Made(Versioned):
        pass

    Made.newest = newest
    made = Made(load_authorities(pki().ca if ca is None else ca).certificates, pair)
    return lambda server: made(server.tls_name or server.host)


def here(server: Server) -> IStreamClientEndpoint:
    """Return an endpoint of the loopback, whatever the server is called."""
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, "127.0.0.1", server.port)
    return endpoint


class TLSCase(ScriptedCase):
    """Clients that come to a server by any name."""

    def named(
        self,
        server: NatsServer,
        host: str = NAME,
        *,
        tls: Callable[[Server], Any] | None,
        **options: Any,
    ) -> NatsClient:
        """Return a client of a server; not started."""
        place = f"{host}:{server.port}"
        return self.client(place, tls=tls, endpoint=here, token=SECRET, **options)

    async def let_in(self, server: NatsServer, host: str = NAME, **options: Any) -> None:
        """See that a client can talk, and stop it."""
        client = self.named(server, host, **options)
        client.startService()
        await client.when_connected()
        got = self.collect(client, "a")
        client.publish("a", b"x")
        await client.flush()
        self.assertEqual(got, [b"x"])
        await client.stopService()

    async def kept_out(
        self, server: NatsServer, *words: str, host: str = NAME, **options: Any
    ) -> ConnectionFailed:
        """See that a client does not get in, and why; and that it told nothing."""
        self.events.clear()
        client = self.named(server, host, **options)
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        reason: ConnectionFailed = self.of(ConnectFailed)[0].reason
        for word in words:
            self.assertIn(word, str(reason))
        self.assertEqual(reason.phase, "tls", reason)
        self.assertEqual(self.of(Connected), [])
        await client.stopService()
        self.assertNotIn("CONNECT {", server.log())
        return reason


class GoodTests(TLSCase):
    """Connections that come about."""

    async def test_T1_large(self) -> None:
        """By name and by address, with a new TLS; a MiB goes both ways."""
        server = await self.server(config())
        for host in (NAME, "127.0.0.1"):
            client = self.named(server, host, tls=security())
            client.startService()
            await client.when_connected()
            got = self.collect(client, "a")
            large = bytes(range(256)) * 4096
            client.publish("a", large)
            await client.flush()
            self.assertEqual(got, [large])
            connection: Any = client._dialer.connection
            version = connection.transport.getHandle().get_protocol_version_name()
            self.assertIn(version, ("TLSv1.2", "TLSv1.3"))
            await client.stopService()
        old = config(more='min_version: "1.2"')
        await self.let_in(await self.server(old), tls=security(newest=SSL.TLS1_2_VERSION))

    async def test_T6_either(self) -> None:
        """A server that takes both."""
        server = await self.server(config(after="allow_non_tls: true"))
        await self.let_in(server, tls=security())
        await self.let_in(server, tls=None)

    async def test_T7_first(self) -> None:
        """TLS before INFO where the server wants or allows it."""
        first = await self.server(config(more="handshake_first: true"))
        await self.let_in(first, tls=security(), tls_first=True)
        auto = await self.server(config(more="handshake_first: auto"))
        await self.let_in(auto, tls=security(), tls_first=True)
        await self.let_in(auto, tls=security())

    async def test_T8_renewed(self) -> None:
        """New certificates of both sides are used at the next connection."""
        old = pki().client("app1.example.net")
        server = await self.server(config(verify=True))
        given = [security(old)]
        client = self.named(server, tls=lambda each: given[0](each))
        client.startService()
        await client.when_connected()
        server.config = config(pki().server(NAME), verify=True)
        given[0] = security(pki().client("app1.example.net"))
        await self.restart(server)
        await self.until(lambda: len(self.of(Connected)) == 2)
        given[0] = security(stranger().client("app1.example.net"))
        client.force_reconnect()
        await self.until(lambda: self.of(ConnectFailed))
        given[0] = security(pki().client("app1.example.net"))
        client.force_reconnect()
        await self.until(lambda: len(self.of(Connected)) == 3)

    async def test_T9_gossip(self) -> None:
        """Servers learnt by address must show the name of the one that told of them."""
        ports = free_ports(3)
        shown = pki().server(NAME)
        servers = []
        for number, port in enumerate(ports):
            others = [route for route in ports if route != port]
            text = config(shown, after=cluster_config(f"n{number}", port, others))
            servers.append(await self.server(text, ready=False))
        for server in servers:
            await server.when_ready(reactor)
        await self.until(lambda: all(routed(server, 3) for server in servers))
        client = self.named(servers[0], tls=security())
        client.startService()
        await client.when_connected()
        await self.until(lambda: len(set(self.of(Discovered))) == 3)
        got = self.collect(client, "a")
        for gone in range(2):
            here = next(each for each in servers if f":{each.port}" in str(client.connected_url))
            here.kill()
            await self.until(lambda gone=gone: len(self.of(Connected)) == gone + 2)  # type: ignore[misc]
        self.assertIn("127.0.0.1", str(client.connected_url))
        client.publish("a", b"x")
        await client.flush()
        self.assertEqual(got, [b"x"])

    async def test_T11_killed(self) -> None:
        """A server that dies without a word is one that is gone; the next one takes over."""
        server = await self.server(config())
        client = self.named(server, tls=security(), buffer_size=64 * 1024 * 1024)
        client.startService()
        await client.when_connected()
        got = self.collect(client, "a")
        await client.flush()
        for _ in range(200):
            client.publish("b", b"x" * 50_000)
        await self.turn()
        server.kill()
        await self.until(lambda: self.of(Disconnected))
        server.start()
        await server.when_ready(reactor)
        await self.until(lambda: len(self.of(Connected)) == 2)
        client.publish("a", b"again")
        await client.flush()
        self.assertEqual(got, [b"again"])


class RefusedTests(TLSCase):
    """Connections that do not come about."""

    async def test_T2_not_believed(self) -> None:
        """Wrong authority, wrong name, expired, self-signed: named, and nothing is told."""
        tls = security()
        server = await self.server(config())
        unknown = "its authority is not in the CA file"
        await self.kept_out(server, unknown, tls=security(ca=stranger().ca))
        await self.kept_out(server, f"is for {NAME}", "not for other", host="other", tls=tls)
        for defect, words in (("expired", "it has expired"), ("self_signed", "signed by itself")):
            bad = await self.server(config(pki().defective_server(defect, NAME)))
            await self.kept_out(bad, words, tls=tls)

    async def test_T3_ours(self) -> None:
        """What the server has against our certificate, with both versions; tried slowly."""
        server = await self.server(config(verify=True))
        ours = pki().client("app1.example.net")
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            await self.kept_out(server, "rejected", tls=security(newest=newest))
            await self.kept_out(
                server,
                "rejected",
                "certificate",
                tls=security(stranger().client("app1.example.net"), newest=newest),
            )
        await self.let_in(server, tls=security(ours, newest=SSL.TLS1_2_VERSION))
        await self.let_in(server, tls=security(ours))
        self.events.clear()
        client = self.named(server, tls=security())
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        wait = client._dialer._wait
        assert wait is not None
        clock: Any = reactor
        self.assertGreater(wait.getTime() - clock.seconds(), 8.0)

    async def test_T4_wanted(self) -> None:
        """TLS that is wanted and not there is no reason to do without."""
        server = await self.server(TRACE)
        await self.kept_out(server, "the broker does not speak TLS", tls=security())

    async def test_T5_not_configured(self) -> None:
        """TLS that the server wants and we do not have is a clear error."""
        server = await self.server(config())
        await self.kept_out(server, "the broker wants TLS, and none is configured", tls=None)

    async def test_T7_not_first(self) -> None:
        """A server that says nothing is one that may want TLS first; and the reverse."""
        silent = config(more="handshake_first: true").replace("timeout: 5", "timeout: 1")
        server = await self.server(silent)
        self.events.clear()
        client = self.named(server, tls=security())
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        words = "a broker that wants TLS first says nothing before it"
        self.assertIn(words, str(self.of(ConnectFailed)[0].reason))
        await client.stopService()
        for text in (R0, config()):
            other = await self.server(text or TRACE)
            words = "the broker does not speak TLS, or not at once"
            await self.kept_out(other, words, tls=security(), tls_first=True)


class PretenderTests(TLSCase):
    """What is no server at all."""

    async def test_T10_garbage(self) -> None:
        """Noise instead of a handshake is an error at once; nothing secret was sent."""
        pretender = await self.scripted(info(tls_required=True))
        client = self.client(
            f"{NAME}:{pretender.port}", tls=security(), endpoint=here, token=SECRET
        )
        client.startService()
        await self.until(lambda: pretender.ends and pretender.end.received)
        pretender.end.send(b"garbage\r\n" * 10)
        await self.until(lambda: self.of(ConnectFailed))
        reason = self.of(ConnectFailed)[0].reason
        self.assertEqual(reason.phase, "tls")
        self.assertIn("the broker does not speak TLS", str(reason))
        self.assertNotIn(SECRET.encode(), b"".join(end.received for end in pretender.ends))

    async def test_T10_stalled(self) -> None:
        """A handshake that does not go on has its time."""
        pretender = await self.scripted(info(tls_required=True))
        client = self.client(
            f"{NAME}:{pretender.port}",
            tls=security(),
            endpoint=here,
            token=SECRET,
            connect_timeout=0.3,
        )
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        reason = self.of(ConnectFailed)[0].reason
        self.assertEqual(reason.phase, "tls")
        self.assertIn("the TLS handshake was not done within 0.3 s", str(reason))
