"""A service with a file is killed while it publishes to a real stream; and what a stream needs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from backplane import DataItem, ItemRefused, Management, OutboxFull
from backplane.nats.jetstream import JetStream
from backplane.testing.natsserver import NatsServer
from tests.integration.killing import Killing

KILLS = 5
"""``python -m tests.integration.killing`` does it two hundred times."""


class KilledTests(TestCase):
    """SIGKILL at random moments."""

    timeout = 180

    def test_killed(self) -> Deferred[None]:
        """Every item whose acceptance was confirmed is in the stream, once, in order."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return Deferred.fromCoroutine(self.killed(folder))

    async def killed(self, folder: Path) -> None:
        outcome = await Killing(reactor, folder, seed=KILLS).run(KILLS)
        self.assertGreater(outcome.accepted, 100)
        self.assertEqual((outcome.missing, outcome.doubled, outcome.disordered), (0, 0, 0), outcome)


class RealStreamTests(TestCase):
    """A management with a file, and a real JetStream."""

    timeout = 120

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = NatsServer(
            config=f'jetstream: {{store_dir: "{self.folder / "js"}"}}\nmax_payload: 64KB'
        )
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)
        self.management = Management(
            {
                "name": "app",
                "identity": "app",
                "loglevel": "critical",
                "auth": {"insecure": True},
                "brokers": [f"127.0.0.1:{self.server.port}"],
                "outbox": {"file": str(self.folder / "spool"), "max_items": 5000},
            }
        )
        self.management.startService()
        self.addCleanup(self.management.stopService)
        yield self.management.when_ready()
        assert self.management._node is not None
        self.stream = JetStream(self.management._node.client)

    def make_stream(self, name: str, **settings: Any) -> Deferred[Any]:
        wanted = {"name": name, "subjects": [f"{name}.>"], "storage": "memory", **settings}
        return self.stream.ask(f"STREAM.CREATE.{name}", wanted)

    def publish(self, data: str, subject: str) -> Deferred[None]:
        return self.management.publish(DataItem(data, subject, durable=True))

    @inlineCallbacks
    def test_published(self) -> Generator[Any, Any, None]:
        """Thousands of items, many under way at once, are stored once each."""
        yield self.make_stream("data")
        outbox = self.management.data_outbox
        for _ in range(4):
            yield gatherResults([self.publish(str(n), "data.x") for n in range(1000)])
        info = yield self.stream.ask("STREAM.INFO.data")
        self.assertEqual(info["state"]["messages"], 4000)
        self.assertEqual((outbox.statistics.confirmed, outbox.statistics.items), (4000, 0))

    @inlineCallbacks
    def test_later_stream(self) -> Generator[Any, Any, None]:
        """An item whose stream is made later is stored then."""
        done = self.publish("x", "late.x")
        yield deferLater(reactor, 0.1)
        self.assertNoResult(done)
        yield self.make_stream("late")
        yield done

    @inlineCallbacks
    def test_refused(self) -> Generator[Any, Any, None]:
        """A stream's limits: a message that is too large is dropped, a full stream waited for."""
        yield self.make_stream("small", max_msg_size=5000)
        yield self.publish("x", "small.x")
        yield self.assertFailure(self.publish("x" * 20_000, "small.x"), ItemRefused)
        yield self.assertFailure(self.publish("x" * 70_000, "small.x"), ItemRefused)
        yield self.make_stream("full", max_msgs=1, discard="new")
        yield self.publish("x", "full.x")
        done = self.publish("y", "full.x")
        yield deferLater(reactor, 0.1)
        self.assertNoResult(done)
        yield self.stream.ask("STREAM.PURGE.full")
        yield done

    @inlineCallbacks
    def test_outage(self) -> Generator[Any, Any, None]:
        """What is accepted while the broker is killed arrives, up to the bound."""
        yield self.make_stream("data", storage="file")
        yield self.publish("x", "data.x")
        self.server.kill()
        done = [self.publish(str(n), "data.x") for n in range(6500)]
        # Five thousand fit, a thousand wait; the item before the kill makes no difference.
        for each in done[6000:]:
            yield self.assertFailure(each, OutboxFull)
        self.server.start()
        yield self.server.when_ready(reactor)
        yield gatherResults(done[:6000])
        info = yield self.stream.ask("STREAM.INFO.data")
        self.assertEqual(info["state"]["messages"], 6001)
