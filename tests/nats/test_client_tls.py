"""TLS to a real nats-server that wants certificates."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from backplane.nats.client import ConnectFailed, Message, NatsClient
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerTLS
from backplane.security.watch import Watched
from backplane.testing import PKI
from backplane.testing.natsserver import NatsServer

VECTORS = Path(__file__).parent.parent / "vectors" / "pki"

VERIFYING = f"""tls {{
    cert_file: "{VECTORS / "broker.example.net.pem"}"
    key_file: "{VECTORS / "broker.example.net.key"}"
    ca_file: "{VECTORS / "ca.pem"}"
    verify: true
    timeout: 5
}}
"""


def broker_tls(ca: str = "ca", name: str | None = "app1.example.net", legacy: bool = False) -> Any:
    authorities = load_authorities(str(VECTORS / f"{ca}.pem")).certificates
    pair = None
    if name is not None:
        pair = load_key_pair(str(VECTORS / f"{name}.pem"), str(VECTORS / f"{name}.key"))
    made = BrokerTLS(authorities, pair, legacy=legacy)
    return lambda server: made(server.host)


class TLSTests(TestCase):
    """One server, and clients that do it right or wrong."""

    timeout = 60

    @inlineCallbacks
    def serve(self, config: str = VERIFYING) -> Generator[Any, Any, None]:
        self.server = NatsServer(config=config)
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)

    def client(self, tls: Any, host: str = "localhost", **options: Any) -> NatsClient:
        client = NatsClient(
            [f"{host}:{self.server.port}"],
            reactor,
            tls=tls,
            endpoint=lambda server: HostnameEndpoint(reactor, "127.0.0.1", server.port),
            **options,
        )
        self.failures: list[str] = []
        self.failed: Deferred[None] = Deferred()

        def listen(event: object) -> None:
            if isinstance(event, ConnectFailed):
                self.failures.append(str(event.reason))
                if not self.failed.called:
                    self.failed.callback(None)

        client.add_listener(listen)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    @inlineCallbacks
    def connected(self, client: NatsClient) -> Generator[Any, Any, None]:
        yield client.when_connected()
        yield client.flush()
        yield client.stopService()

    @inlineCallbacks
    def test_mutual(self) -> Generator[Any, Any, None]:
        """By name and by address; messages of any size go both ways."""
        yield self.serve()
        for host in ("localhost", "127.0.0.1"):
            client = self.client(broker_tls(), host)
            yield client.when_connected()
            got: Deferred[Message] = Deferred()
            client.subscribe("a", got.callback)
            client.publish("a", b"x" * 900_000)
            message = yield got
            self.assertEqual(len(message.payload), 900_000)
            yield client.flush()
            yield client.stopService()

    @inlineCallbacks
    def test_both_ways(self) -> Generator[Any, Any, None]:
        """T6: a broker that takes TLS and also plain connections."""
        yield self.serve(f"{VERIFYING}allow_non_tls: true\n")
        yield self.connected(self.client(broker_tls()))
        yield self.connected(self.client(None))

    @inlineCallbacks
    def test_auto(self) -> Generator[Any, Any, None]:
        """T7: a broker that waits a moment whether TLS comes first."""
        yield self.serve(VERIFYING.replace("timeout: 5", "timeout: 5\n    handshake_first: auto"))
        yield self.connected(self.client(broker_tls(), tls_first=True))
        yield self.connected(self.client(broker_tls()))

    @inlineCallbacks
    def test_wants_first(self) -> Generator[Any, Any, None]:
        """T7: a broker that wants TLS first gives us nothing to go by, but there is a hint."""
        yield self.serve(VERIFYING.replace("timeout: 5", "timeout: 1\n    handshake_first: true"))
        yield self.failure(broker_tls(), "a broker that wants TLS first says nothing before it")

    @inlineCallbacks
    def test_first_in_vain(self) -> Generator[Any, Any, None]:
        """T7: TLS first towards brokers that begin with INFO."""
        for config in ("", VERIFYING):
            yield self.serve(config)
            words = "the broker does not speak TLS, or not at once"
            yield self.failure(broker_tls(), words, tls_first=True)

    @inlineCallbacks
    def test_first(self) -> Generator[Any, Any, None]:
        """TLS before INFO, where the server wants that."""
        yield self.serve(VERIFYING.replace("timeout: 5", "timeout: 5\n    handshake_first: true"))
        client = self.client(broker_tls(), tls_first=True)
        yield client.when_connected()

    @inlineCallbacks
    def failure(
        self, tls: Any, words: str, host: str = "localhost", **options: Any
    ) -> Generator[Any, Any, None]:
        client = self.client(tls, host, **options)
        yield self.failed
        self.assertIn(words, self.failures[0])
        self.assertFalse(client.is_connected)
        yield client.stopService()

    @inlineCallbacks
    def test_failures(self) -> Generator[Any, Any, None]:
        """Each has its cause named."""
        yield self.serve()
        yield self.failure(broker_tls("other-ca"), "its authority is not in the CA file")
        yield self.failure(
            broker_tls(), "is for broker.example.net, localhost", "other.example.net"
        )
        yield self.failure(broker_tls(name=None), "it wants a certificate of ours")
        yield self.failure(broker_tls(name="defective/expired"), "our certificate has expired")
        yield self.failure(broker_tls(name="defective/other-ca"), "it does not")
        yield self.failure(None, "the broker wants TLS")

    @inlineCallbacks
    def test_plain_server(self) -> Generator[Any, Any, None]:
        """A server without TLS is not talked to when TLS is wanted."""
        yield self.serve("")
        yield self.failure(broker_tls(), "the broker does not speak TLS")

    @inlineCallbacks
    def test_reconnect(self) -> Generator[Any, Any, None]:
        """Subscriptions are there again after the server was away."""
        yield self.serve()
        client = self.client(broker_tls())
        got: list[bytes] = []
        client.subscribe("a", lambda message: got.append(message.payload))
        yield client.when_connected()
        yield client.flush()
        self.server.restart()
        yield self.server.when_ready(reactor)
        client.force_reconnect()
        yield client.when_connected()
        client.publish("a", b"again")
        yield client.flush()
        self.assertEqual(got, [b"again"])

    @inlineCallbacks
    def test_retried(self) -> Generator[Any, Any, None]:
        """A broker whose TLS is put right is connected to without further ado."""
        yield self.serve("")
        client = self.client(broker_tls())
        yield self.failed
        self.server.config = VERIFYING
        self.server.restart()
        yield self.server.when_ready(reactor)
        yield self.connected(client)

    @inlineCallbacks
    def test_intermediates(self) -> Generator[Any, Any, None]:
        """Certificates of an authority below the one that both sides know."""
        pki = PKI(self.mktemp())
        below = pki.intermediate().intermediate("Third CA")
        own = below.client("app1.example.net")
        yield self.serve(pki.nats_config(below.server("localhost", "127.0.0.1")))
        made = BrokerTLS(load_authorities(pki.ca).certificates, load_key_pair(own.cert, own.key))
        for host in ("localhost", "127.0.0.1"):
            yield self.connected(self.client(lambda server: made(server.host), host))

    @inlineCallbacks
    def test_renewed(self) -> Generator[Any, Any, None]:
        """T8: renewed certificates of both sides are used for the next connection."""
        pki = PKI(self.mktemp())
        server, own = pki.server("localhost"), pki.client("app1.example.net")
        yield self.serve(pki.nats_config(server))
        authorities = load_authorities(pki.ca).certificates
        watched: Watched[BrokerTLS] = Watched(
            [own.cert, own.key],
            lambda: BrokerTLS(authorities, load_key_pair(own.cert, own.key)),
            self.fail,
        )
        client = self.client(lambda server: watched.value(server.host))
        yield client.when_connected()
        pki.server("localhost")
        pki.client("app1.example.net")
        self.assertEqual([watched.check() for _ in range(2)], [False, True])
        self.server.restart()
        yield self.server.when_ready(reactor)
        client.force_reconnect()
        yield self.connected(client)


class SchemeTests(TestCase):
    """What the address says."""

    def test_no_certificates(self) -> None:
        """``tls://`` without certificates is an error with a cause."""
        client = NatsClient(["tls://b:1"], Clock())
        failures: list[object] = []
        client.add_listener(failures.append)
        client.startService()
        assert isinstance(failures[0], ConnectFailed)
        self.assertIn("none are configured", str(failures[0].reason))
        client.stopService()
        self.assertEqual(Server("b").scheme, "nats")
