"""What a child prints as lines of a log, so many in a time and so long: pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backplane.logs import printable

__all__ = ["Lines"]

MAX_LINE: Final = 2000
"""Characters of a line that are logged; the bytes that are kept are four times that."""

BURST: Final = 200
"""Lines that may come at once."""

RATE: Final = 20.0
"""Lines a second that may come all the time."""


class Lines:
    """Makes lines of pieces, and leaves out what is too many.

    :param write: gets each line, printable.
    :param left_out: gets how many were left out, before the next line.
    :param now: seconds, of a clock that only goes forward.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        left_out: Callable[[int], None],
        now: Callable[[], float],
    ) -> None:
        self._write = write
        self._left_out = left_out
        self._now = now
        self._part = bytearray()
        self._room = float(BURST)
        self._at = now()
        self._missing = 0

    def received(self, data: bytes) -> None:
        """Take a piece of what is printed."""
        first, *rest = data.split(b"\n")
        self._add(first)
        for piece in rest:
            self._end()
            self._add(piece)

    def close(self) -> None:
        """Write the last line, and how many were left out."""
        if self._part:
            self._end()
        self._tell()

    def _add(self, data: bytes) -> None:
        self._part += data[: 4 * MAX_LINE - len(self._part)]

    def _end(self) -> None:
        line, self._part = bytes(self._part), bytearray()
        now = self._now()
        # A clock that was set back gives nothing.
        self._room = min(BURST, self._room + max(0.0, now - self._at) * RATE)
        self._at = now
        if self._room < 1:
            self._missing += 1
            return
        self._room -= 1
        self._tell()
        self._write(printable(line.decode("utf-8", "replace").rstrip("\r"), MAX_LINE))

    def _tell(self) -> None:
        if self._missing:
            missing, self._missing = self._missing, 0
            self._left_out(missing)
