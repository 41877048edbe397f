"""What is changed from normal in one service, and what was done there: it can be asked. Pure.

:class:`~backplane.ledger.Ledger` changes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from backplane.change import APPLICATION, Change, Entry, Step

__all__ = ["MAX_HISTORY", "Standing", "Target"]

MAX_HISTORY: Final = 500
"""Entries that are remembered."""


@attrs.define
class Target:
    """One target.

    :ivar normal: what it was at first.
    :ivar changes: those that were not taken back, oldest first.
    :ivar step: the one that is under way.
    """

    normal: str
    changes: list[Change] = attrs.field(factory=list)
    step: Step | None = None

    @property
    def top(self) -> Change | None:
        """The change that decides."""
        return self.changes[-1] if self.changes else None

    @property
    def value(self) -> str:
        return self.changes[-1].to if self.changes else self.normal

    def shown(self) -> list[Change]:
        """Return the newest change that lasts, and the leases above it."""
        first = 0
        for index, change in enumerate(self.changes):
            if change.until is None:
                first = index
        return self.changes[first:]

    def without(self, ended: Sequence[Change]) -> str:
        """Return the value that it has when some changes are taken away."""
        left = [change for change in self.changes if change not in ended]
        return Target(self.normal, left).value


class Standing:
    """The targets of one service with their changes, and the last lines of its history."""

    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}
        self._history: deque[Entry] = deque(maxlen=MAX_HISTORY)

    def value(self, target: str) -> str | None:
        """Return what the ledger holds for a target; ``None`` for one never seen."""
        found = self._targets.get(target)
        return None if found is None else found.value

    def top(self, target: str) -> Change | None:
        """Return the change that decides what a target is, or ``None``."""
        found = self._targets.get(target)
        return None if found is None else found.top

    def busy(self, target: str) -> bool:
        """Say whether a step for a target is under way."""
        found = self._targets.get(target)
        return found is not None and found.step is not None

    def change(self, change_id: str) -> Change | None:
        """Return a change that was not taken back and has not run out."""
        return self._find(change_id)[1]

    def newest(self, target: str) -> Change | None:
        """Return the newest change that somebody else than the application made, or ``None``."""
        found = self._targets.get(target)
        changes = reversed(found.changes) if found is not None else ()
        return next((change for change in changes if change.who != APPLICATION), None)

    def names(self) -> list[str]:
        """Return the targets that have changes."""
        return [name for name, target in self._targets.items() if target.changes]

    def live(self) -> list[Change]:
        """Return what is changed from normal now, oldest first.

        These are leases that nothing lasting lies over, and for each target the newest change
        that lasts, unless it made the target what it was at first.
        """
        found = [
            change
            for target in self._targets.values()
            for change in target.shown()
            if change.until is not None or change.to != target.normal
        ]
        return sorted(found, key=lambda change: change.made)

    def of_run(self, run: str) -> list[Change]:
        """Return the changes of a run that were not taken back and have not run out, newest first.

        Those under others are among them.
        """
        found = [
            change
            for target in self._targets.values()
            for change in target.changes
            if run and change.run == run
        ]
        return sorted(found, key=lambda change: change.made, reverse=True)

    def history(self, most: int = MAX_HISTORY) -> list[Entry]:
        """Return the last entries, oldest first."""
        return list(self._history)[-most:] if most > 0 else []

    def next_due(self) -> float | None:
        """Return when the next lease runs out, Unix time, or ``None``."""
        ends = [
            change.until
            for target in self._targets.values()
            for change in target.changes
            if change.until is not None
        ]
        return min(ends, default=None)

    def due(self, now: float) -> list[str]:
        """Return the targets of which a lease has run out."""
        return [
            name
            for name, target in self._targets.items()
            if any(change.over(now) for change in target.changes)
        ]

    def _find(self, change_id: str) -> tuple[str, Change | None]:
        for name, target in self._targets.items():
            for change in target.changes:
                if change.id == change_id:
                    return name, change
        return "", None
