"""What counts as passed: items against the guarantee, and what a process uses against itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

__all__ = ["GROWTH", "Growth", "judge_durable", "judge_plain", "judge_usage"]

MIB: Final = 1024 * 1024


@attrs.frozen
class Growth:
    """How much more the last quarter of a run may have than the first.

    :ivar part: as a part.
    :ivar more: and so much.
    """

    part: float
    more: float


GROWTH: Final[Mapping[str, Growth]] = {
    "memory": Growth(0.05, 3 * MIB),
    "files": Growth(0, 0),
    "delayed": Growth(0.1, 5),
    "objects": Growth(0.05, 1000),
}
"""What is compared: resident bytes, open files, delayed calls of the reactor, Python's objects."""

WARM: Final = 4
"""Samples at the start that say nothing: caches fill, and memory of what was seen does."""

ENOUGH: Final = 8
"""Samples without which nothing is compared."""


def judge_plain(name: str, accepted: int, copies: Sequence[int], repeated: int) -> list[str]:
    """Return what is wrong with the plain items of a service: at least once.

    :param copies: how often each item came.
    :param repeated: how many items the outbox has sent again; no more may have come twice.
    """
    wrong = _strangers(name, accepted, copies)
    lost = [number for number in range(accepted) if number >= len(copies) or not copies[number]]
    if lost:
        wrong.append(f"{name}: {len(lost)} plain items lost: {_some(lost)}")
    twice = sum(copies) - sum(map(bool, copies))
    if twice > repeated:
        wrong.append(f"{name}: {twice} copies of plain items, and only {repeated} were sent again")
    return wrong


def judge_durable(name: str, accepted: int, copies: Sequence[int]) -> list[str]:
    """Return what is wrong with the durable items of a service: exactly once."""
    wrong = _strangers(name, accepted, copies)
    lost = [number for number in range(accepted) if number >= len(copies) or not copies[number]]
    twice = [number for number, count in enumerate(copies) if count > 1]
    if lost:
        wrong.append(f"{name}: {len(lost)} durable items lost: {_some(lost)}")
    if twice:
        wrong.append(f"{name}: {len(twice)} durable items are in the stream twice: {_some(twice)}")
    return wrong


def _strangers(name: str, accepted: int, copies: Sequence[int]) -> list[str]:
    more = len(copies) - accepted
    return [f"{name}: {more} items that nobody has published"] if more > 0 else []


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")


def quarters(samples: Sequence[float]) -> tuple[float, float] | None:
    """Return the medians of the first and the last quarter, or ``None`` for too few samples."""
    samples = samples[WARM:]
    if len(samples) < ENOUGH:
        return None
    part = len(samples) // 4
    return statistics.median(samples[:part]), statistics.median(samples[-part:])


def judge_usage(name: str, samples: Mapping[str, Sequence[float]]) -> list[str]:
    """Return what has grown.

    :param samples: by what of :data:`GROWTH` they are of.
    """
    wrong = []
    for what, growth in GROWTH.items():
        found = quarters(samples[what])
        if found is not None and found[1] > found[0] * (1 + growth.part) + growth.more:
            wrong.append(f"{name}: {what} grew from {found[0]:,.0f} to {found[1]:,.0f}")
    return wrong
