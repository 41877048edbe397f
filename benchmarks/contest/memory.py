"""What flows through stays nowhere: memory before, while and after many large messages."""

from __future__ import annotations

from typing import Final

from benchmarks.contest.arena import OURS, Arena

__all__ = ["flow"]

MIB: Final = 1024 * 1024


def flow(arena: Arena, messages: int, parts: int = 10) -> str:
    """Let so many messages of 16 KiB be received, and published, and say what was resident."""
    lines = []
    for work in ("receive", "publish"):
        found = [arena.resident(OURS)]
        for _ in range(parts):
            arena.measure(OURS, work, max(1, messages // parts), 16 * 1024)
            found.append(arena.resident(OURS))
        shown = ", ".join(f"{each / MIB:.1f}" for each in found)
        lines.append(f"{work} {messages:,} messages of 16 KiB, MiB resident: {shown}")
    return "\n".join(lines)
