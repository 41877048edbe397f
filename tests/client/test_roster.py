"""Who is expected: what a roster learns, forgets and keeps."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.client.jobs import Job, make_job
from backplane.client.roster import (
    EXPECTED,
    KEPT,
    LEAVING,
    Member,
    Roster,
    Rosters,
    learn,
    network_of,
)
from tests.client.test_accounting import answer, outcome


class RosterTests(SynchronousTestCase):
    """Members, and the time."""

    def roster(self, *names: str, at: float = 1000.0) -> Roster:
        roster = Roster()
        roster.see(names, at)
        return roster

    def test_ages(self) -> None:
        """Expected for an hour, a candidate for a day, then forgotten."""
        roster = self.roster("one", "two")
        roster.see(["two"], 1000.0 + EXPECTED)
        now = 1000.0 + EXPECTED + 1
        self.assertEqual(roster.expected(now), {"two"})
        self.assertEqual(roster.faded(now), {"one"})
        self.assertEqual(roster.expected(now, 10_000.0), {"one", "two"})
        roster.age(1000.0 + KEPT)
        self.assertEqual(set(roster.members), {"one", "two"})
        roster.age(1000.5 + KEPT)
        self.assertEqual(set(roster.members), {"two"})

    def test_clock_set_back(self) -> None:
        """Who was seen in the future was seen now, and ages from now."""
        roster = self.roster("one", at=9e9)
        roster.age(1000.0)
        self.assertEqual(roster.members, {"one": Member(1000.0)})

    def test_goodbye(self) -> None:
        """Who ends may answer for a while and is not expected; who is there after it is back."""
        roster = self.roster("one", "two")
        roster.leave(["one", "stranger"], 1000.0)
        roster.see(["one"], 1000.0 + LEAVING - 1)
        self.assertEqual(roster.expected(1001.0), {"two"})
        self.assertEqual(roster.faded(1001.0 + EXPECTED), {"two"})
        roster.see(["one"], 1000.0 + LEAVING)
        self.assertEqual(roster.expected(1100.0), {"one", "two"})
        roster.leave(["one"], 5000.0)
        roster.see(["one"], 4000.0)
        self.assertNotIn("one", roster.expected(4000.0))
        roster.stay(["one", "stranger"], 4000.0)
        self.assertIn("one", roster.expected(4000.0))
        self.assertNotIn("stranger", roster.members)

    def learned(self, job: Job, *answers: Any, **how: Any) -> Roster:
        roster = self.roster("one", "two", "three")
        learn(roster, job, outcome({"one": 1, "two": 1}, *answers), 2000.0, **how)
        return roster

    def test_learns(self) -> None:
        """From what answers; a shutdown that is done makes gone, a refused one does not."""
        ping = self.learned(make_job("app", "ping"), answer("one"))
        self.assertEqual(
            [ping.members[name].seen for name in ("one", "two", "three")], [2000.0, 2000.0, 1000.0]
        )
        job = make_job("app", "shutdown")
        roster = self.learned(job, answer("one"), answer("two", 5))
        self.assertEqual(roster.expected(2000.0), {"two", "three"})
        roster = self.learned(make_job("app", "shutdown", agent="other"), answer("one"))
        self.assertEqual(roster.expected(2000.0), {"one", "two", "three"})
        data = {"target": "shutdown", "to": "3000"}
        roster = self.learned(make_job("app", "change", data), answer("one"))
        self.assertEqual(roster.members["one"].gone, 3000.0)
        for other in (
            make_job("app", "end", {"target": "shutdown"}),
            make_job("app", "change", {"target": "shutdown", "to": "none"}),
        ):
            learn(roster, other, outcome({"one": 1}, answer("one")), 2001.0)
            self.assertIn("one", roster.expected(2001.0))
            roster.leave(["one"], 2001.0)

    def test_heard_goodbyes(self) -> None:
        """Only of those who did not answer: identities may be those of several services."""
        roster = self.learned(make_job("app", "ping"), goodbyes={"one", "three", "stranger"})
        self.assertEqual(roster.expected(2000.0), {"one", "two"})

    def test_not_searched(self) -> None:
        """Whom somebody only meant to ask was not seen."""
        roster = self.learned(make_job("app", "ping"), answer("one"), searched=False)
        self.assertEqual([roster.members[name].seen for name in ("one", "two")], [2000.0, 1000.0])

    @given(
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5)
    )
    def test_damaged(self, value: object) -> None:
        """What is no roster is a ValueError and nothing else."""
        for document in (value, {"one": value}, {"one": [1.0, value]}):
            try:
                Roster.load(document)
            except ValueError:
                continue

    def test_dump(self) -> None:
        """What is dumped is loaded."""
        roster = self.roster("one", "two")
        roster.leave(["two"], 5.0)
        self.assertEqual(Roster.load(json.loads(json.dumps(roster.dump()))).members, roster.members)

    def test_networks(self) -> None:
        """A network is its brokers, in any order, without what one logs in with."""
        self.assertEqual(
            network_of(["nats://user:secret@B.example.net", "a:4223"]),
            "a:4223,b.example.net:4222",
        )
        self.assertEqual(
            network_of(["a:4223", "tls://b.example.net:4222/"]),
            network_of(["b.example.net", "a:4223"]),
        )


class RostersTests(SynchronousTestCase):
    """Files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute() / "backplane"
        self.warnings: list[str] = []
        self.rosters = Rosters(str(self.folder), self.warnings.append)

    def see(self, *names: str, network: str = "b:4222", service: str = "app") -> None:
        self.rosters.update(
            service, network, "app_backplane", 1000.0, lambda r: r.see(names, 1000.0)
        )

    def members(self, network: str = "b:4222", collective: str = "app_backplane") -> list[str]:
        return sorted(self.rosters.get("app", network, collective, 1000.0).members)

    def test_apart(self) -> None:
        """Services, networks and collectives do not mix."""
        self.see("one")
        self.see("two", network="c:4222")
        self.see("three", service="shop")
        self.assertEqual(self.members(), ["one"])
        self.assertEqual(self.members("c:4222"), ["two"])
        self.assertEqual(self.members(collective="other"), [])
        self.assertEqual(self.rosters.services(), ["app", "shop"])
        self.assertEqual(self.warnings, [])

    def test_private(self) -> None:
        """Nobody else reads them, and nothing else is left there."""
        self.see("one")
        folder = self.folder / "roster"
        self.assertEqual(sorted(os.listdir(folder)), [".app.json.lock", "app.json"])
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((folder / "app.json").stat().st_mode), 0o600)

    def test_empty(self) -> None:
        """A roster of nobody has no file."""
        self.see("one")
        self.rosters.update("app", "b:4222", "app_backplane", 1000.0, lambda r: r.members.clear())
        self.assertEqual(self.rosters.services(), [])

    def test_damaged(self) -> None:
        """What cannot be read is a warning, once, and is written anew."""
        self.see("one")
        path = self.folder / "roster" / "app.json"
        texts = (
            "{",
            "[]",
            "null",
            '{"version": 2}',
            '{"version": 1, "rosters": [{}]}',
            "[" * 100_000,
        )
        for text in texts:
            path.write_text(text)
            rosters = Rosters(str(self.folder), self.warnings.append)
            self.assertEqual(rosters.read("app", 1000.0), {}, text[:20])
            self.assertEqual(rosters.read("app", 1000.0), {})
            self.assertEqual(len(self.warnings), 1, text[:20])
            self.assertIn("so nobody is expected", self.warnings.pop())
        self.see("two")
        self.warnings.clear()
        self.assertEqual(self.members(), ["two"])
        self.assertEqual(self.warnings, [])

    def test_unwritable(self) -> None:
        """Where nothing can be written nothing fails."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.write_text("a file")
        self.see("one")
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("cannot be written", self.warnings[0])

    def test_nowhere(self) -> None:
        """A user without a home has no rosters, and is not told each time."""
        self.rosters = Rosters(None, self.warnings.append)
        self.see("one")
        self.assertEqual((self.members(), self.rosters.services(), self.warnings), ([], [], []))
