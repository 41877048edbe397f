"""The command that manages: it does one thing with the network and says how it ended."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from backplane.cli.console import Console, safe
from backplane.cli.faults import Fault
from backplane.cli.render import Spinner, render
from backplane.client.accounting import ExitCode, Outcome, Stop
from backplane.client.asking import Run
from backplane.client.jobs import Job
from backplane.client.run import Operator, Progress
from backplane.nats.client import ConnectFailed, NatsClient
from backplane.nats.errors import NatsError

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
        self._client = client
        self._operator = operator
        self._console = console
        self._as_json = as_json
        self._verbose = verbose
        self._connecting: Deferred[None] | None = None
        self._run: Run | None = None
        self._interrupted = False
        self._refused = ""

    def start(self) -> Deferred[ExitCode]:
        """Do what was asked and show what became of it.

        :returns: fails with :class:`Fault` for what keeps it from being done.
        """
        return Deferred.fromCoroutine(self._execute())

    def interrupt(self) -> None:
        """End now, and show what is known so far."""
        self._interrupted = True
        if self._run is not None:
            self._run.interrupt()
        elif self._connecting is not None:
            self._connecting.cancel()

    async def _execute(self) -> ExitCode:
        started = self._operator.clock.seconds()
        await self._connect()
        shown = None if self._as_json else _Shown(self._console, self._job)
        self._run = self._operator.begin(self._job, shown, started=started)
        outcome = await self._run.result
        if self._as_json:
            self._console.print_json(outcome.as_dict())
            return outcome.exit_code
        if shown is not None:
            shown.end()
        if outcome.sent:
            render(outcome, self._console, self._verbose)
        self._complain(outcome)
        return outcome.exit_code

    async def _connect(self) -> None:
        """Wait for the connection, no longer than the whole run may take.

        :raises Fault: when there is none.
        """
        timeout = self._job.timeout
        waiting = self._connecting = self._client.when_connected()
        timer = None
        if timeout is not None:
            timer = self._operator.clock.callLater(timeout, waiting.cancel)
        self._client.add_listener(self._heard)
        try:
            await waiting
        except CancelledError:
            if self._interrupted:
                raise Fault("interrupted; nothing was sent", ExitCode.INTERRUPTED) from None
            text = f"the broker is not reachable: no connection within {timeout:g} s"
            raise Fault(text, ExitCode.UNREACHABLE) from None
        except NatsError as error:
            if self._refused:
                text = f"the broker refuses: {safe(self._refused)}"
                raise Fault(text, ExitCode.CREDENTIALS) from None
            text = f"the broker is not reachable: {safe(error)}"
            raise Fault(text, ExitCode.UNREACHABLE) from None
        finally:
            self._connecting = None
            self._client.remove_listener(self._heard)
            if timer is not None:
                try:
                    timer.cancel()
                except (AlreadyCalled, AlreadyCancelled):
                    pass  # it was the timer

    def _heard(self, event: object) -> None:
        if isinstance(event, ConnectFailed) and "authorization" in str(event.reason).lower():
            self._refused = f"{event.server}: {event.reason}"

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
