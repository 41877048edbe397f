"""T1 to T11: TLS on the network in memory, both ends real."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import LogLevel

from backplane.nats.client import ConnectFailed, Disconnected, NatsClient
from backplane.nats.errors import BufferFull, ConnectionFailed
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerSecurity, BrokerTLS
from backplane.testing import PKI
from backplane.testing.broker import BrokerClient, FakeBroker
from backplane.testing.pki import Issued
from tests.nats.bench import ClientCase, Script

HOST = "broker.example.net"

TLS_HELLO = b'INFO {"server_id":"S","proto":1,"tls_required":true}\r\n'


class Brokers(FakeBroker):
    """A broker that remembers its clients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.all_clients: list[BrokerClient] = []

    def buildProtocol(self, addr: IAddress | None) -> BrokerClient | None:
        made = super().buildProtocol(addr)
        if made is not None:
            self.all_clients.append(made)
        return made


class Hasty(FakeBroker):
    """A broker that resets each connection at the first thing said under TLS."""

    def buildProtocol(self, addr: IAddress | None) -> BrokerClient | None:
        made = super().buildProtocol(addr)
        assert made is not None
        made.dataReceived = lambda data: made.transport.abortConnection()  # type: ignore[method-assign, union-attr]
        return made


@cache
def authority() -> PKI:
    """Return an authority for all tests, because RSA keys take their time."""
    return PKI(tempfile.mkdtemp(dir="."))


@cache
def client_of(defect: str | None) -> Issued:
    """Return a client's certificate of it."""
    name = "app1.example.net"
    if defect is None:
        return authority().client(name)
    return authority().defective_client(defect, name)


class TLSCase(ClientCase):
    """An authority, and brokers with certificates of it."""

    def setUp(self) -> None:
        super().setUp()
        self.pki = authority()

    def serve(
        self,
        server: Issued | None = None,
        host: str = HOST,
        *,
        verify: bool = True,
        kind: type[FakeBroker] = Brokers,
        **options: Any,
    ) -> Any:
        """Let a broker listen that shows this certificate; it is closed in the end."""
        server = server if server is not None else self.pki.server(HOST)
        tls = self.pki.broker_tls(server, verify=verify)
        broker = kind(tls=tls, clock=self.clock, **options)
        self.network.listen(host, 4222, broker)
        self.addCleanup(broker.drop_all)
        return broker

    def tls(
        self, own: Issued | None = None, ca: str | None = None
    ) -> Callable[[Server], BrokerSecurity]:
        """Return the security of an application."""
        pair = None if own is None else load_key_pair(own.cert, own.key)
        made = BrokerTLS(load_authorities(ca or self.pki.ca).certificates, pair)
        return lambda server: made(server.tls_name or server.host)

    def mutual(self) -> Callable[[Server], BrokerSecurity]:
        """Return the security of one with a good certificate."""
        return self.tls(client_of(None))

    def refusal(self, host: str = HOST, *, wait: float = 0, **options: Any) -> tuple[str, str]:
        """Return phase and words of the first failure."""
        self.events.clear()
        client = self.start(host, **options)
        if wait:
            self.advance(wait)
        self.assertFalse(client.is_connected)
        self.stop(client)
        failed = next(event for event in self.events if isinstance(event, ConnectFailed))
        assert isinstance(failed.reason, ConnectionFailed)
        self.assertEqual(failed.reason.server, f"{host}:4222")
        return failed.reason.phase, str(failed.reason)


class GoodTests(TLSCase):
    """Connections that come about."""

    def talk(self, client: NatsClient, broker: Any) -> None:
        """Say and hear something large and something small."""
        self.assertTrue(client.is_connected, self.events)
        payloads = self.collect(client, "to.us")
        self.result(client.flush())
        large = bytes(range(256)) * 4000
        broker.publish("to.us", large)
        for number in range(20):
            client.publish("to.them", str(number).encode())
        client.publish("to.them", large)
        self.result(client.flush())
        self.assertEqual(payloads, [large])
        expected = [*(str(number).encode() for number in range(20)), large]
        self.assertEqual([payload for _, payload in broker.published], expected)

    def test_mutual(self) -> None:
        """Messages of any size go both ways; CONNECT says that there is TLS."""
        broker = self.serve()
        client = self.start(HOST, tls=self.mutual())
        self.talk(client, broker)
        self.assertIs(broker.clients[0].fields["tls_required"], True)
        self.assertTrue(client.options()["secure"])

    def test_pieces(self) -> None:
        """However the network cuts it."""
        broker = self.serve()
        self.network.chunk = 1000
        client = self.client(HOST, tls=self.mutual())
        client.startService()
        self.advance(1)
        self.talk(client, broker)

    def test_first(self) -> None:
        """TLS before INFO, where the broker wants that."""
        broker = self.serve(tls_first=True)
        self.talk(self.start(HOST, tls=self.mutual(), tls_first=True), broker)

    def test_old_and_new(self) -> None:
        """TLS 1.2 is enough."""
        broker = self.serve()
        broker.tls.newest = SSL.TLS1_2_VERSION
        self.talk(self.start(HOST, tls=self.mutual()), broker)

    def test_address(self) -> None:
        """A broker given as an address, with the address in its certificate."""
        broker = self.serve(self.pki.server(HOST, "192.0.2.1"), "192.0.2.1")
        self.talk(self.start("tls://192.0.2.1", tls=self.mutual()), broker)

    def test_twisteds_own(self) -> None:
        """What Twisted makes for a host will do, with Twisted's words for what is wrong."""
        trust = Certificate.loadPEM(Path(self.pki.ca).read_bytes())
        broker = self.serve(verify=False)

        def tls(server: Server) -> Any:
            return optionsForClientTLS(HOST, trust)

        self.talk(self.start(HOST, tls=tls), broker)
        other = self.serve(self.pki.server("c"), "c", verify=False)
        client = self.start("c", tls=tls)
        failed = next(event for event in self.events if isinstance(event, ConnectFailed))
        self.assertIn("TLS failed: VerificationError", str(failed.reason))
        self.assertEqual([end.pings for end in other.all_clients], [0])
        self.stop(client)

    def test_some_plain(self) -> None:
        """TLS for some servers only; ``tls://`` insists."""
        tls = self.mutual()
        broker = self.serve()
        client = self.start(HOST, tls=lambda server: tls(server) if server.host == HOST else None)
        self.assertTrue(client.is_connected)
        self.assertTrue(broker.clients)
        client = self.start("a", tls=lambda server: None)
        self.assertTrue(client.is_connected)
        client = self.start("tls://a", tls=lambda server: None)
        self.assertFalse(client.is_connected)

    def test_lost(self) -> None:
        """T11: a connection that is cut is made again, and subscriptions with it."""
        broker = self.serve()
        client = self.start(HOST, tls=self.mutual())
        payloads = self.collect(client, "a")
        self.result(client.flush())
        self.network.cut()
        self.advance(1)
        self.assertIn("reset by the server", [
            str(event.reason) for event in self.events if isinstance(event, Disconnected)
        ])  # fmt: skip
        broker.publish("a", b"again")
        self.network.flush()
        self.assertEqual(payloads, [b"again"])

    def test_closed(self) -> None:
        """A broker that stops is one that closed the connection."""
        broker = self.serve()
        self.start(HOST, tls=self.mutual())
        broker.drop_all()
        self.network.flush()
        lost = next(event for event in self.events if isinstance(event, Disconnected))
        self.assertEqual(str(lost.reason), "closed by the server")

    def test_asked_each_time(self) -> None:
        """T8: the security is asked for on each try, so a renewed certificate is used."""
        broker = self.serve()
        asked: list[str] = []
        security = self.mutual()

        def tls(server: Server) -> BrokerSecurity:
            asked.append(server.host)
            return security(server)

        client = self.start(HOST, tls=tls)
        security = self.tls(self.pki.client("renewed.example.net"))
        client.force_reconnect()
        self.network.flush()
        self.assertTrue(client.is_connected)
        self.assertEqual(asked, [HOST, HOST])
        shown = broker.clients[-1].transport.getPeerCertificate().get_subject().CN
        self.assertEqual(shown, "renewed.example.net")

    def test_gossip(self) -> None:
        """T9: a broker learnt by address must have the name of the one that named it."""
        server = self.pki.server(HOST)
        broker, other = self.serve(server), self.serve(server, "192.0.2.7")
        client = self.start(HOST, tls=self.mutual())
        broker.send_info(connect_urls=["192.0.2.7:4222"])
        self.network.flush()
        self.network.fail_dns(HOST)
        broker.drop_all()
        self.advance(1)
        self.assertEqual(client.connected_url, "nats://192.0.2.7:4222")
        self.talk(client, other)

    def test_back_pressure(self) -> None:
        """What a broker does not take is kept within the bound, and arrives in order."""
        broker = self.serve()
        client = self.start(HOST, tls=self.mutual(), buffer_size=300_000)
        self.network.stall()
        sent = 0
        with self.assertRaises(BufferFull):
            for _ in range(1000):
                client.publish("a", str(sent).encode() + b"x" * 10_000)
                sent += 1
                self.clock.advance(0)
        self.assertGreater(sent, 30)
        self.assertLess(sent, 100)
        self.network.release()
        self.result(client.flush())
        numbers = [int(payload.partition(b"x")[0]) for _, payload in broker.published]
        self.assertEqual(numbers, list(range(sent)))

    def test_flush_on_stop(self) -> None:
        """What was published right before the stop arrives."""
        broker = self.serve()
        client = self.start(HOST, tls=self.mutual())
        client.publish("a", b"last")
        self.stop(client)
        self.assertEqual(list(broker.published), [("a", b"last")])


class RefusedTests(TLSCase):
    """Connections that do not."""

    def test_broker_not_believed(self) -> None:
        """T2: the reason is named, and the broker is not told who we are."""
        for name, defect, words in (
            ("ca", None, "its authority is not in the CA file"),
            ("a", "expired", "it has expired"),
            ("b", "self_signed", "it is signed by itself"),
            ("c", "other_name", "is for other-c, not for c"),
            ("d", "no_san", "has no subjectAltName"),
        ):
            server = (
                PKI(self.mktemp(), "Unrelated CA").server(name)
                if defect is None
                else self.pki.defective_server(defect, name)
            )
            self.network.ports.pop((name, 4222), None)
            broker = self.serve(server, name)
            phase, text = self.refusal(name, tls=self.mutual(), user="u", password="secret")
            self.assertEqual(phase, "tls")
            self.assertIn(words, text)
            for end in broker.all_clients:
                self.assertEqual((end.connected_once, end.pings), (False, 0))
                self.assertNotIn("user", end.fields)

    def test_we_are_not_believed(self) -> None:
        """T3: what the broker has against our certificate, with both versions of TLS."""
        broker = self.serve()
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            broker.tls.newest = newest
            for own, words in (
                (None, "wants a certificate"),
                (client_of("other_ca"), "authority of our certificate"),
                (client_of("expired"), "our certificate has expired"),
            ):
                phase, text = self.refusal(tls=self.tls(own))
                self.assertEqual(phase, "tls")
                self.assertIn(words, text)
        self.assertFalse(any(end.connected_once for end in broker.all_clients))

    def test_alert_lost(self) -> None:
        """T3: where its refusal gets lost, it is guessed."""
        self.serve(kind=Hasty)
        phase, text = self.refusal(tls=self.mutual())
        self.assertEqual(phase, "tls")
        self.assertIn("in all likelihood it rejected our certificate", text)

    def test_plain_broker(self) -> None:
        """T4: a broker without TLS is sent nothing."""
        script = Script()
        self.network.listen(HOST, 4222, script)
        expected = ("tls", "the broker does not speak TLS")
        self.assertEqual(self.refusal(tls=self.mutual()), expected)
        self.assertEqual([end.received for end in script.ends], [b""])

    def test_not_configured(self) -> None:
        """T5: a broker that wants TLS is sent nothing without."""
        script = Script(TLS_HELLO)
        self.network.listen(HOST, 4222, script)
        expected = ("tls", "the broker wants TLS, and none is configured")
        self.assertEqual(self.refusal(), expected)
        self.assertEqual([end.received for end in script.ends], [b""])

    def test_first_without(self) -> None:
        """T7: TLS first towards brokers that begin with INFO."""
        self.network.listen(HOST, 4222, Script(TLS_HELLO))
        phase, text = self.refusal(tls=self.mutual(), tls_first=True)
        self.assertEqual(phase, "tls")
        self.assertIn("the broker does not speak TLS, or not at once", text)

    def test_wants_first(self) -> None:
        """T7: a broker that wants TLS first says nothing, or closes; both give the hint."""
        self.serve(tls_first=True)
        hint = "; a broker that wants TLS first says nothing before it"
        text = f"INFO did not come within 5 s{hint}"
        self.assertEqual(self.refusal(wait=6, tls=self.mutual()), ("info", text))
        script = Script(b"")
        self.network.ports.clear()
        self.network.listen(HOST, 4222, script)
        client = self.start(HOST, tls=self.mutual())
        script.ends[-1].hang_up()
        self.network.flush()
        self.assertEqual(str(self.events[-1].reason), f"closed before INFO{hint}")
        self.stop(client)

    def test_garbage(self) -> None:
        """T10: something else than a handshake."""
        script = Script(TLS_HELLO)
        self.network.listen(HOST, 4222, script)
        client = self.start(HOST, tls=self.mutual())
        self.assertEqual(script.ends[-1].received[:1], b"\x16")
        script.ends[-1].send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.network.flush()
        reason = self.events[-1].reason
        self.assertEqual(reason.phase, "tls")
        self.assertIn("the broker does not speak TLS", str(reason))
        self.stop(client)

    def test_stalled(self) -> None:
        """T10: a handshake that does not go on ends at the deadline; a close ends it before."""
        script = Script(TLS_HELLO)
        self.network.listen(HOST, 4222, script)
        expected = ("tls", "the TLS handshake was not done within 5 s")
        self.assertEqual(self.refusal(wait=5.5, tls=self.mutual()), expected)
        client = self.start(HOST, tls=self.mutual())
        script.ends[-1].hang_up()
        self.network.flush()
        self.assertEqual(str(self.events[-1].reason), "closed by the broker in the TLS handshake")
        self.stop(client)

    def test_more_than_info(self) -> None:
        """What is said in clear after INFO is not taken for what the broker says under TLS."""
        for more in (b"PING\r\n", b"PONG\r\n", b'INFO {"x":1}\r\n', b"-ERR 'x'\r\n", b"P"):
            script = Script(TLS_HELLO + more)
            self.network.ports.clear()
            self.network.listen(HOST, 4222, script)
            phase, text = self.refusal(tls=self.mutual())
            self.assertEqual((phase, script.ends[0].received), ("tls", b""), more)
            self.assertIn("said more than INFO before TLS", text)

    def test_stop(self) -> None:
        """C9: stopping in the handshake ends it at once."""
        self.network.listen(HOST, 4222, Script(TLS_HELLO))
        client = self.start(HOST, tls=self.mutual())
        stopped = client.stopService()
        self.network.flush()
        self.successResultOf(stopped)

    def test_retried(self) -> None:
        """It is tried for ever; a cause is logged once, and again when it is another."""
        script = Script(b'INFO {"server_id":"S"}\r\n')
        self.network.listen(HOST, 4222, script)
        client = self.start(HOST, tls=self.mutual())
        self.advance(60)
        tries = len(script.ends)
        self.assertGreater(tries, 5)
        plain = [each for each in self.lines(LogLevel.warn) if "does not speak TLS" in each]
        self.assertEqual(len(plain), 1, self.lines())
        self.assertIn(f"{HOST}:4222", plain[0])
        self.network.ports.clear()
        self.serve(self.pki.defective_server("expired", HOST))
        self.advance(60)
        expired = [
            each
            for each in self.lines(LogLevel.warn)
            if each.startswith("cannot") and "it has expired" in each
        ]
        self.assertEqual(len(expired), 1, expired)
        self.network.ports.clear()
        self.serve()
        self.advance(30)
        self.assertTrue(client.is_connected)

    def test_cannot_be_set_up(self) -> None:
        """Security that cannot be made is a failed try as any other."""
        broker = self.serve()
        broken = True
        security = self.mutual()

        def tls(server: Server) -> BrokerSecurity:
            if broken:
                raise ValueError("no certificate today")
            return security(server)

        client = self.start(HOST, tls=tls)
        reason = self.events[0].reason
        self.assertEqual(reason.phase, "tls")
        self.assertEqual(str(reason), "TLS cannot be set up: no certificate today")
        broken = False
        self.advance(5)
        self.assertTrue(client.is_connected)
        self.assertEqual(len(broker.all_clients), 1)

    def test_no_secrets(self) -> None:
        """Neither events nor log have the password."""
        self.network.listen(HOST, 4222, Script(TLS_HELLO + b"P"))
        self.start(f"tls://u:secret@{HOST}", tls=self.mutual())
        texts = json.dumps([*map(repr, self.events), *self.lines(LogLevel.debug)])
        self.assertNotIn("secret", texts)
