"""The actions of the ``backplane`` agent that change by the ledger, and show it.

They are ours alone: the old actions take no inputs, and what does not know these answers
that it does not, and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from backplane.change import Change
from backplane.choria.ddl import Input
from backplane.choria.rpc import ActionError, StatusCode
from backplane.ledger import SHUTDOWN
from backplane.node.agent import ActionRequest, action
from backplane.node.changes import PATIENCE, Asked, Changes
from backplane.node.ending import Ending
from backplane.node.outputs import AMEND, CHANGE, CHANGES, END, LOGGERS
from backplane.node.stopping import Stopping
from backplane.node.targets import APP, BREAKER, LOG

__all__ = ["ChangeActions", "asked"]

MAX_LEASE: Final = 90 * 24 * 3600
"""Seconds of the longest lease, and of the longest delay of a shutdown."""

MAX_LOGGERS: Final = 1000
MAX_LIVE: Final = 500

COUNTING: Final = 0.2
"""Seconds that the answer to a change waits for the count of what is in flight."""

NOW: Final = "now"
"""A shutdown ``now``: after a delay that is given, or drawn at random."""


def _text(name: str, prompt: str, description: str, length: int, optional: bool = True) -> Input:
    return Input(
        name=name,
        prompt=prompt,
        description=description,
        type="string",
        optional=optional,
        maxlength=length,
        validation="^.*$",
    )


_TARGET: Final = "app, breaker:NAME, log:, log:LOGGER or shutdown"
_WHY: Final = _text("why", "Why", "The reason, for others to read", 200)
_ID: Final = _text("change", "Change", "Id of the change", 64)


def _seconds(optional: bool) -> Input:
    return Input(
        name="for",
        prompt="For",
        description="Seconds after which the service takes it back by itself",
        type="integer",
        optional=optional,
    )


def asked(request: ActionRequest) -> Asked:
    """Return who asks, in the ledger's words."""
    return Asked(
        who=request.caller_id, run=request.request_id, why=str(request.data.get("why") or "")
    )


class ChangeActions:
    """Part of :class:`~backplane.node.backplane.BackplaneAgent`.

    :ivar book: what is changed.
    :ivar may: returns the actions that a caller may call.
    :ivar lease: seconds after which a log level ``debug`` is taken back when nobody says
        when; ``None`` for never.
    """

    book: Changes
    may: Callable[[str], list[str]]
    lease: float | None
    _stopping: Stopping
    _provided: Any

    def stop_delay(self) -> float:
        """Return the seconds until a shutdown for which nobody gives a delay."""
        raise NotImplementedError

    @action(
        "Changes a part of the service, for a time or for good",
        display="always",
        inputs=[
            _text("target", "Target", _TARGET, 264, optional=False),
            _text("to", "To", "What it is to be", 64, optional=False),
            _seconds(True),
            _WHY,
            _text("expect", "Expect", "Value, or id of the change, that it must have", 64),
        ],
        outputs=CHANGE,
    )
    def change(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """Change one target, see :mod:`backplane.node.targets`."""
        return Deferred.fromCoroutine(self._change(request))

    @action(
        "Takes changes back, before their time if they have one",
        display="always",
        inputs=[
            _ID,
            _text("run", "Run", "Id of the run whose changes are taken back", 64),
            _text("target", "Target", _TARGET, 264),
            Input(
                name="all",
                prompt="All",
                description="All changes of the target, not only the newest",
                type="boolean",
                optional=True,
            ),
            _WHY,
        ],
        outputs=END,
    )
    def end(self, request: ActionRequest) -> Deferred[dict[str, Any]]:
        """End a change, those of a run, or the newest one of a target."""
        return Deferred.fromCoroutine(self._end(request))

    @action(
        "Gives a change that ends by itself another end",
        display="always",
        inputs=[_ID, _text("target", "Target", _TARGET, 264), _seconds(False), _WHY],
        outputs=AMEND,
    )
    def amend(self, request: ActionRequest) -> dict[str, Any]:
        """Extend or shorten a lease."""
        data = request.data
        seconds = _lease(data)
        assert seconds is not None
        _one_of(data, "change", "target")
        change_id = data.get("change")
        if not change_id:
            self.book.targets.check(data["target"])
            change_id = self._lease_of(data["target"]).id
        amended = self.book.amend(asked(request), change_id, seconds)
        return {"target": amended.target, "change": amended.id, "until": amended.until}

    @action(
        "Shows what is changed, by whom, and what was done",
        role="read_only",
        display="always",
        inputs=[
            Input(
                name="last",
                prompt="Last",
                description="Entries of the history",
                type="integer",
                optional=True,
                default=50,
            )
        ],
        outputs=CHANGES,
    )
    async def changes(self, request: ActionRequest) -> dict[str, Any]:
        """State, targets, live changes, history, and what the caller may do."""
        last = request.data["last"]
        found = await self.overview()
        return {
            **found,
            "live": self.live(),
            "history": [attrs.asdict(entry) for entry in self.book.ledger.history(last)],
            "may": self.may(request.caller_id),
            "loggers": self._provided.loggers is not None,
        }

    @action(
        "Shows the levels of the loggers",
        changes=False,
        display="always",
        inputs=[_text("match", "Match", "How their names begin", 200)],
        outputs=LOGGERS,
    )
    async def loggers(self, request: ActionRequest) -> dict[str, Any]:
        """Loggers by name, each with its own level and the one in force."""
        begin = request.data.get("match") or ""
        found = await self.book.targets.loggers()
        names = sorted(name for name in found if name.startswith(begin))
        return {
            "loggers": {name: found[name] for name in names[:MAX_LOGGERS]},
            "truncated": len(names) > MAX_LOGGERS,
        }

    # What others of this agent use.

    async def overview(self) -> dict[str, Any]:
        """Return ``state``, ``in_flight``, ``targets`` and ``breakers``; waits little."""
        targets = self.book.targets
        waiting: dict[str, Deferred[str]] = {}

        def look(name: str) -> None:
            waiting[name] = Deferred.fromCoroutine(self.book.look(name))

        counted = Deferred.fromCoroutine(targets.counted(PATIENCE))
        named = Deferred.fromCoroutine(targets.names(PATIENCE))
        for name, there in (
            (APP, self._provided.pausable),
            (LOG, self._provided.log_level),
            (SHUTDOWN, self._provided.stopable),
        ):
            if there is not None:
                look(name)
        for change in self.book.ledger.live():
            if change.target.startswith(LOG) and change.target not in waiting:
                look(change.target)
        for name in await named:
            look(BREAKER + name)
        values = {name: await value for name, value in waiting.items()}
        state = values.get(APP, "running")
        if values.get(SHUTDOWN, "none") != "none":
            state = "stopping"
        return {
            "state": state,
            "in_flight": await counted,
            "targets": dict(sorted(values.items())),
            "breakers": {
                name[len(BREAKER) :]: value
                for name, value in sorted(values.items())
                if name.startswith(BREAKER)
            },
        }

    def live(self) -> list[dict[str, Any]]:
        """Return what is changed from normal now."""
        return [attrs.asdict(change) for change in self.book.ledger.live()[-MAX_LIVE:]]

    # Within.

    async def _change(self, request: ActionRequest) -> dict[str, Any]:
        data = request.data
        target, to = data["target"], data["to"]
        seconds = _lease(data)
        targets = self.book.targets
        if target == SHUTDOWN:
            change = await self._change_shutdown(request, to, seconds)
        else:
            targets.check(target, to)
            if seconds is None and to == "debug":
                seconds = self.lease
            made = await self.book.make(
                asked(request), target, to, seconds=seconds, expect=data.get("expect") or None
            )
            change = made.change
        return {
            "target": target,
            "value": self.book.ledger.value(target),
            "before": change.before,
            "change": change.id,
            "until": change.until,
            "in_flight": await targets.counted(COUNTING) if target == APP else None,
        }

    async def _change_shutdown(
        self, request: ActionRequest, to: str, seconds: float | None
    ) -> Change:
        self.book.targets.check(SHUTDOWN)
        if to != NOW:
            if seconds is not None:
                raise _invalid("a shutdown at a time has no `for`; it is now, after `for` seconds")
            seconds = self.book.seconds_until(to)
            if not 0 < seconds <= MAX_LEASE:
                raise _invalid(
                    "a shutdown is `now`, after `for` seconds if that is given, or at a Unix "
                    f"time ahead, at most {MAX_LEASE} seconds"
                )
        if self._stopping.scheduled:
            raise self.scheduled_already()
        delay = self.stop_delay() if seconds is None else seconds
        return await self.shut_down_in(asked(request), delay, request.data.get("expect") or None)

    def scheduled_already(self) -> ActionError:
        """Return the refusal of a shutdown where one is scheduled."""
        top = self.book.ledger.top(SHUTDOWN)
        who = "somebody" if top is None else top.who
        text = f"a shutdown is scheduled already, by {who}; call it off first"
        return ActionError(text, data={"reason": "unexpected"})

    async def shut_down_in(self, who: Asked, delay: float, expect: str | None = None) -> Change:
        """Schedule a shutdown.

        :raises ActionError: when it is refused.
        :raises BaseException: what is in the way, as the application says it.
        """
        await self.book.targets.check_shutdown()
        to = self.book.time_in(delay)
        self.book.targets.delays = {to: delay}
        return (await self.book.make(who, SHUTDOWN, to, expect=expect)).change

    async def _end(self, request: ActionRequest) -> dict[str, Any]:
        data = request.data
        _one_of(data, "change", "run", "target")
        await self.book.leases.restored()
        ending, target = Ending(self.book, asked(request)), data.get("target") or ""
        if target:
            self.book.targets.check(target)
            await self.book.look(target)
        if data.get("run"):
            await ending.run(data["run"])
        elif data.get("change"):
            await ending.change(data["change"])
        elif data.get("all"):  # none is as good as all
            await ending.all(target)
        else:
            await ending.change(self._newest_of(target).id)
        found = ending.found
        if found["refused"] and not found["ended"]:
            text = "; ".join(each["text"] for each in found["refused"][:10])
            raise ActionError(text, data={"reason": found["refused"][0]["reason"], **found})
        return found

    def _newest_of(self, target: str) -> Change:
        ledger = self.book.ledger
        newest = ledger.newest(target)
        live = any(change.target == target for change in ledger.live())
        seen = newest is not ledger.top(target) and target != SHUTDOWN  # something lies over it
        if newest is None or not (live or seen):
            text = "no shutdown is scheduled" if target == SHUTDOWN else f"{target} is not changed"
            raise ActionError(text, data={"reason": "unknown"})
        return newest  # under a change of the application's own it is refused

    def _lease_of(self, target: str) -> Change:
        leases = [
            change
            for change in self.book.ledger.live()
            if change.target == target and change.until is not None
        ]
        if not leases:
            raise ActionError(
                f"{target} has no change that ends by itself", data={"reason": "unknown"}
            )
        return leases[-1]


def _lease(data: Mapping[str, Any]) -> float | None:
    seconds = data.get("for")
    if seconds is not None and not 0 < seconds <= MAX_LEASE:
        raise _invalid(f"`for` is {seconds} seconds; it is 1 to {MAX_LEASE}")
    return seconds


def _one_of(data: Mapping[str, Any], *names: str) -> None:
    if sum(1 for name in names if data.get(name)) != 1:
        raise _invalid(f"exactly one of {', '.join(names)} is to be given")


def _invalid(text: str) -> ActionError:
    return ActionError(text, StatusCode.INVALID_DATA)
