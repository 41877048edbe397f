"""Durations as Choria's configuration files have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["parse_duration"]

_NANOSECONDS: Final[Mapping[str, int]] = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_HOURS: Final[Mapping[str, int]] = {
    "d": 24,
    "D": 24,
    "w": 7 * 24,
    "W": 7 * 24,
    "M": 30 * 24,
    "y": 365 * 24,
    "Y": 365 * 24,
}
_DECIMAL: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_LARGEST: Final = 2**63


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in a configuration file.

    Digits are seconds. Go's ``1h30m``, ``1.5s``, ``100ms`` are known, and
    ``d``, ``w``, ``M`` (30 days), ``y`` alone, which are cut to whole hours.
    What exceeds 64 bits of nanoseconds wraps around, as in Choria.

    :raises ValueError: for anything else.
    """
    if re.fullmatch("[0-9]+", text):
        if len(text) > 19 or int(text) >= _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        return _wrapped(int(text) * 10**9)
    stripped = text.strip()
    if not stripped:
        return 0.0
    if stripped[-1] in _HOURS:
        if not _DECIMAL.fullmatch(stripped[:-1]):
            raise ValueError(f"duration {text[:60]!r} is no number before its unit")
        hours = float(stripped[:-1]) * _HOURS[stripped[-1]]
        if not abs(hours) < _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        return _wrapped(int(hours) * _NANOSECONDS["h"])
    if stripped[-1] not in "smh":
        raise ValueError(f"duration {text[:60]!r} has an unknown unit")
    return _go_duration(stripped, text)


def _wrapped(nanoseconds: int) -> float:
    return ((nanoseconds + _LARGEST) % (2 * _LARGEST) - _LARGEST) / 1e9


def _go_duration(stripped: str, text: str) -> float:
    sign = -1 if stripped[0] == "-" else 1
    rest = stripped[1:] if stripped[0] in "+-" else stripped
    total = at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]) or part[3] not in _NANOSECONDS:
            raise ValueError(f"duration {text[:60]!r} is not of the form 1h30m5s")
        unit = _NANOSECONDS[part[3]]
        # No more digits than a nanosecond can show, and none that cost time.
        fraction = (part[2] or "")[:18]
        whole = int(part[1][-40:] or "0")
        total += whole * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        if len(part[1].lstrip("0")) > 19 or total >= _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        at = part.end()
    return sign * total / 1e9
