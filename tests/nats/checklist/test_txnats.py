"""X1: the names of txnats 0.7.5, on real servers.

First what its manual shows, then what went wrong with it, one test each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure

from backplane import nats as txnats
from backplane.nats import Backoff, NatsProtocol, actions, errors, io, resilient
from backplane.nats.config_state import SubscriptionArgs
from backplane.testing.natsserver import NatsServer
from tests.nats.checklist.scripted import ScriptedCase
from tests.nats.checklist.servers import R0, RPERM, RPING, free_ports, rlim

reactor: Any = _reactor

PKI = Path(__file__).parents[2] / "vectors" / "pki"


class Cutter(Protocol):
    """Gives another protocol what comes in pieces of so many bytes."""

    def __init__(self, inner: Protocol, size: int) -> None:
        self.inner = inner
        self.size = size

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        for place in range(0, len(data), self.size):
            self.inner.dataReceived(data[place : place + self.size])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.inner.connectionLost(reason)


class TxnatsCase(ScriptedCase):
    """A test with protocols whose events are kept.

    :ivar told: the events of all of them.
    """

    def setUp(self) -> None:
        super().setUp()
        self.told: list[Any] = []
        self.got: list[tuple[str, str, str | None, bytes]] = []
        self.complaints: list[str] = []

    def heard(self, event: Any) -> None:
        """Keep an event."""
        self.told.append(event)

    def hear(
        self, nats_protocol: Any, sid: str, subject: str, reply_to: str | None, payload: bytes
    ) -> None:
        """Keep a message."""
        self.got.append((sid, subject, reply_to, payload))

    def payloads(self) -> list[bytes]:
        """Return what was kept."""
        return [payload for *_, payload in self.got]

    def kinds(self, *kinds: type[Any]) -> list[Any]:
        """Return the events of these kinds so far."""
        return [event for event in self.told if isinstance(event, kinds)]

    def where(self, server: Any) -> IStreamClientEndpoint:
        """Return the endpoint of a server."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)

    async def close(self, protocol: NatsProtocol) -> None:
        """Close, and wait for it."""
        if protocol.transport is not None and not protocol._lost:
            transport: Any = protocol.transport
            transport.loseConnection()
            await self.until(lambda: protocol._lost)

    async def protocol(self, server: Any, cut: int | None = None, **options: Any) -> NatsProtocol:
        """Return a protocol that has sent CONNECT; closed in the end.

        :param cut: bytes that it gets at a time.
        """
        ready: Deferred[Any] = Deferred()
        options = {"verbose": False, "event_subscribers": [self.heard], **options}
        protocol = NatsProtocol(on_connect=ready.callback, **options)
        self.addCleanup(self.close, protocol)
        outer = protocol if cut is None else Cutter(protocol, cut)
        await connectProtocol(self.where(server), outer)
        await ready
        return protocol

    async def flush(self, protocol: NatsProtocol) -> None:
        """Wait until the server has had everything, and we have had what it had for us."""
        pongs = len(self.kinds(actions.ReceivedPong))
        protocol.ping()
        await self.until(lambda: len(self.kinds(actions.ReceivedPong)) > pongs)


class ManualTests(TxnatsCase):
    """What its manual shows, with our package under its name."""

    async def test_X1_subscriber(self) -> None:
        """A subject, a sid, a handler; a client beside that publishes."""
        server = await self.server()
        connected = txnats.io.NatsProtocol(
            verbose=False,
            event_subscribers=[self.heard],
            on_connect=lambda np: np.sub("happy", "6", on_msg=self.hear),
        )
        self.addCleanup(self.close, connected)
        await connectProtocol(self.where(server), connected)
        await self.until(lambda: connected.sids)
        await self.flush(connected)
        other = await self.protocol(server)
        other.pub("happy", b"Hello")
        await self.until(lambda: self.got)
        self.assertEqual(self.got, [("6", "happy", None, b"Hello")])

    async def test_X1_responder(self) -> None:
        """It publishes text to where the answer is awaited."""
        server = await self.server()

        def respond(
            nats_protocol: Any, sid: str, subject: str, reply_to: str | None, payload: bytes
        ) -> None:
            if reply_to:
                nats_protocol.pub(reply_to, "Roger, from {}!".format("me"))

        protocol = await self.protocol(server)
        protocol.sub("get-response", "6", on_msg=respond)
        protocol.sub("inbox123", "7", on_msg=self.hear)
        protocol.pub("get-response", b"anyone?", "inbox123")
        protocol.pub("get-response", b"anyone?")
        await self.flush(protocol)
        await self.flush(protocol)
        self.assertEqual(self.got, [("7", "inbox123", None, b"Roger, from me!")])

    async def test_X1_queue_group(self) -> None:
        """Four responders share a hundred requests."""
        server = await self.server()
        shares: list[list[bytes]] = []
        for _ in range(4):
            share: list[bytes] = []
            shares.append(share)

            def take(payload: bytes, share: list[bytes] = share, **_: Any) -> None:
                share.append(payload)

            member = await self.protocol(server)
            member.sub("get-response", "6", queue_group="excelsior", on_msg=take)
            await self.flush(member)
        client = await self.protocol(server)
        for number in range(100):
            client.pub("get-response", b"%d" % number)
        await self.until(lambda: sum(map(len, shares)) == 100)
        self.assertEqual(len({payload for share in shares for payload in share}), 100)
        self.assertNotIn([], shares)

    async def test_X1_limits(self) -> None:
        """``unsub(sid, n)``: so many and no more; ping; the protocol's own handler."""
        server = await self.server()
        protocol = await self.protocol(server, on_msg=self.hear)
        protocol.sub("happy", "1")
        protocol.sub("smile.*", "3")
        protocol.unsub("1", 2)
        for payload in (b"1", b"2", b"3"):
            protocol.pub("happy", payload)
        protocol.pub("smile.sfas", b"4", "smile12")
        await self.flush(protocol)
        self.assertEqual(
            self.got,
            [
                ("1", "happy", None, b"1"),
                ("1", "happy", None, b"2"),
                ("3", "smile.sfas", "smile12", b"4"),
            ],
        )
        self.assertEqual([event.sid for event in self.kinds(actions.UnsubMaxReached)], ["1"])

    async def test_X1_reconnecting(self) -> None:
        """Subscriptions given to the constructor, the reconnector, the pings, over restarts."""
        server = await self.server()
        line = Line(self, server)
        await line.connecting
        for end in (server.stop, server.kill):
            await self.until(lambda: line.protocol.status == io.CONNECTED)
            await self.flush(line.protocol)
            line.protocol.pub("happy", b"x")
            await self.until(lambda: self.got)
            self.assertEqual(self.got, [("6", "happy", None, b"x")])
            self.got.clear()
            self.told.clear()
            end()
            await self.until(lambda: self.kinds(actions.Disconnected, actions.ConnectionLost))
            server.start()
            await server.when_ready(reactor)
        await self.until(lambda: self.kinds(actions.SendConnect))
        await self.until(lambda: line.protocol.status == io.CONNECTED)
        line.protocol.pub("happy", b"last")
        await self.until(lambda: self.got)
        self.assertEqual(self.payloads(), [b"last"])


class Line:
    """A protocol that reconnects; subscribed to ``happy`` as 6.

    :ivar protocol: the present one.
    """

    def __init__(self, case: TxnatsCase, server: NatsServer) -> None:
        where = case.where(server)
        backoff = Backoff(initial_delay=0.02, max_delay=0.1)
        self.reconnector = resilient.make_reconnector(where, backoff, max_retries=10_000)
        self.protocol = NatsProtocol(
            event_subscribers=[
                self.reconnector,
                resilient.ping_loop_controller,
                case.heard,
                self.heard,
            ],
            subscriptions={"6": SubscriptionArgs("happy", "6", on_msg=case.hear)},
        )
        self.connecting = resilient.connect(where, self.protocol, backoff)
        case.addCleanup(self.close, case)

    def heard(self, event: Any) -> None:
        """Follow the protocol."""
        if isinstance(event, actions.SendConnect):
            self.protocol = event.protocol

    async def close(self, case: TxnatsCase) -> None:
        """Reconnect no more, and close."""
        self.reconnector.stop()
        await case.close(self.protocol)


class MendedTests(TxnatsCase):
    """What went wrong with txnats 0.7.5 does not with ours."""

    async def test_X1_connects(self) -> None:
        """INFO with fields that it does not know; it could connect to no server since 2018."""
        server = await self.server()
        protocol = await self.protocol(server)
        await self.flush(protocol)
        settings = protocol.server_settings
        assert settings is not None
        self.assertEqual((settings.port, settings.max_payload), (server.port, 1048576))

    async def test_X1_one_connect(self) -> None:
        """The INFO that follows the first PONG is not answered by CONNECT; subscriptions stay."""
        server = await self.server()
        protocol = await self.protocol(server)
        protocol.sub("a", "1", on_msg=self.hear)
        await self.flush(protocol)
        await self.until(lambda: len(self.kinds(actions.ReceivedInfo)) > 1)
        protocol.pub("a", b"x")
        await self.flush(protocol)
        self.assertEqual(len(self.kinds(actions.SendConnect)), 1)
        self.assertEqual(self.payloads(), [b"x"])

    async def test_X1_subjects(self) -> None:
        """All that Choria uses: many tokens, ``$``, ``/``, ``:``, a leading ``*``."""
        protocol = await self.protocol(await self.server())
        sent = {
            "mcollective.broadcast.agent.backplane": "mcollective.broadcast.agent.backplane",
            "$JS.x": "$JS.>",
            "a/b:c.d": "*.d",
            "choria.node.host-1.example.net": "choria.*.host-1.>",
            "a.b.c.d.e.f": "a.b.c.d.e.f",
        }
        for sid, pattern in enumerate(sent.values()):
            protocol.sub(pattern, str(sid), on_msg=self.hear)
        for subject in sent:
            protocol.pub(subject, b"x", "_INBOX.a$b.c/d")
        await self.flush(protocol)
        self.assertEqual(
            self.got,
            [(str(n), subject, "_INBOX.a$b.c/d", b"x") for n, subject in enumerate(sent)],
        )
        self.assertEqual(self.kinds(actions.ServerErr), [])

    async def test_X1_names(self) -> None:
        """Queue groups and sids of other characters than letters and digits; numbers as sids."""
        protocol = await self.protocol(await self.server())
        sids: list[Any] = ["x-y.z_1", "ä", 7, "a:b"]
        for sid in sids:
            protocol.sub("a", sid, queue_group=f"group-{sid}.x", on_msg=self.hear)
        protocol.pub("a", b"x")
        await self.flush(protocol)
        self.assertEqual({sid for sid, *_ in self.got}, {"x-y.z_1", "ä", "7", "a:b"})
        self.assertEqual(len(self.got), 4)
        protocol.unsub(7)
        protocol.pub("a", b"y")
        await self.flush(protocol)
        self.assertEqual(len(self.got), 7)

    async def test_X1_cut_messages(self) -> None:
        """However the bytes come, a message is delivered once."""
        server = await self.server()
        for size in (1, 2, 3, 5, 7):
            self.got.clear()
            protocol = await self.protocol(server, cut=size)
            protocol.sub("a", "1", on_msg=self.hear)
            wanted = [b"", b"x", b"\r\n", b"MSG a 1 1\r\nx\r\n", b"PING\r\n", b"\x00" * 100]
            for payload in wanted:
                protocol.pub("a", payload)
            await self.flush(protocol)
            self.assertEqual(self.payloads(), wanted, str(size))
            await self.close(protocol)

    async def test_X1_cut_pings(self) -> None:
        """A PING in pieces is answered once, a PONG counted once."""
        server = await self.server(RPING)
        protocol = await self.protocol(server, cut=1)
        await self.until(lambda: len(self.kinds(actions.ReceivedPing)) >= 3)
        self.assertEqual(len(self.kinds(actions.SendPong)), len(self.kinds(actions.ReceivedPing)))
        self.assertEqual(protocol.pout, 0)
        for left in (1, 0):
            protocol.ping()
            protocol.ping()
            self.assertEqual(protocol.pout, 2)
            await self.until(lambda: protocol.pout == 0)
            self.assertEqual(self.kinds(actions.Disconnected, actions.ConnectionLost), [], left)
        self.assertEqual(
            [event.outstanding_pings for event in self.kinds(actions.ReceivedPong)], [1, 0] * 2
        )

    async def test_X1_headers(self) -> None:
        """A message with headers does not block the stream."""
        server = await self.server()
        protocol = await self.protocol(server)
        protocol.sub("a", "1", on_msg=self.hear)
        await self.flush(protocol)
        client = await self.connected(server)
        client.publish("a", b"1", headers={"K": "v"})
        client.publish("a", b"2")
        await self.until(lambda: len(self.got) == 2)
        self.assertEqual(self.payloads(), [b"1", b"2"])

    async def test_X1_tolerance(self) -> None:
        """Lower case, tabs and a bare line feed do not block it either."""
        server = await self.scripted(answering=False)
        protocol = await self.protocol(server)
        protocol.sub("a", "1", on_msg=self.hear)
        server.end.send(b"ping\r\nmsg  a\t1  3\r\nfoo\r\nPING  \n+OKay\r\nMSG a 1 3\r\nbar\r\n")
        await self.until(lambda: len(self.got) == 2)
        self.assertEqual(self.payloads(), [b"foo", b"bar"])
        self.assertEqual(len(self.kinds(actions.SendPong)), 2)

    async def test_X1_complaints(self) -> None:
        """A complaint is an event; what came with it is used, the connection goes on."""
        server = await self.server(RPERM)
        protocol = await self.protocol(server, user="u", password="p")
        protocol.sub("ok.a", "1", on_msg=self.hear)
        protocol.pub("ok.a", b"1")
        protocol.pub("forbidden", b"")
        protocol.sub("forbidden", "2")
        protocol.pub("ok.a", b"2")
        await self.flush(protocol)
        self.assertEqual(
            [event.text for event in self.kinds(actions.ServerErr)],
            [
                'Permissions Violation for Publish to "forbidden"',
                'Permissions Violation for Subscription to "forbidden"',
            ],
        )
        self.assertEqual(self.payloads(), [b"1", b"2"])
        self.assertEqual(protocol.status, io.CONNECTED)

    async def test_X1_complaint_amidst(self) -> None:
        """Whatever it says, and wherever it stands among messages."""
        server = await self.scripted()
        protocol = await self.protocol(server)
        protocol.sub("a", "1", on_msg=self.hear)
        server.end.send(b"MSG a 1 1\r\n1\r\n-ERR 'Whatever'\r\nMSG a 1 1\r\n2\r\nPING\r\n")
        await self.until(lambda: len(self.got) == 2)
        self.assertEqual([event.text for event in self.kinds(actions.ServerErr)], ["Whatever"])
        await self.until(lambda: b"PONG" in server.end.received)

    async def test_X1_clean_end(self) -> None:
        """A server that stops ends the connection cleanly: that is reconnected, too."""
        server = await self.server()
        line = Line(self, server)
        await line.connecting
        await self.flush(line.protocol)
        server.stop()
        await self.until(lambda: self.kinds(actions.Disconnected))
        self.assertEqual(self.kinds(actions.ConnectionLost), [])
        server.start()
        await server.when_ready(reactor)
        await self.until(lambda: len(self.kinds(actions.SendConnect)) == 2)
        line.protocol.pub("happy", b"x")
        await self.until(lambda: self.got)

    async def test_X1_gives_up(self) -> None:
        """After so many tries the Deferred fails; it used to fire."""
        backoff = Backoff(initial_delay=0.01, max_delay=0.02)
        where = TCP4ClientEndpoint(reactor, "127.0.0.1", free_ports(1)[0])
        protocol = NatsProtocol()
        await self.assertFailure(
            resilient.connect(where, protocol, backoff, max_retries=2), ConnectError
        )
        self.assertEqual(backoff.retries, 2)

    async def test_X1_open_socket(self) -> None:
        """A socket that opens is not a server: INFO is."""
        server = await self.scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connecting = resilient.connect(
            self.where(server), NatsProtocol(), Backoff(initial_delay=0.01), max_retries=1
        )
        error: Any = await self.assertFailure(connecting, errors.ConnectionFailed)
        self.assertIn("not a NATS server", str(error))
        self.assertEqual(len(server.ends), 2)

    async def test_X1_backoff(self) -> None:
        """It starts with the delay that it is told."""
        self.assertEqual(Backoff(initial_delay=5, jitter=0).get_delay(), 5)

    async def test_X1_tls(self) -> None:
        """Over an endpoint with TLS it speaks TLS; without, it says nothing to who wants it."""
        config = f"""tls {{ cert_file: "{PKI / "broker.example.net.pem"}"
            key_file: "{PKI / "broker.example.net.key"}"\n"""
        first = await self.server(config + "handshake_first: true }")
        authority = Certificate.loadPEM((PKI / "ca.pem").read_bytes())
        options = optionsForClientTLS("broker.example.net", trustRoot=authority)
        protocol = NatsProtocol(ssl_required=True, event_subscribers=[self.heard])
        self.addCleanup(self.close, protocol)
        await connectProtocol(wrapClientTLS(options, self.where(first)), protocol)
        await self.flush(protocol)
        protocol.sub("a", "1", on_msg=self.hear)
        protocol.pub("a", b"secret")
        await self.until(lambda: self.got)
        plain = await self.server(R0)
        wanting = await self.server(config + "}")
        for server, ssl_required in ((plain, True), (wanting, False)):
            self.told.clear()
            failing = NatsProtocol(
                ssl_required=ssl_required, password="secret", event_subscribers=[self.heard]
            )
            greeted: Any = failing.on_connect_d
            error: Any = await self.assertFailure(
                resilient.connect(self.where(server), failing, Backoff()), errors.ConnectionFailed
            )
            self.assertEqual(error.phase, "tls")
            self.assertEqual(self.kinds(actions.SendConnect), [])
            await self.until(lambda p=failing: p._lost)  # type: ignore[misc]
            await self.assertFailure(greeted, errors.ConnectionFailed)

    async def test_X1_max_payload(self) -> None:
        """What is too long is refused here; a server would end the connection."""
        protocol = await self.protocol(await self.server(rlim(max_payload=64)))
        protocol.sub("a", "1", on_msg=self.hear)
        protocol.pub("a", b"x" * 64)
        with self.assertRaises(errors.PayloadTooLarge):
            protocol.pub("a", b"x" * 65)
        await self.flush(protocol)
        self.assertEqual(len(self.got), 1)
        self.assertEqual(self.kinds(actions.ServerErr), [])

    async def test_X1_ping_limit(self) -> None:
        """A server that answers no PING is left; it used to be kept for ever."""
        server = await self.server()
        protocol = await self.protocol(server)
        await self.flush(protocol)
        server.pause()
        for _ in range(protocol.max_outstanding_pings + 1):
            protocol.ping()
        await self.until(lambda: self.kinds(actions.ConnectionLost))
        self.assertIn("stale", str(self.kinds(actions.ConnectionLost)[0].reason.value))
        server.resume()

    async def test_X1_text(self) -> None:
        """Text is a payload, as its manual has it."""
        protocol = await self.protocol(await self.server())
        protocol.sub("a", "1", on_msg=self.hear)
        protocol.pub("a", "Grüße")
        await self.flush(protocol)
        self.assertEqual(self.payloads(), ["Grüße".encode()])
