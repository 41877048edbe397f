"""The command that manages: it does one thing with the network and says how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from backplane.cli.console import Console, safe
from backplane.cli.formats import show_outcome
from backplane.cli.render import Spinner, absences, doubts, remarks, render
from backplane.cli.rollouts import Approval, Steps, check, gone, read_plan, show_steps
from backplane.cli.session import Command, Session
from backplane.client.accounting import ExitCode, Outcome, Stop
from backplane.client.jobs import Job
from backplane.client.rollouts import Course, Told
from backplane.client.run import Operator, Progress
from backplane.client.runs import Record, record_of
from backplane.nats.client import NatsClient

__all__ = ["FAILED", "Execution", "Shown", "complain", "perform"]

FAILED: Final = "Failed to manage services: could not perform action: "
"""What comes before the reason why nothing was done."""


class Shown(Progress):
    """Progress, as the operator sees it."""

    def __init__(self, console: Console, job: Job) -> None:
        self._console = console
        self._starting = f"Starting discovery process for {job.service} backplane managed services:"
        self._spinner = Spinner(console, job.spoken)
        self._last = (0, 0)

    def found(self, count: int) -> None:
        # A terminal is slower than thousands of answers.
        if count <= 100 or count % 50 == 0:
            self._console.progress(f"{self._starting} {count}")

    def discovered(self, count: int) -> None:
        self._console.clear()
        self._console.print(f"{self._starting} {count}")
        if count:
            self._console.print()
            self._last = (0, count)
            self._spinner.show(0, count)

    def answered(self, done: int, count: int) -> None:
        self._last = (done, count)
        if done <= 100 or done % 50 == 0 or done >= count:
            self._spinner.show(done, count)

    def end(self) -> None:
        """Nobody else answers."""
        self._console.clear()
        self._spinner.end(*self._last)


class Execution:
    """One run of ``exec``, with a connection of its own.

    :param client: connects already.
    """

    def __init__(
        self,
        job: Job,
        client: NatsClient,
        operator: Operator,
        console: Console,
        *,
        as_json: bool = False,
        verbose: bool = False,
    ) -> None:
        self._job = job
        self._session = Session(client, operator, job.timeout)
        self._command = Command(self._session, console, {}, as_json=as_json, verbose=verbose)

    def start(self) -> Deferred[ExitCode]:
        """Do what was asked and show what became of it.

        :returns: fails with :class:`~backplane.cli.faults.Fault` for what keeps it from being done.
        """
        return Deferred.fromCoroutine(self._execute())

    def interrupt(self) -> None:
        """End now, and show what is known so far."""
        self._session.interrupt()

    async def _execute(self) -> ExitCode:
        await self._session.connect()
        return (await perform(self._command, self._job)).exit_code


async def perform(command: Command, job: Job, *, show: bool = True) -> Outcome:
    """Do a job and show what became of it.

    :param show: whether JSON and lists are written, too; text always is.
    """
    console = command.console
    listed = command.as_json or console.form != "text"
    check(job)
    plan = read_plan(job)
    if plan is not None:
        job = plan.job(job)
    shown = None if listed else Shown(console, job)
    session, operator = command.session, command.session.operator

    async def ask(other: Job, known: Mapping[str, int]) -> Outcome:
        return await session.ask(other, known=known)

    approval = Approval(
        job, console, ask, command.asker, by=operator.caller_id, now=operator.now(), plan=plan
    )
    told = Told() if listed else Steps(console)
    course = Course(ask, job, operator.clock, approval.approve, told, plan)
    outcome = await session.ask(job, shown, course=course)
    if approval.looked is not None:
        return approval.show(outcome)
    if plan is not None and not outcome.count and outcome.stop is None:
        outcome = gone(outcome, plan)
    if job.rollout.stepwise and outcome.sent:
        outcome = attrs.evolve(outcome, rollout=course.as_dict())
    elif approval.differences:
        outcome = attrs.evolve(outcome, rollout={"differences": approval.differences})
    run = remember(command, job, outcome)
    if shown is None:
        if not show:
            return outcome
        show_outcome(outcome, console, command.as_json)
        if console.form not in ("text", "json"):
            for line in remarks(outcome) if console.form == "names" else doubts(outcome):
                if line:
                    console.note(line)
            complain(outcome, console)
            _tell_run(run, console, course.undone)
        return outcome
    if outcome.stop is not Stop.NOT_SENT:
        shown.end()
    if outcome.sent:
        render(outcome, console, command.verbose)
        show_steps(outcome, course.undone, console)
    complain(outcome, console)
    _tell_run(run, console, course.undone)
    return outcome


def _tell_run(run: Record | None, console: Console, undone: Outcome | None) -> None:
    """Write the id of a run, and how it is taken back where it can be."""
    if run is None:
        return
    name = run.run[:8]
    way = f"; `backplane {run.service} undo {name}` takes it back"
    done = undone is not None and not (undone.silent or undone.failed)
    console.note(f"Run {name}" + (way if run.reversible and not done else ""))


def remember(command: Command, job: Job, outcome: Outcome) -> Record | None:
    """Keep what was done, so that it can be taken back; return what is kept."""
    if command.runs is None:
        return None
    operator = command.session.operator
    record = record_of(
        job, outcome, network=command.network, when=operator.now(), who=operator.caller_id
    )
    if record is not None:
        command.runs.add(record)
    return record


def complain(outcome: Outcome, console: Console) -> None:
    """Say on standard error who is missing, and why nothing was done, or not all."""
    for line in absences(outcome):
        console.note(line)
    if outcome.error is None:
        return
    if outcome.stop is Stop.INTERRUPTED:
        console.note(f"backplane: error: {safe(outcome.error)}")
        return
    if outcome.stop is None and outcome.halted:
        console.note(f"backplane: error: stopped: {safe(outcome.halted)}")
        return
    console.note(f"backplane: error: {FAILED}{safe(outcome.error)}")
    if not outcome.count:
        for name in outcome.silent:
            console.note(f"  no answer from {safe(name)}")
