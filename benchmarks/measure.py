"""Rounds of several cases, interleaved in one run, and the table that comes of them.

A machine's speed changes from minute to minute, and two machines differ anyway. So
nothing is compared with a number of another run: in each round every case is measured
once, just after the yardstick, and what is told is the ratio of the two.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs

__all__ = ["MICRO", "Case", "Figure", "Row", "Work", "aligned", "cpu_of", "run_rounds", "table"]

Work = Callable[[int], Callable[[], object]]
"""Given how many operations, makes ready, and returns what does them."""

MICRO: Final = 1e6


@attrs.frozen(kw_only=True)
class Figure:
    """What one measurement found, for one operation.

    :ivar cpu: seconds of CPU.
    :ivar wall: seconds until the next one, where that is not the same.
    """

    cpu: float
    wall: float | None = None


@attrs.frozen(kw_only=True)
class Case:
    """Something that is measured.

    :ivar name: of the row.
    :ivar measure: does so many operations and says what one costs.
    :ivar count: operations of a round.
    :ivar aim: most yardsticks that one may cost, or ``None``.
    """

    name: str
    measure: Callable[[int], Figure]
    count: int
    aim: float | None = None


@attrs.frozen(kw_only=True)
class Row:
    """What all rounds found of a case; one item a round."""

    case: Case
    figures: Sequence[Figure]
    ratios: Sequence[float]


def cpu_of(work: Work) -> Callable[[int], Figure]:
    """Return what measures the CPU time that ``work`` takes in this process."""

    def measure(count: int) -> Figure:
        timed = work(count)
        gc.collect()
        begin = time.process_time()
        timed()
        return Figure(cpu=(time.process_time() - begin) / count)

    return measure


def run_rounds(
    yardstick: Case,
    cases: Sequence[Case],
    *,
    rounds: int,
    scale: float = 1.0,
    report: Callable[[str], object] = lambda text: None,
) -> list[Row]:
    """Measure all cases in turn, so many times.

    :param scale: on the number of operations of a round; less for a quick look.
    :param report: told what is being done.
    :returns: the yardstick's row, then one for each case.
    """
    figures: dict[str, list[Figure]] = {case.name: [] for case in (yardstick, *cases)}
    ratios: dict[str, list[float]] = {case.name: [] for case in (yardstick, *cases)}
    for number in range(1, rounds + 1):
        for case in cases:
            report(f"round {number} of {rounds}: {case.name}")
            unit = yardstick.measure(_count(yardstick, scale))
            figure = case.measure(_count(case, scale))
            figures[yardstick.name].append(unit)
            ratios[yardstick.name].append(1.0)
            figures[case.name].append(figure)
            ratios[case.name].append(figure.cpu / unit.cpu)
    return [
        Row(case=case, figures=figures[case.name], ratios=ratios[case.name])
        for case in (yardstick, *cases)
    ]


def _count(case: Case, scale: float) -> int:
    return max(2, round(case.count * scale))


_HEAD: Final = ("", "µs", "ratio", "range", "aim", "per CPU s", "per s")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text: medians, the range of the ratios, and rates.

    The last column is how many a second were done in fact, where that was measured.
    """
    return aligned([_HEAD, *map(_cells, rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_text(line, widths) for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    cpu = statistics.median(figure.cpu for figure in row.figures)
    walls = [figure.wall for figure in row.figures if figure.wall is not None]
    ratio = statistics.median(row.ratios)
    aim = row.case.aim
    return (
        row.case.name,
        f"{cpu * MICRO:,.0f}",
        f"{ratio:.2f}",
        f"{min(row.ratios):.2f}-{max(row.ratios):.2f}",
        "" if aim is None else f"≤ {aim:g}{'' if ratio <= aim else ' missed'}",
        f"{1 / cpu:,.0f}" if cpu else "",
        f"{1 / statistics.median(walls):,.0f}" if walls else "",
    )


def _text(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if not place else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
