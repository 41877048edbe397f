"""A fleet at a glance, and in which facts it differs; answers may be anything."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.cli.diff import shown
from backplane.cli.watching import differences
from backplane.client import fleet
from backplane.client.accounting import Answer, ExitCode, Outcome
from backplane.client.facts import ABSENT, compare


def answer(sender: str, status: int = 0, **data: Any) -> Answer:
    reply = RpcReply(action="info", status=status, message="no" if status else "OK", data=data)
    return Answer(sender, reply, 0.1)


def outcome(*answers: Answer, **more: Any) -> Outcome:
    names = {each.sender: 1 for each in answers}
    return Outcome(
        service="demo",
        agent="backplane",
        action="info",
        request_id="f" * 32,
        discovered={**names, **more.pop("discovered", {})},
        answers=answers,
        **more,
    )


WELL: dict[str, Any] = {
    "state": "running",
    "paused": False,
    "healthcheck_feature": True,
    "healthy": True,
    "health_state": "ok",
    "version": "1",
    "loglevel": "info",
    "loglevel_feature": True,
    "facts": {"dc": "DC1"},
    "changes": [],
    "breakers": {"payments": "closed"},
}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


class RowsTests(SynchronousTestCase):
    """One row for each instance."""

    def test_order(self) -> None:
        """Worst first, and the summary says how many."""
        change = {"id": "1", "target": "log:", "to": "debug", "who": "choria=sre", "made": 1.0}
        found = outcome(
            answer("ok", **WELL),
            answer("changed", **{**WELL, "changes": [change]}),
            answer("open", **{**WELL, "breakers": {"payments": "open"}}),
            answer("paused", **{**WELL, "state": "paused"}),
            answer("draining", **{**WELL, "state": "draining"}),
            answer("stopping", **{**WELL, "state": "stopping"}),
            answer("stale", **{**WELL, "health_state": "stale"}),
            answer("ill", **{**WELL, "healthy": False, "health_state": "failed"}),
            answer("denied", 1),
            discovered={"quiet": 1},
            late=("late",),
            roster=frozenset({"gone", "ok"}),
        )
        rows = fleet.rows(found)
        self.assertEqual(
            [(row.identity, row.condition) for row in rows],
            [
                ("gone", "silent"),
                ("quiet", "silent"),
                ("denied", "failed"),
                ("late", "late"),
                ("ill", "unhealthy"),
                ("stale", "unknown"),
                ("stopping", "stopping"),
                ("draining", "draining"),
                ("paused", "paused"),
                ("open", "breaker open"),
                ("changed", "changed"),
                ("ok", "ok"),
            ],
        )
        self.assertEqual(fleet.summary(rows)["silent"], 2)
        self.assertEqual(fleet.exit_code(found, rows), ExitCode.SILENT)

    def test_go(self) -> None:
        """What Go's backplane says is enough: features, and whether it is paused."""
        data: dict[str, Any] = {
            "paused": True,
            "healthcheck_feature": True,
            "healthy": True,
            "version": "0.1",
        }
        (row,) = fleet.rows(outcome(answer("go", **data)))
        self.assertEqual((row.condition, row.state, row.health), ("paused", "paused", "ok"))
        self.assertIsNone(row.breakers)
        self.assertIsNone(row.changes)

    def test_exit_code(self) -> None:
        """All well is 0; somebody ill is 2."""
        well = outcome(answer("a", **WELL))
        self.assertEqual(fleet.exit_code(well, fleet.rows(well)), ExitCode.OK)
        ill = outcome(answer("a", **{**WELL, "healthy": False, "health_state": "failed"}))
        self.assertEqual(fleet.exit_code(ill, fleet.rows(ill)), ExitCode.FAILED)

    def test_groups(self) -> None:
        """By a fact, a path in it, or the version; the group with the worst is first."""
        rows = fleet.rows(
            outcome(
                answer("a", **WELL),
                answer("b", **{**WELL, "facts": {"dc": "DC2"}, "state": "paused"}),
                answer("c", **{**WELL, "facts": {}}),
                discovered={"d": 1},
            )
        )
        groups = [(g.value, [r.identity for r in g.rows]) for g in fleet.groups(rows, "dc")]
        self.assertEqual(
            groups,
            [("(no answer)", ["d"]), ("DC2", ["b"]), ("(none)", ["c"]), ("DC1", ["a"])],
        )
        self.assertEqual([g.value for g in fleet.groups(rows, "version")], ["(no answer)", "1"])

    @given(st.dictionaries(st.sampled_from([*WELL, "in_flight"]), ANYTHING))
    def test_anything(self, data: dict[str, Any]) -> None:
        """What remote sides send never breaks it."""
        found = outcome(answer("a", **data), answer("b", **WELL))
        rows = fleet.rows(found)
        for row in rows:
            row.as_dict()
        fleet.groups(rows, "dc.x")
        for difference in compare(found.answers):
            difference.as_dict()

    def test_differences(self) -> None:
        """Between two looks: who is new, who is gone, and what is another."""
        before = {row.identity: row for row in fleet.rows(outcome(answer("a", **WELL)))}
        later = outcome(answer("a", **{**WELL, "state": "paused", "version": "2"}), answer("b"))
        now = {row.identity: row for row in fleet.rows(later)}
        self.assertEqual(
            differences(before, now),
            [
                ("a", "ok → paused"),
                ("a", "version 1 → 2"),
                ("b", f"is new: {now['b'].condition}"),
            ],
        )
        self.assertEqual(differences(now, before)[-1], ("b", "is not there any more"))

    def test_differences_told(self) -> None:
        """What an event has told is not told again; what none has told is, with who did it."""
        change = {"id": "c1", "target": "app", "to": "paused", "who": "choria=sre", "until": 61.0}
        paused = {**WELL, "state": "paused", "changes": [change]}
        before = {row.identity: row for row in fleet.rows(outcome(answer("a", **WELL)))}
        now = {row.identity: row for row in fleet.rows(outcome(answer("a", **paused)))}
        self.assertEqual(differences(before, now, {"c1": "a"}, 1.0), [])
        self.assertEqual(
            differences(before, now, {"c1": "b"}, 1.0),
            [("a", "ok → paused")],
        )
        self.assertEqual(
            differences(before, now, {}, 1.0),
            [("a", "ok → paused"), ("a", "app paused by choria=sre for 1m more")],
        )
        ill = {**paused, "healthy": False, "health_state": "failed"}
        now = {row.identity: row for row in fleet.rows(outcome(answer("a", **ill)))}
        self.assertEqual(differences(before, now, {"c1": "a"}, 1.0), [("a", "ok → unhealthy")])


class CompareTests(SynchronousTestCase):
    """Facts, versions, levels."""

    def compared(self, *facts: dict[str, Any], only: tuple[str, ...] = ()) -> list[Any]:
        answers = [
            answer(f"a{number}", version="1", facts=each) for number, each in enumerate(facts)
        ]
        return [
            (each.fact, each.usual, each.count, dict(each.others))
            for each in compare(answers, only)
        ]

    def test_one(self) -> None:
        """The one that differs is named; what is alike is not told."""
        same: dict[str, Any] = {"dc": "DC1", "cache": {"size": 5, "on": True}}
        other = {"dc": "DC1", "cache": {"size": 6, "on": True}}
        expected = [("cache.size", "5", 2, {"6": ("a1",)})]
        self.assertEqual(self.compared(same, other, same), expected)
        self.assertEqual(self.compared(same, other, same, only=("cache",)), expected)
        self.assertEqual(self.compared(same, other, same, only=("cac",)), [])

    def test_absent(self) -> None:
        """One that lacks a fact differs."""
        self.assertEqual(self.compared({"a": 1}, {"a": 1}, {}), [("a", "1", 2, {ABSENT: ("a2",)})])

    def test_all_different(self) -> None:
        """Where everybody has his own, nobody is the usual."""
        found = self.compared({"pid": 1}, {"pid": 2}, {"pid": 3})
        self.assertEqual(found[0][:3], ("pid", None, 0))
        self.assertEqual(len(found[0][3]), 3)

    def test_halves(self) -> None:
        """Of two equal parts neither is the one that differs."""
        (found,) = self.compared({"dc": "a"}, {"dc": "b"}, {"dc": "b"}, {"dc": "a"})
        self.assertEqual(found, ("dc", None, 0, {"a": ("a0", "a3"), "b": ("a1", "a2")}))

    def test_long(self) -> None:
        """Long values that differ at their ends only differ all the same."""
        (found,) = self.compared({"a": "x" * 1000 + "1"}, {"a": "x" * 1000 + "2"})
        self.assertEqual(len(found[3]), 2)

    def test_own_names(self) -> None:
        """A fact that is called as what every instance has hides it not."""
        found = self.compared({"version": "x"}, {"version": "y"}, {"version": "x"})
        self.assertEqual([each[0] for each in found], ["facts.version"])

    def test_shown(self) -> None:
        """The text is bounded, and begins with where the fewest differ."""
        facts = [{f"f{n:03}": (n, i) for n in range(100)} | {"odd": i == 1} for i in range(3)]
        answers = [answer(f"a{number}", facts=each) for number, each in enumerate(facts)]
        lines = list(shown(compare(answers), whole=False))
        self.assertEqual(lines[:2], ["odd: false on 2", "  true on 1: a1"])
        self.assertEqual(lines[2], "f000: 3 different values")
        self.assertEqual((len(lines), lines[-1]), (52, "… and 51 more facts, shown by -v"))
        self.assertEqual(len(list(shown(compare(answers), whole=True))), 2 + 100 * 4)
