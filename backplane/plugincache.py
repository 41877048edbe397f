"""The complaint of twistd that it cannot write its plugin cache.

Where the environment belongs to another user than the one that runs, as it should, that is the
first line of each start, and tells an operator nothing: plugins are found all the same.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import globalLogBeginner

__all__ = ["forget_complaint"]

COMPLAINT: Final = "Unable to write to plugin cache"


def forget_complaint(beginner: Any = globalLogBeginner) -> int:
    """Take it out of what is kept until there is a log.

    :param beginner: has what was logged before; Twisted offers no other way to it than by
        names of its own, and where those have changed, nothing is done.
    :returns: how many lines were left out.
    """
    kept = getattr(getattr(beginner, "_initialBuffer", None), "_buffer", None)
    try:
        events = list(kept or ())
        stay = [each for each in events if COMPLAINT not in str(each.get("format", ""))]
        if kept is not None and len(stay) < len(events):
            kept.clear()
            kept.extend(stay)
    except (AttributeError, TypeError):
        return 0
    return len(events) - len(stay)
