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
from backplane.testing.natsserver import NatsServer

PKI = Path(__file__).parent.parent / "vectors" / "pki"

VERIFYING = f"""tls {{
    cert_file: "{PKI / "broker.example.net.pem"}"
    key_file: "{PKI / "broker.example.net.key"}"
    ca_file: "{PKI / "ca.pem"}"
    verify: true
    timeout: 5
}}
"""


def broker_tls(ca: str = "ca", name: str | None = "app1.example.net", legacy: bool = False) -> Any:
    authorities = load_authorities(str(PKI / f"{ca}.pem")).certificates
    pair = None
    if name is not None:
        pair = load_key_pair(str(PKI / f"{name}.pem"), str(PKI / f"{name}.key"))
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
    def test_first(self) -> Generator[Any, Any, None]:
        """TLS before INFO, where the server wants that."""
        yield self.serve(VERIFYING.replace("timeout: 5", "timeout: 5\n    handshake_first: true"))
        client = self.client(broker_tls(), tls_first=True)
        yield client.when_connected()

    @inlineCallbacks
    def failure(self, tls: Any, words: str, host: str = "localhost") -> Generator[Any, Any, None]:
        client = self.client(tls, host)
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
