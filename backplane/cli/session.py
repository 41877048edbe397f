"""A command's connection: made, used for one run or several, interrupted, closed."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from backplane.cli import setup
from backplane.cli.console import Console, safe
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.asking import Run
from backplane.client.jobs import Job, make_job
from backplane.client.run import Operator, Progress
from backplane.nats.client import ConnectFailed, NatsClient
from backplane.nats.errors import NatsError

__all__ = ["Session", "operate"]


class Session:
    """What a command does on the network.

    :param client: connects already.
    :param timeout: seconds for all of it, or ``None``.
    :ivar interrupted: whether the operator wants it to end.
    """

    def __init__(self, client: NatsClient, operator: Operator, timeout: float | None) -> None:
        self.operator = operator
        self.interrupted = False
        self._client = client
        self._timeout = timeout
        self._started = operator.clock.seconds()
        self._connecting: Deferred[None] | None = None
        self._run: Run | None = None
        self._refused = ""

    def interrupt(self) -> None:
        """End what is under way; what is known so far is its result."""
        self.interrupted = True
        if self._run is not None:
            self._run.interrupt()
        elif self._connecting is not None:
            self._connecting.cancel()

    async def ask(self, job: Job, progress: Progress | None = None) -> Outcome:
        """Do a job; return what became of it.

        :raises Fault: when the operator has interrupted before.
        """
        if self.interrupted:
            raise Fault("interrupted; nothing was sent", ExitCode.INTERRUPTED)
        self._run = self.operator.begin(job, progress, started=self._started)
        try:
            return await self._run.result
        finally:
            self._run = None

    async def connect(self) -> None:
        """Wait for the connection, no longer than all of it may take.

        :raises Fault: when there is none.
        """
        waiting = self._connecting = self._client.when_connected()
        timer = None
        if self._timeout is not None:
            timer = self.operator.clock.callLater(self._timeout, waiting.cancel)
        self._client.add_listener(self._heard)
        try:
            await waiting
        except CancelledError:
            if self.interrupted:
                raise Fault("interrupted; nothing was sent", ExitCode.INTERRUPTED) from None
            text = f"the broker is not reachable: no connection within {self._timeout:g} s"
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


class Command:
    """A verb under way: who is meant, how it is shown, and the connection.

    :param who: what :func:`backplane.client.jobs.make_job` takes, of the flags.
    """

    def __init__(
        self,
        session: Session,
        console: Console,
        who: Mapping[str, Any],
        *,
        as_json: bool,
        verbose: bool,
    ) -> None:
        self.session = session
        self.console = console
        self.as_json = as_json
        self.verbose = verbose
        self._who = dict(who)

    @property
    def service(self) -> str:
        """The application's name."""
        return str(self._who["service"])

    def job(self, action: str, data: Mapping[str, Any] | None = None, **other: Any) -> Job:
        """Return the job of an action for whom the flags mean.

        :param other: in place of flags, such as ``nodes`` or ``change``.
        :raises Fault: when that cannot be.
        """
        try:
            return make_job(action=action, data=data, **{**self._who, **other})
        except ValueError as error:
            raise Fault(str(error), ExitCode.USAGE) from None

    async def ask(
        self, action: str, data: Mapping[str, Any] | None = None, **other: Any
    ) -> Outcome:
        """Do the job of an action; see :meth:`job`."""
        return await self.session.ask(self.job(action, data, **other))


def operate(
    console: Console, given: Mapping[str, Any], work: Callable[[Command], Awaitable[ExitCode]]
) -> int:
    """Do a verb: read the configuration, connect, and let ``work`` do the rest.

    :param given: what :func:`backplane.cli.arguments.target_options` and ``service`` give.
    :returns: the exit code.
    :raises Fault: for what keeps it from being done.
    """
    who = dict(given)
    config, insecure, debug = who.pop("config"), who.pop("insecure"), who.pop("debug")
    as_json, verbose = who.pop("as_json"), who.pop("verbose")
    settings = setup.load(config, insecure, os.environ)
    for warning in settings.config.warnings:
        console.note(f"backplane: warning: {safe(warning)}")
    if not settings.config.color:
        console.without_colour()
    who["nodes"] = setup.read_nodes(who["nodes"])
    who["discovery_timeout"] = who["discovery_timeout"] or settings.config.discovery_timeout
    if insecure:
        console.note("backplane: warning: insecure: nothing is signed, nobody is verified")
    if debug:
        setup.log_to_stderr()

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        client, operator = setup.connect(settings, reactor, time.time)
        session = Session(client, operator, who["timeout"])
        command = Command(session, console, who, as_json=as_json, verbose=verbose)

        async def all_of_it() -> ExitCode:
            try:
                command.job("ping")  # what cannot be is said before anything is waited for
                await session.connect()
                return await work(command)
            finally:
                await client.stopService()

        return Deferred.fromCoroutine(all_of_it()), session.interrupt

    return int(run(begin))
