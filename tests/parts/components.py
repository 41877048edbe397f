"""Reports of health checks, as tests compare them."""

from __future__ import annotations

from typing import Any

__all__ = ["Report", "bad", "fine", "without_seconds"]

Report = tuple[dict[str, Any], bool]


def without_seconds(report: Any) -> Report:
    """Return a report without how long everything took."""
    found, ok = report
    for each in found.values():
        assert each.pop("seconds") >= 0
    return found, ok


def fine(detail: object = None) -> dict[str, Any]:
    return {"ok": True, "detail": detail}


def bad(detail: object = None) -> dict[str, Any]:
    return {"ok": False, "detail": detail}
