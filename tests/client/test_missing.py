"""Runs with a roster: who is missing, who merely does not match, and how long one waits."""

from __future__ import annotations

from backplane.client.accounting import Outcome
from backplane.client.discovery import Discovery, DiscoveryRule
from backplane.client.jobs import make_job
from tests.client.test_accounting import answer, outcome
from tests.client.test_run import RunCase

KNOWN = frozenset({"one", "two"})


class RosterRunTests(RunCase):
    """Peers on a clock."""

    def test_all_there(self) -> None:
        """A read ends 0.1 s after the last of them, a change at the usual time."""
        self.peers.add("one", "two", after=0.2)
        for action, expected in (("ping", 0.3), ("pause", 2.0)):
            result = self.request(action, roster=KNOWN)
            self.near(result.discovery_seconds, expected)
            self.assertEqual((result.exit_code, result.absent), (0, ()))

    def test_newcomer(self) -> None:
        """Somebody new says that more may come: the usual pause follows."""
        self.peers.add("one", "two", "three", after=0.2)
        self.near(self.request(roster=KNOWN).discovery_seconds, 0.6)

    def test_missing(self) -> None:
        """Reads wait for who is missing as long as changes do; then he is named: 4."""
        self.peers.add("one", after=0.2)
        for action in ("ping", "pause"):
            result = self.request(action, roster=KNOWN)
            self.near(result.discovery_seconds, 2.0)
            self.assertEqual((result.exit_code, result.absent), (4, ("two",)))
            self.assertEqual(result.expected_names, ("one", "two"))
        told = result.as_dict()
        self.assertEqual((told["missing"], told["missing_count"]), (["two"], 1))

    def test_everybody_missing(self) -> None:
        """Nobody there who was seen of late is not the same as nobody ever there."""
        self.assertEqual(self.request("pause", roster=KNOWN).exit_code, 4)
        self.assertEqual(self.request("pause").exit_code, 1)

    def test_not_pausable(self) -> None:
        """Who answers when asked whether he is there, but cannot do it, is not missing."""
        self.peers.add("one", after=0.2)
        run = self.begin("pause", roster={*KNOWN, "three"})
        self.harness.advance(1.0)
        self.peers.add("two")
        outcome = self.harness.result_of(run.result)
        asked = self.peers.discoveries[-1]
        self.assertEqual((asked.filter.identity, asked.filter.fact), (("three", "two"), ()))
        self.assertEqual(outcome.sighted, {"two"})
        self.assertEqual((outcome.exit_code, outcome.absent), (4, ("three",)))
        self.assertEqual(self.peers.asked, ["one"])
        self.assertLess(outcome.request_seconds, 0.2)

    def test_all_sighted(self) -> None:
        """Then nobody is waited for any longer."""
        self.peers.add("one")
        run = self.begin("pause", roster=KNOWN)
        self.harness.advance(1.0)
        self.peers.add("two")
        began = self.harness.clock.seconds()
        self.assertEqual(self.harness.result_of(run.result).exit_code, 0)
        self.assertLess(self.harness.clock.seconds() - began, 1.3)

    def test_filters(self) -> None:
        """By facts only the instance knows: named, without an exit code, unless counted."""
        self.peers.add("one")
        result = self.request("info", roster=KNOWN, facts=["dc=DC1"])
        self.assertEqual((result.exit_code, result.absent, result.perhaps), (0, (), ("two",)))
        result = self.request("info", roster=KNOWN, facts=["dc=DC1"], expect=2)
        self.assertEqual((result.exit_code, result.absent, result.perhaps), (4, (), ("two",)))
        result = self.request("info", roster=KNOWN, identities=["one"])
        self.assertEqual((result.exit_code, result.absent), (0, ()))
        result = self.request("info", roster=KNOWN, identities=["/t/", "/one/"])
        self.assertEqual((result.exit_code, result.absent), (4, ("two",)))
        result = self.request("info", roster=KNOWN, identities=["/one/"])
        self.assertEqual((result.exit_code, result.absent), (0, ()))
        result = self.request("info", roster=KNOWN, nodes=["one"])
        self.assertEqual((result.exit_code, result.absent), (0, ()))

    def test_known(self) -> None:
        """Whoever says whom to ask, instead of discovery, misses nobody by the roster."""
        run = self.operator.begin(make_job("app", "pause", roster=KNOWN), known={"one": 1})
        result: Outcome = self.harness.result_of(run.result)
        self.assertEqual((result.exit_code, result.absent), (0, ()))

    def test_counts(self) -> None:
        """A count that is reached is enough; one that is not has candidates seen long ago, too."""
        one = {"one": 1}
        for fields, code, absent, perhaps in (
            ({"expect": 1}, 0, (), ()),
            ({"at_least": 1}, 0, (), ()),
            ({"at_least": 3}, 4, ("two",), ("old",)),
            ({"expect": 2}, 4, ("two",), ("old",)),
            ({}, 4, ("two",), ()),
            ({"whole": False}, 0, (), ("two",)),
        ):
            result = outcome(one, answer("one"), roster=KNOWN, faded=frozenset({"old"}), **fields)
            self.assertEqual((result.exit_code, result.absent), (code, absent), fields)
            self.assertEqual(result.perhaps, perhaps, fields)

    def test_refused(self) -> None:
        """Counts that cannot be."""
        for who in ({"expect_at_least": -1}, {"expect": 1, "expect_at_least": 1}):
            self.assertRaises(ValueError, make_job, "app", "ping", None, **who)

    def test_rule(self) -> None:
        """A window that the operator gives decides, whoever is missing."""
        found = Discovery(DiscoveryRule.choose(change=False, window=0.5, known=KNOWN), 100.0)
        found.answered("one", 100.1)
        self.assertEqual(found.ends(), 100.6)
