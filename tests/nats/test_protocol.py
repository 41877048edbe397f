"""X1: ``NatsProtocol`` behaves as txnats's does, without its bugs."""

from __future__ import annotations

import io as stdio
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from backplane import nats
from backplane.nats import actions, config_state, errors, io
from backplane.nats.config_state import ClientInfo, ServerInfo, SubscriptionArgs
from backplane.nats.protocol import NatsProtocol

INFO = b'INFO {"server_id":"S","version":"2.15.1","max_payload":8}\r\n'
MODERN = (
    b'INFO {"server_id":"S","server_name":"n","proto":1,"headers":true,"max_payload":1048576,'
    b'"client_id":5,"xkey":"X"} \r\n'
)


class Recorder:
    """Message handler and event subscriber that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.events: list[Any] = []

    def message(self, **arguments: Any) -> None:
        arguments.pop("nats_protocol")
        self.messages.append(arguments)
        self.events.append(arguments["sid"])

    def event(self, event: Any) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        """Return names of events, and sids where the handler was called."""
        return [e if isinstance(e, str) else type(e).__name__ for e in self.events]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen = Recorder()

    def bare(self, **arguments: Any) -> tuple[NatsProtocol, stdio.BytesIO]:
        """Return a protocol as txnats's tests make it: never connected."""
        protocol = NatsProtocol(
            own_reactor=Clock(), event_subscribers=[self.seen.event], **arguments
        )
        protocol.transport = transport = stdio.BytesIO()  # type: ignore[assignment]
        return protocol, transport

    def connected(
        self, info: bytes = INFO, secure: bool = False, **arguments: Any
    ) -> tuple[NatsProtocol, StringTransport]:
        """Return a protocol after its handshake; what it sent until then is cleared."""
        protocol = NatsProtocol(
            own_reactor=Clock(), event_subscribers=[self.seen.event], **arguments
        )
        transport = StringTransport()
        if secure:
            directlyProvides(transport, ISSLTransport)
        protocol.makeConnection(transport)
        protocol.dataReceived(info)
        return protocol, transport


def connect_fields(data: bytes) -> Any:
    head, line, rest = data.partition(b"\r\n")
    assert (head[:8], line, rest) == (b"CONNECT ", b"\r\n", b""), data
    return json.loads(head[8:])


class TheDoor(SynchronousTestCase):
    """The names that a txnats user imports."""

    def test_names(self) -> None:
        self.assertIs(nats.io.NatsProtocol, nats.NatsProtocol)
        self.assertEqual(nats.Backoff().get_delay(), 1.0)
        self.assertEqual((io.CONNECTED, io.DISCONNECTED), (1, 0))
        self.assertEqual((io.LANG, io.CLIENT_NAME), ("py.twisted", "txnats"))
        self.assertEqual(nats.__version__, ".".join(map(str, nats.__version_info__)))
        self.assertEqual(len(nats.__version_info__), 3)
        for name in nats.__all__:
            self.assertTrue(hasattr(nats, name), name)
        self.assertTrue(issubclass(errors.NatsError, Exception))

    def test_no_reactor(self) -> None:
        """Importing leaves the choice of reactor open; making a protocol takes the global one."""
        code = (
            "import sys; from backplane.nats import NatsProtocol, io, resilient, actions\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
            "protocol = NatsProtocol()\n"
            "from twisted.internet import reactor\n"
            "assert protocol.reactor is reactor"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Construction(Case):
    def test_defaults(self) -> None:
        protocol = NatsProtocol(own_reactor=Clock())
        self.assertEqual(protocol.status, io.DISCONNECTED)
        self.assertIsNone(NatsProtocol.server_settings)
        self.assertIs(protocol.verbose, True)
        self.assertEqual(
            (protocol.pout, protocol.remaining_bytes, protocol.sids, protocol.unsubs),
            (0, b"", {}, {}),
        )
        self.assertEqual(protocol.subscriptions, {})
        self.assertEqual(protocol.event_subscribers, [])
        self.assertIsInstance(protocol.on_connect_d, Deferred)
        self.assertFalse(protocol.ping_loop.running)
        self.assertEqual(repr(protocol), "<NatsProtocol connected=0 server_info=None>")
        self.assertRaises(NotImplementedError, protocol.request, "1", "a")

    def test_order_of_arguments(self) -> None:
        """Positional arguments have txnats's order."""
        events: list[Callable[[Any], Any]] = [print]
        subscriptions = {"1": SubscriptionArgs("a", "1")}
        unsubs = {"1": 2}
        clock = Clock()
        protocol = NatsProtocol(
            clock, False, True, False, "t", "u", "p", None, print, events, subscriptions, unsubs
        )
        self.assertIs(protocol.reactor, clock)
        info = protocol.client_info
        self.assertEqual((info.verbose, info.pedantic, info.ssl_required), (False, True, False))
        self.assertEqual((info.auth_token, info.user, info.password), ("t", "u", "p"))
        self.assertIs(protocol.event_subscribers, events)
        self.assertIs(protocol.subscriptions, subscriptions)
        self.assertIs(protocol.unsubs, unsubs)

    def test_secrets_are_not_shown(self) -> None:
        protocol, _ = self.bare(auth_token="s3cret", password="s3cret")
        protocol.dataReceived(INFO)
        self.assertNotIn("s3cret", repr(protocol.client_info) + repr(self.seen.events))

    def test_handler_is_checked_without_a_call(self) -> None:
        """A handler with other arguments is refused; a good one is not called."""
        calls: list[str] = []

        def good(nats_protocol: Any, sid: Any, subject: Any, reply_to: Any, payload: Any) -> None:
            calls.append(sid)

        NatsProtocol(own_reactor=Clock(), on_msg=good)
        self.assertEqual(calls, [])
        self.assertRaises(TypeError, NatsProtocol, own_reactor=Clock(), on_msg=lambda msg: None)
        self.assertRaises(
            TypeError, NatsProtocol, own_reactor=Clock(), on_msg=lambda nats_protocol, sid: None
        )


class Connecting(Case):
    def test_old_server(self) -> None:
        """An INFO without proto and headers gets exactly txnats's CONNECT."""
        protocol, transport = self.bare(user="u", password="p")
        protocol.dataReceived(INFO)
        self.assertEqual(
            connect_fields(transport.getvalue()),
            {
                "verbose": True, "pedantic": False, "ssl_required": False, "auth_token": None,
                "user": "u", "pass": "p", "name": "txnats", "lang": "py.twisted",
                "version": nats.__version__,
            },
        )  # fmt: skip
        self.assertEqual(protocol.status, io.CONNECTED)
        self.assertEqual(
            protocol.server_settings, ServerInfo(server_id="S", version="2.15.1", max_payload=8)
        )
        self.assertIn("connected=1 server_info=ServerInfo(server_id='S'", repr(protocol))

    def test_modern_server(self) -> None:
        """Fields unknown to txnats are no error, and what the server offers is used."""
        _, transport = self.connected(MODERN)
        fields = connect_fields(transport.value())
        self.assertEqual(
            {name: fields[name] for name in ("protocol", "echo", "tls_required", "headers")},
            {"protocol": 1, "echo": True, "tls_required": False, "headers": True},
        )
        self.assertIs(fields["no_responders"], False)

    def test_order(self) -> None:
        """ReceivedInfo, CONNECT, SendConnect, then on_connect."""
        order: list[Any] = []
        transport = StringTransport()

        def note(event: Any) -> None:
            order.append((type(event).__name__, bool(transport.value())))

        def on_connect(protocol: NatsProtocol) -> None:
            order.append(("on_connect", protocol.status, protocol.on_connect_d))

        protocol = NatsProtocol(
            own_reactor=Clock(), event_subscribers=[note], on_connect=on_connect
        )
        protocol.makeConnection(transport)
        protocol.dataReceived(INFO)
        self.assertEqual(
            order, [("ReceivedInfo", False), ("SendConnect", True), ("on_connect", 1, None)]
        )
        self.assertIsNone(protocol.on_connect_d)

    def test_on_connect_d(self) -> None:
        protocol = NatsProtocol(own_reactor=Clock())
        waiting = protocol.on_connect_d
        assert waiting is not None
        protocol.makeConnection(StringTransport())
        self.assertNoResult(waiting)
        protocol.dataReceived(INFO)
        self.assertIs(self.successResultOf(waiting), protocol)

    def test_on_connect_fails(self) -> None:
        """Its error stays in the Deferred; the connection goes on."""

        def on_connect(protocol: NatsProtocol) -> None:
            raise ValueError("It is wrong.")

        protocol, transport = self.bare(on_connect=on_connect)
        waiting = protocol.on_connect_d
        assert waiting is not None
        protocol.dataReceived(INFO + b"PING\r\n")
        self.failureResultOf(waiting, ValueError)
        self.assertTrue(transport.getvalue().endswith(b"PONG\r\n"))

    def test_coroutine(self) -> None:
        """on_connect may be a coroutine function."""
        done: list[NatsProtocol] = []

        async def on_connect(protocol: NatsProtocol) -> None:
            done.append(protocol)

        protocol, _ = self.connected(on_connect=on_connect)
        self.assertEqual(done, [protocol])

    def test_one_connect(self) -> None:
        """A later INFO is an event, and never answered by CONNECT; what it lacks still holds."""
        protocol, transport = self.connected()
        transport.clear()
        protocol.dataReceived(b'INFO {"version":"3","connect_info":true}\r\n')
        self.assertEqual(transport.value(), b"")
        assert protocol.server_settings is not None
        self.assertEqual(protocol.server_settings.version, "3")
        self.assertEqual(protocol.server_settings.max_payload, 8)
        self.assertEqual(
            self.seen.events[-1], actions.ReceivedInfo(protocol, protocol.server_settings)
        )

    def test_wrong_types_in_info(self) -> None:
        """P7: they are ignored."""
        protocol, _ = self.connected(b'INFO {"max_payload":"8","port":true,"host":"h","go":[]}\r\n')
        self.assertEqual(protocol.server_settings, ServerInfo(host="h"))

    def test_tls_wanted(self) -> None:
        """Credentials are never sent in clear where TLS is asked for, by us or the server."""
        for arguments, info in (
            ({"ssl_required": True}, INFO),
            ({"ssl_required": True}, b'INFO {"tls_required":true}\r\n'),
            ({}, b'INFO {"tls_required":true}\r\n'),
        ):
            protocol = NatsProtocol(
                own_reactor=Clock(),
                event_subscribers=[self.seen.event],
                password="s3cret",
                **arguments,  # type: ignore[arg-type]
            )
            waiting = protocol.on_connect_d
            assert waiting is not None
            transport = StringTransport()
            protocol.makeConnection(transport)
            protocol.dataReceived(info)
            error = self.failureResultOf(waiting, errors.ConnectionFailed).value
            self.assertEqual(error.phase, "tls")
            self.assertIn("TLS", str(error))
            self.assertEqual(transport.value(), b"")
            self.assertTrue(transport.disconnected)
            self.assertEqual(protocol.status, io.DISCONNECTED)
            protocol.connectionLost(Failure(ConnectionLost()))
            event = self.seen.events[-1]
            self.assertIsInstance(event, actions.ConnectionLost)
            self.assertIn("TLS", str(event.reason.value))
            self.assertRaises(errors.ConnectionFailed, protocol.connect)

    def test_endpoint_with_tls(self) -> None:
        """Over a transport that speaks TLS it connects."""
        info = b'INFO {"tls_required":true,"proto":1}\r\n'
        _, transport = self.connected(info, secure=True, ssl_required=True)
        self.assertIs(connect_fields(transport.value())["tls_required"], True)


class Publishing(Case):
    def test_pub(self) -> None:
        protocol, transport = self.bare()
        protocol.pub("a.b.c", b"Do\r\nit")
        protocol.pub("$JS.x/y:z", b"", "inbox.1")
        protocol.pub("é", "text ü")
        self.assertEqual(
            transport.getvalue(),
            b"PUB a.b.c 6\r\nDo\r\nit\r\nPUB $JS.x/y:z inbox.1 0\r\n\r\n"
            + "PUB é 7\r\ntext ü\r\n".encode(),
        )
        self.assertEqual(
            self.seen.events[:2],
            [
                actions.SendPub(protocol, "a.b.c", b"Do\r\nit", None),
                actions.SendPub(protocol, "$JS.x/y:z", b"", "inbox.1"),
            ],
        )

    def test_refused(self) -> None:
        """S7: what could smuggle a command in raises in the caller; nothing is sent."""
        protocol, transport = self.bare()
        bad = ("", "a b", "a\r\nPUB x 0", "a\tb", "a..b", ".a", "a.", "a.*", ">", "A>", "a\0", 5)
        for subject in bad:
            self.assertRaises(ValueError, protocol.pub, subject, b"")
            self.assertRaises(ValueError, protocol.pub, "a", b"", subject)
        for payload in (None, 5, ["x"]):
            self.assertRaises(TypeError, protocol.pub, "a", payload)
        self.assertEqual((transport.getvalue(), self.seen.events), (b"", []))

    def test_max_payload(self) -> None:
        """S8: exactly as much as the server takes, not a byte more."""
        protocol, transport = self.connected()
        transport.clear()
        protocol.pub("a", b"12345678")
        self.assertRaises(errors.PayloadTooLarge, protocol.pub, "a", b"123456789")
        self.assertRaises(errors.PayloadTooLarge, protocol.pub, "a", "ü" * 5)
        self.assertEqual(transport.value(), b"PUB a 8\r\n12345678\r\n")
        self.assertFalse(transport.disconnecting)

    def test_without_connection(self) -> None:
        protocol = NatsProtocol(own_reactor=Clock())
        self.assertRaises(errors.NotConnected, protocol.pub, "a", b"")
        protocol, transport = self.connected()
        protocol.connectionLost(Failure(ConnectionDone()))
        transport.clear()
        self.assertRaises(errors.NotConnected, protocol.pub, "a", b"")
        protocol.ping()
        protocol.pong()
        protocol.unsub("1")
        self.assertEqual(transport.value(), b"")


class Subscribing(Case):
    def test_sub(self) -> None:
        """Sent at once, before INFO too; order: recorded, SendSub, SUB."""
        protocol, transport = self.bare()
        written: list[bytes] = []
        protocol.event_subscribers.append(lambda event: written.append(transport.getvalue()))
        protocol.sub("a.*.>", "1", "group-1.x", self.seen.message)
        protocol.sub("b", "x-y.z_1")
        self.assertEqual(transport.getvalue(), b"SUB a.*.> group-1.x 1\r\nSUB b x-y.z_1\r\n")
        self.assertEqual(written[0], b"")
        self.assertEqual(protocol.sids, {"1": self.seen.message, "x-y.z_1": None})
        self.assertEqual(
            protocol.subscriptions["1"],
            SubscriptionArgs("a.*.>", "1", "group-1.x", self.seen.message),
        )
        self.assertEqual(
            self.seen.events[0],
            actions.SendSub("1", protocol, "a.*.>", "group-1.x", self.seen.message),
        )

    def test_int_sids(self) -> None:
        """A number is turned into text, everywhere."""
        arguments = SubscriptionArgs("c", 9)
        table: Any = {9: arguments}
        limits: Any = {9: 1}
        protocol, transport = self.bare(subscriptions=table, unsubs=limits)
        self.assertEqual((table, limits), ({"9": arguments}, {"9": 1}))
        protocol.sub("a", 6, on_msg=self.seen.message)
        protocol.dataReceived(b"MSG a 6 1\r\nx\r\n")
        protocol.unsub(6, 5)
        protocol.unsub(6)
        self.assertEqual(transport.getvalue(), b"SUB a 6\r\nUNSUB 6 5\r\nUNSUB 6 \r\n")
        self.assertEqual(self.seen.messages[0]["sid"], "6")
        self.assertNotIn("6", protocol.subscriptions)
        self.assertEqual(actions.SendUnsub(5, protocol).sid, "5")

    def test_refused(self) -> None:
        protocol, transport = self.bare()
        for subject in ("", "a b", "a..b", ".a", "a.", "a.>.b", "A.>ewr", "A*.la", "a\r\n", None):
            self.assertRaises(ValueError, protocol.sub, subject, "1")
        for sid in ("", "1 2", "1\r\n", None, True, 1.5):
            self.assertRaises(ValueError, protocol.sub, "a", sid)
            self.assertRaises(ValueError, protocol.unsub, sid)
        for queue in ("", "grp\t1", "g\r\n", 5):
            self.assertRaises(ValueError, protocol.sub, "a", "1", queue)
        self.assertRaises(ValueError, protocol.unsub, "1", -1)
        self.assertRaises(TypeError, protocol.unsub, "1", "3")
        self.assertEqual((transport.getvalue(), protocol.sids), (b"", {}))
        self.assertEqual((protocol.subscriptions, self.seen.events), ({}, []))

    def test_before_a_transport(self) -> None:
        """What is subscribed to before there is a connection is sent with the first one."""
        protocol = NatsProtocol(own_reactor=Clock())
        protocol.sub("a", "1")
        protocol.sub("b", "2")
        protocol.sub("c", "3")
        protocol.unsub("1")
        protocol.unsub("3", 2)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(INFO)
        sent = transport.value().splitlines()
        self.assertCountEqual(sent[1:], [b"SUB b 2", b"SUB c 3", b"UNSUB 3 2"])

    def test_unsub(self) -> None:
        """S3: without a number it is forgotten at once, and nothing comes any more."""
        protocol, transport = self.bare(on_msg=self.seen.message)
        protocol.sub("a", "1", on_msg=self.seen.message)
        protocol.unsub("1")
        protocol.unsub("1")
        self.assertTrue(transport.getvalue().endswith(b"UNSUB 1 \r\nUNSUB 1 \r\n"))
        self.assertEqual((protocol.sids, protocol.subscriptions, protocol.unsubs), ({}, {}, {}))
        self.assertEqual(self.seen.events[-1], actions.SendUnsub("1", protocol))
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n")
        self.assertEqual(self.seen.messages, [])

    def test_unsub_max(self) -> None:
        """S4: exactly so many, counted from the start; then UnsubMaxReached."""
        protocol, transport = self.bare()
        protocol.sub("a", "1", on_msg=self.seen.message)
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 2)
        protocol.unsub("1", 5)
        self.assertTrue(transport.getvalue().endswith(b"UNSUB 1 5\r\n"))
        self.assertEqual(protocol.unsubs, {"1": 3})
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 10)
        self.assertEqual(len(self.seen.messages), 5)
        self.assertEqual(self.seen.kinds()[-3:], ["1", "ReceivedMsg", "UnsubMaxReached"])
        self.assertEqual(self.seen.events[-1], actions.UnsubMaxReached("1", protocol))
        self.assertEqual((protocol.sids, protocol.subscriptions, protocol.unsubs), ({}, {}, {}))

    def test_unsub_max_reached_already(self) -> None:
        protocol, _ = self.bare()
        protocol.sub("a", "1", on_msg=self.seen.message)
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 3)
        protocol.unsub("1", 2)
        self.assertEqual(self.seen.kinds()[-2:], ["SendUnsub", "UnsubMaxReached"])
        self.assertEqual((protocol.sids, protocol.unsubs), ({}, {}))

    def test_unsub_max_from_the_handler(self) -> None:
        protocol, _ = self.bare()

        def handler(**arguments: Any) -> None:
            self.seen.message(**arguments)
            protocol.unsub("1", 2)

        protocol.sub("a", "1", on_msg=handler)
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 5)
        self.assertEqual(len(self.seen.messages), 2)
        self.assertEqual(self.seen.kinds()[-2:], ["ReceivedMsg", "UnsubMaxReached"])

    def test_sid_used_again(self) -> None:
        """After its end a sid may be used again, and counts from zero."""
        protocol, _ = self.bare()
        for _ in range(2):
            protocol.sub("a", "1", on_msg=self.seen.message)
            protocol.unsub("1", 2)
            protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 3)
        self.assertEqual(len(self.seen.messages), 4)

    def test_apply_subscriptions(self) -> None:
        """Only with a connection; limits follow their subscription."""
        arguments = {
            "1": SubscriptionArgs("a", "1", "g", self.seen.message),
            "2": SubscriptionArgs("b.c.d", "2"),
        }
        protocol, transport = self.bare(subscriptions=arguments, unsubs={"1": 3})
        protocol.apply_subscriptions()
        self.assertEqual(transport.getvalue(), b"")
        protocol.dataReceived(INFO)
        start = len(transport.getvalue())
        protocol.apply_subscriptions()
        self.assertEqual(transport.getvalue()[start:], b"SUB a g 1\r\nUNSUB 1 3\r\nSUB b.c.d 2\r\n")
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n")
        start = len(transport.getvalue())
        protocol.apply_subscriptions()
        self.assertIn(b"UNSUB 1 3\r\n", transport.getvalue()[start:])
        self.assertEqual(protocol.unsubs, {"1": 2})


class Receiving(Case):
    def test_arguments_and_order(self) -> None:
        """The handler gets keywords of the right types; its event follows."""
        protocol, _ = self.bare(on_msg=self.seen.message)
        protocol.sub("mine", "1", on_msg=self.seen.message)
        protocol.dataReceived(b"MSG mine 1 inbox 2\r\n\r\n\r\nMSG other 2 0\r\n\r\n")
        self.assertEqual(
            self.seen.messages,
            [
                {"sid": "1", "subject": "mine", "reply_to": "inbox", "payload": b"\r\n"},
                {"sid": "2", "subject": "other", "reply_to": None, "payload": b""},
            ],
        )
        self.assertEqual(self.seen.kinds(), ["SendSub", "1", "ReceivedMsg", "2", "ReceivedMsg"])
        self.assertEqual(
            self.seen.events[2], actions.ReceivedMsg("1", protocol, "mine", b"\r\n", "inbox")
        )

    def test_keywords(self) -> None:
        protocol, _ = self.bare()
        got: list[Any] = []
        protocol.sub("a", "1", on_msg=lambda nats_protocol, **_: got.append(nats_protocol))
        protocol.dataReceived(b"MSG a 1 0\r\n\r\n")
        self.assertEqual(got, [protocol])

    def test_standard_output(self) -> None:
        """Without any handler, line and payload go to standard output."""
        protocol, _ = self.bare()
        protocol.sub("a", "1")
        with mock.patch.object(sys, "stdout", stdio.StringIO()) as out:
            protocol.dataReceived(b"MSG a 1 3\r\nfoo\r\nMSG a 1 r 2\r\n\xff!\r\n")
        self.assertEqual(out.getvalue(), "MSG a 1 3\r\nfooMSG a 1 r 2\r\n\ufffd!")

    def test_foreign_subject(self) -> None:
        """A subject that we could not publish to is delivered all the same."""
        protocol, _ = self.bare(on_msg=self.seen.message)
        protocol.dataReceived(b"MSG A*.x>y 1 a..b 0\r\n\r\nMSG \xff 1 0\r\n\r\n")
        self.assertEqual(len(self.seen.messages), 2)
        self.assertEqual(self.seen.kinds(), ["1", "ReceivedMsg"] * 2)

    def test_headers(self) -> None:
        """HMSG is delivered with its payload."""
        protocol, _ = self.bare()
        protocol.sub("a", "1", on_msg=self.seen.message)
        protocol.dataReceived(b"HMSG a 1 r 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nfoo\r\n")
        self.assertEqual(self.seen.messages[0]["payload"], b"foo")

    def test_tolerance(self) -> None:
        """P3: other letter case, tabs, blanks, bare line feeds."""
        protocol, transport = self.bare()
        protocol.sub("a", "1", on_msg=self.seen.message)
        protocol.dataReceived(b"ping\r\nPING  \r\n+OKay\r\nmsg  a\t1  3\nfoo\r\nPING\n")
        self.assertEqual(transport.getvalue().count(b"PONG\r\n"), 3)
        self.assertEqual(self.seen.messages[0]["payload"], b"foo")

    def test_ping_and_pong(self) -> None:
        protocol, transport = self.bare()
        protocol.ping()
        protocol.ping()
        self.assertEqual(transport.getvalue(), b"PING\r\nPING\r\n")
        self.assertEqual(protocol.pout, 2)
        protocol.dataReceived(b"PO")
        protocol.dataReceived(b"NG\r")
        protocol.dataReceived(b"\nPONG\r\nPONG\r\n")
        self.assertEqual(
            self.seen.events,
            [
                actions.SendPing(protocol, 1),
                actions.SendPing(protocol, 2),
                actions.ReceivedPong(protocol, 1),
                actions.ReceivedPong(protocol, 0),
                actions.ReceivedPong(protocol, 0),
            ],
        )
        self.seen.events.clear()
        protocol.dataReceived(b"PING\r\n")
        self.assertEqual(
            self.seen.events, [actions.ReceivedPing(protocol), actions.SendPong(protocol)]
        )

    def test_stale(self) -> None:
        """A third PING without an answer drops the connection instead."""
        protocol, transport = self.connected()
        transport.clear()
        for _ in range(3):
            protocol.ping()
        self.assertEqual(transport.value(), b"PING\r\n" * 2)
        self.assertTrue(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertIn("PINGs were not answered", str(self.seen.events[-1].reason.value))

    def test_ping_loop(self) -> None:
        """It runs on the protocol's own clock and ends with the connection."""
        clock = Clock()
        protocol = NatsProtocol(own_reactor=clock)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.ping_loop.start(10, now=True)
        clock.advance(10)
        self.assertEqual(transport.value(), b"PING\r\n" * 2)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(protocol.ping_loop.running)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_server_error(self) -> None:
        """-ERR is an event; the connection and what follows live on."""
        protocol, transport = self.connected()
        protocol.sub("a", "1", on_msg=self.seen.message)
        text = 'Permissions Violation for Publish to "a.b"'
        protocol.dataReceived(f"-ERR '{text}'\r\nMSG a 1 3\r\nfoo\r\n".encode())
        self.assertIn(actions.ServerErr(protocol, text), self.seen.events)
        self.assertEqual(len(self.seen.messages), 1)
        self.assertFalse(transport.disconnecting)

    def test_not_nats(self) -> None:
        """What is not NATS drops the connection; what came before it counts, nothing after."""
        for junk in (b"POO\r\n", b"MSG a\r\n", b" PING\r\n", b"MSG a 1 3\r\nfooxx", b"INFO []\r\n"):
            self.seen = Recorder()
            protocol, transport = self.connected()
            protocol.sub("a", "1", on_msg=self.seen.message)
            protocol.dataReceived(b"MSG a 1 0\r\n\r\n" + junk)
            protocol.dataReceived(b"MSG a 1 0\r\n\r\n")
            self.assertEqual(len(self.seen.messages), 1, junk)
            self.assertTrue(transport.disconnected, junk)
            self.assertEqual(self.seen.events[-1], actions.UnhandledCommand(protocol, None))
            protocol.connectionLost(Failure(ConnectionLost()))
            self.assertIsInstance(self.seen.events[-1], actions.ConnectionLost)

    def test_unhandled_command(self) -> None:
        """Its first bytes are told, also when they came one by one."""
        protocol, _ = self.bare()
        for byte in b"PxO\r\n":
            protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.seen.events, [actions.UnhandledCommand(protocol, b"PxO\r")])

    def test_remaining_bytes(self) -> None:
        protocol, _ = self.bare()
        protocol.dataReceived(b"PING\r\nPI")
        self.assertEqual(protocol.remaining_bytes, b"PI")
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(protocol.remaining_bytes, b"")

    def test_loss(self) -> None:
        """A reset is ConnectionLost, a clean end Disconnected; each with its reason."""
        for reason, kind in (
            (Failure(ConnectionLost()), actions.ConnectionLost),
            (Failure(ConnectionDone()), actions.Disconnected),
        ):
            protocol, transport = self.connected()
            protocol.connectionLost(reason)
            self.assertEqual(self.seen.events[-1], kind(protocol, reason))
            self.assertEqual(protocol.status, io.DISCONNECTED)
            self.assertFalse(protocol.closed_here)
        protocol, transport = self.connected()
        transport.loseConnection()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(protocol.closed_here)


class Failing(Case):
    """P9, O2: what handlers and subscribers do wrong is logged and harms nothing."""

    def deliver(self, handler: Callable[..., Any]) -> NatsProtocol:
        protocol, _ = self.bare()
        protocol.sub("a", "1", on_msg=handler)
        protocol.sub("a", "2", on_msg=self.seen.message)
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\nMSG a 2 1\r\nx\r\n" * 2)
        self.assertEqual(len(self.seen.messages), 2)
        return protocol

    def test_raises(self) -> None:
        def handler(**_: Any) -> None:
            raise RuntimeError("bad handler")

        self.deliver(handler)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_wrong_arguments(self) -> None:
        self.deliver(lambda message: None)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_failing_deferred(self) -> None:
        self.deliver(lambda **_: fail(RuntimeError("later")))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_coroutine(self) -> None:
        async def handler(**arguments: Any) -> None:
            raise RuntimeError(arguments["sid"])

        self.deliver(handler)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_unsubscribes_itself(self) -> None:
        calls: list[str] = []

        def handler(nats_protocol: NatsProtocol, sid: str, **_: Any) -> None:
            calls.append(sid)
            nats_protocol.unsub(sid)

        protocol = self.deliver(handler)
        self.assertEqual(calls, ["1"])
        self.assertEqual(list(protocol.subscriptions), ["2"])

    def test_publishes_and_closes(self) -> None:
        protocol, transport = self.connected()

        def handler(nats_protocol: NatsProtocol, **_: Any) -> None:
            nats_protocol.pub("b", b"x")
            transport.loseConnection()
            nats_protocol.connectionLost(Failure(ConnectionDone()))

        protocol.sub("a", "1", on_msg=handler)
        protocol.dataReceived(b"MSG a 1 1\r\nx\r\n" * 3)
        self.assertEqual(transport.value().count(b"PUB b 1\r\n"), 1)

    def test_subscriber_raises(self) -> None:
        """The other event subscribers are told; one may remove itself."""

        def bad(event: Any) -> None:
            protocol.event_subscribers.remove(bad)
            raise RuntimeError("bad subscriber")

        protocol, transport = self.bare()
        protocol.event_subscribers.insert(0, bad)
        protocol.dataReceived(b"PING\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.seen.kinds(), ["ReceivedPing", "SendPong"])
        self.assertEqual(transport.getvalue(), b"PONG\r\n")


STREAM = (
    MODERN + b"PING\r\nMSG a.b 1 5\r\nhello\r\nMSG a.b 1 5\r\nMSG a\r\nPONG\r\n"
    b"MSG c 2 reply.x 0\r\n\r\nHMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n+OK\r\n"
    b"-ERR 'Slow'\r\nINFO {}\r\nMSG a 1 2\r\n\r\n\r\nMSG a 1 1\r\nx\r\nPING\r\n"
)


class Splitting(Case):
    """P1: the callbacks do not depend on how the stream is cut."""

    def run_stream(self, pieces: list[bytes]) -> tuple[list[Any], bytes]:
        self.seen = Recorder()
        protocol, transport = self.bare(on_msg=self.seen.message)
        protocol.sub("a", "1")
        protocol.unsub("1", 4)
        protocol.ping()
        for piece in pieces:
            protocol.dataReceived(piece)
        self.assertEqual(protocol.remaining_bytes, b"")
        kept = [
            event
            if isinstance(event, str)
            else (type(event).__name__, [v for v in _values(event) if v is not protocol])
            for event in self.seen.events
        ]
        return [*kept, *self.seen.messages], transport.getvalue()

    def test_every_place(self) -> None:
        whole = self.run_stream([STREAM])
        self.assertEqual(whole[1].count(b"PONG\r\n"), 2)
        self.assertEqual(whole[1].count(b"CONNECT "), 1)
        self.assertEqual([m["sid"] for m in self.seen.messages], ["1", "1", "2", "1", "1"])
        for place in range(1, len(STREAM)):
            self.assertEqual(self.run_stream([STREAM[:place], STREAM[place:]]), whole, place)
        self.assertEqual(self.run_stream([bytes([byte]) for byte in STREAM]), whole)

    @given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
    def test_anywhere(self, places: list[int]) -> None:
        cuts = [0, *sorted(places), len(STREAM)]
        pieces = [STREAM[start:stop] for start, stop in itertools.pairwise(cuts)]
        self.assertEqual(self.run_stream(pieces), self.run_stream([STREAM]))


def _values(event: Any) -> list[Any]:
    return [getattr(event, name) for name in type(event).__slots__ if name != "__weakref__"]


class Values(SynchronousTestCase):
    """Events and values: order of arguments, comparison, what they refuse."""

    def setUp(self) -> None:
        self.protocol = NatsProtocol(own_reactor=Clock())

    def test_order_of_arguments(self) -> None:
        p = self.protocol
        wanted: list[tuple[Any, dict[str, Any]]] = [
            (actions.SendPing(p, 1), {"protocol": p, "outstanding_pings": 1}),
            (actions.ReceivedPing(p), {"protocol": p}),
            (actions.SendPong(p), {"protocol": p}),
            (actions.ReceivedPong(p, 0), {"protocol": p, "outstanding_pings": 0}),
            (
                actions.ReceivedMsg("1", p, "a", b"x", "r"),
                {"sid": "1", "protocol": p, "subject": "a", "payload": b"x", "reply_to": "r"},
            ),
            (actions.ReceivedInfo(p, ServerInfo()), {"protocol": p, "server_info": ServerInfo()}),
            (actions.UnsubMaxReached("1", p), {"sid": "1", "protocol": p}),
            (actions.SendUnsub("1", p), {"sid": "1", "protocol": p, "max_msgs": None}),
            (
                actions.SendSub("1", p, "a"),
                {"sid": "1", "protocol": p, "subject": "a", "queue_group": None, "on_msg": None},
            ),
            (
                actions.SendPub(p, "a", b"x", None),
                {"protocol": p, "subject": "a", "payload": b"x", "reply_to": None},
            ),
            (actions.UnhandledCommand(p), {"protocol": p, "command": None}),
            (actions.ServerErr(p, "x"), {"protocol": p, "text": "x"}),
            (actions.ConnectionLost(p), {"protocol": p, "reason": None}),
            (actions.Disconnected(p), {"protocol": p, "reason": None}),
            (actions.SendConnect(p), {"protocol": p, "client_info": None}),
        ]
        self.assertEqual({type(event).__name__ for event, _ in wanted}, set(actions.__all__))
        for event, fields in wanted:
            self.assertEqual({name: getattr(event, name) for name in fields}, fields)
            self.assertEqual(event, type(event)(**fields))
            self.assertFalse(hasattr(event, "__dict__"))

    def test_wrong_arguments(self) -> None:
        p: Any = self.protocol
        none: Any = None
        for call in (
            lambda: actions.SendPing(none, 1),
            lambda: actions.SendConnect(4),  # type: ignore[arg-type]
            lambda: actions.SendPub(p, "C 3", b"", None),
            lambda: actions.SendPub(p, "a", b"", ""),
            lambda: actions.SendSub("", p, "a"),
            lambda: actions.SendSub("1", p, "a..b"),
            lambda: actions.UnsubMaxReached(none, p),
            lambda: actions.ReceivedMsg("1", p, none, b"", None),
        ):
            self.assertRaises(ValueError, call)
        for wrong in (
            lambda: actions.SendPub(p, "a", "text", None),  # type: ignore[arg-type]
            lambda: actions.ReceivedMsg("1", p, "a", none, None),
            lambda: actions.ReceivedPong(p, "1"),  # type: ignore[arg-type]
            lambda: actions.SendUnsub("1", p, "1"),  # type: ignore[arg-type]
        ):
            self.assertRaises(TypeError, wrong)

    def test_client_info(self) -> None:
        info = ClientInfo(True, False, False, password="p")
        self.assertEqual(
            list(info.asdict_for_connect().items())[-1], ("pass", "p"), "password is renamed"
        )
        self.assertEqual(
            set(info.asdict_for_connect()),
            {
                "verbose", "pedantic", "ssl_required", "auth_token", "user", "pass", "name",
                "lang", "version",
            },
        )  # fmt: skip
        self.assertEqual((info.name, info.lang, info.version), ("txnats", "py.twisted", ""))
        self.assertRaises(TypeError, ClientInfo, 1, False, False)
        with self.assertRaises(AttributeError):
            info.name = "x"  # type: ignore[misc]

    def test_server_info(self) -> None:
        info = ServerInfo("i", "v", "g", "h", 1, True, False, True, False, 9)
        self.assertEqual((info.port, info.tls_verify, info.max_payload), (1, False, 9))
        with self.assertRaises(AttributeError):
            info.port = 2  # type: ignore[misc]
        self.assertEqual(
            config_state.read_server_info({"port": None, "go": "g2", "host": 5}, info),
            (ServerInfo("i", "v", "g2", "h", 1, True, False, True, False, 9), ["host"]),
        )

    def test_subscription_args(self) -> None:
        arguments = SubscriptionArgs("happy", "6")
        self.assertEqual((arguments.queue_group, arguments.on_msg), (None, None))
        self.assertEqual(arguments, SubscriptionArgs("happy", 6))
        for wrong in (("a b", "1"), ("", "1"), ("A>", "1"), ("a", ""), ("a", "1", "q q")):
            self.assertRaises(ValueError, SubscriptionArgs, *wrong)
