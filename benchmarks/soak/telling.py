"""What a soak prints: a line for each recovery, and a table in the end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.soak.judging import (
    GROWTH,
    MIB,
    judge_durable,
    judge_plain,
    judge_usage,
    quarters,
)
from benchmarks.soak.run import Cycle, Found

__all__ = ["failed", "line_of", "table"]


def line_of(found: Found, cycle: Cycle) -> str:
    """Return the line of a recovery."""
    minutes, seconds = divmod(int(found.seconds), 60)
    cuts = sum(count for name, count in cycle.counts.items() if name.startswith("to "))
    low, high = (place(cycle.memory) / MIB for place in (min, max))
    wrong = f", {len(found.wrong)} WRONG" if found.wrong else ""
    return (
        f"{cycle.number:4} {minutes:3}:{seconds:02}  {cycle.end:5} down {cycle.down:5.2f} s, "
        f"all back {cycle.recovery:5.2f} s, commands {cycle.commands:5.2f} s; so far "
        f"{cycle.counts['connections']:,} connections, {cuts:,} cut; "
        f"{low:.0f}-{high:.0f} MiB{wrong}"
    )


def failed(found: Found) -> list[str]:
    """Return all that went wrong."""
    wrong = list(found.wrong)
    for service, end in enumerate(found.services):
        name = f"service {service}"
        plain, durable = end["accepted"]
        copies = bytearray(found.plain.copies.get(service, b""))
        for number in found.unpassed.get(service, ()):
            copies.extend(bytes(max(0, number + 1 - len(copies))))
            copies[number] = max(1, copies[number])
        wrong += judge_plain(name, plain, copies, end["statistics"]["repeated"])
        wrong += judge_durable(name, durable, found.durable.copies.get(service, b""))
        counts = {what: end["statistics"][what] for what in ("dropped", "overflowed", "refused")}
        counts["unconfirmed"] = sum(end["unconfirmed"])
        counts["late"] = found.plain.late[service]
        wrong += [f"{name}: {count} items {what}" for what, count in counts.items() if count]
    for kind, arrivals in (("plain", found.plain), ("durable", found.durable)):
        wrong += [f"{kind} items: {text}" for text in arrivals.strange]
    for place, samples in enumerate(found.usage):
        wrong += judge_usage(f"process {place}", samples)
    return wrong


def table(found: Found) -> str:
    """Return the figures."""
    cycles = found.cycles[1:]
    counts = found.cycles[-1].counts
    repeated = sum(end["statistics"]["repeated"] for end in found.services)
    rows = [
        ("services, in processes", f"{found.plan.services}, {found.plan.processes}"),
        ("minutes", f"{found.seconds / 60:.1f}"),
        ("broker killed, stopped", f"{_count(cycles, 'kill')}, {_count(cycles, 'stop')}"),
        ("seconds it was down", _range([each.down for each in cycles])),
        ("seconds until all were back", _range([each.recovery for each in cycles])),
        ("connections", f"{counts['connections']:,}"),
        ("cut mid-message to broker, to service", _cuts(counts)),
        (
            "commands, answers wanted, came",
            f"{found.commands}, {found.commands * found.plan.services:,}, {found.answers:,}",
        ),
        *_items("plain", found, 0),
        ("copies of them, sent again (of both kinds)", f"{_copies(found, 0)}, {repeated:,}"),
        ("killed with the broker that had confirmed them", f"{_unpassed(found)}"),
        *_items("durable", found, 1),
        ("more than once in the stream", f"{_copies(found, 1)}"),
        ("stored after a later one", f"{found.durable.late.total():,}"),
    ]
    for what in GROWTH:
        unit = MIB if what == "memory" else 1
        name = "resident MiB" if what == "memory" else what
        rows.append((f"{name}, first and last quarter", _quarters(found, what, unit)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _count(cycles: Sequence[Cycle], end: str) -> int:
    return sum(each.end == end for each in cycles)


def _range(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{min(values):.2f}-{max(values):.2f}, median {statistics.median(values):.2f}"


def _cuts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,}" for name, count in counts.items() if name.startswith("to "))


def _items(kind: str, found: Found, place: int) -> list[tuple[str, str]]:
    accepted = sum(end["accepted"][place] for end in found.services)
    arrivals = (found.plain, found.durable)[place]
    came = sum(sum(map(bool, copies)) for copies in arrivals.copies.values())
    return [(f"{kind} items accepted, came", f"{accepted:,}, {came:,}")]


def _copies(found: Found, place: int) -> str:
    arrivals = (found.plain, found.durable)[place]
    more = (sum(copies) - sum(map(bool, copies)) for copies in arrivals.copies.values())
    return f"{sum(more):,}"


def _unpassed(found: Found) -> int:
    return sum(map(len, found.unpassed.values()))


def _quarters(found: Found, what: str, unit: int) -> str:
    pairs = [quarters(samples[what]) for samples in found.usage]
    told = [
        "too few" if pair is None else f"{pair[0] / unit:,.0f}→{pair[1] / unit:,.0f}"
        for pair in pairs
    ]
    return "  ".join(told)
