"""The ledger against a plain list of everything that was done."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from backplane.change import APPLICATION
from backplane.ledger import Change, Ledger, Refused, Step

TARGETS = ("app", "breaker:search")
VALUES = ("running", "draining", "paused")
CALLERS = ("choria=sre", "choria=dev")


def new_ledger() -> Ledger:
    numbers = itertools.count(1)
    return Ledger(lambda: f"c{next(numbers)}")


class Model(RuleBasedStateMachine):
    """A list of ``[id, target, to, until, run, who, gone]``; the last that is not gone decides."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = new_ledger()
        self.now = 1000.0
        self.list: list[dict[str, Any]] = []
        self.shown = dict.fromkeys(TARGETS, "running")  # what the application shows
        for target in TARGETS:
            self.ledger.see(target, "running", self.now)

    def standing(self, target: str) -> list[dict[str, Any]]:
        return [each for each in self.list if each["target"] == target and not each["gone"]]

    def value(self, target: str) -> str:
        standing = self.standing(target)
        return str(standing[-1]["to"]) if standing else "running"

    def noticed(self, target: str) -> None:
        """What the application did by itself is a change before anything else."""
        if self.shown[target] != self.value(target):
            self.wrote(self.ledger.top(target), target, self.shown[target], None, "", APPLICATION)

    def wrote(
        self, change: Change | None, target: str, to: str, until: float | None, run: str, who: str
    ) -> None:
        assert change is not None
        self.list.append(
            {
                "id": change.id,
                "target": target,
                "to": to,
                "until": until,
                "run": run,
                "who": who,
                "gone": False,
            }
        )

    def carry_out(self, step: Step, works: bool) -> bool:
        if works:
            self.shown[step.target] = step.to
            assert self.ledger.settle(step, step.to, self.now)
            return True
        self.ledger.fail(step, "broken", self.now)
        return False

    @rule(name=st.sampled_from(TARGETS), to=st.sampled_from(VALUES))
    def application_changes(self, name: str, to: str) -> None:
        self.shown[name] = to
        self.ledger.see(name, to, self.now)
        self.noticed(name)

    @rule(
        name=st.sampled_from(TARGETS),
        to=st.sampled_from(VALUES),
        who=st.sampled_from(CALLERS),
        lease=st.none() | st.integers(-1, 20),
        run=st.sampled_from(("r1", "r2", "")),
        expect=st.none() | st.sampled_from(VALUES),
        works=st.booleans(),
    )
    def proposes(
        self,
        name: str,
        to: str,
        who: str,
        lease: int | None,
        run: str,
        expect: str | None,
        works: bool,
    ) -> None:
        until = None if lease is None else self.now + lease
        step = self.ledger.propose(
            name,
            to,
            who=who,
            seen=self.shown[name],
            now=self.now,
            until=until,
            run=run,
            expect=expect,
        )
        if isinstance(step, Refused):
            assert (step.reason == "unexpected") == (
                expect is not None and expect != self.value(name)
            )
            assert step.reason == "unexpected" or (lease is not None and lease <= 0)
            return
        assert expect is None or expect == self.value(name)
        assert isinstance(self.ledger.propose(name, to, who=who, seen=to, now=self.now), Refused)
        if self.carry_out(step, works):
            self.wrote(step.makes, name, to, until, run, who)

    @precondition(lambda self: self.list)
    @rule(data=st.data(), who=st.sampled_from(CALLERS), works=st.booleans())
    def takes_back(self, data: st.DataObject, who: str, works: bool) -> None:
        change = data.draw(st.sampled_from(self.list))
        target = change["target"]
        top = self.standing(target)[-1:]
        step = self.ledger.end(change["id"], who=who, seen=self.shown[target], now=self.now)
        if isinstance(step, Refused):
            assert change["gone"] or top[0] is not change
            assert (step.reason == "newer") == (not change["gone"])
            assert step.reason != "newer" or top[0]["who"] in step.text
            return
        assert top == [change]
        if self.carry_out(step, works):
            change["gone"] = True
            for each in self.standing(target):
                each["gone"] = each["until"] is not None and each["until"] <= self.now

    @rule(name=st.sampled_from(TARGETS), who=st.sampled_from(CALLERS), works=st.booleans())
    def takes_all_back(self, name: str, who: str, works: bool) -> None:
        step = self.ledger.end_all(name, who=who, seen=self.shown[name], now=self.now)
        assert (step is None) == (not self.standing(name))
        if step is None:
            return
        assert isinstance(step, Step)
        assert step.to == "running"
        if self.carry_out(step, works):
            for each in self.standing(name):
                each["gone"] = True

    @precondition(lambda self: self.list)
    @rule(data=st.data(), more=st.integers(-1, 20))
    def moves_the_end(self, data: st.DataObject, more: int) -> None:
        change = data.draw(st.sampled_from(self.list))
        until = self.now + more
        found = self.ledger.amend(change["id"], until, who="choria=sre", now=self.now)
        if not isinstance(found, Refused):
            assert more > 0
            assert not change["gone"]
            assert change["until"] is not None
            assert found.until == until
            change["until"] = until

    @rule(seconds=st.floats(0.5, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for target in self.ledger.due(self.now):
            step = self.ledger.expire(target, self.shown[target], self.now)
            for each in self.standing(target):
                each["gone"] = each["until"] is not None and each["until"] <= self.now
            if step is not None:
                assert step.to == self.value(target)
                self.carry_out(step, True)
        assert not self.ledger.due(self.now)

    @rule()
    def restarts(self) -> None:
        kept = json.loads(json.dumps(self.ledger.dump()))
        history = self.ledger.history()
        numbers = itertools.count(len(self.list) * 10 + len(history) + 100_000)
        self.ledger = Ledger(lambda: f"c{next(numbers)}-{self.now}")
        self.ledger.load(kept)
        assert self.ledger.history() == history
        for target in TARGETS:
            self.shown[target] = "running"
            step = self.ledger.reinstate(target, "running")
            assert (step is None) == (self.value(target) == "running")
            if step is not None:
                self.carry_out(step, True)
            self.ledger.see(target, self.shown[target], self.now)

    @invariant()
    def agrees(self) -> None:
        for target in TARGETS:
            standing = self.standing(target)
            assert self.ledger.value(target) == self.value(target) == self.shown[target], target
            top = self.ledger.top(target)
            assert (top.id if top else None) == (standing[-1]["id"] if standing else None)
        for run in ("r1", "r2"):
            expected = {each["id"] for each in self.list if each["run"] == run and not each["gone"]}
            assert {change.id for change in self.ledger.of_run(run)} == expected
        for change in self.ledger.live():
            assert change.until is not None or change.to != "running"
        ends = [each["until"] for each in self.list if each["until"] and not each["gone"]]
        assert self.ledger.next_due() == min(ends, default=None)


class LedgerTests(SynchronousTestCase):
    """See :class:`Model`."""

    def test_machine(self) -> None:
        """Whatever is done in whatever order, the ledger holds what the list says."""
        machine = Model.TestCase
        machine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
        machine().runTest()
