"""A change on its way through a fleet: batch by batch, with gates, stopped and undone.

Each batch has the same request id, as with Choria's clients, and a time of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from backplane.client import gates
from backplane.client.accounting import Answer, Outcome
from backplane.client.asking import Run
from backplane.client.batches import Steps, pick, split
from backplane.client.changes import MAX_REASON
from backplane.client.courses import Batch
from backplane.client.discovery import DiscoveryRule
from backplane.client.gates import HealthGate
from backplane.client.jobs import Job
from backplane.client.plans import Plan, expectations
from backplane.client.states import State
from backplane.logs import printable

__all__ = ["Course", "Told", "read_states"]

LOOK: Final = 5.0
"""Seconds that services may take to say what they are."""

UNDO: Final = 12.0
"""Seconds that they may take to undo."""

AGAIN: Final = 0.5
"""Seconds after which they are asked again that are still doing it."""

Ask = Callable[[Job, Mapping[str, int]], Awaitable[Outcome]]
"""Does a job with services that are known."""


class Told:
    """Told how a rollout goes on; override what is of interest."""

    def batch(self, number: int, count: int, names: Sequence[str]) -> None:
        """The batch of this number is asked."""

    def gate(self, wrong: Mapping[str, str]) -> None:
        """The gate was looked at; ``wrong`` is who is not healthy, and why."""

    def pausing(self, seconds: float) -> None:
        """The next batch goes after so long."""

    def undoing(self, names: Sequence[str], why: str) -> None:
        """It is taken back."""


class Course:
    """A rollout: who is asked when.

    :param ask: asks those who are known.
    :param approve: called with the run and who is meant before anything is sent; says whether
        it is. What it waits for is not of the run's time.
    :param plan: that is applied; it says who is meant.
    :ivar steps: of it, once it is known who is there.
    :ivar undone: what became of the undoing, ``None`` where there was none.
    :ivar gated: whether the gate was passed, a value for each batch.
    """

    def __init__(
        self,
        ask: Ask,
        job: Job,
        clock: IReactorTime,
        approve: Callable[[Run, Sequence[str]], Awaitable[bool]],
        told: Told,
        plan: Plan | None = None,
    ) -> None:
        self.steps = Steps(())
        self.undone: Outcome | None = None
        self.gated: list[bool] = []
        self._ask = ask
        self._job = job
        self._clock = clock
        self._approve = approve
        self._told = told
        self._plan = plan
        self._begun = False
        self._waiting: list[Batch] = []
        self._batch: tuple[str, ...] = ()
        self._seen = 0
        self._good: dict[str, int] = {}
        self._bad: dict[str, str] = {}

    async def next(self, run: Run) -> Batch | None:
        """See :class:`backplane.client.asking.Course`."""
        if not self._begun:
            self._begun = True
            if not await self._begin(run):
                return None
        elif not self._waiting or run.late:
            self._waiting.clear()
            await self._after(run)
        if not self._waiting and not run.over:
            batch = self.steps.next()
            if batch is not None:
                self._batch = batch
                self._waiting = self._parts(batch)
                self._told.batch(self.steps.number, len(self.steps.batches), batch)
        return self._waiting.pop(0) if self._waiting and not run.over else None

    async def _begin(self, run: Run) -> bool:
        rollout = self._job.rollout
        found = sorted(run.found)
        if self._plan is not None:
            meant = tuple(name for name in self._plan.meant if name in run.found)
        else:
            meant = pick(found, rollout.limit, rollout.limit_method, rollout.limit_seed)
        run.leave_out(set(found) - set(meant))
        approved = Deferred.fromCoroutine(_coroutine(self._approve(run, meant)))
        if not await run.wait_for(approved, counts=False):
            return False
        self.steps = Steps(split(meant, rollout.batch), rollout.allowed)
        return True

    def _parts(self, batch: Sequence[str]) -> list[Batch]:
        """Return the requests to a batch: one, or one for each value that is expected."""
        if self._plan is None:
            return [Batch(batch)]
        data = self._job.data
        return [
            Batch(names, data if value is None else {**data, "expect": value})
            for names, value in expectations(self._plan, batch)
        ]

    async def _after(self, run: Run) -> None:
        """Look at what became of a batch; wait until the next may go."""
        self._count(run.answers)
        failures = {name: why for name in self._batch if (why := self._failure(run, name))}
        self.steps.failed(failures)
        rollout, steps = self._job.rollout, self.steps
        if rollout.gate and not steps.halted and not run.over:
            await self._pass_gate(run)
        if not steps.ended and rollout.sleep and not run.over:
            self._told.pausing(rollout.sleep)
            await run.sleep(rollout.sleep)
        ungated = rollout.gate and len(self.gated) < steps.number
        if run.late and (ungated or not steps.ended):
            steps.halt(f"{self._job.timeout:g} s were over")
        if steps.halted and (run.late or not run.over):
            if rollout.undo:
                await self._undo(run)
            run.halt(steps.halted)

    def _count(self, answers: Sequence[Answer]) -> None:
        """Take the answers that have come since the last time."""
        for answer in answers[self._seen :]:
            if answer.reply.ok:
                self._good[answer.sender] = self._good.get(answer.sender, 0) + 1
            else:
                self._bad[answer.sender] = answer.reply.message
        self._seen = len(answers)

    def _failure(self, run: Run, name: str) -> str:
        if name in self._bad:
            return self._bad[name] or "failed"
        return "" if self._good.get(name, 0) >= run.found[name] else "no answer"

    async def _pass_gate(self, run: Run) -> None:
        clock = self._clock
        batch = {name: run.found[name] for name in self._batch}
        gate = HealthGate(batch, clock.seconds() + self._job.rollout.gate_timeout)
        while not run.over:
            asked = clock.seconds()
            job = _other(self._job, gates.ACTION, {}, gate.patience(asked))
            outcome = await self._ask(job, batch)
            gate.looked(outcome.answers)
            self._told.gate(gate.wrong)
            pause = gate.wait(asked, clock.seconds())
            if pause is None:
                break
            await run.sleep(pause)
        if run.over:
            return
        self.gated.append(gate.passed)
        if not gate.passed:
            self.steps.halt(gate.reason)

    async def _undo(self, run: Run) -> None:
        """Take back what was changed so far, also where the answer failed or did not come."""
        names = self.steps.touched
        self._told.undoing(names, self.steps.halted)
        # It may tell what a health check said, and what that is a service would refuse.
        why = printable(f"{self._job.spoken} stopped: {self.steps.halted}")[:MAX_REASON]
        job = _other(self._job, "end", {"run": run.request_id, "why": why}, UNDO)
        end = self._clock.seconds() + UNDO
        self.undone = await self._ask(job, {name: run.found[name] for name in names})
        # Where it is being done just now it can be taken back only then.
        while busy := {each.sender for each in self.undone.answers if _busy(each)}:
            await deferLater(self._clock, AGAIN)
            if self._clock.seconds() >= end or run.stopped:
                break
            again = await self._ask(job, {name: run.found[name] for name in busy})
            others = [each for each in self.undone.answers if each.sender not in busy]
            self.undone = attrs.evolve(self.undone, answers=(*others, *again.answers))

    def as_dict(self) -> dict[str, Any]:
        """Return what was done as JSON-able values."""
        steps, undone = self.steps, self.undone
        taken = steps.batches[: steps.number]
        return {
            "batches": [list(batch) for batch in taken],
            "gates": list(self.gated),
            "untouched": list(steps.untouched),
            "failures": dict(steps.failures),
            "stopped": steps.halted or None,
            "undone": None
            if undone is None
            else {
                "ok": sorted(answer.sender for answer in undone.good),
                "failed": {answer.sender: answer.reply.message for answer in undone.failed},
                "silent": list(undone.silent),
            },
        }


def _busy(answer: Answer) -> bool:
    return not answer.reply.ok and answer.reply.data.get("reason") == "busy"


async def _coroutine(waited: Awaitable[bool]) -> bool:
    return await waited


def _other(job: Job, action: str, data: Mapping[str, Any], seconds: float) -> Job:
    """Return the job of another action for some of those whom a job means."""
    return attrs.evolve(
        job,
        agent="backplane",
        action=action,
        data=data,
        rule=DiscoveryRule(timeout=0.0),
        agent_timeout=seconds,
        timeout=None,
        at_least=None,
        verb="",
    )


async def read_states(ask: Ask, job: Job, names: Mapping[str, int]) -> dict[str, tuple[State, ...]]:
    """Ask services what they are; those that do not say are not among them."""
    states: dict[str, list[State]] = {}
    old: dict[str, int] = {}
    outcome = await ask(_other(job, "changes", {"last": 0}, LOOK), names)
    for answer in outcome.answers:
        state = State.from_changes(answer)
        if state is None:
            old[answer.sender] = names[answer.sender]
        else:
            states.setdefault(answer.sender, []).append(state)
    if old and outcome.stop is None:
        outcome = await ask(_other(job, "info", {}, LOOK), old)
        for answer in outcome.answers:
            state = State.from_info(answer)
            if state is not None:
                states.setdefault(answer.sender, []).append(state)
    return {name: tuple(found) for name, found in states.items()}
