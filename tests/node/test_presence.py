"""Being there: subscriptions, readiness, lifecycle events, namesakes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane import __version__
from backplane.errors import StateError
from backplane.node.presence import ALIVE_INTERVAL, ManagementState, Phase
from backplane.service import Management
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import Lines
from tests.node.test_agent import Orders


class PresenceCase(SynchronousTestCase):
    """A harness whose log is looked at."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the lifecycle events of one kind, in order."""
        self.harness.network.flush()
        subject = f"choria.lifecycle.event.{kind}.backplane"
        return [json.loads(data) for to, data in self.harness.broker.published if to == subject]

    def phases(self, management: Management) -> list[Phase]:
        """Return a list that the phases of a management are added to."""
        seen: list[Phase] = []
        management.on_change(lambda state: seen.append(state.phase))
        return seen


class SubscriptionTests(PresenceCase):
    """Where a service listens."""

    def test_subjects(self) -> None:
        """The node's subject, one for each agent, and nothing of other applications."""
        self.harness.manage(Orders(), name="shop", identity="app1.example.net")
        (client,) = self.harness.broker.clients
        found = {each.subject for each in client.subscriptions.values()}
        meeting = {subject for subject in found if subject.endswith(".presence")}
        self.assertEqual(
            found - meeting,
            {
                "shop_backplane.node.app1.example.net",
                "shop_backplane.broadcast.agent.backplane",
                "shop_backplane.broadcast.agent.discovery",
                "shop_backplane.broadcast.agent.rpcutil",
                "shop_backplane.broadcast.agent.choria_util",
                "shop_backplane.broadcast.agent.orders",
            },
        )
        # Namesakes meet below this identity's reply subjects, where brokers let it listen.
        (subject,) = meeting
        self.assertTrue(subject.startswith("shop_backplane.reply."))
        # All are asked: none of a request's services is in a queue group.
        self.assertEqual({each.queue for each in client.subscriptions.values()}, {None})

    def test_again_after_a_loss(self) -> None:
        """After each of fifty lost connections all subscriptions are there again, once."""
        management = self.harness.manage(RecordingApplication())
        (client,) = self.harness.broker.clients
        wanted = sorted(each.subject for each in client.subscriptions.values())
        for _ in range(50):
            self.harness.broker.drop_all()
            self.harness.advance(0.1)
            self.harness.result_of(management.when_ready())
            (client,) = self.harness.broker.clients
            self.assertEqual(sorted(each.subject for each in client.subscriptions.values()), wanted)
        self.assertTrue(self.harness.ask("ping").ok)


class ReadinessTests(PresenceCase):
    """Ready is what operators can reach."""

    def test_by_pong(self) -> None:
        """Connected is not enough: the subscriptions must be answered by a PONG."""
        self.harness.broker.silent_ping = True
        management = self.harness.make()
        seen = self.phases(management)
        management.startService()
        ready = management.when_ready()
        self.harness.advance(1)
        self.assertNoResult(ready)
        self.assertEqual(seen, [Phase.CONNECTING])
        self.assertFalse(management.state.ready)
        self.harness.broker.silent_ping = False
        self.harness.result_of(ready)
        self.assertTrue(management.state.ready)
        self.harness.result_of(management.stopService())

    def test_lost_and_regained(self) -> None:
        """Both are told as they happen, with the reason; the state says since when."""
        management = self.harness.make()
        seen = self.phases(management)
        self.harness.start(management)
        since = management.state.since
        self.assertEqual(management.state.broker, "nats://broker.example.net:4222")
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(10)
        state = management.state
        self.assertEqual((state.phase, state.broker), (Phase.CONNECTING, None))
        self.assertGreater(state.since, since)
        self.assertIsNotNone(state.last_error)
        self.harness.broker.refuse = False
        self.harness.result_of(management.when_ready())
        phases = [phase for place, phase in enumerate(seen) if [phase] != seen[place - 1 : place]]
        self.assertEqual(phases, [Phase.CONNECTING, Phase.READY, Phase.CONNECTING, Phase.READY])

    def test_refused_subscription(self) -> None:
        """A broker that does not allow one is not ready, and says which; later it may be."""
        self.harness.broker.deny_subscribe.append("app_backplane.node.>")
        management = self.harness.make()
        management.startService()
        ready = management.when_ready()
        self.harness.advance(2)
        self.assertNoResult(ready)
        self.assertIs(management.state.phase, Phase.REFUSED)
        self.assertIn("app_backplane.node", management.state.last_error or "")
        self.assertEqual(self.events("startup"), [])
        (line,) = [text for text in self.log.texts("error") if "not allow" in text]
        self.assertIn("app_backplane.node", line)
        self.harness.broker.deny_subscribe.clear()
        self.harness.broker.drop_all()
        self.harness.result_of(ready)
        self.harness.result_of(management.stopService())

    def test_waiters(self) -> None:
        """Each waiter has a Deferred of his own; cancelling one is nobody else's business."""
        management = self.harness.make()
        early = management.when_ready()
        management.startService()
        first, second = management.when_ready(), management.when_ready()
        first.cancel()
        self.failureResultOf(first)
        for waiting in (early, second):
            self.harness.result_of(waiting)
        self.successResultOf(management.when_ready())
        self.harness.result_of(management.stopService())

    def test_stop_before_ready(self) -> None:
        """Whoever waits is told when there is nothing to wait for any more."""
        self.harness.broker.refuse = True
        management = self.harness.make()
        management.startService()
        waiting: Deferred[None] = management.when_ready()
        self.harness.advance(1)
        self.harness.result_of(management.stopService())
        self.failureResultOf(waiting, StateError)
        self.assertIs(management.state.phase, Phase.STOPPED)
        self.assertEqual(self.events("shutdown"), [])

    def test_start_never_waits(self) -> None:
        """Start and stop of the application do not wait for a broker, however long it is away."""
        self.harness.broker.refuse = True
        app = RecordingApplication()
        management = self.harness.make()
        management.provide(app)
        management.startService()
        self.harness.advance(600)
        self.assertFalse(management.state.ready)
        self.assertIsNotNone(management.state.last_error)
        self.assertIn("fact_data", app.calls)
        began = self.harness.clock.seconds()
        self.harness.result_of(management.stopService())
        self.assertLess(self.harness.clock.seconds() - began, 0.5)

    def test_state(self) -> None:
        """Ready is one phase and no other."""
        for phase in Phase:
            self.assertIs(ManagementState(phase, 0).ready, phase is Phase.READY)


class EventTests(PresenceCase):
    """Lifecycle events."""

    def test_startup(self) -> None:
        """One, once the service can be reached; not again after a reconnect."""
        management = self.harness.manage(identity="app1.example.net")
        (event,) = self.events("startup")
        self.assertEqual(
            (event["type"], event["source"], event["specversion"], event["subject"]),
            (
                "io.choria.lifecycle.v1.startup",
                "io.choria.lifecycle",
                "1.0",
                "app1.example.net",
            ),
        )
        data = event["data"]
        self.assertEqual(
            (data["identity"], data["component"], data["version"], data["id"]),
            ("app1.example.net", "backplane", __version__, event["id"]),
        )
        self.harness.broker.drop_all()
        self.harness.advance(5)
        self.harness.result_of(management.when_ready())
        self.assertEqual(len(self.events("startup")), 1)

    def test_alive(self) -> None:
        """Every half hour, each a new one; the first within the first half hour."""
        self.harness.manage()
        began = self.harness.clock.seconds()
        self.harness.clock.advance(60)
        while not self.events("alive"):
            self.harness.advance(20)
            self.assertLessEqual(self.harness.clock.seconds() - began, ALIVE_INTERVAL + 120)
        for _ in range(3):
            self.harness.advance(ALIVE_INTERVAL)
        events = self.events("alive")
        self.assertEqual(len(events), 4)
        self.assertEqual(len({event["id"] for event in events}), 4)
        times = [event["data"]["timestamp"] for event in events]
        for before, after in pairwise(times):
            self.assertLess(abs(after - before - ALIVE_INTERVAL), 2)

    def test_spread(self) -> None:
        """Services that started together do not say so together."""
        firsts = set()
        for seed in range(12):
            harness = Harness(seed=seed)
            harness.manage()
            (call,) = [
                call for call in harness.clock.getDelayedCalls() if "_still_alive" in str(call)
            ]
            wait = call.getTime() - harness.clock.seconds()
            self.assertTrue(0 < wait <= ALIVE_INTERVAL + 60)
            firsts.add(round(wait))
            harness.close()
        self.assertGreater(len(firsts), 4)

    def test_shutdown(self) -> None:
        """One, before the connection is closed; it has no version."""
        management = self.harness.manage()
        self.harness.result_of(management.stopService())
        (event,) = self.events("shutdown")
        self.assertNotIn("version", event["data"])
        self.assertEqual(event["data"]["identity"], "app1.example.net")
        self.assertEqual(self.harness.broker.clients, [])

    def test_counted(self) -> None:
        """``daemon_stats`` counts them."""
        self.harness.manage()
        self.assertEqual(self.harness.ask("daemon_stats", agent="rpcutil").data["events"], 1)


class NamesakeTests(PresenceCase):
    """Two services of one name."""

    def second(self, identity: str) -> Management:
        """Start a service of the same name as another process would."""
        twin = Management(
            self.harness.config("app", identity=identity),
            reactor=self.harness.clock,
            now=self.harness.clock.seconds,
            endpoint=self.harness.endpoint,
        )
        # Within one process it would be refused at once.
        from backplane import service

        service._here.discard(("app_backplane", identity))
        self.harness.start(twin)
        return twin

    def warnings(self) -> list[str]:
        return [text for text in self.log.texts("warn") if "has the identity" in text]

    def test_noticed_by_both(self) -> None:
        """Each of the two says it once, with the name; both are reached and counted."""
        self.harness.manage(identity="same.example.net")
        self.assertEqual(self.warnings(), [])
        self.second("same.example.net")
        self.assertEqual(len(self.warnings()), 2)
        for text in self.warnings():
            self.assertIn("the identity same.example.net too", text)
            self.assertIn("`identity` or `instance`", text)
        outcome = self.harness.request("ping")
        self.assertEqual((outcome.count, len(outcome.answers)), (2, 2))
        self.assertEqual(outcome.namesakes, ("same.example.net",))
        # A reconnect is no news.
        self.harness.broker.drop_all()
        self.harness.advance(10)
        self.assertEqual(len(self.warnings()), 2)

    def test_other_names(self) -> None:
        """Services with names of their own say nothing."""
        self.harness.manage(identity="a.example.net")
        self.harness.manage(identity="b.example.net")
        self.assertEqual(self.warnings(), [])
        self.assertEqual(self.harness.request("ping").count, 2)

    def test_same_process(self) -> None:
        """In one process the second is refused, and told how to name itself."""
        self.harness.manage(identity="same.example.net")
        twin = self.harness.make(identity="same.example.net")
        error = self.assertRaises(StateError, twin.startService)
        self.assertIn("`identity` or `instance`", str(error))

    def test_strangers(self) -> None:
        """What strangers publish there neither fills the log nor the memory."""
        self.harness.manage()
        (client,) = self.harness.broker.clients
        (subject,) = [
            each.subject
            for each in client.subscriptions.values()
            if each.subject.endswith(".presence")
        ]
        for number in range(200):
            self.harness.broker.publish(subject, f"{number:032}".encode())
            self.harness.broker.publish(subject, b"x" * number)
        self.harness.network.flush()
        self.assertLessEqual(len(self.warnings()), 16)
