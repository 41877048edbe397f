"""The fake broker and a real nats-server say the same, byte for byte.

Every case speaks to a broker over TCP and looks at the bytes that come back.
The same cases run against both, so that what is tested with the fake holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from backplane.nats.parser import Info, Parser, Pong
from backplane.testing.broker import FakeBroker
from backplane.testing.natsserver import NatsServer

if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object

reactor: Any = _reactor

INFO_LINE = re.compile(rb"^INFO .*\n", re.MULTILINE)
BLOCK = b"NATS/1.0\r\nA: b\r\n\r\n"

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    "user": ("authorization { user: u, password: p }", {"user": "u", "password": "p"}),
    "token": ("authorization { token: t }", {"token": "t"}),
    "small": ("max_payload: 64", {"max_payload": 64}),
    "short": ("max_control_line: 512", {"max_control_line": 512}),
    "rights": (
        (
            "authorization { users: [ { user: u, password: p, permissions: "
            '{ publish: ["ok.>"], subscribe: ["ok.>", "q work"] } } ] }'
        ),
        {
            "user": "u",
            "password": "p",
            "may_publish": lambda _, subject: subject.startswith("ok."),
            "may_subscribe": lambda _, subject, queue: (
                subject.startswith("ok.") or (subject, queue) == ("q", "work")
            ),
        },
    ),
}
"""By name: the real server's configuration, and the fake's arguments."""


class RawClient(Protocol):
    """Sends bytes, collects bytes, and knows when a PONG or the end has come."""

    def __init__(self) -> None:
        self.raw = b""
        self.infos: list[dict[str, Any]] = []
        self.pongs = 0
        self.lost = False
        self._parser = Parser()
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        for event in self._parser.feed(data):
            if isinstance(event, Info):
                self.infos.append(event.fields)
            elif isinstance(event, Pong):
                self.pongs += 1
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            if entry[0]():
                self._waiting.remove(entry)
                entry[1].callback(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, looked at after every piece of input."""
        if not condition():
            done: Deferred[None] = Deferred()
            self._waiting.append((condition, done))
            await done

    def send(self, data: bytes) -> None:
        """Write."""
        assert self.transport is not None
        self.transport.write(data)

    async def talk(self, data: bytes = b"") -> bytes:
        """Send, and return all that came up to the PONG that shows that all was handled."""
        wanted = self.pongs + 1
        self.send(data + b"PING\r\n")
        await self.until(lambda: self.pongs >= wanted or self.lost)
        # Behind the first PONG the second INFO may be under way already.
        answer, pong, self.raw = self.raw.rpartition(b"PONG\r\n")
        assert pong, self.raw
        return INFO_LINE.sub(b"", answer)

    async def last_words(self, data: bytes) -> bytes:
        """Send, wait until the broker closes, and return what it said."""
        self.send(data)
        await self.until(lambda: self.lost)
        return INFO_LINE.sub(b"", self.raw)


def connect_line(**fields: Any) -> bytes:
    """Return a ``CONNECT`` line, quiet and with everything on unless told otherwise."""
    usual = {"verbose": False, "pedantic": False, "protocol": 1}
    usual |= {"headers": True, "no_responders": True}
    return b"CONNECT " + json.dumps({**usual, **fields}).encode() + b"\r\n"


class BrokerContract(_Base):
    """What every broker does; ``start`` is the subclass's."""

    timeout = 20

    async def start(self, recipe: str) -> int:
        """Start a broker that ends with the test, and return its port."""
        raise NotImplementedError

    async def open(self, port: int) -> RawClient:
        """Return a client that has got ``INFO`` and said nothing."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        client = await endpoint.connect(Factory.forProtocol(RawClient))
        assert isinstance(client, RawClient)
        self.addCleanup(self._close, client)
        await client.until(lambda: bool(client.infos))
        return client

    def _close(self, client: RawClient) -> Deferred[None]:
        assert client.transport is not None
        client.transport.loseConnection()
        return Deferred.fromCoroutine(client.until(lambda: client.lost))

    async def connect(self, port: int, **fields: Any) -> RawClient:
        """Return a client that is connected, the second ``INFO`` included."""
        client = await self.open(port)
        await client.talk(connect_line(**fields))
        await client.until(lambda: len(client.infos) == 2)
        client.raw = b""
        return client

    # Connecting

    async def test_handshake(self) -> None:
        """INFO comes first; CONNECT and PING are answered by +OK, PONG and a second INFO."""
        client = await self.open(await self.start("plain"))
        self.assertTrue(client.raw.startswith(b"INFO {"))
        self.assertTrue(client.raw.endswith(b"} \r\n"))
        first = client.infos[0]
        self.assertEqual((first["proto"], first["headers"]), (1, True))
        self.assertEqual(first["max_payload"], 1024 * 1024)
        self.assertNotIn("auth_required", first)
        self.assertNotIn("connect_info", first)
        self.assertEqual(await client.talk(connect_line(verbose=True)), b"+OK\r\n")
        await client.until(lambda: len(client.infos) == 2)
        second = client.infos[1]
        self.assertIs(second["connect_info"], True)
        self.assertEqual(second["client_id"], first["client_id"])
        await client.talk()
        self.assertEqual(await client.talk(), b"")
        self.assertEqual(len(client.infos), 2)

    async def test_no_second_info_for_old_clients(self) -> None:
        """A client of protocol 0 gets one INFO."""
        client = await self.open(await self.start("plain"))
        await client.talk(connect_line(protocol=0))
        await client.talk()
        self.assertEqual(len(client.infos), 1)

    async def test_before_connect(self) -> None:
        """Without CONNECT a client is served, and every command is confirmed."""
        client = await self.open(await self.start("plain"))
        answer = await client.talk(b"SUB a 1\r\nUNSUB 9\r\n")
        self.assertEqual(answer, b"+OK\r\n+OK\r\n")

    async def test_ping(self) -> None:
        """Every PING has a PONG; a PONG has no answer."""
        client = await self.connect(await self.start("plain"))
        client.send(b"PONG\r\nPING\r\nping\r\nPING  \r\nPING\r\n")
        await client.until(lambda: client.pongs == 5)
        self.assertEqual(client.raw, b"PONG\r\n" * 4)

    async def test_second_connect(self) -> None:
        """A second CONNECT is taken, and drops all subscriptions."""
        port = await self.start("plain")
        client, other = await self.connect(port), await self.connect(port)
        await client.talk(b"SUB a 1\r\nSUB a 2\r\n")
        self.assertEqual(await client.talk(connect_line(verbose=True)), b"+OK\r\n")
        await other.talk(b"PUB a 0\r\n\r\n")
        self.assertEqual(await client.talk(), b"")

    async def test_impossible_connects(self) -> None:
        """A CONNECT that cannot be is answered with the reason, and closed."""
        port = await self.start("plain")
        for fields, reason in (
            ({"protocol": 2}, b"-ERR 'invalid client protocol'\r\n"),
            ({"headers": False}, b"-ERR 'no responders requires headers support'\r\n"),
        ):
            client = await self.open(port)
            self.assertEqual(await client.last_words(connect_line(**fields)), reason)

    async def test_password(self) -> None:
        """Only who says user and password is let in."""
        port = await self.start("user")
        client = await self.open(port)
        self.assertIs(client.infos[0]["auth_required"], True)
        self.assertEqual(await client.talk(connect_line(**{"user": "u", "pass": "p"})), b"")
        refusal = b"-ERR 'Authorization Violation'\r\n"
        for wrong in (
            connect_line(),
            connect_line(**{"user": "u", "pass": "x"}),
            connect_line(**{"user": "x", "pass": "p"}),
            connect_line(user="u"),
            connect_line(auth_token="p"),
            b"PING\r\n",
            b"SUB a 1\r\n",
        ):
            client = await self.open(port)
            self.assertEqual(await client.last_words(wrong), refusal, wrong)

    async def test_token(self) -> None:
        """Only who says the token is let in."""
        port = await self.start("token")
        self.assertEqual(await (await self.open(port)).talk(connect_line(auth_token="t")), b"")
        client = await self.open(port)
        answer = await client.last_words(connect_line(auth_token="x"))
        self.assertEqual(answer, b"-ERR 'Authorization Violation'\r\n")

    # Publishing and subscribing

    async def test_publish_and_subscribe(self) -> None:
        """Payloads arrive as they are, with their reply subject."""
        port = await self.start("plain")
        client, other = await self.connect(port), await self.connect(port)
        self.assertEqual(await client.talk(b"SUB a.b 1\r\n"), b"")
        await other.talk(
            b"PUB a.b 5\r\nhello\r\nPUB a.b r.x 0\r\n\r\nPUB a.b 9\r\n\r\nPING\r\n\x00\r\n"
            b"PUB A.b 0\r\n\r\nPUB a 0\r\n\r\n"
        )
        self.assertEqual(
            await client.talk(),
            b"MSG a.b 1 5\r\nhello\r\nMSG a.b 1 r.x 0\r\n\r\nMSG a.b 1 9\r\n\r\nPING\r\n\x00\r\n",
        )

    async def test_lenient_grammar(self) -> None:
        """Small letters, tabs, many blanks and bare line feeds are understood."""
        client = await self.connect(await self.start("plain"))
        answer = await client.talk(b"sub  a\t1 \r\nPub\ta  2 \nhi\r\n")
        self.assertEqual(answer, b"MSG a 1 2\r\nhi\r\n")

    async def test_cut_into_bytes(self) -> None:
        """It does not matter how the stream is cut."""
        client = await self.connect(await self.start("plain"))
        for byte in b"SUB a 1\r\nPUB a r 4\r\n\r\n\r\n\r\nUNSUB 1 3\r\n":
            client.send(bytes([byte]))
            await deferLater(reactor, 0)
        self.assertEqual(await client.talk(), b"MSG a 1 r 4\r\n\r\n\r\n\r\n")

    async def test_wildcards(self) -> None:
        """``*`` is one token, ``>`` one or more; every subscription gets its copy."""
        client = await self.connect(await self.start("plain"))
        patterns = ("a.*", "a.>", "*.b", ">", "a.b", "a*.b", "a.*.c", "a.b>")
        for number, pattern in enumerate(patterns):
            await client.talk(f"SUB {pattern} {number}\r\n".encode())
        for subject, wanted in (
            ("a.b", {0, 1, 2, 3, 4}),
            ("a.b.c", {1, 3, 6}),
            ("a", {3}),
            ("c.b", {2, 3}),
            ("a*.b", {2, 3, 5}),
            ("a.*", {0, 1, 3}),
            ("a.b>", {0, 1, 3, 7}),
        ):
            answer = await client.talk(f"PUB {subject} 0\r\n\r\n".encode())
            lines = sorted(line for line in answer.split(b"\r\n") if line)
            copies = [f"MSG {subject} {number} 0".encode() for number in sorted(wanted)]
            self.assertEqual(lines, copies, subject)

    async def test_sid(self) -> None:
        """A sid is any word; the second use of one is ignored."""
        client = await self.connect(await self.start("plain"))
        await client.talk(b"SUB a x-y.z_1\r\nSUB b x-y.z_1\r\n")
        answer = await client.talk(b"PUB a 0\r\n\r\nPUB b 0\r\n\r\n")
        self.assertEqual(answer, b"MSG a x-y.z_1 0\r\n\r\n")

    async def test_queue_groups(self) -> None:
        """One member of a group gets each message, a plain subscriber gets all."""
        port = await self.start("plain")
        sender = await self.connect(port)
        members = [await self.connect(port) for _ in range(3)]
        plain, other = await self.connect(port), await self.connect(port)
        for member in members:
            await member.talk(b"SUB jobs.* workers 1\r\n")
        await plain.talk(b"SUB jobs.> 1\r\n")
        await other.talk(b"SUB jobs.1 others 1\r\n")
        await sender.talk(b"PUB jobs.1 0\r\n\r\n" * 300)
        line = b"MSG jobs.1 1 0\r\n\r\n"
        counts = [(await member.talk()).count(line) for member in members]
        self.assertEqual(sum(counts), 300)
        self.assertNotIn(0, counts)
        self.assertEqual(await plain.talk(), line * 300)
        self.assertEqual(await other.talk(), line * 300)

    async def test_one_group_over_two_subjects(self) -> None:
        """A group is known by its name, not by the subjects of its members."""
        client = await self.connect(await self.start("plain"))
        await client.talk(b"SUB a.* g 1\r\nSUB a.b g 2\r\n")
        answer = await client.talk(b"PUB a.b 0\r\n\r\n" * 20)
        self.assertEqual(answer.count(b"MSG a.b "), 20)

    async def test_unsubscribe(self) -> None:
        """After UNSUB nothing comes; an unknown sid does not matter; the sid is free again."""
        client = await self.connect(await self.start("plain"))
        message = b"PUB a 0\r\n\r\n"
        answer = await client.talk(b"SUB a 1\r\n" + message + b"UNSUB 1\r\nUNSUB 7\r\n" + message)
        self.assertEqual(answer, b"MSG a 1 0\r\n\r\n")
        answer = await client.talk(b"SUB a 1\r\n" + message)
        self.assertEqual(answer, b"MSG a 1 0\r\n\r\n")

    async def test_unsubscribe_after_a_number(self) -> None:
        """The number counts from the start of the subscription."""
        client = await self.connect(await self.start("plain"))
        message, line = b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n"
        answer = await client.talk(b"SUB a 1\r\nUNSUB 1 5\r\n" + message * 10)
        self.assertEqual(answer, line * 5)
        answer = await client.talk(b"SUB a 1\r\n" + message * 2 + b"UNSUB 1 3\r\n" + message * 4)
        self.assertEqual(answer, line * 3)
        answer = await client.talk(b"SUB a 1\r\n" + message * 3 + b"UNSUB 1 2\r\n" + message)
        self.assertEqual(answer, line * 3)
        answer = await client.talk(b"SUB a 1\r\nUNSUB 1 0\r\n" + message)
        self.assertEqual(answer, b"")

    async def test_echo(self) -> None:
        """With ``echo`` off a client does not hear itself, in a queue group neither."""
        port = await self.start("plain")
        client, other = await self.connect(port, echo=False), await self.connect(port)
        message, line = b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n"
        await other.talk(b"SUB a g 1\r\n")
        self.assertEqual(await client.talk(b"SUB a 1\r\nSUB a g 2\r\n" + message * 8), b"")
        self.assertEqual(await other.talk(), line * 8)
        await other.talk(b"UNSUB 1\r\n" + message)
        answer = await client.talk()
        self.assertIn(line, answer)
        self.assertIn(b"MSG a 2 0\r\n\r\n", answer)

    async def test_connection_loss_ends_subscriptions(self) -> None:
        """Who is gone counts no more as a responder."""
        port = await self.start("plain")
        client, other = await self.connect(port), await self.connect(port)
        await other.talk(b"SUB a 1\r\n")
        # An operation that there is not makes the broker close, once it forgot the client.
        await other.last_words(b"X\r\n")
        answer = await client.talk(b"SUB r 1\r\nPUB a r 0\r\n\r\n")
        self.assertIn(b" 503\r\n", answer)

    # Headers

    async def test_headers(self) -> None:
        """Headers reach those who know them; others get the payload alone."""
        port = await self.start("plain")
        client = await self.connect(port)
        old = await self.connect(port, headers=False, no_responders=False)
        await client.talk(b"SUB a 1\r\n")
        await old.talk(b"SUB a 1\r\n")
        answer = await client.talk(b"HPUB a r 18 20\r\n" + BLOCK + b"hi\r\n")
        self.assertEqual(answer, b"HMSG a 1 r 18 20\r\n" + BLOCK + b"hi\r\n")
        self.assertEqual(await old.talk(), b"MSG a 1 r 2\r\nhi\r\n")
        self.assertEqual(await old.last_words(b"HPUB a 18 18\r\n" + BLOCK + b"\r\n"), b"")

    async def test_no_responders(self) -> None:
        """A request that nobody hears is answered at once, with status 503."""
        client = await self.connect(await self.start("plain"))
        answer = await client.talk(b"SUB _I.* 9\r\nPUB nobody _I.1 2\r\nhi\r\n")
        self.assertEqual(
            answer, b"HMSG _I.1 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n"
        )

    async def test_no_responders_is_for_the_owner(self) -> None:
        """It goes to the publisher's own subscription only, and only if it wants it."""
        port = await self.start("plain")
        client, other = await self.connect(port), await self.connect(port)
        old = await self.connect(port, no_responders=False)
        await other.talk(b"SUB r 1\r\n")
        self.assertEqual(await client.talk(b"PUB nobody r 0\r\n\r\nPUB nobody 0\r\n\r\n"), b"")
        self.assertEqual(await other.talk(), b"")
        self.assertEqual(await old.talk(b"SUB r 1\r\nPUB nobody r 0\r\n\r\n"), b"")

    async def test_nobody_but_itself(self) -> None:
        """With ``echo`` off one's own subscription is no responder."""
        client = await self.connect(await self.start("plain"), echo=False)
        answer = await client.talk(b"SUB r 1\r\nSUB a 2\r\nPUB a r 0\r\n\r\n")
        self.assertEqual(answer, b"HMSG r 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: a\r\n\r\n\r\n")

    # Errors

    async def test_subjects(self) -> None:
        """A bad subscription is an error, a bad subject to publish to goes to nobody."""
        client = await self.connect(await self.start("plain"))
        error = b"-ERR 'Invalid Subject'\r\n"
        answer = await client.talk(b"SUB a..b 1\r\nSUB a.>.b 2\r\nSUB .a 3\r\nSUB a. 4\r\n")
        self.assertEqual(answer, error * 4)
        await client.talk(b"SUB > 5\r\n")
        answer = await client.talk(b"PUB a..b 0\r\n\r\nPUB .a 0\r\n\r\nPUB a. 0\r\n\r\n")
        self.assertEqual(answer, b"")

    async def test_pedantic_and_verbose(self) -> None:
        """A pedantic client hears of bad subjects; a verbose one hears +OK all the same."""
        client = await self.connect(await self.start("plain"), pedantic=True, verbose=True)
        error = b"-ERR 'Invalid Publish Subject'\r\n"
        self.assertEqual(await client.talk(b"PUB a..b 0\r\n\r\n"), error + b"+OK\r\n")
        self.assertEqual(await client.talk(b"SUB a..b 1\r\n"), b"-ERR 'Invalid Subject'\r\n")
        self.assertEqual(await client.talk(b"SUB a.* 1\r\nUNSUB 9\r\n"), b"+OK\r\n+OK\r\n")
        answer = await client.talk(b"PUB a.* 0\r\n\r\n")
        self.assertTrue(answer.startswith(error), answer)
        self.assertIn(b"MSG a.* 1 0\r\n\r\n", answer)

    async def test_maximum_payload(self) -> None:
        """Up to ``max_payload``, headers included, a message passes; above it is the end."""
        port = await self.start("small")
        client = await self.connect(port)
        self.assertEqual(client.infos[0]["max_payload"], 64)
        answer = await client.talk(b"SUB a 1\r\nPUB a 64\r\n" + b"x" * 64 + b"\r\n")
        self.assertEqual(answer, b"MSG a 1 64\r\n" + b"x" * 64 + b"\r\n")
        error = b"-ERR 'Maximum Payload Violation'\r\n"
        answer = await client.last_words(b"PUB a 65\r\n" + b"x" * 65 + b"\r\n")
        self.assertEqual(answer, error)
        client = await self.connect(port)
        answer = await client.last_words(b"HPUB a 18 65\r\n" + BLOCK + b"x" * 47 + b"\r\n")
        self.assertEqual(answer, error)

    async def test_maximum_control_line(self) -> None:
        """A line that is too long is the end."""
        port = await self.start("short")
        client = await self.connect(port)
        self.assertEqual(await client.talk(b"SUB " + b"a" * 490 + b" 1\r\n"), b"")
        answer = await client.last_words(b"SUB " + b"a" * 520 + b" 1\r\n")
        self.assertEqual(answer, b"-ERR 'maximum control line exceeded'\r\n")

    async def test_permissions(self) -> None:
        """What is not allowed is named, and the connection stays."""
        client = await self.connect(await self.start("rights"), **{"user": "u", "pass": "p"})
        self.assertEqual(
            await client.talk(b"PUB no 0\r\n\r\nSUB no 1\r\nSUB no work 2\r\nSUB q 3\r\n"),
            b"-ERR 'Permissions Violation for Publish to \"no\"'\r\n"
            b"-ERR 'Permissions Violation for Subscription to \"no\"'\r\n"
            b'-ERR \'Permissions Violation for Subscription to "no" using queue "work"\'\r\n'
            b"-ERR 'Permissions Violation for Subscription to \"q\"'\r\n",
        )
        answer = await client.talk(b"SUB q work 4\r\nSUB ok.1 5\r\nPUB ok.1 0\r\n\r\n")
        self.assertEqual(answer, b"MSG ok.1 5 0\r\n\r\n")

    async def test_not_nats(self) -> None:
        """Unknown operations are told and closed; broken arguments are closed in silence."""
        port = await self.start("plain")
        unknown = b"-ERR 'Unknown Protocol Operation'\r\n"
        for sent, answer in (
            (b"POO\r\n", unknown),
            (b"\r\n", unknown),
            (b" PING\r\n", unknown),
            (b"GET / HTTP/1.1\r\n\r\n", unknown),
            (b"PUB a 1\r\nabcd\r\n", unknown),
            (b"PUB a 1\r\nx\nPING\r\n", unknown),
            (b"UNSUB\r\n", unknown),
            (b"PUB a\r\n", b""),
            (b"PUB a x\r\n", b""),
            (b"PUB a -1\r\n", b""),
            (b"PUB a b c 1\r\n", b""),
            (b"SUB a\r\n", b""),
            (b"SUB a b c d\r\n", b""),
            (b"HPUB a 3 2\r\n", b""),
        ):
            client = await self.connect(port)
            self.assertEqual(await client.last_words(sent), answer, sent)
        for sent in (b"CONNECT {x\r\n", b"CONNECT []\r\n", b"CONNECT\r\n"):
            client = await self.open(port)
            self.assertEqual(await client.last_words(sent), b"", sent)


class FakeBrokerTests(BrokerContract, TestCase):
    """The fake, on a port of the real reactor."""

    async def start(self, recipe: str) -> int:
        broker = FakeBroker(**RECIPES[recipe][1])
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(broker)

        async def stop() -> None:
            await port.stopListening()
            broker.drop_all()
            while broker.clients:
                await deferLater(reactor, 0)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        number: int = port.getHost().port
        return number


class NatsServerTests(BrokerContract, TestCase):
    """The real one."""

    async def start(self, recipe: str) -> int:
        server = NatsServer(config=RECIPES[recipe][0])
        self.addCleanup(server.close)
        server.start()
        await server.when_ready(reactor)
        return server.port
