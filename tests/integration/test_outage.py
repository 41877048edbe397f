"""The broker is killed twenty times under load: nothing accepted is left out."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from backplane import DataItem, Management
from backplane.choria.filter import Filter
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job, Operator
from backplane.nats.client import Message, NatsClient
from backplane.nats.servers import Server
from backplane.node.outbox import OutboxFull
from backplane.testing.application import RecordingApplication
from backplane.testing.natsserver import NatsServer

SERVICES = 4
KILLS = 20
LOAD = 30
"""Items that each service has on the way when the broker is killed. What the broker has
confirmed and not yet written to the consumer's socket dies with it, as is the way of core
NATS; so few fit into the socket's buffer."""

BURST = 300
"""Items that each service is given in an outage; more than its outbox and the producers
that may wait take."""


class Gate:
    """Holds connection attempts back while it is shut."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []
        self._shut = False

    def shut(self) -> None:
        self._shut = True

    def open(self) -> None:
        self._shut = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def passed(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        if not self._shut:
            self.open()
        return waiter


@implementer(IStreamClientEndpoint)
class Gated:
    """An endpoint behind a gate."""

    def __init__(self, gate: Gate, endpoint: Any) -> None:
        self._gate = gate
        self._endpoint = endpoint

    def connect(self, factory: Any) -> Any:
        return self._gate.passed().addCallback(lambda _: self._endpoint.connect(factory))


class Producer:
    """Puts numbered items, and knows which were accepted."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._next = 0
        self.identity = management.config.identity
        self.accepted: list[int] = []
        self.refused = 0

    def put(self) -> None:
        number = self._next
        self._next += 1
        accepted = self._management.data_outbox.put(DataItem(f"{number}", destination="data"))
        accepted.addCallbacks(lambda _: self.accepted.append(number), self._refused)

    def _refused(self, failure: Any) -> None:
        failure.trap(OutboxFull)
        self.refused += 1

    @property
    def idle(self) -> bool:
        statistics = self._management.data_outbox.statistics
        return not statistics.items and not statistics.waiting


class OutageTests(TestCase):
    """Services, a consumer and an operator on a server that dies again and again."""

    timeout = 300

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)
        self.gate = Gate()
        self.producers = []
        managements = []
        for number in range(SERVICES):
            app = RecordingApplication()
            management = Management(
                {
                    "name": "app",
                    "identity": f"app{number}",
                    "loglevel": "critical",
                    "auth": {"insecure": True},
                    "outbox": {"max_items": 100},
                    "brokers": [f"127.0.0.1:{self.server.port}"],
                },
                pausable=app,
                endpoint=self.endpoint,
            )
            management.startService()
            self.addCleanup(management.stopService)
            managements.append(management)
            self.producers.append(Producer(management))
        self.managements = managements
        self.received: dict[str, list[int]] = {each.identity: [] for each in self.producers}
        self.countdown = 0
        self.rng = random.Random(KILLS)
        self.consumer = NatsClient([f"127.0.0.1:{self.server.port}"], reactor)
        self.consumer.subscribe("data", self.consume)
        self.consumer.startService()
        self.addCleanup(self.consumer.stopService)
        yield gatherResults([each.when_ready() for each in managements])

    def endpoint(self, server: Server) -> Gated:
        return Gated(self.gate, HostnameEndpoint(reactor, server.host, server.port))

    def consume(self, message: Message) -> None:
        secure = json.loads(base64.b64decode(json.loads(message.payload)["data"]))
        document = json.loads(secure["message"])
        self.received[document["envelope"]["senderid"]].append(int(document["message"]))
        self.countdown -= 1
        if not self.countdown:
            self.kill()

    def kill(self) -> None:
        self.gate.shut()
        self.server.kill()

    @inlineCallbacks
    def wait(self, condition: Any, what: str) -> Generator[Any, Any, None]:
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, f"never came: {what}")
            yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def test_killed(self) -> Generator[Any, Any, None]:
        """Every accepted item arrives, in order; what was refused is what is counted."""
        yield self.consumer.when_connected()
        yield self.consumer.flush()
        operator = Operator(
            self.consumer, reactor, caller_id="choria=op", identity="here", now=time.time
        )
        for kill in range(KILLS):
            # Under load: on the way are items, here and in the broker, and confirmations.
            if kill % 2:
                reactor.callLater(self.rng.random() * 0.004, self.kill)
            else:
                self.countdown = 1 + self.rng.randrange(SERVICES * LOAD)
            for producer in self.producers:
                for _ in range(LOAD):
                    producer.put()
            yield self.wait(lambda: not self.consumer.is_connected, "the loss")
            for producer in self.producers:
                for _ in range(BURST if kill else 4 * BURST):
                    producer.put()
            self.server.start()
            yield self.server.when_ready(reactor)
            self.consumer.force_reconnect()
            yield self.consumer.when_connected()
            yield self.consumer.flush()
            self.gate.open()
            yield gatherResults([each.when_ready() for each in self.managements])
            outcome = yield operator.request(self.job("flip"))
            told = f"kill {kill}: {outcome}"
            self.assertEqual(
                {answer.sender for answer in outcome.answers}, set(self.received), told
            )
            self.assertEqual([answer.reply.status for answer in outcome.answers], [0] * 4, told)
            yield self.wait(lambda: all(each.idle for each in self.producers), "empty outboxes")
            yield self.consumer.flush()
        self.check()

    def job(self, action: str) -> Job:
        return Job(
            service="app",
            action=action,
            collective="app_backplane",
            filter=Filter(agent=("backplane",)),
            rule=DiscoveryRule.choose(change=True, expect=SERVICES),
        )

    def check(self) -> None:
        repeats = 0
        for producer, management in zip(self.producers, self.managements, strict=True):
            got = self.received[producer.identity]
            first_seen = list(dict.fromkeys(got))
            self.assertEqual(first_seen, producer.accepted, producer.identity)
            statistics = management.data_outbox.statistics
            self.assertEqual(statistics.accepted, len(producer.accepted))
            self.assertEqual(statistics.confirmed, len(producer.accepted))
            self.assertEqual(statistics.refused, producer.refused)
            self.assertGreater(producer.refused, 0)
            self.assertEqual((statistics.dropped, statistics.lost), (0, 0))
            extra = sum(Counter(got).values()) - len(first_seen)
            self.assertLessEqual(extra, statistics.repeated)
            repeats += extra
        items = sum(len(producer.accepted) for producer in self.producers)
        again = sum(each.data_outbox.statistics.repeated for each in self.managements)
        refused = sum(producer.refused for producer in self.producers)
        print(
            f"{KILLS} kills: {items} items accepted, {again} sent again, "
            f"{repeats} repeats, {refused} refused"
        )
