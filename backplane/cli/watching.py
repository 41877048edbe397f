"""``status --watch``: look again and again, and say what happens in between.

Change events and lifecycle events of the services are shown as they come; they are not signed,
so they make us look, and what we see is asked of the services themselves. A broker that goes
away is waited for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from backplane.choria.changed import change_subject, decode_change
from backplane.cli.console import Console, safe
from backplane.cli.faults import Fault
from backplane.cli.session import Asked, Command, Session, connected
from backplane.cli.status import Look, page
from backplane.cli.telling import until
from backplane.client import fleet
from backplane.client.accounting import ExitCode, Outcome, Stop
from backplane.client.fleet import Row
from backplane.errors import DecodeError
from backplane.nats.client import Message

__all__ = ["Watch", "differences", "watched"]

RETRY: Final = 1.0
"""Seconds until a broker that is away is tried again."""

HASTE: Final = 0.5
"""Seconds between two looks at least, however much happens."""

EVENTS: Final = 20
"""The last things that happened, which stay on the terminal."""

MAX_EVENT: Final = 64 * 1024
LIFECYCLE: Final = "choria.lifecycle.event.>"

_RUNNING: Final = ("shutdown", "startup")


class Watch:
    """What is shown while it goes on.

    :ivar code: exit code of the last look.
    """

    def __init__(self, console: Console, look: Look, service: str) -> None:
        self.code = ExitCode.OK
        self._console = console
        self._look = look
        self._service = service
        self._rows: dict[str, Row] | None = None
        self._lines: list[str] = []
        self._poked: Deferred[None] | None = None
        self._outcome: Outcome | None = None

    def looked(self, outcome: Outcome) -> None:
        """Show what was seen."""
        rows = fleet.rows(outcome)
        self._outcome = outcome
        self.code = fleet.exit_code(outcome, rows)
        known = self._rows
        self._rows = {row.identity: row for row in rows}
        if self._console.live:
            self._redraw(rows)
        elif known is None:
            for line, colour in page(self._look, self._service, rows):
                self._console.print(line, colour)
        else:
            for line in differences(known, self._rows):
                self.said(line)

    def said(self, text: str) -> None:
        """Show what has happened."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        if not self._console.live:
            self._console.print(line)
            return
        self._lines = [*self._lines, line][-EVENTS:]
        if self._rows is not None:
            self._redraw(list(self._rows.values()))

    def poke(self) -> None:
        """Look soon."""
        waiting, self._poked = self._poked, None
        if waiting is not None:
            waiting.callback(None)

    async def rest(self, clock: Any, seconds: float, least: float = HASTE) -> None:
        """Wait, until something happens at most."""
        await _pause(clock, min(seconds, least))
        waiting = self._poked = Deferred()
        timer = clock.callLater(max(0.0, seconds - least), self.poke)
        await waiting
        if timer.active():
            timer.cancel()

    def changed(self, message: Message) -> None:
        """Hear of a change."""
        try:
            event = decode_change(message.payload)
        except DecodeError:
            return
        if event.service != self._service:
            return
        ends = f" {until(event.until, time.time())}" if event.until is not None else ""
        why = f" ({safe(event.why, 100)})" if event.why else ""
        self.said(
            f"{safe(event.identity)}  {safe(event.what)}: {safe(event.outcome)}, "
            f"by {safe(event.who)}{ends}{why}"
        )
        self.poke()

    def lived(self, message: Message) -> None:
        """Hear of a start or an end; whose it is shows when we look."""
        kind = message.subject.split(".")[3:4]
        if not kind or kind[0] not in _RUNNING or len(message.payload) > MAX_EVENT:
            return
        try:
            identity = json.loads(message.payload)["data"]["identity"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return
        if self._rows is not None and identity in self._rows:
            self.said(f"{safe(identity)}  {'ends' if kind[0] == 'shutdown' else 'has started'}")
        self.poke()

    def _redraw(self, rows: Sequence[Row]) -> None:
        console = self._console
        console.print("\x1b[H\x1b[2J" + time.strftime("%H:%M:%S"))
        for line, colour in page(self._look, self._service, rows):
            console.print(line, colour)
        for line in self._lines:
            console.print(line)


def differences(before: dict[str, Row], now: dict[str, Row]) -> list[str]:
    """Return what is different between two looks, in words."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if new is None:
            found.append(f"{safe(name)}  is not there any more")
        elif old is None:
            found.append(f"{safe(name)}  is new: {new.condition}")
        else:
            for what in ("condition", "version", "level"):
                was, value = getattr(old, what), getattr(new, what)
                if was != value and was and value:
                    label = "" if what == "condition" else f"{what} "
                    found.append(f"{safe(name)}  {label}{safe(was)} → {safe(value)}")
    return found


def watched(
    asked: Asked, reactor: Any, console: Console, look: Look, interval: float
) -> tuple[Deferred[ExitCode], Callable[[], None]]:
    """Watch until it is interrupted, or the time is over; see :func:`.session.connected`."""
    watch = Watch(console, look, str(asked.who["service"]))
    limit = asked.who["timeout"]
    end = None if limit is None else reactor.seconds() + limit
    interrupts: list[Callable[[], None]] = []
    over: list[bool] = []

    def left() -> float | None:
        return None if end is None else end - reactor.seconds()

    def ended() -> bool:
        rest = left()
        return bool(over) or (rest is not None and rest <= 0)

    async def work(command: Command) -> ExitCode:
        session: Session = command.session
        client = session.operator.client
        for subject, heard in (
            (change_subject(command.service), watch.changed),
            (LIFECYCLE, watch.lived),
        ):
            client.subscribe(subject, heard, on_error=lambda error: None)
        while not ended():
            outcome = await session.ask(command.job("info", change=False, timeout=None))
            if outcome.stop is Stop.INTERRUPTED or over:
                break
            if outcome.stop is not None:
                return outcome.exit_code
            watch.looked(outcome)
            rest = left()
            await watch.rest(reactor, interval if rest is None else max(0.0, min(interval, rest)))
        return watch.code

    async def all_of_it() -> ExitCode:
        first = True
        while not ended():
            done, interrupt = connected(asked, reactor, console, work)
            interrupts[:] = [interrupt]
            try:
                await done
            except Fault as fault:
                if over:
                    break
                if first or fault.code is not ExitCode.UNREACHABLE:
                    raise
            if ended():
                break
            if not first or watch.code is not None:
                watch.said("the broker is away; trying again")
            first = False
            await watch.rest(reactor, RETRY, RETRY)
        return ExitCode.INTERRUPTED if over else watch.code

    def stop() -> None:
        over.append(True)
        for interrupt in interrupts:
            interrupt()
        watch.poke()

    return Deferred.fromCoroutine(all_of_it()), stop


async def _pause(clock: Any, seconds: float) -> None:
    waited: Deferred[None] = Deferred()
    clock.callLater(seconds, waited.callback, None)
    await waited
