"""NATS message headers (ADR-4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

__all__ = ["Headers", "HeadersError", "decode_headers", "encode_headers"]

_VERSION: Final = b"NATS/1.0"
_BLANKS: Final = " \t"


class HeadersError(ValueError):
    """A header block or field that is not well-formed."""


@attrs.frozen
class Headers:
    """The headers of a message: keys keep their case, values may repeat.

    :ivar fields: ``(key, value)`` pairs in order.
    :ivar status: such as ``503``, or ``None``.
    :ivar description: text after the status.
    """

    fields: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    description: str = ""

    def get(self, key: str, default: str | None = None) -> str | None:
        """Return the first value of ``key``; case counts."""
        return next((value for name, value in self.fields if name == key), default)

    def get_all(self, key: str) -> list[str]:
        """Return all values of ``key``."""
        return [value for name, value in self.fields if name == key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)


def decode_headers(block: bytes) -> Headers:
    """Read a header block, from ``NATS/1.0`` to the empty line.

    :raises HeadersError: for a block without version line or final empty line, or a
        field without a colon.
    """
    if not block.startswith(_VERSION) or not block.endswith(b"\r\n\r\n"):
        raise HeadersError("a header block starts with NATS/1.0 and ends with an empty line")
    lines = block[:-4].split(b"\r\n")
    status = None
    after = lines[0][len(_VERSION) :].decode("utf-8", "replace")
    if after and after[0] not in _BLANKS:
        raise HeadersError(f"{lines[0][:20]!r} is not the version NATS/1.0")
    words = after.strip(_BLANKS).split(None, 1)
    if words:
        if not (words[0].isascii() and words[0].isdigit() and len(words[0]) == 3):
            raise HeadersError(f"{words[0][:20]!r} is not a status")
        status = int(words[0])
    fields = []
    for line in lines[1:]:
        key, colon, value = line.partition(b":")
        if not colon or not key:
            raise HeadersError(f"a header without a colon: {line[:40]!r}")
        fields.append(
            (key.decode("utf-8", "replace"), value.decode("utf-8", "replace").strip(_BLANKS))
        )
    return Headers(tuple(fields), status, words[1] if len(words) > 1 else "")


def encode_headers(headers: Headers | Mapping[str, str | Sequence[str]]) -> bytes:
    """Return the header block.

    :raises HeadersError: for a key that is not printable ASCII without colon, a value
        or status with a line break, and what UTF-8 cannot encode.
    """
    if isinstance(headers, Headers):
        fields = list(headers.fields)
    else:
        fields = []
        for key, value in headers.items():
            values = [value] if isinstance(value, str) else value
            fields.extend((key, item) for item in values)
    lines = [_first_line(headers) if isinstance(headers, Headers) else _VERSION]
    for key, value in fields:
        if not key or not all("!" <= char <= "~" and char != ":" for char in key):
            raise HeadersError(f"{key[:40]!r} cannot be a header key")
        if "\r" in value or "\n" in value:
            raise HeadersError(f"the header {key} has a line break")
        lines.append(_encoded(f"{key}: {value.strip(_BLANKS)}"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _first_line(headers: Headers) -> bytes:
    if headers.status is None:
        return _VERSION
    if not 0 <= headers.status <= 999 or "\r" in headers.description or "\n" in headers.description:
        raise HeadersError(f"{headers.status} {headers.description[:40]!r} cannot be a status")
    return _VERSION + _encoded(f" {headers.status:03} {headers.description}".rstrip(_BLANKS))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise HeadersError(f"{text[:40]!r} cannot be encoded") from None
