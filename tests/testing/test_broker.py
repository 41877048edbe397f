"""What a test can do with the fake broker, on the network in memory.

That it speaks as a real one does is shown by the cases of ``test_broker_contract``.
"""

from __future__ import annotations

import functools
import random

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.nats.parser import Err, Event, Info, Msg, Ok, Parser, Ping, Pong, Pub
from backplane.testing import broker as broker_module
from backplane.testing.broker import BrokerClient, FakeBroker
from backplane.testing.network import MemoryNetwork

HELLO = b'CONNECT {"verbose":false,"pedantic":false,"protocol":0,"name":"n"}\r\n'


class Client(Protocol):
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lost: Failure | None = None
        self._parser = Parser()

    def dataReceived(self, data: bytes) -> None:
        self.events += self._parser.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class BrokerTests(SynchronousTestCase):
    """One broker and its clients."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.use(FakeBroker())

    def use(self, broker: FakeBroker) -> None:
        """Let another broker listen, instead of the one before."""
        for port in list(self.network.ports.values()):
            port.stopListening()
        self.broker = broker
        self.network.listen("broker", 4222, broker)

    def tearDown(self) -> None:
        self.broker.drop_all()
        self.network.flush()
        self.assertEqual((self.broker.clients, self.network.transports), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def open(self, hello: bytes = HELLO) -> Client:
        """Return a client that said hello; its events start after ``INFO``."""
        client = self.reach()
        self.assertIsInstance(client.events.pop(), Info)
        self.say(client, hello)
        return client

    def reach(self) -> Client:
        """Return a client that said nothing."""
        done = self.network.connect("broker", 4222, Factory.forProtocol(Client))
        self.network.flush()
        client = self.successResultOf(done)
        assert isinstance(client, Client)
        return client

    def say(self, client: Client, data: bytes) -> list[Event]:
        """Write, let everything happen, and return what came."""
        assert client.transport is not None
        client.transport.write(data)
        return self.heard(client)

    def heard(self, client: Client) -> list[Event]:
        """Let everything happen, and return what came."""
        self.network.flush()
        events, client.events = client.events, []
        return events

    def test_interface(self) -> None:
        """It is an ordinary factory."""
        verifyObject(IProtocolFactory, self.broker)

    def test_clients(self) -> None:
        """A test sees who is connected, what they said, and their subscriptions."""
        client = self.open()
        self.say(client, b"SUB a.> g 1\r\nSUB b 2\r\nUNSUB 2\r\nPING\r\nPONG\r\n")
        (seen,) = self.broker.clients
        self.assertIsInstance(seen, BrokerClient)
        self.assertEqual((seen.client_id, seen.fields["name"]), (1, "n"))
        self.assertEqual((seen.pings, seen.pongs), (1, 1))
        (subscription,) = seen.subscriptions.values()
        self.assertEqual((subscription.subject, subscription.queue), ("a.>", "g"))
        self.open()
        self.assertEqual([one.client_id for one in self.broker.clients], [1, 2])
        self.assertEqual(self.broker.connections, 2)

    def test_published(self) -> None:
        """What clients publish is remembered, the latest only; refused messages are not."""
        self.patch(broker_module, "MAX_PUBLISHED", 3)
        self.use(FakeBroker(deny_publish=["no.*"]))
        client = self.open()
        self.say(client, b"PUB no.1 1\r\nx\r\n")
        for number in range(5):
            self.say(client, b"PUB a.%d r 1\r\nx\r\n" % number)
        self.broker.publish("own", b"y")
        self.assertEqual(list(self.broker.published), [(f"a.{n}", b"x") for n in (2, 3, 4)])

    def test_publish(self) -> None:
        """A test publishes as another client would."""
        client = self.open()
        self.say(client, b"SUB a.* 1\r\n")
        self.assertTrue(self.broker.publish("a.b", b"hi", "r"))
        self.assertFalse(self.broker.publish("b", b"hi"))
        self.assertEqual(self.heard(client), [Msg("a.b", b"hi", "r", sid="1")])

    def test_subscribe(self) -> None:
        """A test subscribes, answers from inside, and stops, as another client would."""
        client = self.open()
        got: list[Pub] = []

        def answer(message: Pub) -> None:
            got.append(message)
            assert message.reply is not None
            self.broker.publish(message.reply, message.payload.upper())

        subscription = self.broker.subscribe("ask.>", answer)
        events = self.say(client, b"SUB r 1\r\nPUB ask.it r 2\r\nhi\r\n")
        self.assertEqual(events, [Msg("r", b"HI", sid="1")])
        self.assertEqual(got, [Pub("ask.it", "r", b"hi")])
        self.broker.remove(subscription)
        self.broker.remove(subscription)
        self.assertEqual(self.say(client, b"PUB ask.it r 2\r\nhi\r\n"), [])

    def test_ended_while_delivering(self) -> None:
        """A subscription that another's callback ends gets nothing more."""
        got: list[str] = []

        def first(message: Pub) -> None:
            got.append("first")
            self.broker.remove(second)

        self.broker.subscribe("a", first)
        second = self.broker.subscribe("a", lambda message: got.append("second"))
        self.broker.publish("a", b"")
        self.assertEqual(got, ["first"])

    def test_queue_group_takes_turns(self) -> None:
        """The members of a group are served in turn, so that a test knows whom."""
        self.assertEqual(self.served(self.broker, 5), [0, 1, 2, 0, 1])

    def test_queue_group_by_chance(self) -> None:
        """With a source of chance the same seed gives the same members."""
        first = self.served(FakeBroker(rng=random.Random(7)), 30)
        self.assertEqual(first, self.served(FakeBroker(rng=random.Random(7)), 30))
        self.assertEqual(set(first), {0, 1, 2})
        self.assertNotEqual(first, [0, 1, 2] * 10)

    def served(self, broker: FakeBroker, messages: int) -> list[int]:
        """Return who of a group of three got each message."""
        got: list[int] = []
        for number in range(3):
            broker.subscribe("a", functools.partial(lambda n, message: got.append(n), number), "g")
        for _ in range(messages):
            broker.publish("a", b"")
        return got

    def test_many_subjects(self) -> None:
        """What is remembered of subjects is bounded, and follows the subscriptions."""
        self.patch(broker_module, "_MAX_ROUTES", 4)
        got: list[str] = []
        first = self.broker.subscribe("*", lambda message: got.append(message.subject))
        for number in range(10):
            self.broker.publish(str(number), b"")
        self.broker.remove(first)
        self.broker.publish("9", b"")
        self.assertEqual(got, [str(number) for number in range(10)])

    def test_permissions(self) -> None:
        """Lists and functions decide, also when they are changed later."""
        self.use(
            FakeBroker(
                deny_publish=["a.>"],
                deny_subscribe=["s"],
                may_publish=lambda client, subject: subject != client.fields["name"],
                may_subscribe=lambda client, subject, queue: queue is None,
            )
        )
        client = self.open()
        publish = 'Permissions Violation for Publish to "{}"'
        subscribe = 'Permissions Violation for Subscription to "{}"'
        self.assertEqual(
            self.say(
                client, b"PUB a.b 0\r\n\r\nPUB n 0\r\n\r\nPUB b 0\r\n\r\nSUB s 1\r\nSUB t q 2\r\n"
            ),
            [
                Err(publish.format("a.b")),
                Err(publish.format("n")),
                Err(subscribe.format("s")),
                Err(subscribe.format("t") + ' using queue "q"'),
            ],
        )
        self.broker.deny_publish.clear()
        self.assertEqual(self.say(client, b"PUB a.b 0\r\n\r\n"), [])

    def test_drop_all(self) -> None:
        """Every connection ends cleanly; what those clients say meanwhile is not heard."""
        clients = [self.open(), self.open()]
        self.say(clients[0], b"SUB a 1\r\n")
        self.broker.drop_all()
        self.assertEqual(self.say(clients[0], b"PUB a 0\r\n\r\n"), [])
        for client in clients:
            assert client.lost is not None
            self.assertIs(client.lost.type, ConnectionDone)
        self.assertEqual((self.broker.clients, list(self.broker.published)), ([], []))
        self.assertFalse(self.broker.publish("a", b""))
        self.open()

    def test_refuse(self) -> None:
        """New connections are closed without a word; old ones stay."""
        old = self.open()
        self.broker.refuse = True
        client = self.reach()
        self.assertEqual(client.events, [])
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.say(old, b"PING\r\n"), [Pong()])

    def test_silent(self) -> None:
        """A broker may take connections and say nothing."""
        self.broker.silent = True
        client = self.reach()
        self.assertEqual(self.say(client, b"PING\r\nnonsense\r\n"), [])
        self.assertIsNone(client.lost)

    def test_silent_ping(self) -> None:
        """PINGs are counted, not answered; the rest works."""
        client = self.open()
        self.broker.silent_ping = True
        self.assertEqual(
            self.say(client, b"PING\r\nSUB a 1\r\nPUB a 0\r\n\r\n"), [Msg("a", b"", sid="1")]
        )
        self.assertEqual(self.broker.clients[0].pings, 1)

    def test_send(self) -> None:
        """A test sends PINGs, raw bytes and errors."""
        client = self.open()
        self.broker.send_ping()
        self.broker.send_raw(b"+OK\r\n-ERR 'odd'\r\n")
        self.broker.clients[0].fail("Stale Connection")
        events = self.heard(client)
        self.assertEqual(events, [Ping(), Ok(), Err("odd"), Err("Stale Connection")])
        self.assertIsNotNone(client.lost)

    def test_info(self) -> None:
        """``INFO`` can be set, changed, and goes on as lame duck."""
        self.use(FakeBroker(info={"cluster": "c", "headers": False}, max_payload=9))
        client = self.open()
        self.broker.send_info(connect_urls=["b:4222"])
        self.broker.lame_duck(["c:4222"])
        first, second = self.heard(client)
        assert isinstance(first, Info)
        assert isinstance(second, Info)
        self.assertEqual(first.fields["connect_urls"], ["b:4222"])
        self.assertEqual((first.fields["cluster"], first.fields["headers"]), ("c", False))
        self.assertEqual((first.fields["max_payload"], first.fields["client_id"]), (9, 1))
        self.assertNotIn("ldm", first.fields)
        self.assertEqual((second.fields["ldm"], second.fields["connect_urls"]), (True, ["c:4222"]))

    def test_error_behind_good_commands(self) -> None:
        """What stands before a protocol error in one piece is still done."""
        client = self.open()
        events = self.say(client, b"PING\r\nPUB a 0\r\n\r\nnonsense\r\nPING\r\n")
        self.assertEqual(events, [Pong(), Err("Unknown Protocol Operation")])
        self.assertEqual(list(self.broker.published), [("a", b"")])

    def test_one_byte_at_a_time(self) -> None:
        """It does not matter how bytes are cut, on either side."""
        self.network.chunk = 1
        client = self.open()
        events = self.say(client, b"SUB a 1\r\nPUB a 3\r\nx\r\n\r\nPING\r\n")
        self.assertEqual(events, [Msg("a", b"x\r\n", sid="1"), Pong()])
