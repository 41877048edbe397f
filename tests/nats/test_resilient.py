"""X1: txnats's helpers that connect with retries, reconnect and keep alive."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredQueue,
    fail,
    gatherResults,
    inlineCallbacks,
    succeed,
)
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from backplane.nats import Backoff, NatsProtocol, actions, errors, io, resilient
from backplane.nats.config_state import SubscriptionArgs
from backplane.testing.natsserver import NatsServer

reactor: Any = _reactor

INFO = b'INFO {"server_id":"S","max_payload":1048576}\r\n'


class Steady(random.Random):
    """Jitter of one standard deviation."""

    def normalvariate(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu + sigma


class BackoffTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        backoff = Backoff()
        self.assertEqual(
            (backoff.max_delay, backoff.initial_delay, backoff.delay, backoff.retries),
            (3600, 1.0, 1.0, 0),
        )
        self.assertAlmostEqual(backoff.factor, 2.71828, 5)
        self.assertAlmostEqual(backoff.jitter, 0.11963, 5)
        self.assertEqual(backoff, Backoff(3600, 1.0, 1.0))

    def test_first_delay(self) -> None:
        """It is the initial delay, and again after a reset."""
        backoff = Backoff(initial_delay=5, factor=2, jitter=0)
        self.assertEqual([backoff.get_delay() for _ in range(3)], [5, 10, 20])
        self.assertEqual(backoff.retries, 3)
        backoff.reset_delay()
        self.assertEqual((backoff.get_delay(), backoff.retries), (5, 1))
        self.assertEqual(Backoff(initial_delay=5, delay=2).get_delay(), 2)
        self.assertEqual(Backoff(max_delay=3, initial_delay=5).get_delay(), 3)

    def test_jitter(self) -> None:
        backoff = Backoff(factor=2, jitter=0.5, rng=Steady())
        self.assertEqual([backoff.get_delay() for _ in range(3)], [1, 3, 9])

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 10), st.floats(0, 5), st.integers())
    def test_bounds(
        self, most: float, first: float, factor: float, jitter: float, seed: int
    ) -> None:
        """No delay is negative or above the largest one."""
        backoff = Backoff(most, first, factor=factor, jitter=jitter, rng=random.Random(seed))
        for _ in range(20):
            self.assertTrue(0 <= backoff.get_delay() <= most)


class Point:
    """An endpoint with a script: an error, or an open connection."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.made: list[tuple[NatsProtocol, StringTransport]] = []
        self.tries = 0
        self.held: list[Deferred[Any]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        self.tries += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, CancelledError):  # never ends
            self.held.append(Deferred())
            return self.held[-1]
        if step is not None:
            return fail(step)
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        self.made.append((protocol, transport))
        protocol.makeConnection(transport)
        return succeed(protocol)


def point(*script: Exception | None) -> Any:
    return Point(*script)


def steady(**arguments: Any) -> Backoff:
    return Backoff(**{"factor": 2, "jitter": 0, **arguments})


class SleepTests(SynchronousTestCase):
    def test_sleep(self) -> None:
        clock = Clock()
        done = resilient.sleep(clock, 3)
        clock.advance(2.9)
        self.assertNoResult(done)
        clock.advance(0.1)
        self.assertEqual(self.successResultOf(done), 3)

    def test_cancel(self) -> None:
        clock = Clock()
        done = resilient.sleep(clock, 3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(clock.getDelayedCalls(), [])


class ConnectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.protocol = NatsProtocol(own_reactor=self.clock, event_subscribers=[self.events.append])

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_success(self) -> None:
        """An open socket is not success yet; INFO and CONNECT are."""
        where = point()
        backoff = steady()
        done = resilient.connect(where, self.protocol, backoff)
        self.assertNoResult(done)
        self.protocol.dataReceived(INFO)
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(where.made[0][1].value().startswith(b"CONNECT "))

    def test_retries(self) -> None:
        """Refused, timed out or not found: tried again, ever later; then all is reset."""
        where = point(ConnectionRefusedError(), DNSLookupError(), TimeoutError())
        backoff = steady(initial_delay=2)
        done = resilient.connect(where, self.protocol, backoff)
        for tries, delay in enumerate((2, 4, 8), 1):
            self.assertEqual((where.tries, backoff.retries), (tries, tries))
            self.clock.advance(delay - 0.1)
            self.assertEqual(where.tries, tries)
            self.clock.advance(0.1)
        self.assertEqual(where.tries, 4)
        self.protocol.dataReceived(INFO)
        self.successResultOf(done)
        self.assertEqual((backoff.retries, backoff.delay), (0, 2))

    def test_gives_up(self) -> None:
        """After so many retries it fails, with the last error."""
        where = point(*[ConnectionRefusedError() for _ in range(9)], DNSLookupError())
        where.script[2:] = [DNSLookupError()]
        done = resilient.connect(where, self.protocol, steady(), max_retries=2)
        self.clock.pump([1, 2])
        self.failureResultOf(done, DNSLookupError)
        self.assertEqual(where.tries, 3)

    def test_no_retries(self) -> None:
        done = resilient.connect(point(ConnectionRefusedError()), self.protocol, steady(), 0)
        self.failureResultOf(done, ConnectionRefusedError)

    def test_other_errors(self) -> None:
        done = resilient.connect(point(ValueError("endpoint")), self.protocol, steady())
        self.failureResultOf(done, ValueError)

    def broken(self, end: Callable[[Point], None], words: str) -> None:
        """Connect, let ``end`` break the connection, and see it made once more."""
        where = point()
        reconnector = resilient.make_reconnector(where, steady())
        self.protocol.event_subscribers.insert(0, reconnector)
        connected: list[Any] = []
        assert self.protocol.on_connect_d is not None
        self.protocol.on_connect_d.addCallback(connected.append)
        done = resilient.connect(where, self.protocol, steady())
        end(where)
        self.assertNoResult(done)
        self.assertEqual(where.tries, 1)
        self.clock.advance(1)
        self.assertEqual(where.tries, 2, "once: the reconnector keeps out of it")
        self.assertIs(where.made[1][0], self.protocol)
        self.assertEqual(connected, [])
        self.protocol.dataReceived(INFO)
        self.successResultOf(done)
        self.assertEqual(connected, [self.protocol])
        self.assertIn(words, str([str(getattr(e, "reason", "")) for e in self.events]))

    def test_closed_before_info(self) -> None:
        self.broken(
            lambda where: self.protocol.connectionLost(Failure(ConnectionDone())), "cleanly"
        )

    def test_silence(self) -> None:
        """A socket that stays silent is given up."""

        def wait(where: Point) -> None:
            self.clock.advance(resilient.HANDSHAKE_TIMEOUT)
            self.assertTrue(where.made[0][1].disconnected)
            self.protocol.connectionLost(Failure(ConnectionLost()))

        self.broken(wait, "INFO did not come within 5 s")

    def test_not_nats(self) -> None:
        def answer(where: Point) -> None:
            self.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
            self.assertTrue(where.made[0][1].disconnected)
            self.protocol.connectionLost(Failure(ConnectionLost()))

        self.broken(answer, "not a NATS server: got b'HTTP/1.1 400")

    def test_tls_missing(self) -> None:
        """It is not tried again; the error says what is missing."""
        protocol = NatsProtocol(own_reactor=self.clock, ssl_required=True)
        waiting = protocol.on_connect_d
        assert waiting is not None
        where = point()
        done = resilient.connect(where, protocol, steady())
        protocol.dataReceived(INFO)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.failureResultOf(done, errors.ConnectionFailed).value.phase, "tls")
        self.failureResultOf(waiting, errors.ConnectionFailed)
        self.assertEqual((where.tries, where.made[0][1].value()), (1, b""))

    def test_closed_here(self) -> None:
        where = point()
        done = resilient.connect(where, self.protocol, steady())
        where.made[0][1].loseConnection()
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(done, errors.ConnectionClosed)

    def test_cancel(self) -> None:
        """In each phase: nothing is left over, and nobody reconnects."""
        for script, wait in (([CancelledError()], 0), ([ConnectionRefusedError()], 0.5), ([], 0)):
            where = point(*script)
            reconnector = resilient.make_reconnector(where, steady())
            protocol = NatsProtocol(own_reactor=self.clock, event_subscribers=[reconnector])
            done = resilient.connect(where, protocol, steady())
            self.clock.advance(wait)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            if where.made:
                self.assertTrue(where.made[0][1].disconnected)
                protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(where.tries, 1)


class ReconnectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.where = point()
        self.backoff = steady()
        self.reconnector = resilient.make_reconnector(self.where, self.backoff)
        self.subscriptions = {
            "1": SubscriptionArgs("a", "1", "workers", self.message),
            "2": SubscriptionArgs("b.c.d", "2"),
        }
        self.connects: list[NatsProtocol] = []
        self.old = NatsProtocol(
            own_reactor=self.clock,
            verbose=False,
            pedantic=True,
            auth_token="t",
            user="u",
            password="p",
            on_msg=self.message,
            on_connect=self.connects.append,
            event_subscribers=[self.reconnector, self.events.append],
            subscriptions=self.subscriptions,
            unsubs={"2": 3},
        )
        resilient.connect(self.where, self.old, self.backoff)
        self.old.dataReceived(INFO)

    def tearDown(self) -> None:
        self.reconnector.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def message(self, **_: Any) -> None:
        """Take a message."""

    @property
    def present(self) -> NatsProtocol:
        """The protocol made last."""
        protocol: NatsProtocol = self.where.made[-1][0]
        return protocol

    def lose(self, reason: type[Exception] = ConnectionDone) -> None:
        self.present.connectionLost(Failure(reason()))

    def test_subscriptions(self) -> None:
        """They are sent with the first connection, on SendConnect, with group and limit."""
        sent = self.where.made[0][1].value().splitlines()
        self.assertEqual(sent[1:], [b"SUB a workers 1", b"SUB b.c.d 2", b"UNSUB 2 3"])

    def reconnected(self, reason: type[Exception]) -> None:
        self.old.dataReceived(b"MSG b.c.d 2 1\r\nx\r\n")
        self.lose(reason)
        new = self.present
        self.assertIsNot(new, self.old)
        self.assertEqual(self.where.tries, 2, "at once")
        new.dataReceived(INFO)
        self.assertEqual(
            self.where.made[1][1].value().splitlines()[1:],
            [b"SUB a workers 1", b"SUB b.c.d 2", b"UNSUB 2 2"],
        )
        self.assertEqual(new.client_info, self.old.client_info)
        self.assertIs(new.reactor, self.clock)
        self.assertIs(new.verbose, False)
        self.assertEqual(new.on_msg, self.message)
        self.assertIsNone(new.on_connect)
        self.assertEqual(self.connects, [self.old])
        self.assertIs(new.event_subscribers, self.old.event_subscribers)
        self.assertIs(new.subscriptions, self.subscriptions)
        self.assertIs(new.unsubs, self.old.unsubs)
        new.dataReceived(b"MSG b.c.d 2 1\r\nx\r\n" * 2)
        self.assertEqual(self.events[-1], actions.UnsubMaxReached("2", new))
        self.assertEqual(list(self.subscriptions), ["1"])

    def test_after_a_reset(self) -> None:
        self.reconnected(ConnectionLost)

    def test_after_a_clean_end(self) -> None:
        """A server that restarts ends connections cleanly."""
        self.reconnected(ConnectionDone)

    def test_changes_while_down(self) -> None:
        """R5: what is subscribed and unsubscribed on the lost protocol holds for the next."""
        self.where.script = [ConnectionRefusedError()]
        self.lose()
        self.old.unsub("1")
        self.old.sub("new", "3", "g")
        self.clock.advance(1)
        self.present.dataReceived(INFO)
        sent = self.where.made[-1][1].value().splitlines()
        self.assertEqual(sent[1:], [b"SUB b.c.d 2", b"UNSUB 2 3", b"SUB new g 3"])

    def test_closed_here(self) -> None:
        """Who closes the transport himself wants no other connection."""
        self.where.made[0][1].loseConnection()
        self.lose()
        self.assertEqual(self.where.tries, 1)

    def test_unanswered_pings(self) -> None:
        """A stale connection is dropped and made anew."""
        self.old.event_subscribers.append(resilient.ping_loop_controller)
        self.old.ping_loop.start(10, now=True)
        self.clock.pump([10, 10])
        self.assertTrue(self.where.made[0][1].disconnected)
        self.lose(ConnectionLost)
        self.assertEqual(self.where.tries, 2)
        self.present.dataReceived(INFO)
        self.assertEqual(self.present.pout, 1)
        self.present.connectionLost(Failure(ConnectionDone()))

    def test_not_hammered(self) -> None:
        """A server that greets and drops us is tried ever later, until a connection lasts."""
        self.lose()
        for delay in (1, 2, 4):
            tries = self.where.tries
            self.present.dataReceived(INFO + b"-ERR 'Authorization Violation'\r\n")
            self.lose()
            self.clock.advance(delay - 0.1)
            self.assertEqual(self.where.tries, tries)
            self.clock.advance(0.1)
            self.assertEqual(self.where.tries, tries + 1)
        self.present.dataReceived(INFO)
        self.clock.advance(resilient.LASTING)
        tries = self.where.tries
        self.lose()
        self.assertEqual(self.where.tries, tries + 1)

    def test_shared(self) -> None:
        """One event subscriber may serve several protocols."""
        other = NatsProtocol(own_reactor=self.clock, event_subscribers=[self.reconnector])
        other.makeConnection(StringTransport())
        other.dataReceived(INFO)
        self.lose()
        other.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.where.tries, 3)

    def test_gives_up(self) -> None:
        """That is logged, and the end of it."""
        self.reconnector = resilient.make_reconnector(self.where, self.backoff, max_retries=1)
        self.old.event_subscribers[0] = self.reconnector
        self.where.script = [ConnectionRefusedError(), ConnectionRefusedError()]
        self.lose()
        self.clock.advance(1)
        self.assertEqual((self.where.tries, self.clock.getDelayedCalls()), (3, []))

    def test_stop(self) -> None:
        """While waiting, while connecting and afterwards."""
        self.where.script = [ConnectionRefusedError()]
        self.lose()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.reconnector.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.old.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.where.tries, 2)


class PingLoopTests(SynchronousTestCase):
    def test_controller(self) -> None:
        """PINGs at once and every 10 s, until the connection ends in either way."""
        for reason in (ConnectionLost(), ConnectionDone()):
            clock = Clock()
            protocol = NatsProtocol(
                own_reactor=clock, event_subscribers=[resilient.ping_loop_controller]
            )
            transport = StringTransport()
            protocol.makeConnection(transport)
            protocol.dataReceived(INFO)
            for _ in range(3):
                self.assertTrue(transport.value().endswith(b"PING\r\n"))
                transport.clear()
                protocol.dataReceived(b"PONG\r\n")
                clock.advance(9.9)
                self.assertEqual(transport.value(), b"")
                clock.advance(0.1)
            resilient.ping_loop_controller(actions.SendConnect(protocol))
            protocol.connectionLost(Failure(reason))
            self.assertFalse(protocol.ping_loop.running)
            resilient.ping_loop_controller(actions.Disconnected(protocol))
            self.assertEqual(clock.getDelayedCalls(), [])


class Client:
    """A protocol with everything, over all its reconnects."""

    def __init__(self, port: int, subject: str | None = None, queue: str | None = None) -> None:
        where = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        backoff = Backoff(initial_delay=0.01, max_delay=0.05)
        self.reconnector = resilient.make_reconnector(where, backoff, max_retries=10_000)
        self.protocol = NatsProtocol(
            event_subscribers=[self.reconnector, resilient.ping_loop_controller, self.event],
            subscriptions={}
            if subject is None
            else {"1": SubscriptionArgs(subject, "1", queue, self.message)},
        )
        self.payloads: list[bytes] = []
        self.connects: DeferredQueue[NatsProtocol] = DeferredQueue()
        self.losses: DeferredQueue[Any] = DeferredQueue()
        self.waiting: list[Deferred[None] | None] = []
        self.flushing: Deferred[None] | None = None
        self.connecting = resilient.connect(where, self.protocol, backoff)

    def message(self, payload: bytes, **_: Any) -> None:
        self.payloads.append(payload)

    def event(self, event: Any) -> None:
        if isinstance(event, actions.SendConnect):
            self.protocol = event.protocol
            self.connects.put(event.protocol)
        elif isinstance(event, actions.SendPing):
            self.waiting.append(self.flushing)
            self.flushing = None
        elif isinstance(event, actions.ReceivedPong):
            waiter = self.waiting.pop(0)
            if waiter is not None:
                waiter.callback(None)
        elif isinstance(event, actions.ConnectionLost | actions.Disconnected):
            self.waiting.clear()
            self.losses.put(event)

    def flush(self) -> Deferred[None]:
        """Fire when the server answered to everything sent, and we got what it had for us."""
        done: Deferred[None] = Deferred()
        self.flushing = done
        self.protocol.ping()
        return done

    def close(self) -> Any:
        """Close; fires when the socket is gone."""
        self.reconnector.stop()
        self.losses = DeferredQueue()
        if self.protocol.status == io.CONNECTED and self.protocol.transport is not None:
            self.protocol.transport.loseConnection()
            return self.losses.get()
        return None


class Scripted(LineReceiver):
    """A server's side of a connection."""

    def __init__(self) -> None:
        self.lines: DeferredQueue[bytes] = DeferredQueue()

    def connectionMade(self) -> None:
        factory: Any = self.factory
        factory.connections.put(self)

    def lineReceived(self, line: bytes) -> None:
        self.lines.put(line)

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class ScriptedFactory(Factory):
    protocol = Scripted
    noisy = False

    def __init__(self) -> None:
        self.connections: DeferredQueue[Scripted] = DeferredQueue()


class LoopbackTests(TestCase):
    """Real sockets, and a server that does what we say."""

    timeout = 30

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.factory = ScriptedFactory()
        port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.addCleanup(port.stopListening)
        self.client = Client(port.getHost().port, "jobs.x.y", "workers")
        self.addCleanup(self.client.close)

    @inlineCallbacks
    def greeted(self) -> Generator[Any, Any, Scripted]:
        """Take the next connection, and see its handshake and subscription."""
        server: Scripted = yield self.factory.connections.get()
        server.send(INFO)
        connect = yield server.lines.get()
        self.assertTrue(connect.startswith(b"CONNECT {"), connect)
        self.assertEqual((yield server.lines.get()), b"SUB jobs.x.y workers 1")
        self.assertEqual((yield server.lines.get()), b"PING")
        server.send(b"+OK\r\n+OK\r\nPO")
        server.send(b"NG\r\n")
        return server

    @inlineCallbacks
    def reconnects(self, end: Callable[[Any], None], kind: type) -> Generator[Any, Any, None]:
        server = yield self.greeted()
        yield self.client.connecting
        first = yield self.client.connects.get()
        for _ in range(2):
            end(server.transport)
            event = yield self.client.losses.get()
            self.assertIsInstance(event, kind)
            server = yield self.greeted()
            self.assertIsNot((yield self.client.connects.get()), first)
        server.send(b"MSG jobs.x.y 1 2\r\nhi\r\nPING\r\n")
        self.assertEqual((yield server.lines.get()), b"PONG")
        self.assertEqual(self.client.payloads, [b"hi"])

    def test_clean_end(self) -> Any:
        return self.reconnects(lambda transport: transport.loseConnection(), actions.Disconnected)

    def test_reset(self) -> Any:
        return self.reconnects(lambda t: t.abortConnection(), actions.ConnectionLost)

    def test_junk(self) -> Any:
        """What is not NATS ends the connection, and another one is made."""
        return self.reconnects(lambda t: t.write(b"what?\r\n"), actions.ConnectionLost)

    @inlineCallbacks
    def test_dropped_before_info(self) -> Generator[Any, Any, None]:
        """Each try gets one connection."""
        for _ in range(3):
            server = yield self.factory.connections.get()
            server.transport.loseConnection()
        yield self.greeted()
        yield self.client.connecting
        self.assertEqual(self.factory.connections.pending, [])

    @inlineCallbacks
    def test_closed_here(self) -> Generator[Any, Any, None]:
        yield self.greeted()
        yield self.client.connecting
        yield self.client.close()
        self.assertEqual(self.factory.connections.pending, [])


class ServerTests(TestCase):
    """A real nats-server."""

    timeout = 60

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)

    def client(self, subject: str | None = None, queue: str | None = None) -> Client:
        client = Client(self.server.port, subject, queue)
        self.addCleanup(client.close)
        return client

    @inlineCallbacks
    def test_queue_group_over_a_restart(self) -> Generator[Any, Any, None]:
        """Three members share 300 messages, a plain subscriber gets all; again after a restart."""
        members = [self.client("work.to.do", "workers") for _ in range(3)]
        plain = self.client("work.>")
        publisher = self.client()
        everybody = [*members, plain, publisher]
        wanted = [b"%d" % number for number in range(300)]
        yield gatherResults([client.connecting for client in everybody])
        for kill in (False, True, None):
            yield gatherResults([client.connects.get() for client in everybody])
            yield gatherResults([client.flush() for client in everybody])
            for payload in wanted:
                publisher.protocol.pub("work.to.do", payload)
            yield publisher.flush()
            yield gatherResults([client.flush() for client in everybody])
            got = [client.payloads for client in members]
            self.assertEqual(
                sorted(payload for payloads in got for payload in payloads), sorted(wanted)
            )
            self.assertTrue(all(got), [len(payloads) for payloads in got])
            self.assertEqual(plain.payloads, wanted)
            for client in everybody:
                client.payloads = []
            if kill is None:
                return
            if kill:
                self.server.kill()
                self.server.start()
            else:
                self.server.restart()
            yield self.server.when_ready(reactor)

    @inlineCallbacks
    def test_limit_over_a_restart(self) -> Generator[Any, Any, None]:
        """S5: limited to 10, 5 before and 30 after a restart: 10 in all."""
        client = self.client("limited")
        yield client.connecting
        yield client.connects.get()
        client.protocol.unsub("1", 10)
        for count, total in ((5, 5), (30, 10)):
            yield client.flush()
            for _ in range(count):
                client.protocol.pub("limited", b"x")
            yield client.flush()
            yield client.flush()
            self.assertEqual(len(client.payloads), total)
            if total == 5:
                self.server.restart()
                yield self.server.when_ready(reactor)
                yield client.connects.get()
        self.assertEqual((client.protocol.subscriptions, client.protocol.unsubs), ({}, {}))

    @inlineCallbacks
    def test_complaint(self) -> Generator[Any, Any, None]:
        """Servers complain of a subject and go on: so do we."""
        complaints: DeferredQueue[str] = DeferredQueue()
        client = self.client("a")
        yield client.connecting
        client.protocol.event_subscribers.append(
            lambda event: (
                complaints.put(event.text) if isinstance(event, actions.ServerErr) else None
            )
        )
        client.protocol._write(b"SUB a..b 9\r\n")
        self.assertEqual((yield complaints.get()), "Invalid Subject")
        client.protocol.pub("a", b"x")
        yield client.flush()
        self.assertEqual(client.payloads, [b"x"])

    @inlineCallbacks
    def test_responder(self) -> Generator[Any, Any, None]:
        """As in txnats's manual: an endpoint, on_connect, a queue group, a text payload."""
        answers: DeferredQueue[bytes] = DeferredQueue()
        ready: Deferred[None] = Deferred()
        gone: DeferredQueue[Any] = DeferredQueue()

        def respond(
            nats_protocol: Any, sid: str, subject: str, reply_to: str | None, payload: bytes
        ) -> None:
            if reply_to:
                nats_protocol.pub(reply_to, f"Roger, {payload.decode()}!")

        def listen(protocol: NatsProtocol) -> None:
            protocol.sub("get-response", "6", queue_group="excelsior", on_msg=respond)
            protocol.sub("inbox_1", 7, on_msg=lambda payload, **_: answers.put(payload))
            ready.callback(None)

        def ended(event: Any) -> None:
            if isinstance(event, actions.Disconnected):
                gone.put(event)

        protocol = NatsProtocol(verbose=False, on_connect=listen, event_subscribers=[ended])
        where = TCP4ClientEndpoint(reactor, "127.0.0.1", self.server.port)
        yield connectProtocol(where, protocol)
        yield ready
        protocol.pub("get-response", b"one", "inbox_1")
        self.assertEqual((yield answers.get()), b"Roger, one!")
        transport: Any = protocol.transport
        transport.loseConnection()
        yield gone.get()


class RefusedTests(TestCase):
    """A real nats-server that wants a password."""

    timeout = 60

    @inlineCallbacks
    def test_wrong_password(self) -> Generator[Any, Any, None]:
        """The complaint is an event; it is tried again, later each time."""
        server = NatsServer(config="authorization { user: u, password: p }")
        self.addCleanup(server.close)
        server.start()
        yield server.when_ready(reactor)
        complaints: DeferredQueue[str] = DeferredQueue()
        client = Client(server.port)
        self.addCleanup(client.close)
        client.protocol.event_subscribers.append(
            lambda event: (
                complaints.put(event.text) if isinstance(event, actions.ServerErr) else None
            )
        )
        yield client.connecting
        for _ in range(3):
            self.assertEqual((yield complaints.get()), "Authorization Violation")
