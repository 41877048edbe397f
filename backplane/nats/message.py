"""What a subscriber gets; its headers are read when somebody asks for them."""

from __future__ import annotations

import attrs

from backplane.nats.headers import Headers, HeadersError, decode_headers

__all__ = ["Message"]

_NONE = Headers()


class _Read:
    """A place for what was read, empty until then, so that it costs nothing."""

    __slots__ = ("_read",)
    _read: Headers


@attrs.define(unsafe_hash=True)
class Message(_Read):
    """A message as a subscriber gets it.

    :ivar subject: where it was published.
    :ivar payload: its bytes.
    :ivar reply: where an answer is awaited, or ``None``.
    :ivar headers: the header block as it came, or ``None``; :meth:`header`,
        :attr:`all_headers` and :attr:`status` read it.
    :ivar sid: of the subscription that it came for.
    """

    subject: str
    payload: bytes
    reply: str | None = None
    headers: bytes | None = None
    sid: str = ""

    @property
    def all_headers(self) -> Headers:
        """The headers, read at the first time; none where there is no block that can be read."""
        if self.headers is None:
            return _NONE
        try:
            return self._read
        except AttributeError:
            pass
        try:
            read = decode_headers(self.headers)
        except HeadersError:
            read = _NONE
        object.__setattr__(self, "_read", read)  # mypy does not see the slot
        return read

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a header; case counts."""
        return default if self.headers is None else self.all_headers.get(name, default)

    @property
    def status(self) -> int | None:
        """The number that a server put in place of a message, such as 503, or ``None``."""
        return None if self.headers is None else self.all_headers.status
