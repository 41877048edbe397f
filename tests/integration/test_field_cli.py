"""What people ran into with command lines: who is silent, and thousands who are not."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.client import asking
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job
from backplane.nats.client import NatsClient
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerTLS
from backplane.testing import Harness, RecordingApplication
from tests.integration.answering import FACTS, Answering

MANY: Final = 2000


class SilentTests(SynchronousTestCase):
    """Five services, one of which stops between discovery and the request."""

    def test_pause(self) -> None:
        """The exit code says that somebody is missing, and who, in the document too."""
        harness = Harness()
        self.addCleanup(harness.close)
        names = [f"app{number}.example.net" for number in range(5)]
        apps = {name: RecordingApplication() for name in names}
        managements = {name: harness.manage(apps[name], identity=name) for name in names}
        operator = harness.operator()
        job = Job(
            service="app",
            collective="app_backplane",
            action="pause",
            rule=DiscoveryRule.choose(change=True),
        )
        running = operator.request(job)
        harness.advance(1.5)  # all have been discovered, nobody has been asked
        self.assertNoResult(running)
        harness.result_of(managements[names[2]].stopService())
        outcome: Outcome = harness.result_of(running)
        self.assertEqual(outcome.exit_code, ExitCode.SILENT)
        self.assertEqual(outcome.silent, (names[2],))
        document = outcome.as_dict()
        self.assertEqual((document["silent"], document["exit_code"]), ([names[2]], 4))
        self.assertEqual([each["sender"] for each in document["replies"]], names[:2] + names[3:])
        self.assertEqual(sum("pause" in app.calls for app in apps.values()), 4)


class SlowBrokerTests(SynchronousTestCase):
    """A fleet whose requests are more than a connection holds at a time."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.patch(asking, "BATCH", 1)
        self.apps = [RecordingApplication() for _ in range(4)]
        for number, app in enumerate(self.apps):
            self.harness.manage(app, identity=f"app{number}.example.net")

    def begin(self, timeout: float | None = None) -> Deferred[Outcome]:
        """Ask, up to where the first of four has been asked and the broker stands still."""
        job = Job(
            service="app",
            collective="app_backplane",
            action="pause",
            rule=DiscoveryRule.choose(change=True, expect=4),
            timeout=timeout,
        )
        operator = self.harness.operator()
        self.harness.broker.silent_ping = True
        running = operator.request(job)
        self.harness.advance(1)
        self.assertNoResult(running)
        return running

    def paused(self) -> int:
        return sum("pause" in app.calls for app in self.apps)

    def test_lost(self) -> None:
        """It waits until the broker is lost; with the next one all are asked in turn."""
        running = self.begin()
        self.assertEqual(self.paused(), 1)
        self.harness.broker.silent_ping = False
        self.harness.broker.drop_all()
        outcome = self.harness.result_of(running)
        self.assertEqual(outcome.exit_code, ExitCode.UNREACHABLE)
        self.harness.advance(30)
        job = Job(service="app", collective="app_backplane", action="pause")
        outcome = self.harness.result_of(self.harness.operator().request(job))
        self.assertEqual((outcome.exit_code, self.paused()), (ExitCode.OK, 4))

    def test_time(self) -> None:
        """When the time is over nobody else is asked, and the rest is named."""
        outcome = self.harness.result_of(self.begin(timeout=5))
        self.assertEqual((outcome.exit_code, self.paused()), (ExitCode.SILENT, 1))
        self.assertEqual(len(outcome.silent), 3)
        self.harness.broker.silent_ping = False


class ManyTests(SynchronousTestCase):
    """Thousands answer in the same moment, over TLS, to the client of Python."""

    def setUp(self) -> None:
        self.harness = Harness(secure=True)
        self.addCleanup(self.harness.close)
        self.operator = self.harness.operator()
        service = self.harness.pki.client("fleet.example.net")
        tls = BrokerTLS(
            load_authorities(service.ca).certificates, load_key_pair(service.cert, service.key)
        )
        self.fleet = NatsClient(
            ["broker.example.net:4222"],
            self.harness.clock,
            endpoint=self.harness.endpoint,
            buffer_size=1 << 27,
            tls=lambda server: tls(server.host),
        )
        self.fleet.startService()
        self.addCleanup(lambda: self.harness.result_of(self.fleet.stopService()))
        Answering(self.fleet, MANY, {"facts": FACTS, "version": "1"})
        self.harness.result_of(self.fleet.when_connected())

    def test_thousands(self) -> None:
        """All of them, none twice; and the next command works."""
        job = Job(
            service="many",
            collective="many_backplane",
            action="info",
            rule=DiscoveryRule.choose(change=False, expect=MANY, window=30),
        )
        outcome: Any = self.harness.result_of(self.operator.request(job))
        self.assertEqual(outcome.exit_code, 0, outcome.error)
        senders = Counter(answer.sender for answer in outcome.answers)
        self.assertEqual((len(senders), set(senders.values())), (MANY, {1}))
        self.assertEqual(outcome.answers[0].reply.data["facts"], FACTS)
        job = Job(service="many", collective="many_backplane", action="ping")
        self.assertEqual(self.harness.result_of(self.operator.request(job)).count, MANY)
