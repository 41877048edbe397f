"""What a node keeps in its state file: the replay memory, and the ledger of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from backplane.node.statefile import Record, StateFile
from backplane.security.replay import ReplayMemory

__all__ = ["Remembering"]

SEEN: Final = "seen"
FORGOTTEN: Final = "forgotten_until"
LEDGER: Final = "ledger"

SPARE: Final = 10_000
"""Lines of what is over that a state file may have before it is made anew."""

SPARE_LEDGER: Final = 4 * 1024 * 1024
"""Likewise characters of the ledger, of which a line may be long."""


class Remembering:
    """A replay memory that outlives the process.

    :param state: open, with its ``records``.
    :param now: Unix time.
    :param report: told what an administrator must know.
    :ivar memory: the memory.
    :ivar complete: whether it has all that earlier processes acted upon.
    :ivar ledger: what earlier processes have kept of the ledger, oldest first.
    """

    def __init__(
        self,
        state: StateFile,
        records: Sequence[Record],
        now: float,
        report: Callable[[str], None],
    ) -> None:
        self.memory = ReplayMemory(keep=self._keep)
        self._state = state
        self._report = report
        self._usable = True  # what is written goes into the file
        self._absent = False  # there is no file that the next process would believe
        self._most = 0
        self._written = 0  # characters of the ledger since the file was made anew
        self.ledger = [record[LEDGER] for record in records if LEDGER in record]
        self._whole: Callable[[], Iterable[Any]] = lambda: self.ledger
        self.complete = state.continues
        for record in records:
            if SEEN in record and not self._restore(record[SEEN]):
                self.complete = False
            forgotten = record.get(FORGOTTEN)
            if isinstance(forgotten, int | float):
                # What was forgotten was over; a damaged number must not refuse changes for ever.
                self.memory.forget_until(min(forgotten, now))
        self.memory.expire(now)
        self._rewrite()

    def hold(self, whole: Callable[[], Iterable[Any]]) -> None:
        """Say what all of the ledger is: that replaces :attr:`ledger` in a file made anew."""
        kept, self.ledger = self.ledger, []
        self._whole = whole
        if kept and self._usable:
            self._rewrite()

    def keep(self, part: Any) -> bool:
        """Write down a part of the ledger; say whether the next process will know of it."""
        if not self._usable or not self._state.is_open:
            return False
        record = {LEDGER: part}
        try:
            self._state.append(record)
        except OSError as error:
            self._give_up(error)
            return False
        self._written += len(repr(part))
        if self._state.lines > self._most or self._written > SPARE_LEDGER:
            self._rewrite()
        return self._usable

    def _restore(self, seen: Any) -> bool:
        try:
            digest, until, caller = seen
            return self.memory.restore(bytes.fromhex(digest), str(caller), float(until))
        except (TypeError, ValueError, OverflowError):
            return False

    def _records(self) -> Iterator[Record]:
        forgotten = self.memory.forgotten_until
        if forgotten > 0:
            yield {FORGOTTEN: forgotten}
        for digest, caller, until in self.memory.entries():
            yield {SEEN: [digest.hex(), until, caller]}
        for part in self._whole():
            yield {LEDGER: part}

    def _keep(self, digest: bytes, caller_id: str, valid_until: float) -> bool:
        """Write down what is about to be acted upon; say whether a repeat will be known."""
        if not self._usable:
            return self._absent
        try:
            self._state.append({SEEN: [digest.hex(), valid_until, caller_id]})
        except OSError as error:
            self._give_up(error)
            return self._absent
        if self._state.lines > self._most:
            self._rewrite()
        return True

    def _rewrite(self) -> None:
        try:
            self._state.rewrite(self._records())
            self._most = 2 * self._state.lines + SPARE
            self._written = 0
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Write no more; see to it that the next process does not believe the file."""
        self._usable = False
        self._absent = True
        try:
            self._state.discard()
        except FileNotFoundError:
            pass
        except OSError:
            self._absent = False
        rest = (
            "requests from before the next start will be refused"
            if self._absent
            else "and it cannot be deleted: changes are refused"
        )
        self._report(f"state file {self._state.path}: {error.strerror or error}; {rest}")

    _absent = False
