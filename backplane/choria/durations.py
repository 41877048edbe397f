"""Go's text form of a duration, which replies carry."""

from __future__ import annotations

__all__ = ["format_duration"]

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def format_duration(nanoseconds: int) -> str:
    """Return what Go's ``time.Duration.String`` gives: ``1m1.5s``, ``3.4ms``, ``0s``."""
    if not nanoseconds:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    left = abs(nanoseconds)
    if left >= 1_000_000_000:
        minutes, seconds = divmod(left, 60_000_000_000)
        hours, minutes = divmod(minutes, 60)
        head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
        return f"{sign}{head}{_decimal(seconds, 1_000_000_000)}s"
    for unit, name in _UNITS:
        if left >= unit:
            return f"{sign}{_decimal(left, unit)}{name}"
    return f"{sign}{left}ns"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = f"{fraction:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}"
