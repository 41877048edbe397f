"""The client finds a server, says who it is, and waits for what is not there yet."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from backplane.nats.client import Connected, ConnectFailed, NatsClient
from backplane.nats.errors import ConnectionClosed, ConnectionFailed
from backplane.testing.broker import FakeBroker
from tests.nats.bench import HELLO, ClientCase, Script

REFUSED = "Connection was refused by other side: nothing listens on %s:4222."


class ConnectTests(ClientCase):
    """C1: the handshake, and what CONNECT says."""

    def test_connected(self) -> None:
        """The client knows where it is; one event; the second INFO makes no second CONNECT."""
        client = self.client(version="1.2")
        waiting = client.when_connected()
        client.startService()
        self.assertFalse(client.is_connected)
        self.assertEqual((client.connected_url, client.max_payload), (None, None))
        self.assertNoResult(waiting)
        self.result(waiting)
        self.assertTrue(client.is_connected)
        self.assertEqual(client.connected_url, "nats://a:4222")
        self.assertEqual(client.max_payload, 1024 * 1024)
        self.assertEqual(self.events, [Connected("nats://a:4222", True)])
        self.result(client.when_connected())
        self.result(client.flush())
        (server,) = self.broker.clients
        self.assertEqual((server.pings, self.broker.connections), (2, 1))
        self.assertEqual(
            server.fields,
            {
                "verbose": False,
                "pedantic": False,
                "tls_required": False,
                "name": "c",
                "lang": "python-twisted",
                "version": "1.2",
                "protocol": 1,
                "echo": True,
                "headers": True,
                "no_responders": True,
            },
        )
        self.assertEqual(self.lines(), ["connected to nats://a:4222"])

    def test_old_server(self) -> None:
        """Headers are asked for only where there are some."""
        self.broker.info["headers"] = False
        self.start()
        fields = self.broker.clients[0].fields
        self.assertEqual(fields.keys() & {"headers", "no_responders"}, set())

    def test_one_write(self) -> None:
        """CONNECT and PING go out together; a later INFO is not answered."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f")
        (end,) = script.ends
        self.assertTrue(end.received.startswith(b"CONNECT {"))
        self.assertTrue(end.received.endswith(b"}\r\nPING\r\n"))
        said = end.received
        end.send(b"PONG\r\n" + HELLO.replace(b"64", b"32"))
        self.network.flush()
        self.assertEqual(end.received, said)
        self.assertEqual(client.max_payload, 32)

    def test_verbose(self) -> None:
        """C7: acknowledgements disturb nothing, also after a reconnect."""
        client = self.start(verbose=True)
        got = self.collect(client, "x")
        for payload in (b"1", b"2"):
            client.publish("x", payload)
            self.result(client.flush())
            self.broker.drop_all()
            self.advance(10)
        self.assertEqual(got, [b"1", b"2"])
        self.assertIs(self.broker.clients[0].fields["verbose"], True)

    def test_cut_into_bytes(self) -> None:
        """C3: the handshake may come byte by byte."""
        self.network.chunk = 1
        self.assertTrue(self.start().is_connected)

    def test_all_in_one_segment(self) -> None:
        """C10: what follows the PONG in the same read is taken, in order."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.client("f")
        got = self.collect(client, "x")
        client.startService()
        self.network.flush()
        script.ends[0].send(b'PONG\r\nINFO {"connect_urls":["b:1"]}\r\nMSG x 1 2\r\nhi\r\n')
        self.network.flush()
        self.assertEqual(got, [b"hi"])
        self.assertEqual(client.options()["servers"], ["nats://f:4222", "nats://b:1"])
        self.assertEqual(client.max_payload, 64)

    def test_socket(self) -> None:
        """Small messages are not held back, and dead peers are noticed by the system too."""
        self.start()
        transport = self.broker.clients[0].transport
        peer: Any = next(t for t in self.network.transports if t is not transport)
        self.assertEqual((peer.tcp_no_delay, peer.tcp_keep_alive), (True, True))


class CredentialTests(ClientCase):
    """A1: user and password, token; from arguments and from addresses."""

    def said(self, servers: str = "a", **options: Any) -> dict[str, Any]:
        """Return what the client says of itself."""
        self.start(servers, **options)
        fields = self.broker.clients[-1].fields
        return {key: fields[key] for key in ("user", "pass", "auth_token") if key in fields}

    def test_where_from(self) -> None:
        """Arguments win over addresses; addresses are percent-decoded."""
        both = {"user": "u", "pass": "p"}
        for servers, options, said in (
            ("a", {}, {}),
            ("a", {"user": "u", "password": "p"}, both),
            ("nats://u:p@a", {}, both),
            ("nats://u%40x:p%40%3a@a", {}, {"user": "u@x", "pass": "p@:"}),
            ("nats://x:y@a", {"user": "u", "password": "p"}, both),
            ("nats://x@a", {"user": "u", "password": "p"}, both),
            ("a", {"token": "t"}, {"auth_token": "t"}),
            ("nats://t@a", {}, {"auth_token": "t"}),
            ("nats://x@a", {"token": "t"}, {"auth_token": "t"}),
            ("nats://x:y@a", {"token": "t"}, {"auth_token": "t"}),
        ):
            self.assertEqual(self.said(servers, **options), said, (servers, options))

    def test_not_asked_for(self) -> None:
        """A6: they are sent to a server that does not ask: it may have a default user."""
        self.assertNotIn("auth_required", self.broker.info)
        self.assertEqual(self.said(token="t"), {"auth_token": "t"})

    def test_let_in(self) -> None:
        """The right ones are accepted."""
        self.broker.user, self.broker.password = "u", "p"
        self.assertTrue(self.start(user="u", password="p").is_connected)
        self.broker.token = "t"
        self.assertFalse(self.start(user="u", password="p").is_connected)

    def test_wrong(self) -> None:
        """A refusal is retried at the slow end, for ever, with one line in the log."""
        self.broker.user, self.broker.password = "u", "p"
        client = self.start(user="u", password="x")
        (failed,) = self.events
        self.assertEqual(failed.server, "a:4222")
        self.assertEqual(str(failed.reason), "Authorization Violation")
        self.assertEqual(failed.reason.phase, "handshake")
        self.advance(201, 0.5)
        self.assertEqual([when for when, _ in self.tried], [20.0 * n for n in range(11)])
        self.assertEqual(
            self.lines(LogLevel.warn)[:1],
            ["cannot connect to a:4222: Authorization Violation; trying for ever"],
        )
        self.assertEqual(client.counts()["error_auth"], 11)
        self.assertEqual(len([line for line in self.lines() if "cannot" in line]), 1)
        self.broker.password = "x"
        self.advance(20)
        self.assertTrue(client.is_connected)

    def test_secret(self) -> None:
        """Passwords and tokens are never shown."""
        self.broker.refuse = True
        client = self.start("nats://u:hush@a,nats://hush@b", user="w", password="hush")
        self.advance(30)
        self.broker.refuse = False
        self.advance(30)
        self.assertTrue(client.is_connected)
        shown = [repr(client), repr(vars(client)), repr(self.events), client.connected_url]
        shown += [repr(client.options()), *self.lines(LogLevel.debug)]
        self.assertNotIn("hush", " ".join(map(str, shown)))


class PoolTests(ClientCase):
    """Several servers: their order, and what is tried when."""

    def setUp(self) -> None:
        super().setUp()
        self.absent()

    def order(self, **options: Any) -> list[str]:
        """Return the hosts of the first walk."""
        self.tried.clear()
        self.start("a,b,c,d,e", **options)
        return [host for _, host in self.tried]

    def test_random_order(self) -> None:
        """The order is that of the generator."""
        hosts = list("abcde")
        orders = set()
        for seed in range(20):
            wanted = hosts.copy()
            random.Random(seed).shuffle(wanted)
            self.assertEqual(self.order(rng=random.Random(seed)), wanted)
            orders.add(tuple(wanted))
        self.assertGreater(len(orders), 10)

    def test_given_order(self) -> None:
        """Unless told not to shuffle."""
        self.assertEqual(self.order(randomize=False), list("abcde"))

    def test_dead_silent_good(self) -> None:
        """C5: a dead and a silent server cost one time-out together."""
        silent = FakeBroker()
        silent.silent = True
        self.network.listen("b", 4222, silent)
        self.network.listen("c", 4222, self.broker)
        client = self.start("a,b,c", randomize=False)
        self.advance(4.9)
        self.assertFalse(client.is_connected)
        self.advance(0.1)
        self.assertTrue(client.is_connected)
        reasons = [str(event.reason) for event in self.events if isinstance(event, ConnectFailed)]
        self.assertEqual(reasons, [REFUSED % "a", "INFO did not come within 5 s"])
        silent.drop_all()

    def test_stalled(self) -> None:
        """A socket that does not open costs one time-out."""
        self.network.listen("c", 4222, self.broker)
        self.network.stall("b")
        client = self.start("b,c", randomize=False)
        self.advance(4.9)
        self.assertFalse(client.is_connected)
        self.advance(0.1)
        self.assertTrue(client.is_connected)
        self.assertEqual(self.tried, [(0.0, "b"), (5.0, "c")])
        self.network.release()

    def test_walks_on_after_a_loss(self) -> None:
        """R1: the other servers are tried at once when one is lost."""
        self.present()
        self.network.listen("b", 4222, self.broker)
        client = self.start("a,b", randomize=False)
        self.assertEqual(client.connected_url, "nats://a:4222")
        self.absent()
        self.assertEqual(client.connected_url, "nats://b:4222")
        self.assertEqual([host for _, host in self.tried], ["a", "b"])


class AbsentTests(ClientCase):
    """C2: who is not there at start is waited for."""

    def test_refused(self) -> None:
        """A broker that is started later is found."""
        self.absent()
        client = self.start()
        waiting = client.when_connected()
        self.advance(3600, 1)
        self.assertNoResult(waiting)
        self.present()
        self.advance(20)
        self.result(waiting)
        self.assertEqual(self.events[-1], Connected("nats://a:4222", True))
        self.assertEqual(client.counts()["reconnects"], 0)
        self.assertEqual(client.counts()["failed"], len(self.tried) - 1)

    def test_no_name(self) -> None:
        """A name that cannot be resolved is no different."""
        self.network.fail_dns("a")
        client = self.start()
        self.advance(600)
        self.assertEqual(str(self.events[0].reason), "DNS lookup failed: no address for 'a'.")
        self.assertEqual(self.events[0].reason.phase, "connect")
        self.network.fail_dns("a", False)
        self.advance(20)
        self.assertTrue(client.is_connected)

    def test_cancelled_wait(self) -> None:
        """Whoever waits may give up."""
        self.absent()
        client = self.start()
        first, second = client.when_connected(), client.when_connected()
        first.addErrback(lambda failure: second.cancel())
        second.addErrback(lambda failure: None)
        first.cancel()
        self.present()
        self.advance(5)
        self.assertTrue(client.is_connected)

    def test_one_walk(self) -> None:
        """Without ``retry`` each server is tried once, and the cause is told."""
        self.absent()
        client = self.client("a,b", retry=False, randomize=False)
        client.startService()
        waiting = client.when_connected()
        self.advance(60)
        failure = self.failureResultOf(waiting, ConnectionFailed)
        self.assertEqual(failure.getErrorMessage(), f"b:4222: {REFUSED % 'b'}")
        self.assertEqual((failure.value.server, failure.value.phase), ("b:4222", "connect"))
        self.assertEqual([host for _, host in self.tried], ["a", "b"])
        self.failure(client.when_connected(), ConnectionFailed)

    def test_one_walk_ends_well(self) -> None:
        """Without ``retry`` it connects to the first that answers."""
        client = self.start("b,a", retry=False, randomize=False)
        self.result(client.when_connected())
        self.assertEqual(client.connected_url, "nats://a:4222")

    def test_tls(self) -> None:
        """There is no TLS yet, so nothing is sent in clear where it is wanted."""
        for servers in ("tls://a", "a"):
            self.broker.info["tls_required"] = True
            client = self.start(servers, retry=False)
            error = self.failureResultOf(client.when_connected(), ConnectionFailed)
            self.assertEqual(error.value.phase, "tls")
        self.assertFalse(any(client.connected_once for client in self.broker.clients))

    def test_stopped(self) -> None:
        """Whoever waits when the client is stopped is told."""
        self.absent()
        client = self.start()
        waiting = client.when_connected()
        self.stop(client)
        self.failure(waiting, ConnectionClosed)
        self.failure(client.when_connected(), ConnectionClosed)


@implementer(IHostnameResolver)
class Names:
    """Resolves every name to :attr:`address`."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        resolutionReceiver.resolutionBegan(None)  # type: ignore[arg-type]
        if self.address:
            found = IPv4Address("TCP", self.address, portNumber)
            resolutionReceiver.addressResolved(found)
        resolutionReceiver.resolutionComplete()


class ResolvingTests(SynchronousTestCase):
    """R15: the endpoint that is used when none is given."""

    def test_resolved_anew(self) -> None:
        """Each try asks for the address again."""
        reactor: Any = MemoryReactorClock()
        reactor.nameResolver = names = Names()
        client = NatsClient("broker:99", reactor, connect_timeout=3)
        client.startService()
        self.assertEqual((names.asked, reactor.tcpClients), (["broker"], []))
        for address in ("10.0.0.1", "10.0.0.2"):
            names.address = address
            reactor.advance(1)
            reactor.advance(5)
            host, port, factory, timeout, _ = reactor.tcpClients.pop()
            self.assertEqual((host, port, timeout), (address, 99, 3))
            factory.clientConnectionFailed(None, ConnectionRefusedError())
        self.assertEqual(set(names.asked), {"broker"})
        self.assertGreaterEqual(len(names.asked), 3)
        self.successResultOf(client.stopService())
        self.assertEqual(reactor.getDelayedCalls(), [])
