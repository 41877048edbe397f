"""Changes of one application, taken back before their time: one, those of a run, or all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backplane.change import Refused, Step
from backplane.choria.rpc import ActionError
from backplane.node.calling import Overdue
from backplane.node.changes import Asked, Changes
from backplane.node.failing import reason_of, text_of
from backplane.node.targets import LOG

__all__ = ["Ending"]

_Propose = Callable[[str], Step | Refused | None]


class Ending:
    """What one caller takes back; used once.

    :param book: what is changed.
    """

    def __init__(self, book: Changes, asked: Asked) -> None:
        self._book = book
        self._asked = asked
        self._budget = book.budget()
        self._ended: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []

    @property
    def found(self) -> dict[str, Any]:
        """What came of it: ``ended``, ``refused``, and whether there was ``nothing``."""
        return {
            "ended": self._ended,
            "refused": self._refused,
            "nothing": not (self._ended or self._refused),
        }

    async def run(self, run: str) -> None:
        """Take back what a run has changed; what it has not changed yet is refused.

        :raises Overdue: when the application has not returned.
        """
        book = self._book
        step = book.under_way(run)
        for change in book.ledger.of_run(run):
            await self.change(change.id)
        if step is not None and step.makes is not None:
            text = f"{step.what}, asked by {step.who}, has not returned"
            self._refuse(step.makes.id, step.target, "busy", text)

    async def change(self, change_id: str) -> None:
        """Take one change back.

        :raises Overdue: when the application has not returned.
        """
        change = self._book.ledger.change(change_id)
        target = "" if change is None else change.target

        def propose(seen: str) -> Step | Refused:
            return self._book.ledger.end(change_id, seen=seen, **self._by())

        await self._end(target, change_id, propose)

    async def all(self, target: str) -> None:
        """Take all changes of a target back, in one step to what it was at first.

        :raises Overdue: when the application has not returned.
        """
        ledger = self._book.ledger
        live = any(change.target == target for change in ledger.live())
        if not live and not target.startswith(LOG):
            return  # it is as it was; a logger may have had no level of its own
        top = ledger.top(target)

        def propose(seen: str) -> Step | Refused | None:
            return ledger.end_all(target, seen=seen, **self._by())

        await self._end(target, "" if top is None else top.id, propose)

    def _by(self) -> dict[str, Any]:
        return {"who": self._asked.who, "now": self._book.now(), "why": self._asked.why}

    async def _end(self, target: str, change_id: str, propose: _Propose) -> None:
        book = self._book
        before = book.ledger.value(target) or ""
        try:
            step = await self._do(target, propose)
        except Overdue:
            raise
        except Exception as error:
            self._refuse(change_id, target, reason_of(error), text_of(error))
            return
        if isinstance(step, Refused):
            self._refuse(change_id, target, step.reason, step.text)
        elif step is not None:
            value = book.ledger.value(target)
            self._ended.append(
                {"change": change_id, "target": target, "value": value, "before": before}
            )

    def _refuse(self, change_id: str, target: str, reason: str, text: str) -> None:
        self._refused.append(
            {"change": change_id, "target": target, "reason": reason, "text": text}
        )

    async def _do(self, target: str, propose: _Propose) -> Step | Refused | None:
        book, gone, seen = self._book, False, ""
        if target:
            try:
                seen = await book.seen(target)
            except ActionError as error:
                gone = reason_of(error) == "lacks"
                if not gone:
                    raise
                seen = book.ledger.value(target) or ""
        step = propose(seen)
        book.history.accounted(self._asked.run)
        if isinstance(step, Step) and not gone:
            await book.carry_out(step, self._budget)
            return step
        if isinstance(step, Step):  # there is nothing that could be put back
            book.ledger.settle(step, step.to, book.now())
        book.history.save(*filter(None, [target]))
        return step
