"""The ledger in the state file: what each line says, and how lines are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from backplane.ledger import Entry, Ledger
from backplane.node.remembering import Remembering

__all__ = ["LedgerKeeper"]

TARGETS: Final = "targets"
HISTORY: Final = "history"

AT_ONCE: Final = 50
"""Entries of the history in one line of a file that is made anew."""


class LedgerKeeper:
    """Writes down what becomes of a ledger, one line for each thing that happens.

    A line has the targets that it touched as they are after it, and what it added to the
    history; so a file that ends anywhere holds one state or the next.

    :param remembering: the state file's, or ``None``: then nothing is kept.
    """

    def __init__(self, remembering: Remembering | None) -> None:
        self._remembering = remembering
        self._entries: list[Entry] = []

    def load(self, ledger: Ledger) -> list[str]:
        """Give a new ledger what was kept; return the problems that there were."""
        kept = self._remembering
        if kept is None:
            return []
        targets: dict[str, Any] = {}
        history: list[Any] = []
        bad = 0
        for part in kept.ledger:
            if _readable(part):
                targets.update(part[TARGETS])
                history.extend(part[HISTORY])
            else:
                bad += 1
        ledger.load(
            {
                TARGETS: {name: each for name, each in targets.items() if each is not None},
                HISTORY: history,
            }
        )
        kept.hold(lambda: _parts(ledger))
        return [f"{bad} lines of the state file about changes cannot be read"] if bad else []

    @property
    def pending(self) -> bool:
        """Whether there are entries that :meth:`save` has to write."""
        return bool(self._entries)

    def close(self) -> None:
        """Write no more."""
        self._remembering = None

    def wrote(self, entry: Entry) -> None:
        """Take a new entry of the history; it is written by the next :meth:`save`."""
        self._entries.append(entry)

    def save(self, ledger: Ledger, *targets: str) -> None:
        """Write down what has happened, and what these targets are now."""
        entries, self._entries = self._entries, []
        if self._remembering is None or not (entries or targets):
            return
        self._remembering.keep(_part({name: ledger.part(name) for name in targets}, entries))


def _part(targets: dict[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    return {TARGETS: targets, HISTORY: [attrs.asdict(entry) for entry in entries]}


def _parts(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Return all of a ledger in lines that are not too long."""
    history = ledger.history()
    for at in range(0, len(history), AT_ONCE):
        yield _part({}, history[at : at + AT_ONCE])
    for name in ledger.names():
        part = ledger.part(name)
        if part is not None:
            yield _part({name: part}, ())


def _readable(part: Any) -> bool:
    try:
        present: Iterable[tuple[str, Any]] = part[TARGETS].items()
        found = {name: each for name, each in present if each is not None}
        Ledger(str).load({TARGETS: found, HISTORY: part[HISTORY]})
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True
