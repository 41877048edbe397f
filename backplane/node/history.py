"""The ledger of one application, and all who are told of what comes into it."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from backplane.change import Change, Entry, Step
from backplane.ledger import SHUTDOWN, Ledger
from backplane.logs import printable
from backplane.node.auditing import Auditor
from backplane.node.keeping import LedgerKeeper

__all__ = ["History"]

ACCOUNTED: Final = 50
"""Runs that are remembered to have lines in the history already."""


class History:
    """Each line of the ledger's history goes into the log, the state file, and to a listener.

    :param now: wall-clock time.
    :param auditor: writes down what is done without a request.
    :param keeper: writes the ledger down.
    :ivar on_change: called with each :class:`~backplane.change.Entry` about a target that
        tells of something that was done, failed, or ended.
    """

    def __init__(
        self, now: Callable[[], float], log: Logger, auditor: Auditor, keeper: LedgerKeeper
    ) -> None:
        self.on_change: Callable[[Entry], object] = lambda entry: None
        self._now = now
        self._log = log
        self._auditor = auditor
        self._keeper = keeper
        self._accounted: deque[str] = deque(maxlen=ACCOUNTED)
        self.ledger = Ledger(lambda: secrets.token_hex(5), self._wrote)

    @property
    def pending(self) -> bool:
        """Whether there are lines that :meth:`save` has to write."""
        return self._keeper.pending

    def load(self) -> None:
        """Take what earlier processes have kept."""
        for text in self._keeper.load(self.ledger):
            self._log.warn("{text}", text=text)

    def close(self) -> None:
        """Write no more into the state file."""
        self._keeper.close()

    def accounted(self, run: str) -> None:
        """Say that the history tells of a run already."""
        self._accounted.append(run)

    def note(self, entry: Entry) -> None:
        """Put what is no change of a target into the history, unless it is there by its run."""
        if entry.run and entry.run in self._accounted:
            return
        self.ledger.note(entry)
        self._keeper.save(self.ledger)

    def save(self, *targets: str) -> None:
        """Write down what has happened, and what these targets are now."""
        self._keeper.save(self.ledger, *targets)

    def unasked(
        self, action: str, about: Entry | Step, change: Change | None, outcome: str = "ok"
    ) -> None:
        """Write into the audit log what is done without a request."""
        self._auditor.unasked(
            action,
            about.who,
            {
                "target": about.target,
                "what": about.what,
                "change": about.change if isinstance(about, Entry) else change and change.id,
                "why": about.why,
            },
            about.run if isinstance(about, Entry) else change.run if change else "",
            outcome,
        )

    def _wrote(self, entry: Entry) -> None:
        self._keeper.wrote(entry)
        if not entry.target:
            return
        if entry.run and entry.outcome in ("done", "failed", "refused"):
            self._accounted.append(entry.run)
        self._log.info(
            "{what}: {outcome}, {whose} {who}{why}{detail}",
            what=printable(entry.what),
            outcome=entry.outcome,
            whose="of" if entry.outcome == "expired" else "by",
            who=printable(entry.who),
            why=f" ({printable(entry.why)})" if entry.why else "",
            detail=f": {printable(entry.detail, 300)}" if entry.detail else "",
        )
        if entry.outcome == "expired":
            self.unasked("expire", entry, None)
        if entry.outcome == "refused":
            return
        try:
            self.on_change(entry)
        except Exception:
            self._log.failure("a listener of changes failed")

    def not_shut_down(self, why: str) -> None:
        """Take notice of a shutdown that has failed when it was due."""
        top = self.ledger.top(SHUTDOWN)
        if top is None:
            return
        self.ledger.note(
            Entry(
                at=self._now(),
                who=top.who,
                what=f"{SHUTDOWN}: {top.to}",
                outcome="failed",
                why=top.why,
                detail=why,
                target=SHUTDOWN,
                change=top.id,
                run=top.run,
            )
        )
        self.save(SHUTDOWN)
