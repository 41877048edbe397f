"""``status --watch``: what is shown while a fleet is looked at again and again.

On a terminal the whole is drawn anew; elsewhere there is a line for each thing that happens.
Change events and lifecycle events are shown as they come. They are not signed, so they make us
look; what a look shows is asked of the services themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria.changed import ChangeEvent, decode_change
from backplane.cli.console import Console, safe
from backplane.cli.fitting import cut
from backplane.cli.status import Look, doubt, flat, page
from backplane.cli.telling import altered, moment, named, until
from backplane.client import fleet
from backplane.client.accounting import ExitCode, Outcome
from backplane.client.fleet import Row
from backplane.client.lifecycle import read_lifecycle
from backplane.client.roster import Roster
from backplane.errors import DecodeError
from backplane.nats.backoff import LAST_DELAY
from backplane.nats.client import Message

__all__ = ["Watch", "differences"]

EVENTS: Final = 10
"""The last things that happened, which stay on the terminal."""

MAX_KNOWN: Final = 10_000
"""Changes that are remembered to have been told."""

RETURN: Final = 1.5 * LAST_DELAY + 5.0
"""Seconds after a broker has come back until who is silent is called so: services, too, must find
it again, and wait so long at most between two tries."""

_CALM: Final = frozenset(
    {"stopping", "draining", "paused", "breaker open", "changed", "ok"},
)
"""Conditions that one change leads to from another."""

_LIVES: Final[Mapping[str, str]] = {"startup": "has started", "shutdown": "ends"}
_OWNERS: Final[Mapping[str, str]] = {"expired": "of"}


class Watch:
    """What is shown while it goes on.

    :param everybody: whether all instances are meant, those to come as well.
    :param poke: called when it is worth to look.
    :param expected: identities that are expected as they were seen before it began.
    :ivar code: exit code of the last look; ``None`` before the first.
    """

    def __init__(
        self,
        console: Console,
        look: Look,
        service: str,
        *,
        everybody: bool,
        poke: Callable[[], None],
        expected: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.code: ExitCode | None = None
        self._console = console
        self._look = look
        self._service = service
        self._everybody = everybody
        self._poke = poke
        self._now = now
        self._rows: list[Row] = []
        self._names: dict[str, Row] = {}
        self._lines: list[str] = []
        self._told: dict[str, str] = {}  # changes that events told of, and whose they are
        self._seen: list[str] = []
        self._roster = Roster()
        self._roster.see(expected, now())
        self._away = False
        self._back = float("-inf")  # when the broker came back
        self._drawn: tuple[int, int] | None = None

    # What is seen.

    def looking(self) -> frozenset[str]:
        """Begin a look; return who is expected: who was seen, and has not said goodbye."""
        self._seen = list(self._told)  # what was told of until now, it shows
        return self._roster.expected(self._now())

    def looked(self, outcome: Outcome) -> None:
        """Show what a look has shown."""
        first, before = self.code is None, self._names
        # With a filter a run cannot know who is missing; here it was seen that they match.
        lost = [name for name in outcome.perhaps if name in before]
        if self._away:
            self._back = self._now()
        self._rows = self._returning(fleet.rows(outcome, lost), before)
        self._names = {row.identity: row for row in self._rows}
        self.code = fleet.exit_code(outcome, self._rows)
        there = {*outcome.discovered, *outcome.late, *(each.sender for each in outcome.answers)}
        self._roster.see(there, self._now())
        if self._away:
            self._away = False
            self._say("broker", "", "the broker is back")
        if first:
            self._begin(outcome)
        else:
            for identity, text in differences(before, self._names, self._told, self._now()):
                self._say("seen", identity, text)
        for change in self._seen:
            self._told.pop(change, None)
        self._draw()

    def _returning(self, rows: Sequence[Row], before: Mapping[str, Row]) -> list[Row]:
        """Leave those as they were who may not have found the broker again."""
        if self._now() - self._back >= RETURN:
            return list(rows)
        return [
            attrs.evolve(before[row.identity], text="not heard since the broker is back")
            if row.condition == "silent" and row.identity in before
            else row
            for row in rows
        ]

    def away(self) -> None:
        """Show that there is no broker."""
        if not self._away:
            self._away = True
            self._say("broker", "", "the broker is away; it is tried again")
            self._draw()

    # What is heard.

    def changed(self, message: Message) -> None:
        """Hear of a change."""
        try:
            event = decode_change(message.payload)
        except DecodeError:
            return
        if event.service != self._service or not self._meant(event.identity):
            return
        if event.change and len(self._told) < MAX_KNOWN:
            self._told[event.change] = event.identity
        self._say("change", event.identity, _words(event, self._now()), attrs.asdict(event))
        self._draw()
        self._poke()

    def lived(self, message: Message) -> None:
        """Hear of a start or an end. Whether a stranger is one of ours shows when we look."""
        event = read_lifecycle(message.payload)
        if event is None or event.kind not in _LIVES:
            return
        if event.kind == "shutdown":
            self._roster.leave([event.identity], self._now())
        else:
            self._roster.stay([event.identity], self._now())
        if event.identity in self._names:
            self._say("lifecycle", event.identity, _LIVES[event.kind], {"event": event.kind})
            self._draw()
        elif not self._everybody or event.kind != "startup":
            return
        self._poke()

    def _meant(self, identity: str) -> bool:
        return self._everybody or identity in self._names

    # What is shown.

    def _begin(self, outcome: Outcome) -> None:
        console, service = self._console, self._service
        if console.form == "jsonl":
            for row in self._rows:
                self._write({"kind": "instance", **flat(row, service, self._now())})
        elif not console.screen:
            for line, colour in page(self._look, service, self._rows):
                console.print(line, colour)
            doubt(outcome, console)

    def _say(
        self, kind: str, identity: str, text: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Show what has happened; a remote part of the text is escaped already.

        :param more: for programs.
        """
        now = self._now()
        if self._console.form == "jsonl":
            about = {"service": self._service, "identity": identity, "text": text}
            self._write({"kind": kind, "at": now, **(more or {}), **about})
            return
        who = f"{safe(identity)}  " if identity else ""
        line = f"{time.strftime('%H:%M:%S', time.localtime(now))} {who}{text}"
        if self._console.screen:
            self._lines = [*self._lines, line][-EVENTS:]
        else:
            self._console.print(line)

    def _write(self, event: Mapping[str, Any]) -> None:
        self._console.print(json.dumps(event, separators=(",", ":")))

    def _draw(self) -> None:
        size = self._console.size
        if size is None or self._console.form != "text" or self.code is None:
            return
        anew, self._drawn = self._drawn != size, size
        self._console.draw(list(self._screen(*size)), anew=anew)

    def _screen(self, width: int, height: int) -> Iterator[tuple[str, str | None]]:
        """Make what fits on the terminal: the worst instances, the summary, the last events."""
        away = "; the broker is away" if self._away else ""
        when = time.strftime("%H:%M:%S", time.localtime(self._now()))
        yield cut(f"{safe(self._service)}  {when}{away}; Ctrl-C ends this", width), None
        *lines, summary = page(self._look, self._service, self._rows, width)
        events = self._lines[-max(1, height // 3) :]
        room = max(1, height - 4 - len(events))
        if len(lines) > room:
            left = len(lines) - room + 1
            lines = [*lines[: room - 1], (f"… {left} lines more", None)]
        yield from lines
        yield summary
        yield "", None
        for line in events:
            yield cut(line, width), None


def _words(event: ChangeEvent, now: float) -> str:
    ends = f" {until(event.until, now)}" if event.until is not None else ""
    why = f" ({safe(event.why, 100)})" if event.why else ""
    whose = _OWNERS.get(event.outcome, "by")
    what = _what(event, now)
    return f"{what}: {safe(event.outcome)}, {whose} {safe(event.who)}{ends}{why}"


def _what(event: ChangeEvent, now: float) -> str:
    """Return what was changed, as people call it."""
    start = f"{event.target}: "
    before, arrow, to = event.what.removeprefix(start).partition(" → ")
    if not event.target or not event.what.startswith(start) or not arrow:
        return safe(event.what)
    if event.target == "shutdown":
        before, to = moment(before, now), moment(to, now)
    return f"{named(event.target)}: {safe(before)} → {safe(to)}"


def differences(
    before: Mapping[str, Row],
    now: Mapping[str, Row],
    told: Mapping[str, str] | None = None,
    at: float = 0.0,
) -> list[tuple[str, str]]:
    """Return what is different between two looks: identities, and what in words.

    :param told: ids of changes that were told of meanwhile, and in which instance they were:
        what they have led to is not told again.
    :param at: Unix time of the later look.
    """
    told = told or {}
    quiet = frozenset(told.values())
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if new is None:
            found.append((name, "is not there any more"))
        elif old is None:
            found.append((name, f"is new: {new.condition}"))
        else:
            found += [(name, text) for text in _different(old, new, told, name in quiet, at)]
    return found


def _different(old: Row, new: Row, told: Collection[str], quiet: bool, at: float) -> Iterator[str]:
    calm = quiet and {old.condition, new.condition} <= _CALM
    if old.condition != new.condition and not calm:
        yield f"{old.condition} → {new.condition}"
    if old.version and new.version and old.version != new.version:
        yield f"version {safe(old.version)} → {safe(new.version)}"
    if old.level and new.level and old.level != new.level and not quiet:
        yield f"level {safe(old.level)} → {safe(new.level)}"
    # A broker may not let services tell of changes: a look shows them all the same.
    known = {change.id for change in old.changes or ()}
    for change in new.changes or () if old.changes is not None else ():
        if change.id not in known and change.id not in told:
            yield altered(change, at)


def everybody(who: Mapping[str, Any]) -> bool:
    """Say whether flags mean all instances of a service."""
    filters: Sequence[str] = ("facts", "identities", "withs", "classes", "select", "nodes")
    return not any(who.get(name) for name in filters)
