"""Who is there, and when we know."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.client import discovery as module
from backplane.client.discovery import Discovery, DiscoveryRule


class DiscoveryTests(SynchronousTestCase):
    """Answers at certain times."""

    def test_read(self) -> None:
        """A read ends 0.3 s after the last new answer, later where they took longer to come."""
        found = Discovery(DiscoveryRule.choose(change=False), 100.0)
        self.assertEqual(found.ends(), 102.0)
        found.answered("one", 100.5)
        self.assertEqual(found.ends(), 100.8)
        found.answered("two", 101.0)
        self.assertEqual(found.ends(), 101.5)
        found.answered("three", 102.0)
        self.assertEqual(found.ends(), 103.0)
        self.assertFalse(found.complete)

    def test_many(self) -> None:
        """The more there are, the longer the pause between two answers may be."""
        discovery = Discovery(DiscoveryRule(), 100.0)
        for number in range(1100):
            discovery.answered(f"host{number}", 100.1)
        self.assertAlmostEqual(discovery.ends(), 101.2)
        for number in range(1100, 6000):
            discovery.answered(f"host{number}", 100.2)
        self.assertAlmostEqual(discovery.ends(), 102.2)

    def test_change(self) -> None:
        """A change takes the whole time, and more while answers come in, but not for ever."""
        found = Discovery(DiscoveryRule.choose(change=True), 100.0)
        found.answered("one", 100.1)
        self.assertEqual(found.ends(), 102.0)
        found.answered("two", 102.0)
        self.assertEqual(found.ends(), 103.0)
        found.answered("three", 109.0)
        self.assertEqual(found.ends(), 110.0)

    def test_window(self) -> None:
        """What the operator gives stays what it is."""
        found = Discovery(DiscoveryRule.choose(change=True, window=0.5), 100.0)
        found.answered("one", 101.0)
        self.assertEqual(found.ends(), 101.5)
        found.answered("two", 101.8)
        self.assertEqual(found.ends(), 102.0)

    def test_complete(self) -> None:
        """It is complete with everybody who is named, and with as many as are expected."""
        for rule, answers in (
            (DiscoveryRule(named=frozenset({"one", "two"})), ["two", "one"]),
            (DiscoveryRule(expect=2), ["three", "three"]),
            (DiscoveryRule(expect=3, named=frozenset({"one", "two"})), ["one", "two", "one"]),
            (DiscoveryRule(expect=1, named=frozenset({"one", "two"})), ["one", "two"]),
        ):
            found = Discovery(rule, 0.0)
            for answer in answers:
                self.assertFalse(found.complete, rule)
                self.assertTrue(found.answered(answer, 0.1))
            self.assertTrue(found.complete, rule)

    def test_others(self) -> None:
        """Who is not named does not count."""
        found = Discovery(DiscoveryRule(named=frozenset({"one"})), 0.0)
        self.assertFalse(found.answered("two", 0.1))
        self.assertEqual((dict(found.found), found.refused), ({}, 0))

    def test_late(self) -> None:
        """Who answers late is named; a namesake of one that was found is asked with it."""
        found = Discovery(DiscoveryRule(), 0.0)
        found.answered("one", 0.1)
        found.end()
        self.assertFalse(found.answered("two", 0.5))
        self.assertTrue(found.answered("one", 0.6))
        self.assertEqual((dict(found.found), dict(found.late)), ({"one": 2}, {"two": 1}))

    def test_refused(self) -> None:
        """Names that cannot be, and a flood, are counted only."""
        found = Discovery(DiscoveryRule(), 0.0)
        for name in ("", "a b", "a..b", "x" * 300, "é", "a\n", ">"):
            self.assertFalse(found.answered(name, 0.1), name)
        self.assertEqual((found.refused, dict(found.found)), (7, {}))
        self.patch(module, "MAX_SERVICES", 2)
        for name in ("one", "two", "three"):
            found.answered(name, 0.1)
        self.assertEqual((found.refused, sorted(found.found)), (8, ["one", "two"]))
