"""Where messages begin and end in one direction of a connection."""

from __future__ import annotations

from typing import Final

__all__ = ["Framing"]

_SIZED: Final = (b"PUB ", b"HPUB ", b"MSG ", b"HMSG ")
_MOST_LINE: Final = 65536


class Framing:
    """Told what passes, says when one message with a payload has begun.

    :ivar count: how many have begun and have come as far as their size.
    """

    def __init__(self) -> None:
        self.count = 0
        self._line = b""
        self._payload = 0  # bytes still to come, with the end of the line

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """Take what passes next.

        :returns: of each message whose size is known now, where its first line ends in
            ``data``, and its size from there. It is counted.
        :raises ValueError: for a line without an end.
        """
        found = []
        place = 0
        while place < len(data):
            if self._payload:
                step = min(self._payload, len(data) - place)
                self._payload -= step
                place += step
                continue
            end = data.find(b"\n", place)
            if end < 0:
                self._line += data[place:]
                if len(self._line) > _MOST_LINE:
                    raise ValueError("a line without an end")
                break
            line, self._line = self._line + data[place : end + 1], b""
            place = end + 1
            if line.upper().startswith(_SIZED):
                self._payload = int(line.split()[-1]) + 2
                self.count += 1
                found.append((place, self._payload))
        return found
