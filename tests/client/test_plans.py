"""Plans: written and read again, and what differs from them."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer
from backplane.client.jobs import Job, make_job
from backplane.client.plans import (
    Plan,
    PlanError,
    Planned,
    differences,
    expectations,
    misfit,
)
from backplane.client.states import State, forecast

RUNNING = State(targets={"app": "running", "log:": "info"}, may=frozenset({"pause", "change"}))
PAUSED = attrs.evolve(RUNNING, targets={"app": "paused", "log:": "info"})

identities = st.text("abcdef-", min_size=1, max_size=8).map(lambda text: f"x{text}y")
states = st.builds(
    State,
    targets=st.dictionaries(st.sampled_from(["app", "log:", "breaker:a"]), st.text(max_size=5)),
    may=st.none() | st.frozensets(st.text(max_size=5), max_size=3),
    known=st.booleans(),
)
planned = st.builds(
    Planned,
    identity=identities,
    count=st.integers(1, 3),
    states=st.lists(states, max_size=3).map(tuple),
    meant=st.booleans(),
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3)
    ),
    max_leaves=5,
)


def plan_of(job: Job, *targets: Planned) -> Plan:
    return Plan.of(job, targets, 1_700_000_000.5, "choria=sre.choria")


class PlanTests(SynchronousTestCase):
    """One plan."""

    @given(
        st.lists(planned, min_size=1, max_size=8, unique_by=lambda each: each.identity),
        st.none() | st.integers(1, 1000),
        st.none() | st.text(min_size=1, max_size=5),
    )
    def test_kept(self, targets: list[Planned], seconds: int | None, why: str | None) -> None:
        """What is written is read as the same, and is as it says."""
        data: dict[str, Any] = {"target": "breaker:a", "to": "open"}
        data.update({} if seconds is None else {"for": seconds}, **({"why": why} if why else {}))
        job = make_job("app", "change", data, facts=["dc=DC1"], select=["true"], verb="pause")
        targets[0] = attrs.evolve(targets[0], meant=True)
        plan = plan_of(job, *targets)
        again = Plan.from_dict(json.loads(json.dumps(plan.as_dict())))
        self.assertEqual(again, plan)
        applied = again.job(make_job("app", "pause", timeout=7.0))
        self.assertEqual(applied.timeout, 7.0)
        for name in ("service", "collective", "action", "data", "filter", "everyone", "spoken"):
            self.assertEqual(getattr(applied, name), getattr(job, name))
        found = {each.identity: each.count for each in targets}
        now = {each.identity: each.states[::-1] for each in targets}
        self.assertEqual(differences(again, found, now), [])

    @given(anything)
    def test_anything(self, value: object) -> None:
        """What is no plan is refused in words."""
        whole = plan_of(make_job("app", "pause"), Planned("one")).as_dict()
        for key in whole:
            if whole[key] != value:
                try:
                    Plan.from_dict({**whole, key: value})
                except PlanError as error:
                    self.assertTrue(str(error))
        self.assertRaises(PlanError, Plan.from_dict, value)

    def test_refused(self) -> None:
        """Plans that say two things, or nothing."""
        good = plan_of(make_job("app", "pause"), Planned("one")).as_dict()
        target = good["targets"][0]
        for wrong in (
            {**good, "backplane_plan": 2},
            {**good, "backplane_plan": True},
            {**good, "targets": []},
            {**good, "targets": [target, target]},
            {**good, "targets": [{**target, "meant": False}]},
            {**good, "targets": [{**target, "count": 0}]},
            {**good, "targets": [{**target, "identity": "a b"}]},
            {**good, "targets": [{**target, "states": [{}]}]},
            {**good, "filter": {"fact": 1}},
            {**good, "named": [1]},
            {**good, "everyone": 1},
        ):
            self.assertRaises(PlanError, Plan.from_dict, wrong)

    def test_differences(self) -> None:
        """A line for each service that is not what it was."""
        job = make_job("app", "pause")
        plan = plan_of(
            job,
            Planned("gone", states=(RUNNING,)),
            Planned("left", states=(RUNNING,), meant=False),
            Planned("mute", states=(RUNNING,)),
            Planned("other", states=(RUNNING,)),
            Planned("same", states=(RUNNING,)),
            Planned("twins", 2, (RUNNING, PAUSED)),
            Planned("woken"),
        )
        found = {"left": 1, "mute": 1, "new": 1, "other": 1, "same": 1, "twins": 3, "woken": 1}
        now = {
            "left": (PAUSED,),
            "other": (PAUSED,),
            "same": (RUNNING,),
            "twins": (PAUSED, RUNNING),
            "woken": (RUNNING,),
        }
        self.assertEqual(
            differences(plan, found, now),
            [
                "gone: not there any more",
                "mute: did not answer",
                "new: new since the plan",
                "other: app is paused, was running",
                "twins: 3 services of this identity, 2 in the plan",
                "woken: answers now",
            ],
        )

    def test_other_rights(self) -> None:
        """What the caller may do there, and which backplane it has, is state as well."""
        less = attrs.evolve(RUNNING, may=frozenset({"ping"}))
        self.assertEqual(RUNNING.difference(less), "what you may do there has changed")
        old = attrs.evolve(RUNNING, known=False)
        self.assertEqual(RUNNING.difference(old), "another version runs there")
        self.assertEqual(RUNNING.difference(RUNNING), "")

    def test_damaged(self) -> None:
        """A plan whose verb is not its action would do something else than it says."""
        data = {"target": "app", "to": "paused", "for": 60}
        kept = plan_of(make_job("app", "change", data, verb="pause"), Planned("one")).as_dict()
        for change in (
            {"action": "shutdown"},
            {"action": "shutdown", "data": {}},
            {"action": "pause"},
            {"action": "end"},
            {"agent": "other"},
            {"verb": "drain"},
            {"verb": "shutdown"},
            {"data": {**data, "target": "shutdown", "to": "now"}},
            {"data": {**data, "to": "running"}},
            {"data": {**data, "for": "60"}},
            {"data": {**data, "for": 0}},
            {"data": {**data, "expect": "running"}},
            {"data": {**data, "why": "x" * 201}},
            {"data": {"target": "app"}},
            {"data": {"target": ["app"], "to": "paused"}},
        ):
            with self.assertRaises(PlanError) as caught:
                Plan.from_dict({**kept, **change})
            self.assertIn("it is damaged: ", str(caught.exception), change)

    def test_other_meaning(self) -> None:
        """Flags that make another action of the verb do not go with the plan."""
        plan = plan_of(
            make_job("app", "change", {"target": "shutdown", "to": "now"}, verb="shutdown"),
            Planned("one"),
        )
        cancel = make_job("app", "end", {"target": "shutdown"}, verb="shutdown")
        self.assertEqual(misfit(plan, cancel), "in it shutdown is the action change, not end")

    def test_misfit(self) -> None:
        """A plan is applied by the command that it was made of; inputs need not be repeated."""
        data = {"target": "app", "to": "paused", "for": 60}
        plan = plan_of(make_job("app", "change", data, verb="pause"), Planned("one"))
        self.assertEqual(misfit(plan, make_job("app", "pause")), "")
        self.assertEqual(misfit(plan, make_job("app", "change", data, verb="pause")), "")
        for job, text in (
            (make_job("shop", "pause"), "it is for the service app, not shop"),
            (make_job("app", "pause", target="x"), "the collective app_backplane, not x"),
            (make_job("app", "resume"), "it is for the command pause, not resume"),
            (
                make_job("app", "change", {**data, "for": 61}, verb="pause"),
                "in it for is 60, not 61",
            ),
        ):
            self.assertIn(text, misfit(plan, job))

    def test_expectations(self) -> None:
        """Those of one value are asked together; who did not say is asked without one."""
        data = {"target": "app", "to": "paused"}
        targets = (
            Planned("a", states=(RUNNING,)),
            Planned("b", states=(PAUSED,)),
            Planned("c", states=(RUNNING,)),
            Planned("d"),
            Planned("e", 2, (RUNNING, PAUSED)),
        )
        plan = plan_of(make_job("app", "change", data), *targets)
        self.assertEqual(
            expectations(plan, ["a", "b", "c", "d", "e"]),
            [(("a", "c"), "running"), (("b",), "paused"), (("d", "e"), None)],
        )
        old = plan_of(make_job("app", "pause"), *targets)
        self.assertEqual(expectations(old, ["a", "b"]), [(("a", "b"), None)])


class StateTests(SynchronousTestCase):
    """What services say, and what would be done to them."""

    def answer(self, data: dict[str, Any], status: int = 0) -> Answer:
        return Answer("one", RpcReply(status, "OK", data, "changes"), 0.1)

    def test_said(self) -> None:
        """By ``changes``; by ``info`` where that is not known."""
        data = {"targets": {"app": "running"}, "may": ["pause"], "live": [{"run": "r"}, 1]}
        state = State.from_changes(self.answer(data))
        assert state is not None
        self.assertEqual(state, State(targets={"app": "running"}, may=frozenset({"pause"})))
        self.assertEqual(state.live, ({"run": "r"},))
        for nothing in ({}, {"targets": 1}):
            self.assertIsNone(State.from_changes(self.answer(nothing)))
        self.assertIsNone(State.from_changes(self.answer(data, 2)))
        info = {"paused": True, "pause_feature": True, "loglevel": "info", "loglevel_feature": 1}
        self.assertEqual(
            State.from_info(self.answer(info)), State(targets={"app": "paused"}, known=False)
        )
        self.assertIsNone(State.from_info(self.answer(info, 5)))

    def test_forecast(self) -> None:
        """Each verdict."""
        old = attrs.evolve(RUNNING, known=False, may=None)
        lease = {"target": "app", "to": "paused", "for": 60}
        live = {"id": "c", "run": "r", "target": "app", "before": "running", "to": "paused"}
        changed = attrs.evolve(PAUSED, may=None, live=(live,))
        for action, data, state, verdict, text in (
            ("pause", {}, RUNNING, "change", "app: running → paused"),
            ("pause", {}, PAUSED, "same", "app is paused already"),
            ("flip", {}, attrs.evolve(PAUSED, may=None), "change", "app: paused → running"),
            ("resume", {}, RUNNING, "denied", "you may not call resume"),
            ("pause", {}, None, "unknown", "not known"),
            ("pause", {}, old, "change", "app: running → paused"),
            ("change", lease, RUNNING, "change", "app: running → paused for 60 s"),
            ("change", lease, old, "unable", "does not know change"),
            ("change", {"target": "breaker:a", "to": "open"}, RUNNING, "unable", "no breaker:a"),
            ("change", {"target": "log:x", "to": "debug"}, RUNNING, "change", "unknown → debug"),
            ("shutdown", {}, old, "change", "shutdown: unknown → now"),
            ("end", {"run": "r"}, changed, "change", "app: paused → running"),
            ("end", {"change": "c"}, changed, "change", "app: paused → running"),
            ("end", {"run": "s"}, changed, "same", "nothing to take back"),
            ("amend", {"change": "c", "for": 5}, changed, "change", "amend"),
        ):
            found = forecast(action, data, state)
            self.assertEqual(found.verdict, verdict, (action, data))
            self.assertIn(text, found.text)
