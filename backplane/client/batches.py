"""In which steps a request goes out to a fleet, and what stops it. Pure.

Everybody who is meant is in exactly one batch, in the order in which they are named. A
limit, its methods (``first``, ``random``) and its seed are those of Choria's clients;
a percentage of somebody is never nobody.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import attrs

__all__ = ["METHODS", "Method", "Rollout", "Size", "Steps", "pick", "split"]

Method = Literal["first", "random"]
METHODS: Final[tuple[Method, ...]] = ("first", "random")
"""How those who are meant are chosen, where there is a limit."""

MAX_SIZE: Final = 1_000_000


@attrs.frozen
class Size:
    """A number of services, or a share of them.

    :ivar value: the number, or the percentage.
    """

    value: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``10`` or ``20%``.

        :raises ValueError: for anything else, nothing, and more than all.
        """
        digits = text.removesuffix("%")
        percent = digits != text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 7):
            raise ValueError(f"{text[:60]!r} is no number such as 10 and no share such as 20%")
        value = int(digits)
        if not 1 <= value <= (100 if percent else MAX_SIZE):
            raise ValueError(f"{text[:60]!r} is not between 1 and {MAX_SIZE}, or 1% and 100%")
        return cls(value, percent)

    def of(self, total: int) -> int:
        """Return how many of ``total`` that is: at least one of anybody, never more than all."""
        count = total * self.value // 100 if self.percent else self.value
        return min(total, max(1, count))

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@attrs.frozen(kw_only=True)
class Rollout:
    """How a change goes out, as the operator wants it.

    :ivar batch: how many at a time; everybody at once without.
    :ivar sleep: seconds from the end of a batch to the next.
    :ivar limit: how many at all, chosen by ``limit_method`` and ``limit_seed``.
    :ivar gate: whether everybody of a batch must be healthy before the next;
        ``gate_timeout`` is how many seconds that may take.
    :ivar max_failures: beyond so many it stops.
    :ivar undo: whether it is taken back where it was done, when it stops.
    :ivar dry_run: say only what would be done.
    :ivar plan: file to which the plan is written, and nothing done.
    :ivar apply: file of the plan that is to be applied.
    :ivar yes: ask nothing.
    """

    batch: Size | None = None
    sleep: float = 0.0
    limit: Size | None = None
    limit_method: Method = "first"
    limit_seed: int | None = None
    gate: bool = False
    gate_timeout: float = 60.0
    max_failures: int | None = None
    undo: bool = False
    dry_run: bool = False
    plan: str | None = None
    apply: str | None = None
    yes: bool = False

    @property
    def allowed(self) -> int | None:
        """How many failures it goes on with; ``None`` for any number.

        In steps it stops at the first, unless the operator says how many may fail.
        """
        if self.max_failures is not None or not self.stepwise:
            return self.max_failures
        return 0

    @property
    def stepwise(self) -> bool:
        """Whether there is something after which it could stop."""
        return self.batch is not None or self.gate or self.undo or self.max_failures is not None

    @property
    def looks(self) -> bool:
        """Whether nothing is to be done, but said what would be."""
        return self.dry_run or self.plan is not None


def pick(
    names: Sequence[str], size: Size | None, method: Method = "first", seed: int | None = None
) -> tuple[str, ...]:
    """Return who is meant, in the order of ``names``.

    :param seed: the same one chooses the same of the same, and with a greater size these and
        others; ``None`` for others each time.
    """
    if size is None:
        return tuple(names)
    count = size.of(len(names))
    if method == "first":
        return tuple(names[:count])
    lot = secrets.token_hex(16) if seed is None else str(seed)
    drawn = sorted(range(len(names)), key=lambda index: _drawn(lot, names[index]))
    return tuple(names[index] for index in sorted(drawn[:count]))


def _drawn(lot: str, name: str) -> bytes:
    """Return where in the order of a draw somebody stands."""
    return hashlib.sha256(f"{lot}:{name}".encode()).digest()


def split(names: Sequence[str], size: Size | None) -> tuple[tuple[str, ...], ...]:
    """Return the batches, none of them empty; everybody is one without a size."""
    if not names:
        return ()
    count = len(names) if size is None else size.of(len(names))
    return tuple(tuple(names[at : at + count]) for at in range(0, len(names), count))


class Steps:
    """The batches of a rollout: which is next, and whether there is one.

    :param batches: as :func:`split` returns them.
    :param max_failures: beyond so many it stops; ``None`` for never.
    :ivar failures: who failed or stayed silent, and what was said of it.
    :ivar halted: why it stopped, or ``""``.
    """

    def __init__(self, batches: Iterable[Sequence[str]], max_failures: int | None = None) -> None:
        self.batches = tuple(tuple(batch) for batch in batches)
        self.failures: dict[str, str] = {}
        self.halted = ""
        self._max_failures = max_failures
        self._taken = 0

    @property
    def number(self) -> int:
        """How many batches were taken."""
        return self._taken

    @property
    def ended(self) -> bool:
        """Whether there is no next batch."""
        return bool(self.halted) or self._taken >= len(self.batches)

    def next(self) -> tuple[str, ...] | None:
        """Take the next batch; ``None`` where it has stopped, or there is none."""
        if self.ended:
            return None
        self._taken += 1
        return self.batches[self._taken - 1]

    def failed(self, failures: Mapping[str, str]) -> None:
        """Take who of the last batch failed; it may stop by that."""
        self.failures.update(failures)
        if self._max_failures is not None and len(self.failures) > self._max_failures:
            count = len(self.failures)
            allowed = f", {self._max_failures} allowed" if self._max_failures else ""
            self.halt(f"{count} failure{'' if count == 1 else 's'}{allowed}")

    def halt(self, why: str) -> None:
        """Stop; the first reason is kept."""
        self.halted = self.halted or why

    @property
    def touched(self) -> tuple[str, ...]:
        """Who was taken, the last batch included."""
        return tuple(name for batch in self.batches[: self._taken] for name in batch)

    @property
    def untouched(self) -> tuple[str, ...]:
        """Who was not."""
        return tuple(name for batch in self.batches[self._taken :] for name in batch)
