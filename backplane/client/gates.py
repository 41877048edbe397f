"""What must hold after a batch before the next one goes: everybody in it is healthy. Pure.

It is asked with patience: what has just been changed needs a while. All of the batch must be
healthy at one time, so everybody is asked anew each time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from backplane.client.accounting import Answer

__all__ = ["ACTION", "EVERY", "HealthGate"]

ACTION: Final = "health"

EVERY: Final = 1.0
"""Seconds from one question to the next."""

LEAST: Final = 2.0
"""Seconds that the last question may take, also when patience is over."""

MAX_TEXT: Final = 200


class HealthGate:
    """Whether everybody of a batch is healthy.

    :param batch: identities, with how many services have each.
    :param until: when patience is over.
    :ivar wrong: who is not, and why, as it was seen last; all of them before anybody was asked.
    """

    def __init__(self, batch: Mapping[str, int], until: float) -> None:
        self.wrong: Mapping[str, str] = dict.fromkeys(batch, "was not asked")
        self._batch = dict(batch)
        self._until = until

    def looked(self, answers: Iterable[Answer]) -> None:
        """Take the answers to one question."""
        wrong: dict[str, str] = {}
        missing = Counter(self._batch)
        for answer in answers:
            if answer.sender not in self._batch:
                continue
            missing[answer.sender] -= 1
            if not answer.good:
                wrong[answer.sender] = _complaint(answer)
        for name, count in missing.items():
            if count > 0:
                wrong.setdefault(name, "no answer")
        self.wrong = wrong

    @property
    def passed(self) -> bool:
        """Whether everybody was healthy when asked last."""
        return not self.wrong

    def wait(self, asked: float, now: float) -> float | None:
        """Return how many seconds to wait for the next question; ``None`` where it is over.

        :param asked: when the last question began.
        """
        if self.passed or now >= self._until:
            return None
        return min(max(0.0, asked + EVERY - now), self._until - now)

    def patience(self, now: float) -> float:
        """Return how many seconds a question may take."""
        return max(LEAST, self._until - now)

    @property
    def reason(self) -> str:
        """Who is not healthy, in words."""
        count = len(self.wrong)
        first, why = min(self.wrong.items())
        more = f" (and {count - 1} more)" if count > 1 else ""
        return f"the gate: {first} is not healthy: {why}{more}"


def _complaint(answer: Answer) -> str:
    reply = answer.reply
    if not reply.ok:
        return reply.message[:MAX_TEXT]
    result = reply.data.get("result")
    if not result:
        return "unhealthy"
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text[:MAX_TEXT]
