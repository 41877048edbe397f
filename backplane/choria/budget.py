"""The work that one request's filters may cause, counted in steps.

A step stands for about 0.5 µs, the time that one node of an expression takes.
Steps are counted, not time, so that a filter has the same outcome on every
machine and on every day. What is cheap to send and dear to do is charged before
it is done: the compilation of a regular expression by an estimate of its program,
a search by program size times text size, which is what RE2 needs at worst.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import attrs

from backplane.errors import RemoteError
from backplane.patterns import MAX_PATTERN, MAX_SUBJECT, Pattern, PatternError, compile_pattern

__all__ = ["DEFAULT_STEPS", "Budget", "BudgetExceeded"]

DEFAULT_STEPS: Final = 5_000
"""Steps for all filters of a request: 2 ms, at worst 4 ms, on a slow machine; a few
times what it takes to verify the request itself."""

COMPILE_STEPS: Final = 150
"""Charge for compiling any pattern, however small (75 µs)."""

SEARCH_STEPS: Final = 5
"""Charge for a search, however small."""

UNITS_PER_STEP: Final = 35
"""Instructions times characters of a search that make a step (14 ns each at worst)."""

_MAX_FACTOR: Final = 1000


class BudgetExceeded(RemoteError):
    """A filter cost more than its request was allowed."""


@attrs.define
class Budget:
    """What is left for the filters of one request.

    :ivar steps: left; negative when exceeded.
    :ivar exceeded: whether more was asked for than there was.
    """

    steps: int = DEFAULT_STEPS
    exceeded: bool = False
    _known: dict[tuple[str, bool], Pattern] = attrs.field(factory=dict, init=False, repr=False)

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        :raises BudgetExceeded: when fewer are left, and ever after.
        """
        self.steps -= steps
        if self.steps < 0:
            self.exceeded = True
            raise BudgetExceeded("the filters of this request cost too much")

    def search(self, pattern: str, text: str, *, ignore_case: bool = False) -> bool:
        """Say whether an RE2 pattern is found in ``text``; a huge text does not match.

        :raises PatternError: when it is not RE2 or beyond the bounds.
        :raises BudgetExceeded: when compiling or searching costs too much.
        """
        compiled = self._known.get((pattern, ignore_case))
        if compiled is None:
            if len(pattern) > MAX_PATTERN:
                raise PatternError(f"regular expression longer than {MAX_PATTERN} characters")
            # Charged whether or not it is in the cache, for the same outcome always.
            self.spend(COMPILE_STEPS + program_estimate(pattern) * 4 // 3)
            compiled = compile_pattern(pattern, ignore_case=ignore_case)
            self._known[pattern, ignore_case] = compiled
        if len(text) > MAX_SUBJECT:
            return False
        self.spend(SEARCH_STEPS + compiled.programsize * len(text) // UNITS_PER_STEP)
        try:
            return compiled.search(text) is not None
        except UnicodeEncodeError:
            return False


def program_estimate(pattern: str) -> int:
    """Return about how many instructions ``pattern`` compiles to, rather too many.

    It must be known before it is compiled: 1,400 characters can take 60 ms.
    """
    count = pattern.count
    size = len(pattern) + 8 * (count(".") + count("\\")) + 12 * count("[")
    size += 20 * (count("\\W") + count("\\D") + count("\\S"))
    properties = count("\\p") + count("\\P")
    size += 2400 * properties
    if not pattern.isascii():
        size *= 3
    factor = 1
    parts = pattern.split("{")
    for before, part in pairwise(parts):
        repeats = _repeats(part)
        if repeats > 1 and before[-1:] in ("]", "}", ")", ""):
            # What is repeated may be long, or hold repetitions itself. A class
            # is not nested, but its size counts.
            if before.endswith("]"):
                size += repeats * (12 + 2400 * min(properties, 1))
            else:
                factor = min(factor * repeats, _MAX_FACTOR)
        elif repeats > 1:
            size += repeats * (9 + 2400 * min(properties, 1))
    return size * factor


def _repeats(part: str) -> int:
    """Return the larger number of ``n}``, ``n,}`` or ``n,m}``; 0 when it is none."""
    bounds, closed, _ = part.partition("}")
    if not closed or len(bounds) > 11:
        return 0
    numbers = [int(number) for number in bounds.split(",") if number.isdecimal()]
    return min(max(numbers, default=0), _MAX_FACTOR)
