"""The loop of ``status --watch``: connect, look, rest, look again, until it is to end.

A broker that goes away is waited for. What happens makes it look sooner. It ends when nobody
reads any more what it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from backplane.choria.changed import change_subject
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.cli.session import Asked, Command, connected
from backplane.cli.status import Look
from backplane.cli.watching import Watch, everybody
from backplane.client.accounting import ExitCode, Stop
from backplane.client.lifecycle import EVENTS
from backplane.nats.client import Disconnected

__all__ = ["watched"]

RETRY: Final = 1.0
"""Seconds until a broker that is away is tried again."""

HASTE: Final = 1.0
"""Seconds between two looks at least, however much happens."""

SHARE: Final = 2.0
"""The same, as a multiple of what the last look has taken: large fleets are looked at less."""


LOOK: Final = 30.0
"""Seconds that one look may take, where ``--timeout`` is for all of them."""


class _Rest:
    """Waits, until something happens."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._woken: Deferred[None] | None = None
        self._due = self._over = False

    def poke(self) -> None:
        """Something has happened."""
        self._due = True
        self._wake()

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._over = True
        self._wake()

    async def wait(self, least: float, most: float) -> None:
        """Wait so long at least, and when nothing happens, longer."""
        began = self._clock.seconds()
        await self._wait(began + min(least, most), lambda: False)
        await self._wait(began + most, lambda: self._due)
        self._due = False

    async def _wait(self, until: float, enough: Callable[[], bool]) -> None:
        while not self._over and not enough() and (left := until - self._clock.seconds()) > 0:
            woken = self._woken = Deferred()
            timer = self._clock.callLater(left, self._wake)
            try:
                await woken
            finally:
                if timer.active():
                    timer.cancel()

    def _wake(self) -> None:
        waiting, self._woken = self._woken, None
        if waiting is not None:
            waiting.callback(None)


class _Watching:
    """One ``status --watch``, over as many connections as it takes."""

    def __init__(
        self, asked: Asked, reactor: Any, console: Console, look: Look, interval: float
    ) -> None:
        self._asked = asked
        self._reactor = reactor
        self._console = console
        self._interval = interval
        self._rest = _Rest(reactor)
        self._watch = Watch(
            console,
            look,
            str(asked.who["service"]),
            everybody=everybody(asked.who),
            poke=self._rest.poke,
            expected=asked.who.get("roster", ()),
        )
        limit = asked.who["timeout"]
        self._end: float | None = None if limit is None else reactor.seconds() + limit
        self._born: float = reactor.seconds()
        self._stopped = False
        self._interrupt: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """End it."""
        self._stopped = True
        self._interrupt()
        self._rest.end()

    async def run(self) -> ExitCode:
        """Watch; return the exit code.

        :raises Fault: when there is no connection at first, or the credentials are refused.
        """
        while True:
            # Each connection has the time that is left.
            who = {**self._asked.who, "timeout": self._left()}
            asked = attrs.evolve(self._asked, who=who)
            self._born = self._reactor.seconds()
            done, self._interrupt = connected(asked, self._reactor, self._console, self._work)
            try:
                code = await done
            except Fault as fault:
                known = self._watch.code is not None
                if self._stopped or not known or not (self._late() or _lost(fault.code)):
                    raise
                code = fault.code
            if self._stopped:
                return ExitCode.INTERRUPTED
            if self._over() or not _lost(code):
                return code if self._watch.code is None else self._watch.code
            self._watch.away()
            if not self._console.gone:
                await self._pause(RETRY, RETRY)
            if self._stopped or self._over():
                return ExitCode.INTERRUPTED if self._stopped else self._code()

    def _code(self) -> ExitCode:
        return ExitCode.UNREACHABLE if self._watch.code is None else self._watch.code

    async def _work(self, command: Command) -> ExitCode:
        session, watch = command.session, self._watch
        client = session.operator.client
        client.add_listener(self._heard)
        for subject, heard in (
            (change_subject(command.service), watch.changed),
            (EVENTS, watch.lived),
        ):
            # Where the broker does not allow it, looking is all that there is.
            client.subscribe(subject, heard, on_error=lambda error: None)
        while True:
            began = self._reactor.seconds()
            expected = watch.looking()
            outcome = await command.ask(
                "info", change=False, timeout=self._bound(), roster=expected
            )
            if outcome.stop is Stop.LOST and not self._stopped:
                return ExitCode.UNREACHABLE
            # One that was cut off says less than the one before.
            if self._stopped or (self._late() and watch.code is not None):
                return ExitCode.OK
            if outcome.stop is not None:
                raise Fault(str(outcome.error), outcome.exit_code)
            watch.looked(outcome)
            taken = self._reactor.seconds() - began
            if not self._console.gone:
                await self._pause(max(HASTE, taken * SHARE), self._interval)
            if self._stopped or self._over():
                return ExitCode.OK
            if not client.is_connected:
                return ExitCode.UNREACHABLE

    def _heard(self, event: object) -> None:
        if isinstance(event, Disconnected):
            self._rest.poke()

    def _bound(self) -> float | None:
        """Return in how many seconds after the connection a look must be over."""
        left = self._left()
        if left is None:
            return None  # who does not answer is waited for as long as he may take
        elapsed: float = self._reactor.seconds() - self._born
        return elapsed + min(left, LOOK)

    async def _pause(self, least: float, most: float) -> None:
        left = self._left()
        await self._rest.wait(least, most if left is None else min(most, left))

    def _left(self) -> float | None:
        return None if self._end is None else max(0.001, self._end - self._reactor.seconds())

    def _over(self) -> bool:
        """Say whether it ends by itself: the time is over, or nobody reads on."""
        return self._late() or self._console.gone

    def _late(self) -> bool:
        return self._end is not None and self._reactor.seconds() >= self._end


def _lost(code: ExitCode) -> bool:
    return code is ExitCode.UNREACHABLE


def watched(
    asked: Asked, reactor: Any, console: Console, look: Look, interval: float
) -> tuple[Deferred[ExitCode], Callable[[], None]]:
    """Watch until it is interrupted, or the time is over; see :func:`.session.connected`."""
    watching = _Watching(asked, reactor, console, look, interval)
    return Deferred.fromCoroutine(watching.run()), watching.stop
