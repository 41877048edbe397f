"""Publishes that wait for a connection."""

from __future__ import annotations

import attrs

from backplane.nats.errors import BufferFull

__all__ = ["Kept", "PublishBuffer"]


@attrs.frozen
class Kept:
    """A publish that waits.

    :ivar data: as it goes onto the wire.
    :ivar size: bytes of headers and payload.
    """

    data: bytes
    size: int


class PublishBuffer:
    """Keeps publishes in order, up to a number of bytes.

    :param bound: bytes on the wire; nothing is kept when it is 0 or less.
    :ivar bytes: how many are kept.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept: dict[object, Kept] = {}
        self.bytes = 0

    def add(self, data: bytes, size: int, name: str | None = None) -> None:
        """Keep one.

        :param name: by which :meth:`drop` knows it, which no other has.
        :raises BufferFull: when it does not fit.
        """
        if self._bound <= 0:
            raise BufferFull("there is no connection, and nothing is kept for the next one")
        if self.bytes + len(data) > self._bound:
            raise BufferFull(f"{self.bytes} bytes wait for a connection already")
        key: object = object() if name is None or name in self._kept else name
        self._kept[key] = Kept(data, size)
        self.bytes += len(data)

    def drop(self, name: str) -> Kept | None:
        """Keep one no longer; return it, or ``None`` when it is not here."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.bytes -= len(kept.data)
        return kept

    def take(self) -> list[Kept]:
        """Return all, oldest first, and keep none."""
        kept, self._kept, self.bytes = self._kept, {}, 0
        return list(kept.values())
