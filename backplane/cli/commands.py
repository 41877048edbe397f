"""The command that manages: it does one thing with the network and says how it ended."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred

from backplane.cli.console import Console, safe
from backplane.cli.render import Spinner, render
from backplane.cli.session import Session
from backplane.client.accounting import ExitCode, Outcome, Stop
from backplane.client.jobs import Job
from backplane.client.run import Operator, Progress
from backplane.nats.client import NatsClient

__all__ = ["Execution"]

PREFIX: Final = "backplane: error: Failed to manage services: could not perform action: "


class _Shown(Progress):
    """Progress, as the operator sees it."""

    def __init__(self, console: Console, job: Job) -> None:
        self._console = console
        self._starting = f"Starting discovery process for {job.service} backplane managed services:"
        self._spinner = Spinner(console, job.action)
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
    """One run of ``exec``.

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
        self._console = console
        self._as_json = as_json
        self._verbose = verbose

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
        shown = None if self._as_json else _Shown(self._console, self._job)
        outcome = await self._session.ask(self._job, shown)
        if self._as_json:
            self._console.print_json(outcome.as_dict())
            return outcome.exit_code
        if shown is not None:
            shown.end()
        if outcome.sent:
            render(outcome, self._console, self._verbose)
        self._complain(outcome)
        return outcome.exit_code

    def _complain(self, outcome: Outcome) -> None:
        """Say on standard error why nothing was done, or not all."""
        if outcome.error is None:
            return
        if outcome.stop is Stop.INTERRUPTED:
            self._console.note(f"backplane: error: {safe(outcome.error)}")
            return
        self._console.note(PREFIX + safe(outcome.error))
        if not outcome.count:
            for name in outcome.silent:
                self._console.note(f"  no answer from {safe(name)}")
