"""What a reactor holds open, closed without a word to those at the other end.

For a forked process, whose copies are not its own to say goodbye with, and for a reactor
whose loop is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

__all__ = ["close_copies"]


def close_copies(selectables: Iterable[Any]) -> None:
    """Close the descriptors of what a reactor watches; no protocol hears of it."""
    for selectable in selectables:
        for name in ("socket", "i", "o"):
            _close(getattr(selectable, name, None))


def _close(held: Any) -> None:
    try:
        if isinstance(held, int):
            os.close(held)
        elif held is not None:
            os.close(held.detach())
    except (OSError, AttributeError):
        pass
