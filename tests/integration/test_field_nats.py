"""What people ran into with connections to brokers: names, idle flows, users that come and go."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

from backplane import Phase
from backplane.nats.client import Message, NatsClient
from backplane.testing import RecordingApplication
from tests.managing import ManagementCase
from tests.nats.bench import ClientCase

FORGETFUL = 60
"""Seconds of silence after which the strictest box forgets a flow; others take 240."""


class QueueTests(ClientCase):
    """Three members of a group and one plain subscriber, over a restart of the broker."""

    def test_restart(self) -> None:
        """300 among the members and 300 to the other, before and after."""
        members: list[list[bytes]] = []
        plain: list[bytes] = []

        def member(number: int) -> Any:
            def take(message: Message) -> None:
                members[number].append(message.payload)

            return take

        for number in range(3):
            members.append([])
            client = self.start()
            client.subscribe("work", member(number), queue="workers")
        other = self.start()
        other.subscribe("work", lambda message: plain.append(message.payload))
        publisher = self.start()
        self.network.flush()
        for _ in range(2):
            for number in range(300):
                publisher.publish("work", str(number).encode())
            self.advance(1)
            self.assertEqual(sum(map(len, members)), 300)
            self.assertEqual(sorted(chain.from_iterable(members)), sorted(plain))
            self.assertEqual(len(plain), 300)
            self.assertTrue(all(members))
            for each in (*members, plain):
                each.clear()
            self.absent()
            self.advance(3)
            self.present()
            self.advance(25)


class LateTests(ManagementCase):
    """Started before the network is up."""

    def test_name(self) -> None:
        """A name that does not resolve for a minute: one line, and ready within one delay."""
        self.late(lambda: self.harness.network.fail_dns("broker.example.net"), "DNS lookup failed")

    def test_port(self) -> None:
        """A port that is closed for a minute."""

        def close() -> None:
            self.harness.broker.refuse = True

        self.late(close, "")

    def late(self, breaking: Any, cause: str) -> None:
        breaking()
        app = RecordingApplication()
        management = self.harness.make(loglevel="info")
        management.provide(app)
        management.startService()
        self.assertTrue(management.running, "the application does not wait")
        self.harness.advance(59)
        self.assertIs(management.state.phase, Phase.CONNECTING)
        lines = [line for line in self.log.texts() if "broker.example.net:4222" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(f"cannot connect to broker.example.net:4222: {cause}", lines[0])
        self.harness.network.fail_dns("broker.example.net", failing=False)
        self.harness.broker.refuse = False
        self.harness.result_of(management.when_ready(), patience=31)
        self.stop(management)


class IdleTests(ManagementCase):
    """Boxes on the way that forget idle flows, without a word."""

    def test_an_hour(self) -> None:
        """With what is set by default no flow is ever silent for long; then a command."""
        self.harness.manage(RecordingApplication())
        (client,) = self.harness.broker.clients
        heard, silent, longest = client.pings, 0, 0
        for _ in range(3600):
            self.harness.clock.advance(1)
            self.harness.network.flush()
            silent = 0 if client.pings != heard else silent + 1
            heard = client.pings
            longest = max(longest, silent)
        self.assertLess(longest, FORGETFUL)
        self.assertEqual(list(self.harness.broker.clients), [client])
        self.assertTrue(self.harness.as_full().ping().ok)

    def test_forgotten(self) -> None:
        """A flow that is forgotten is noticed within three intervals, and replaced."""
        self.harness.network.listen("other.example.net", 4222, self.harness.broker)
        management = self.harness.manage(
            RecordingApplication(),
            brokers=["broker.example.net:4222", "other.example.net:4222"],
            ping_interval=20,
        )
        first = str(management.state.broker)
        self.harness.network.stall(first.rpartition("/")[2].partition(":")[0])
        self.harness.advance(61)
        self.assertNotEqual(management.state.broker, first)
        self.harness.result_of(management.when_ready(), patience=5)
        self.harness.network.release()
        self.assertTrue(self.harness.as_full().ping().ok)


class AuthenticationTests(ManagementCase):
    """The user is taken away for five minutes, and given back."""

    def test_user(self) -> None:
        """It goes on trying, rarely, says why once, and tells the truth meanwhile."""
        broker = self.harness.broker
        broker.user, broker.password = "shop", "sesame"
        app = RecordingApplication()
        management = self.harness.make(loglevel="info", nats={"user": "shop", "password": "sesame"})
        management.provide(app)
        self.harness.start(management)
        self.log.events.clear()
        broker.password = "other"
        broker.drop_all()
        self.harness.advance(300)
        self.assertIs(management.state.phase, Phase.CONNECTING)
        self.assertIn("uthoriz", str(management.state.last_error))
        causes = [line for line in self.log.texts() if "cannot connect" in line]
        self.assertEqual(len(causes), 1, causes)
        broker.password = "sesame"
        self.harness.result_of(management.when_ready(), patience=31)
        self.assertNotIn("sesame", "".join(self.log.texts()))
        broker.user = broker.password = None

    def test_slowly(self) -> None:
        """Not hammered: a refused user is tried at the slow end of the delays."""
        broker = self.harness.broker
        broker.user, broker.password = "shop", "sesame"
        client = NatsClient(
            ["broker.example.net:4222"],
            self.harness.clock,
            endpoint=self.harness.endpoint,
            user="shop",
            password="other",
        )
        tried: list[float] = []
        client.add_listener(
            lambda event: (
                tried.append(self.harness.clock.seconds())
                if type(event).__name__ == "ConnectFailed"
                else None
            )
        )
        client.startService()
        self.harness.advance(300)
        gaps = [after - before for before, after in pairwise(tried)]
        self.assertGreater(len(gaps), 5)
        self.assertGreater(min(gaps), 5)
        self.assertLess(max(gaps), 35)
        self.harness.result_of(client.stopService())
        broker.user = broker.password = None
