"""Subscriptions by the ids that users chose, without any protocol."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats import sids
from backplane.nats.config_state import SubscriptionArgs
from backplane.nats.protocol import NatsProtocol
from backplane.nats.sids import SidTable


class SidTests(SynchronousTestCase):
    """The table."""

    def setUp(self) -> None:
        self.table = SidTable({}, {})

    def record(self, sid: str, *, early: bool = False) -> SubscriptionArgs:
        """Subscribe."""
        arguments = SubscriptionArgs("a", sid, None, print)
        self.table.record(arguments, early=early)
        return arguments

    def test_limit(self) -> None:
        """It counts from the start; a new connection counts what is left."""
        self.record("1")
        self.assertIs(self.table.total("1"), None)
        self.assertTrue(self.table.deliver("1"))
        self.table.limit("1", 3)
        self.assertEqual((self.table.unsubs, self.table.total("1")), ({"1": 2}, 3))
        self.table.begin()
        self.record("1")
        self.assertEqual(self.table.total("1"), 2)
        for reached in (False, True):
            self.table.deliver("1")
            self.assertEqual(self.table.end_if_reached("1"), reached)
        self.assertEqual(self.table.subscriptions, {})
        self.assertFalse(self.table.deliver("1"))
        self.assertFalse(self.table.end_if_reached("1"))

    def test_unknown(self) -> None:
        """A message for a sid that was never here is somebody's; one that ended is nobody's."""
        self.assertTrue(self.table.deliver("9"))
        self.table.forget("9")
        self.assertFalse(self.table.deliver("9"))
        self.record("9")
        self.assertTrue(self.table.deliver("9"))

    def test_early(self) -> None:
        """What cannot be sent yet outlives the beginning of the connection."""
        early, late = self.record("1", early=True), self.record("2")
        self.table.begin()
        self.assertEqual(self.table.handlers, {"1": print})
        self.assertEqual(self.table.early(), [early])
        self.record("1")
        self.assertEqual(self.table.early(), [])
        self.assertEqual(self.table.subscriptions, {"1": early, "2": late})

    def test_ended_are_bounded(self) -> None:
        """So many that ended are remembered, the latest."""
        for number in range(sids._ENDED_KEPT + 5):
            self.table.forget(str(number))
        self.assertEqual(len(self.table._ended), sids._ENDED_KEPT)
        self.assertTrue(self.table.deliver("4"))
        self.assertFalse(self.table.deliver("5"))

    def test_shared(self) -> None:
        """Two protocols may go on with the same dictionaries, given at any time."""
        first = NatsProtocol(own_reactor=Clock())
        first.sub("a", "1")
        first.unsub("1", 5)
        second = NatsProtocol(own_reactor=Clock())
        second.subscriptions, second.unsubs = first.subscriptions, first.unsubs
        second.sub("b", "2")
        self.assertEqual(list(first.subscriptions), ["1", "2"])
        self.assertIs(second.unsubs, first.unsubs)
