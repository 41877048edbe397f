"""What is compared, in rounds in which both do the same in turn, and the table of it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from backplane.nats.parser import Parser
from benchmarks.contest.arena import OURS, THEIRS, Arena
from benchmarks.measure import MICRO, aligned

__all__ = ["Contest", "Result", "contests", "run_contests", "table"]

PIECE: Final = 64 * 1024
"""Bytes that a parser gets at a time, as from a socket."""


@attrs.frozen(kw_only=True)
class Contest:
    """The same work for both.

    :ivar measure: given who, and how many operations, returns the seconds of one.
    :ivar aim: of the ratio: how many times as fast as theirs ours should be at least, if any.
    """

    name: str
    measure: Callable[[str, int], float]
    count: int
    aim: float | None


@attrs.frozen(kw_only=True)
class Result:
    """Seconds of one operation, one item a round."""

    contest: Contest
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours was, by round."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]


def contests(plain: Arena, secure: Arena) -> list[Contest]:
    """Return all of them."""
    found = [Contest(name="parse 128 B", measure=_parse, count=20_000, aim=2.0)]
    for arena, tls, aims in (
        (plain, "", (3.0, 1.5, 1.2, 1 / 0.7)),
        (secure, ", TLS", (1.8, 2.5, None, 1.0)),
    ):
        receive, publish, large, request = aims
        for name, work, count, size, aim in (
            ("receive 128 B", "receive", 40_000, 128, receive),
            ("publish 128 B", "publish", 40_000, 128, publish),
            ("publish 16 KiB", "publish", 4_000, 16 * 1024, large),
            ("request, p50", "request", 1_000, 128, request),
        ):
            found.append(
                Contest(name=f"{name}{tls}", measure=_live(arena, work, size), count=count, aim=aim)
            )
    return found


def _live(arena: Arena, work: str, size: int) -> Callable[[str, int], float]:
    def measure(which: str, count: int) -> float:
        found = arena.measure(which, work, count, size)
        median = found["median"]
        return float(found["wall"]) / count if median is None else float(median)

    return measure


class _Counter:
    """What nats-py's parser tells of messages."""

    _max_payload = 1024 * 1024

    def __init__(self) -> None:
        self.count = 0

    async def _process_msg(self, *message: object) -> None:
        self.count += 1


def _parse(which: str, count: int) -> float:
    stream = b"MSG contest.data 1 128\r\n%b\r\n" % (b"x" * 128) * count
    pieces = [stream[place : place + PIECE] for place in range(0, len(stream), PIECE)]
    begin = time.perf_counter()
    if which == OURS:
        parser = Parser("client")
        done = sum(len(parser.feed(piece)) for piece in pieces)
    else:
        done = asyncio.run(_parse_theirs(pieces))
    seconds = time.perf_counter() - begin
    if done != count:
        raise RuntimeError(f"{which}: {done} of {count} messages")
    return seconds / count


async def _parse_theirs(pieces: Sequence[bytes]) -> int:
    from nats.protocol.parser import Parser as TheirParser

    counter = _Counter()
    parser = TheirParser(counter)
    for piece in pieces:
        await parser.parse(piece)
    return counter.count


def run_contests(
    every: Sequence[Contest],
    *,
    rounds: int,
    scale: float = 1.0,
    report: Callable[[str], object] = lambda text: None,
) -> list[Result]:
    """Let both do everything in turn, so many times."""
    seconds: dict[tuple[str, str], list[float]] = {
        (contest.name, which): [] for contest in every for which in (OURS, THEIRS)
    }
    for number in range(1, rounds + 1):
        for contest in every:
            report(f"round {number} of {rounds}: {contest.name}")
            # Who begins has the colder machine.
            for which in (OURS, THEIRS) if number % 2 else (THEIRS, OURS):
                count = max(2, round(contest.count * scale))
                seconds[contest.name, which].append(contest.measure(which, count))
    return [
        Result(contest=each, ours=seconds[each.name, OURS], theirs=seconds[each.name, THEIRS])
        for each in every
    ]


_HEAD: Final = ("beside nats-py", "ours µs", "its µs", "as fast", "range", "aim", "ours per s")


def table(results: Sequence[Result]) -> str:
    """Return the results as text: medians, and how many times as fast ours is."""
    return aligned([_HEAD, *map(_cells, results)])


def _cells(result: Result) -> tuple[str, ...]:
    ours, theirs = statistics.median(result.ours), statistics.median(result.theirs)
    ratio, aim = statistics.median(result.ratios), result.contest.aim
    return (
        result.contest.name,
        f"{ours * MICRO:,.2f}",
        f"{theirs * MICRO:,.2f}",
        f"{ratio:.2f}",
        f"{min(result.ratios):.2f}-{max(result.ratios):.2f}",
        "" if aim is None else f"≥ {aim:.2f}{'' if ratio >= aim else ' missed'}",
        f"{1 / ours:,.0f}",
    )
