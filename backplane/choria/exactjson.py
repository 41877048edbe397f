"""JSON by a fast library, for texts of which it leaves nothing out.

``orjson`` reads and writes many times as fast as the standard library, but takes the
last of two equal keys, turns integers beyond 64 bits into others and writes
``null`` for NaN without a word. So its result is used only where that cannot
have happened; of all else ``None`` is returned, and a careful reader or writer
decides. What peers send and what we answer is nearly always of the first kind.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["read_exactly", "write_exactly"]

_PLAIN: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def read_exactly(document: bytes) -> Any:
    """Return the value of a compact JSON text, or ``None``.

    Written anew it is the same text to the byte, so no key stands in it twice and
    no number was changed. ``null`` itself is ``None``, too.
    """
    try:
        value = orjson.loads(document)
        return value if orjson.dumps(value) == document else None
    except (ValueError, TypeError):
        return None


def write_exactly(value: object) -> bytes | None:
    """Return compact JSON as UTF-8, or ``None`` for what may not be told as it is."""
    try:
        document = orjson.dumps(value, option=_PLAIN)
    except TypeError:
        return None
    return None if b"null" in document else document
