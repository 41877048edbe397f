"""One ledger of what operators have changed: from what, to what, who, why, until when.

A *target* is a name with a value: ``app`` (``running``, ``draining``, ``paused``),
``breaker:payments`` (``closed``, ``open``), ``log:`` and ``log:sqlalchemy.engine``
(a level, or ``unset``), ``shutdown`` (``none``, or when). Its changes are a list, and the
newest that was neither taken back nor has run out decides; without one it is what it was
at first. A change with an end is a *lease*. One without an end lasts, and what lies under
it only shows again when it is taken back.

Nothing is carried out here. A proposal becomes a :class:`Step`, which the caller carries
out and settles or fails; there is one step at a time for a target. What the application
shows before a step is compared with what the ledger holds: where they differ the
application has changed it itself, and that is entered first. Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.change import APPLICATION, Change, Entry, Outcome, Refused, Step
from backplane.standing import MAX_HISTORY, Standing, Target

__all__ = ["APPLICATION", "SHUTDOWN", "Change", "Entry", "Ledger", "Refused", "Step"]

SHUTDOWN: Final = "shutdown"
"""The target that does not outlive its process."""

MAX_DEPTH: Final = 100
"""Changes of one target that are remembered; the oldest is forgotten first."""

MAX_TARGETS: Final = 1000
"""Targets that may differ from normal at once."""

MAX_REFUSED: Final = 100
"""Refused requests among the entries: who is refused must not wash out what was done."""


class Ledger(Standing):
    """The ledger of one service.

    :param new_id: makes the names of changes, which differ among themselves.
    :param wrote: told of each new line of the history.
    """

    def __init__(
        self, new_id: Callable[[], str], wrote: Callable[[Entry], None] = lambda entry: None
    ) -> None:
        super().__init__()
        self._new_id = new_id
        self._wrote = wrote

    # Changing.

    def note(self, entry: Entry) -> None:
        """Put what is no change of a target into the history."""
        if entry.outcome == "refused":
            noted = [each for each in self._history if each.outcome == "refused"]
            if len(noted) >= MAX_REFUSED:
                self._history.remove(noted[0])
        self._put(entry)

    def see(self, target: str, seen: str, now: float) -> None:
        """Take notice of what the application shows.

        Where that is not what the ledger holds, it is entered as a change by the application.
        """
        found = self._targets.get(target)
        if found is None:
            self._make_room()
            self._targets[target] = Target(seen)
        elif found.step is None and found.value != seen:
            change = Change(
                id=self._new_id(),
                target=target,
                before=found.value,
                to=seen,
                who=APPLICATION,
                why="",
                made=now,
            )
            self._enter(found, change, now)

    def propose(
        self,
        target: str,
        to: str,
        *,
        who: str,
        seen: str,
        now: float,
        why: str = "",
        until: float | None = None,
        run: str = "",
        expect: str | None = None,
    ) -> Step | Refused:
        """Propose a change.

        :param seen: what the application shows the target to be.
        :param until: when it is to be taken back, Unix time; ``None`` for a change that lasts.
        :param expect: what the caller takes it for: a value, or the id of the change that decides.
        """
        self.see(target, seen, now)
        found = self._targets[target]
        refused = self._busy(found)
        if refused is None and expect is not None:
            refused = self._unexpected(target, found, expect)
        if refused is None and until is not None and until <= now:
            refused = Refused("past", f"{target} cannot be changed until a time that is over")
        if refused is None and len(self._targets) > MAX_TARGETS and not found.changes:
            del self._targets[target]
            refused = Refused("full", f"{MAX_TARGETS} targets are known already")
        change = Change(
            id=self._new_id(),
            target=target,
            before=found.value,
            to=to,
            who=who,
            why=why,
            made=now,
            until=until,
            run=run,
        )
        if refused is not None:
            self._write(change, who, "refused", now, refused.text)
            return refused
        found.step = Step(
            target=target, before=seen, to=to, who=who, why=why, kind="make", makes=change
        )
        return found.step

    def end(
        self, change_id: str, *, who: str, seen: str, now: float, why: str = ""
    ) -> Step | Refused:
        """Propose to take a change back, before its end if it has one.

        :param seen: what the application shows the change's target to be.
        """
        name, change = self._find(change_id)
        if change is None:
            return self._gone(change_id)
        self.see(name, seen, now)
        found = self._targets[name]
        refused = self._busy(found)
        if refused is None and found.top is not change:
            refused = Refused("newer", f"{name} was changed since, {_by(found.top)}")
        if refused is not None:
            self._write(change, who, "refused", now, refused.text, why=why)
            return refused
        # What lies under it and has run out meanwhile does not show again.
        ends = (change, *(each for each in found.changes if each.over(now) and each is not change))
        return self._ends(name, found, ends, who, seen, why)

    def end_all(
        self, target: str, *, who: str, seen: str, now: float, why: str = ""
    ) -> Step | Refused | None:
        """Propose to take back all changes of a target: one step, to what it was at first.

        :returns: ``None`` where it has none.
        """
        self.see(target, seen, now)
        found = self._targets[target]
        if found.top is None:
            return None
        refused = self._busy(found)
        if refused is not None:
            self._write(found.top, who, "refused", now, refused.text, why=why)
            return refused
        return self._ends(target, found, found.changes[::-1], who, seen, why)

    @staticmethod
    def _ends(
        name: str, found: Target, ends: Sequence[Change], who: str, seen: str, why: str
    ) -> Step:
        found.step = Step(
            target=name,
            before=seen,
            to=found.without(ends),
            who=who,
            why=why,
            kind="end",
            ends=tuple(ends),
            restores=len(ends) == len(found.changes),
        )
        return found.step

    def amend(
        self, change_id: str, until: float, *, who: str, now: float, why: str = ""
    ) -> Change | Refused:
        """Give a live lease another end.

        :param until: Unix time, ahead.
        """
        name, change = self._find(change_id)
        if change is None:
            return self._gone(change_id)
        found = self._targets[name]
        refused = self._busy(found)
        if refused is None and (change.until is None or change not in found.shown()):
            refused = Refused("ended", f"the change {change_id} of {name} has no end to be moved")
        if refused is None and until <= now:
            refused = Refused("past", f"{name} cannot be changed until a time that is over")
        if refused is not None:
            self._write(change, who, "refused", now, refused.text, why=why)
            return refused
        amended = attrs.evolve(change, until=until)
        found.changes[found.changes.index(change)] = amended
        self._write(amended, who, "amended", now, why=why)
        return amended

    def expire(self, target: str, seen: str, now: float) -> Step | None:
        """End the leases of a target that have run out.

        :returns: what is to be carried out for it, or ``None`` when nothing is: a newer change
            decides, or it comes to the same.
        """
        found = self._targets.get(target)
        if found is None or found.step is not None:
            return None
        self.see(target, seen, now)
        over = tuple(change for change in found.changes if change.over(now))
        if not over:
            return None
        value = found.without(over)
        if value == found.value:
            self._expired(found, over, now)
            return None
        found.step = Step(
            target=target,
            before=seen,
            to=value,
            who=over[-1].who,
            why=over[-1].why,
            kind="expire",
            ends=over,
            restores=len(over) == len(found.changes),
        )
        return found.step

    def reinstate(self, target: str, seen: str) -> Step | None:
        """Return what makes an application that was started anew what the ledger holds."""
        found = self._targets.get(target)
        if found is None or found.step is not None or found.value == seen:
            return None
        top = found.top
        found.step = Step(
            target=target,
            before=seen,
            to=found.value,
            who=APPLICATION if top is None else top.who,
            why="" if top is None else top.why,
            kind="reinstate",
            restores=top is None,
        )
        return found.step

    def settle(self, step: Step, seen: str, now: float, *, restored: bool = False) -> bool:
        """Enter a step that was carried out.

        :param seen: what the application shows now.
        :param restored: whether the application has put back what it had itself: that is then
            what the target was at first.
        :returns: whether that is what the step was to come to; else it is entered as failed.
        """
        if restored and step.restores:
            self._targets[step.target].normal = seen
        elif seen != step.to:
            self.fail(step, f"the application shows {seen}", now)
            self.see(step.target, seen, now)
            return False
        found = self._take(step)
        if step.makes is not None:
            self._enter(found, step.makes, now)
        elif step.kind == "expire":
            self._expired(found, step.ends, now)
        elif step.kind == "end":
            shown = found.shown()
            found.changes = [each for each in found.changes if each not in step.ends]
            for each in step.ends:
                if each in shown:
                    self._write(each, step.who, "ended", now, why=step.why)
        return True

    def fail(self, step: Step, error: str, now: float) -> None:
        """Enter a step that failed.

        A lease whose end could not be carried out stays, so that it is :meth:`due` still.
        """
        self._take(step)
        self._put(
            Entry(
                at=now,
                who=step.who,
                what=step.what,
                outcome="failed",
                why=step.why,
                detail=error,
                target=step.target,
                change=step.makes.id if step.makes is not None else "",
                run=step.makes.run if step.makes is not None else "",
            )
        )

    # Keeping.

    def started(self, target: str, seen: str, now: float) -> None:
        """Take notice of what an application shows that was started anew.

        Where that is not what the ledger holds, the process has gone that was changed: what was
        to last has ended with it, and only leases go on. What it shows is what it is at first.
        """
        found = self._targets.get(target)
        if found is None or found.step is not None or found.value == seen:
            return
        leases = [change for change in found.shown() if change.until is not None]
        for change in found.shown():
            if change.until is None and change.who != APPLICATION:
                self._write(change, APPLICATION, "ended", now, "the service was started anew")
        found.changes = leases
        found.normal = seen

    def part(self, target: str) -> dict[str, Any] | None:
        """Return one target as :meth:`dump` does, or ``None`` when nothing of it is kept."""
        found = self._targets.get(target)
        if found is None or target == SHUTDOWN or not found.changes:
            return None
        return {
            "normal": found.normal,
            "changes": [attrs.asdict(change) for change in found.changes],
        }

    def dump(self) -> dict[str, Any]:
        """Return all of it but the shutdown, as JSON-able values."""
        return {
            "targets": {
                name: part for name in self._targets if (part := self.part(name)) is not None
            },
            "history": [attrs.asdict(entry) for entry in self._history],
        }

    def load(self, document: Mapping[str, Any]) -> None:
        """Take what :meth:`dump` returned, in place of what is held.

        :raises ValueError: when it cannot be read; nothing is taken then.
        """
        try:
            targets = {
                str(name): Target(
                    str(kept["normal"]),
                    [Change(**each) for each in kept["changes"]],
                )
                for name, kept in document["targets"].items()
            }
            history = [Entry(**entry) for entry in document["history"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"it is no ledger: {error!r}") from None
        self._targets = targets
        self._history = deque(history, maxlen=MAX_HISTORY)

    # Within.

    def _put(self, entry: Entry) -> None:
        self._history.append(entry)
        self._wrote(entry)

    def _make_room(self) -> None:
        """Forget targets that are as they were at first, when there are too many."""
        if len(self._targets) >= MAX_TARGETS:
            for name, target in list(self._targets.items()):
                if not target.changes and target.step is None:
                    del self._targets[name]

    def _enter(self, found: Target, change: Change, now: float) -> None:
        found.changes.append(change)
        del found.changes[:-MAX_DEPTH]
        self._write(change, change.who, "done", now)

    def _expired(self, found: Target, over: Sequence[Change], now: float) -> None:
        shown = found.shown()
        found.changes = [each for each in found.changes if each not in over]
        for lease in over:
            if lease in shown:
                self._write(lease, lease.who, "expired", now)

    def _take(self, step: Step) -> Target:
        found = self._targets[step.target]
        if found.step is not step:
            raise ValueError(f"no such step of {step.target} is under way")
        found.step = None
        return found

    def _gone(self, change_id: str) -> Refused:
        for entry in reversed(self._history):
            if entry.change == change_id and entry.outcome in ("ended", "expired"):
                how = "has run out" if entry.outcome == "expired" else f"was ended by {entry.who}"
                return Refused("ended", f"the change {change_id} {how}")
        return Refused("unknown", f"there is no change {change_id}")

    @staticmethod
    def _busy(found: Target) -> Refused | None:
        step = found.step
        if step is None:
            return None
        return Refused("busy", f"{step.what}, asked by {step.who}, has not returned")

    @staticmethod
    def _unexpected(target: str, found: Target, expect: str) -> Refused | None:
        top = found.top
        if expect == found.value or (top is not None and expect == top.id):
            return None
        return Refused("unexpected", f"{target} is {found.value}, {_by(top)}")

    def _write(
        self,
        change: Change,
        who: str,
        outcome: Outcome,
        now: float,
        detail: str = "",
        why: str | None = None,
    ) -> None:
        self._put(
            Entry(
                at=now,
                who=who,
                what=f"{change.target}: {change.before} → {change.to}",
                outcome=outcome,
                why=change.why if why is None else why,
                detail=detail,
                target=change.target,
                change=change.id,
                run=change.run,
            )
        )


def _by(change: Change | None) -> str:
    return "as it was at first" if change is None else f"by {change.who}"
