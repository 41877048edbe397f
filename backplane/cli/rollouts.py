"""A change on its way, as the operator sees it: plan, question, batches, what became of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.cli.confirm import Asker, mixed, question
from backplane.cli.console import Console, safe
from backplane.cli.faults import Fault
from backplane.cli.formats import Columns, show_rows, table
from backplane.cli.render import absences
from backplane.client.accounting import ExitCode, Outcome, Stop, unable
from backplane.client.asking import Run
from backplane.client.jobs import READS, Job
from backplane.client.plans import Plan, PlanError, Planned, differences, misfit
from backplane.client.rollouts import Ask, Told, read_states
from backplane.client.statefolder import read_json, write_json
from backplane.client.states import Forecast, State, forecast

__all__ = ["Approval", "Steps", "check", "gone", "read_plan", "show_steps"]

MAX_LINES: Final = 100

_MISSING: Final = object()

_COLUMNS: Final[Columns] = (
    ("INSTANCE", "identity"),
    ("STATE", "state"),
    ("WOULD", "verdict"),
    ("DETAIL", "detail"),
)


def check(job: Job) -> None:
    """Refuse what says two things.

    :raises Fault: for usage.
    """
    rollout = job.rollout
    reads = job.agent == "backplane" and job.action in READS
    wrong = ""
    if reads and (rollout.looks or rollout.apply or rollout.gate or rollout.undo):
        wrong = f"{job.spoken} changes nothing: there is nothing to plan, to gate or to undo"
    elif rollout.apply and rollout.looks:
        wrong = "--apply does it, --dry-run and --plan only say what would be done"
    elif rollout.apply and (rollout.limit is not None or not job.everyone):
        wrong = "--apply: the plan says who is meant, so there is no filter and no --limit with it"
    elif rollout.undo and job.action in ("end", "amend"):
        wrong = f"--on-failure undo: {job.spoken} leaves nothing that could be taken back"
    elif rollout.limit_seed is not None and rollout.limit_method != "random":
        wrong = "--limit-seed is for --limit-method random"
    if wrong:
        raise Fault(wrong, ExitCode.USAGE)


def read_plan(job: Job) -> Plan | None:
    """Return the plan that a job applies, or ``None``.

    :raises Fault: when it cannot be read, or is for something else.
    """
    path = job.rollout.apply
    if path is None:
        return None
    if path == "-":
        raise Fault("--apply takes a file, not standard input", ExitCode.USAGE)
    try:
        value = read_json(os.path.abspath(path), _MISSING)
        if value is _MISSING:
            raise Fault(f"--apply {path}: there is no such file", ExitCode.USAGE)
        plan = Plan.from_dict(value)
    except PlanError as error:
        raise Fault(f"--apply {path}: {error}", ExitCode.USAGE) from None
    except (OSError, ValueError) as error:
        raise Fault(f"--apply {path}: {error}", ExitCode.USAGE) from None
    wrong = misfit(plan, job)
    if wrong:
        raise Fault(f"--apply {path}: {wrong}; nothing was sent", ExitCode.STOPPED)
    return plan


class Approval:
    """What comes between discovery and the first request.

    :param by: caller id of the operator.
    :ivar looked: exit code of what was only looked at, or ``None``.
    :ivar differences: of the fleet from the plan, a line each.
    """

    def __init__(
        self,
        job: Job,
        console: Console,
        ask: Ask,
        asker: Asker,
        *,
        by: str,
        now: float,
        plan: Plan | None = None,
    ) -> None:
        self.looked: ExitCode | None = None
        self.differences: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._job = job
        self._console = console
        self._ask = ask
        self._asker = asker
        self._by = by
        self._now = now
        self._plan = plan

    async def approve(self, run: Run, meant: Sequence[str]) -> bool:
        """Say whether it is to be done; shows what would be, where only that is wanted."""
        job, rollout = self._job, self._job.rollout
        names = {name: run.found[name] for name in meant}
        states: Mapping[str, tuple[State, ...]] = {}
        if rollout.looks or self._plan is not None or _is_flip(job):
            states = await read_states(self._ask, job, names)
        if run.over:
            return False
        if rollout.looks:
            self._look(run, meant, states)
            return False
        if self._plan is not None and not self._as_planned(run, states):
            return False
        return await self._confirm(run, names, states)

    async def _confirm(
        self, run: Run, names: Mapping[str, int], states: Mapping[str, Sequence[State]]
    ) -> bool:
        job = self._job
        meant, found = sum(names.values()), sum(run.found.values())
        warning = ""
        if _is_flip(job):
            values = [state.targets.get("app") for each in states.values() for state in each]
            warning = mixed(value != "running" for value in values if value)
        if warning:
            self._console.clear()
            self._console.note(f"backplane: warning: {warning}")
        asked = question(job, meant, found, warning)
        if asked is None or job.rollout.yes:
            return True
        if not self._asker.there:
            if asked.needed:
                run.stop(
                    f"{job.spoken} of all {meant} service(s) of {job.service} needs --yes where "
                    "nobody can be asked"
                )
            return not asked.needed
        self._console.clear()
        if asked.accepts(await self._asker.ask(asked.text)):
            return True
        run.stop("it was not confirmed")
        return False

    def _as_planned(self, run: Run, states: Mapping[str, Sequence[State]]) -> bool:
        plan = self._plan
        assert plan is not None
        lines = differences(plan, run.found, states)
        if not lines:
            return True
        self.differences = lines
        self._console.clear()
        if self._console.form not in ("json", "jsonl"):
            for line in lines[:MAX_LINES]:
                self._console.note(f"backplane: not as planned: {safe(line)}")
            if len(lines) > MAX_LINES:
                self._console.note(f"  … and {len(lines) - MAX_LINES} more")
        first = f"{lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
        run.stop(f"the fleet is not what the plan says: {first}")
        return False

    def _look(
        self, run: Run, meant: Sequence[str], states: Mapping[str, tuple[State, ...]]
    ) -> None:
        """Take what would be done, and write it down where that is wanted."""
        job = self._job
        rows = self._rows = [
            _row(job, name, state) for name in meant for state in states.get(name, ()) or (None,)
        ]
        verdicts = {row["verdict"] for row in rows}
        silent = [row["identity"] for row in rows if row["verdict"] == "unknown"]
        self.looked = ExitCode.OK
        if silent and len(silent) == len(rows):
            self.looked = ExitCode.NOBODY_ANSWERED
        elif silent:
            self.looked = ExitCode.SILENT
        elif verdicts & {"denied", "unable"}:
            self.looked = ExitCode.FAILED
        if job.rollout.plan is not None:
            _write(self._planned(run, meant, states), job.rollout.plan)

    def show(self, outcome: Outcome) -> Outcome:
        """Show what would be done; return what came of looking."""
        job, console, rows, looked = self._job, self._console, self._rows, self.looked
        assert looked is not None
        if looked in (ExitCode.OK, ExitCode.FAILED) and _somebody_missing(outcome):
            looked = ExitCode.SILENT
        document = {
            "service": job.service,
            "action": job.action,
            "verb": job.spoken,
            "data": dict(job.data),
            "dry_run": True,
            "plan": job.rollout.plan,
            "left_out": list(outcome.left_out),
            "late": list(outcome.late),
            "missing": sorted({*outcome.absent, *outcome.silent} - outcome.discovered.keys()),
            "targets": rows,
            "exit_code": int(looked),
        }
        console.clear()
        if not show_rows(console, rows, _COLUMNS, service=job.service, document=document):
            console.print()
            for line in table(rows, _COLUMNS):
                console.print(f"  {line}")
            console.print()
            console.print(f"{job.spoken}: {_summary(rows)}; nothing was sent")
            if job.rollout.plan is not None:
                console.print(f"The plan is in {job.rollout.plan}")
        if console.form != "json":
            for line in absences(outcome):
                console.note(line)
        return attrs.evolve(outcome, looked=looked)

    def _planned(
        self, run: Run, meant: Sequence[str], states: Mapping[str, tuple[State, ...]]
    ) -> Plan:
        chosen = set(meant)
        targets = [
            Planned(name, count, states.get(name, ()), name in chosen)
            for name, count in sorted(run.found.items())
        ]
        return Plan.of(self._job, targets, self._now, self._by)


def _somebody_missing(outcome: Outcome) -> bool:
    wanted = outcome.expect if outcome.expect is not None else outcome.at_least
    found = outcome.discovered
    return bool(
        outcome.late
        or outcome.absent
        or outcome.named - found.keys()
        or outcome.count < (wanted or 0)
    )


def gone(outcome: Outcome, plan: Plan) -> Outcome:
    """Return the outcome of applying a plan where nobody was found."""
    reason = f"the fleet is not what the plan says: none of {len(plan.targets)} is there"
    return attrs.evolve(outcome, stop=Stop.NOT_SENT, reason=reason, sent=False)


def _row(job: Job, name: str, state: State | None) -> dict[str, Any]:
    found: Forecast = forecast(job.action, job.data, state)
    return {
        "service": job.service,
        "identity": name,
        "state": None if state is None else str(state),
        "targets": None if state is None else dict(state.targets),
        "verdict": found.verdict,
        "detail": found.text,
    }


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    words = (
        ("change", "would change"),
        ("same", "would stay as they are"),
        ("denied", "would be denied"),
        ("unable", "would be unable"),
        ("unknown", "did not say"),
    )
    counts = [(sum(row["verdict"] == key for row in rows), text) for key, text in words]
    return ", ".join(f"{count} {text}" for count, text in counts if count)


def _write(plan: Plan, path: str) -> None:
    # Through a link, as everything else is written.
    place = os.path.realpath(path)
    try:
        if path == "-" or (os.path.exists(place) and not os.path.isfile(place)):
            raise FileExistsError(None, "a plan is written into a regular file")
        if not os.path.isdir(os.path.dirname(place)):  # it would be made, and be a surprise
            raise FileNotFoundError(None, "there is no such folder")
        write_json(place, plan.as_dict())
    except OSError as error:
        text = f"--plan {path}: {error.strerror}; nothing was sent"
        raise Fault(text, ExitCode.USAGE) from None


def _is_flip(job: Job) -> bool:
    return job.agent == "backplane" and job.action == "flip"


class Steps(Told):
    """Says on standard error which batch goes, and what it waits for."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def batch(self, number: int, count: int, names: Sequence[str]) -> None:
        if count > 1:
            shown = ", ".join(safe(name) for name in names[:5])
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            self._console.note(f"Batch {number} of {count}: {shown}{more}")

    def gate(self, wrong: Mapping[str, str]) -> None:
        if wrong:
            name, why = min(wrong.items())
            self._console.progress(f"Waiting for {len(wrong)}: {safe(name)}: {safe(why, 80)}")
        else:
            self._console.clear()

    def pausing(self, seconds: float) -> None:
        self._console.note(f"Next batch in {seconds:g} s")

    def undoing(self, names: Sequence[str], why: str) -> None:
        self._console.note(f"Stopped, {safe(why)}: taking back what was done on {len(names)}")


def show_steps(outcome: Outcome, undone: Outcome | None, console: Console) -> None:
    """Write where it stopped, who was not touched, and what was taken back."""
    if undone is not None:
        good = undone.good
        console.print()
        console.print(f"Taken back on {len(good)} of {undone.count} service(s)")
        for answer in sorted(good, key=lambda answer: answer.sender):
            refused = answer.reply.data.get("refused")
            for each in refused if isinstance(refused, list) else ():
                text = each.get("text") if isinstance(each, dict) else each
                console.print(safe(text), "red", before=f"  {safe(answer.sender)}  ")
        for answer in sorted(undone.failed, key=lambda answer: answer.sender):
            text = "does not know how to take it back" if unable(answer) else answer.reply.message
            console.print(safe(text), "red", before=f"  {safe(answer.sender)}  ")
        for name in undone.silent:
            console.print("no answer", "red", before=f"  {safe(name)}  ")
    for title, names in (
        ("Done", _done(outcome) if outcome.untouched and undone is None else ()),
        ("Not touched", outcome.untouched),
    ):
        if names:
            console.print()
            console.print(f"{title}: {len(names)}")
            for name in names[:MAX_LINES]:
                console.print(f"  {safe(name)}")
            if len(names) > MAX_LINES:
                console.print(f"  … and {len(names) - MAX_LINES} more")


def _done(outcome: Outcome) -> tuple[str, ...]:
    return tuple(sorted(answer.sender for answer in outcome.good))
