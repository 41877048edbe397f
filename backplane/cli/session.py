"""A command's connection: made, used for one run or several, interrupted, closed."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from backplane.cli import setup
from backplane.cli.arguments import rollout_of
from backplane.cli.attendance import Attendance
from backplane.cli.confirm import Asker, Nobody, Terminal
from backplane.cli.console import Console, safe
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.cli.formats import chosen
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.asking import Run
from backplane.client.courses import Course
from backplane.client.jobs import Job, make_job
from backplane.client.roster import network_of
from backplane.client.run import Operator, Progress
from backplane.client.runs import Runs
from backplane.client.statefolder import state_folder
from backplane.host import home_folder
from backplane.nats.client import ConnectFailed, NatsClient
from backplane.nats.errors import NatsError

__all__ = ["Asked", "Command", "Session", "operate", "prepare", "remembered"]


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
        self._runs: list[Run] = []
        self._refused = ""
        self._attendance: Attendance | None = None

    @property
    def left(self) -> float | None:
        """Seconds that all of it may take still; ``None`` without a limit."""
        if self._timeout is None:
            return None
        return max(0.0, self._started + self._timeout - self.operator.clock.seconds())

    def attend(self, attendance: Attendance) -> None:
        """Let the roster learn from what is done here."""
        self._attendance = attendance
        attendance.listen(self._client)

    def interrupt(self) -> None:
        """End what is under way; what is known so far is its result."""
        self.interrupted = True
        for each in list(self._runs):
            each.interrupt()
        if self._connecting is not None:
            self._connecting.cancel()

    async def ask(
        self,
        job: Job,
        progress: Progress | None = None,
        *,
        course: Course | None = None,
        known: Mapping[str, int] | None = None,
    ) -> Outcome:
        """Do a job; return what became of it.

        :param course: who is asked when.
        :param known: whom to ask, in place of discovery; the job's ``timeout`` counts from now.
        :raises Fault: when the operator has interrupted before.
        """
        if self.interrupted:
            raise Fault("interrupted; nothing was sent", ExitCode.INTERRUPTED)
        started = self._started if known is None else None
        begun = self.operator.begin(job, progress, started=started, course=course, known=known)
        self._runs.append(begun)
        try:
            outcome = await begun.result
        finally:
            self._runs.remove(begun)
        if self._attendance is not None:
            self._attendance.learn(job, outcome, searched=known is None)
        return outcome

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
    :param asker: asks the operator; nobody can be asked by default.
    :param runs: remembers what was done, if it is remembered; ``network`` is where.
    """

    def __init__(
        self,
        session: Session,
        console: Console,
        who: Mapping[str, Any],
        *,
        as_json: bool,
        verbose: bool,
        asker: Asker | None = None,
        runs: Runs | None = None,
        network: str = "",
    ) -> None:
        self.runs = runs
        self.network = network
        self.session = session
        self.asker: Asker = asker if asker is not None else Nobody()
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
        return checked_job(action, data, {**self._who, **other})

    async def ask(
        self, action: str, data: Mapping[str, Any] | None = None, **other: Any
    ) -> Outcome:
        """Do the job of an action; see :meth:`job`."""
        return await self.session.ask(self.job(action, data, **other))

    def tell(self, outcome: Outcome) -> None:
        """Say on standard error who failed, who is missing, and why nothing came of it.

        For verbs that show the answers in a way of their own; JSON has it all anyway.
        """
        from backplane.cli.commands import complain
        from backplane.cli.render import failures

        if self.console.form == "json":
            return
        for line in failures(outcome):
            self.console.note(line)
        complain(outcome, self.console)

    async def roll_out(
        self,
        action: str,
        data: Mapping[str, Any] | None = None,
        *,
        verb: str,
        show: bool = True,
        **who: Any,
    ) -> Outcome:
        """Carry out an action that changes something, and show what became of it.

        It goes out as the flags of :func:`backplane.cli.arguments.rollout_options` say; the
        operator is asked where it reaches far.

        :param verb: what the operator calls it.
        :param show: whether JSON and lists are written, too.
        :param who: in place of flags; see :meth:`job`.
        :returns: what became of it; its ``exit_code`` is the command's.
        """
        from backplane.cli.commands import perform

        return await perform(self, self.job(action, data, verb=verb, **who), show=show)


@attrs.frozen(kw_only=True)
class Asked:
    """What the flags of a verb say.

    :ivar who: what :func:`backplane.client.jobs.make_job` takes.
    """

    settings: setup.Settings
    who: Mapping[str, Any]
    as_json: bool
    verbose: bool

    def command(self, session: Session, console: Console, asker: Asker) -> Command:
        """Return the verb with its connection."""
        return Command(
            session,
            console,
            self.who,
            as_json=self.as_json,
            verbose=self.verbose,
            asker=asker,
            runs=remembered(console),
            network=network_of(self.settings.brokers),
        )


def remembered(console: Console) -> Runs:
    """Return the user's runs, which warn on the console."""

    def warn(text: str) -> None:
        console.note(f"backplane: warning: {safe(text)}")

    return Runs(state_folder(os.environ, home_folder()), warn)


def prepare(console: Console, given: Mapping[str, Any]) -> Asked:
    """Read the configuration and whom the flags mean; say what the operator should know.

    :param given: what :func:`backplane.cli.arguments.target_options`, ``rollout_options`` and
        ``service`` give.
    :raises Fault: for what cannot be.
    """
    who = dict(given)
    config, insecure, debug = who.pop("config"), who.pop("insecure"), who.pop("debug")
    console.form = chosen(who.pop("output"), who.pop("as_json"))
    console.only = who.pop("only")
    if console.only is not None and console.form in ("text", "json"):
        raise click.UsageError("--only is for -o table, jsonl and names")
    as_json, verbose = console.form == "json", who.pop("verbose")
    who["rollout"] = rollout_of(who)
    settings = setup.load(config, insecure, os.environ)
    for warning in settings.config.warnings:
        console.note(f"backplane: warning: {safe(warning)}")
    if not settings.config.color:
        console.without_colour()
    who["nodes"] = setup.read_nodes(who["nodes"], who["service"])
    who["discovery_timeout"] = who["discovery_timeout"] or settings.config.discovery_timeout
    no_roster = who.pop("no_roster")
    checked_job("ping", None, who)
    if not no_roster:
        settings = setup.attend(settings, who["service"], who["target"], console)
    if settings.attendance is not None:
        who["roster"], who["faded"] = settings.attendance.expected, settings.attendance.faded
    if insecure:
        console.note("backplane: warning: insecure: nothing is signed, nobody is verified")
    if debug:
        setup.log_to_stderr()
    return Asked(settings=settings, who=who, as_json=as_json, verbose=verbose)


def checked_job(action: str, data: Mapping[str, Any] | None, who: Mapping[str, Any]) -> Job:
    """Return a job.

    :raises Fault: when it cannot be.
    """
    try:
        return make_job(action=action, data=data, **who)
    except ValueError as error:
        raise Fault(str(error), ExitCode.USAGE) from None


def operate(
    console: Console, given: Mapping[str, Any], work: Callable[[Command], Awaitable[ExitCode]]
) -> int:
    """Do a verb: read the configuration, connect, and let ``work`` do the rest.

    :param given: as for :func:`prepare`.
    :returns: the exit code.
    :raises Fault: for what keeps it from being done.
    """
    asked = prepare(console, given)

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        return connected(asked, reactor, console, work)

    return int(run(begin))


def connected(
    asked: Asked,
    reactor: Any,
    console: Console,
    work: Callable[[Command], Awaitable[ExitCode]],
) -> tuple[Deferred[ExitCode], Callable[[], None]]:
    """Connect and work; return what fires at the end, and what interrupts."""
    client, operator = setup.connect(asked.settings, reactor, time.time)
    session = Session(client, operator, asked.who["timeout"])
    if asked.settings.attendance is not None:
        session.attend(asked.settings.attendance)

    async def all_of_it() -> ExitCode:
        try:
            await session.connect()
            asker = Terminal(console, reactor.callFromThread)
            return await work(asked.command(session, console, asker))
        finally:
            await client.stopService()

    return Deferred.fromCoroutine(all_of_it()), session.interrupt
