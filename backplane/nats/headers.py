"""NATS message headers (ADR-4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from backplane.nats.errors import HeadersError

__all__ = [
    "Headers",
    "HeadersError",
    "check_block",
    "decode_headers",
    "encode_headers",
    "fields_of",
]

_VERSION: Final = b"NATS/1.0"
_BLANKS: Final = " \t"


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

    :raises HeadersError: for a block without version line or final empty line, a status that
        is not three digits, or a field without a colon.
    """
    lines, words = _split(block)
    fields = []
    for line in lines:
        key, _, value = line.partition(b":")
        fields.append(
            (key.decode("utf-8", "replace"), value.decode("utf-8", "replace").strip(_BLANKS))
        )
    if not words:
        return Headers(tuple(fields))
    description = words[1].decode("utf-8", "replace") if len(words) > 1 else ""
    return Headers(tuple(fields), int(words[0]), description)


def check_block(block: bytes) -> None:
    """Check that :func:`decode_headers` can read a block; cheaper than reading it.

    :raises HeadersError: as it does.
    """
    _split(block)


def _split(block: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the lines of fields, and the words of the status: none, one, or two."""
    if not block.startswith(_VERSION) or not block.endswith(b"\r\n\r\n"):
        raise HeadersError("a header block starts with NATS/1.0 and ends with an empty line")
    lines = block[:-4].split(b"\r\n")
    after = lines.pop(0)[len(_VERSION) :]
    if after and after[:1] not in b" \t":
        raise HeadersError(f"{(_VERSION + after)[:20]!r} is not the version NATS/1.0")
    words = after.strip(b" \t").split(None, 1)
    if words and not (words[0].isdigit() and len(words[0]) == 3):
        raise HeadersError(f"{words[0][:20]!r} is not a status")
    for line in lines:
        if line.find(b":") < 1:
            raise HeadersError(f"a header without a colon, or without a name: {line[:40]!r}")
    return lines, words


def fields_of(
    headers: bytes | Headers | Mapping[str, str | Sequence[str]],
) -> list[tuple[str, str]]:
    """Return names and values, in whatever form they are given; they are not checked.

    :raises HeadersError: for a block that cannot be read.
    :raises TypeError: for what is no headers.
    """
    if isinstance(headers, bytes):
        headers = decode_headers(headers)
    if isinstance(headers, Headers):
        return list(headers.fields)
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers are names and values, not {type(headers).__name__}")
    fields = []
    for key, values in headers.items():
        several = isinstance(values, Iterable) and not isinstance(values, str | bytes)
        for value in values if several else [values]:
            if not (isinstance(key, str) and isinstance(value, str)):
                raise TypeError(
                    f"a header is text, not {type(key).__name__}, {type(value).__name__}"
                )
            fields.append((key, value))
    return fields


def encode_headers(headers: Headers | Mapping[str, str | Sequence[str]]) -> bytes:
    """Return the header block; blanks around a value are not part of it.

    :raises HeadersError: for a key that is not printable ASCII without colon, a value
        or status with a line break, and what UTF-8 cannot encode.
    :raises TypeError: for what is no headers.
    """
    fields = fields_of(headers)
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
