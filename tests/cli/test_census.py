"""Which services are there: known ones, and those of which something is heard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.census import HEARD, Census, Found
from backplane.nats.errors import NatsError
from backplane.testing import Harness
from tests.client.peers import Peers


class CensusTests(SynchronousTestCase):
    """On a harness."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.addCleanup(self.harness.advance, 30)
        for service, names in (("app", ["one", "two"]), ("shop", ["three"])):
            Peers(self.harness, f"{service}_backplane").add(*names)
        self.operator = self.harness.operator()

    def census(self, known: Mapping[str, Collection[str]], listening: bool = True) -> Census:
        return Census(
            self.operator.client,
            self.operator,
            known,
            listening=listening,
            discovery_timeout=2.0,
        )

    def result(self, census: Census, *subjects: str, seconds: float = 1.0) -> list[Found]:
        taken = Deferred.fromCoroutine(census.take(seconds))
        self.harness.advance(0.1)
        for subject in subjects:
            self.harness.broker.publish(subject, b"x")
        return self.harness.result_of(taken)

    def test_known(self) -> None:
        """Who is known is looked for; nothing else where one does not listen."""
        known = {"app": ["two", "ghost"], "shop": [], "nothing": []}
        found = self.result(self.census(known, False), "app_backplane.broadcast.agent.registration")
        self.assertEqual(
            [(each.service, dict(each.instances), each.missing) for each in found],
            [("app", {"one": 1, "two": 1}, ("ghost",)), ("shop", {"three": 1}, ())],
        )

    def test_heard(self) -> None:
        """A name that is heard is looked for, by whatever subject."""
        for subject in (
            "shop_backplane.broadcast.agent.registration",
            "shop_backplane.reply.0123.presence",
            "choria.backplane.event.shop",
        ):
            found = self.result(self.census({}), subject)
            self.assertEqual([each.service for each in found], ["shop"], subject)
        for subject in ("mcollective.broadcast.agent.rpcutil", "A_backplane.broadcast.agent.x"):
            self.assertEqual(self.result(self.census({}), subject), [], subject)

    def test_interrupted(self) -> None:
        """At once, also in the middle of a long wait."""
        census = self.census({"app": []})
        taken: Any = Deferred.fromCoroutine(census.take(3600.0))
        self.harness.advance(1)
        census.interrupt()
        (found,) = self.successResultOf(taken)
        self.assertEqual(found.service, "app")

    def test_lost(self) -> None:
        """A broker that is lost is no empty network."""
        taken: Any = Deferred.fromCoroutine(self.census({"app": ["one"]}, False).take(1.0))
        self.harness.broker.drop_all()
        self.harness.network.flush()
        self.failureResultOf(taken, NatsError)

    def test_deaf(self) -> None:
        """What the broker does not let one hear is told."""
        self.harness.broker.deny_subscribe.extend(HEARD)
        census = self.census({})
        self.assertEqual(self.result(census), [])
        self.assertEqual(sorted(census.deaf), sorted(HEARD))
