"""The NATS protocol: operations as bytes, for both roles.

Nothing is checked here: whoever encodes has checked subjects, sids and header blocks.
Other than that a subject may be any text; surrogates become the bytes that they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "encode_connect",
    "encode_err",
    "encode_info",
    "encode_msg",
    "encode_pub",
    "encode_sub",
    "encode_unsub",
]


def encode_connect(fields: Mapping[str, Any]) -> bytes:
    """Return a ``CONNECT`` line."""
    return b"CONNECT %b\r\n" % json.dumps(dict(fields), separators=(",", ":")).encode()


def encode_info(fields: Mapping[str, Any]) -> bytes:
    """Return an ``INFO`` line."""
    return b"INFO %b \r\n" % json.dumps(dict(fields), separators=(",", ":")).encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _published(
    name: bytes, words: bytes, reply: str | None, payload: bytes, headers: bytes | None
) -> bytes:
    back = b"" if reply is None else _bytes(reply) + b" "
    if headers is None:
        return b"%b %b%b%d\r\n%b\r\n" % (name, words, back, len(payload), payload)
    total = len(headers) + len(payload)
    return b"H%b %b%b%d %d\r\n%b%b\r\n" % (
        name, words, back, len(headers), total, headers, payload,
    )  # fmt: skip


def encode_pub(
    subject: str, payload: bytes, reply: str | None = None, headers: bytes | None = None
) -> bytes:
    """Return ``PUB``, or ``HPUB`` where there is a header block."""
    return _published(b"PUB", _bytes(subject) + b" ", reply, payload, headers)


def encode_msg(
    subject: str, sid: str, payload: bytes, reply: str | None = None, headers: bytes | None = None
) -> bytes:
    """Return ``MSG``, or ``HMSG`` where there is a header block."""
    words = b"%b %b " % (_bytes(subject), _bytes(sid))
    return _published(b"MSG", words, reply, payload, headers)


def encode_sub(subject: str, sid: str, queue: str | None = None) -> bytes:
    """Return ``SUB``."""
    group = b"" if queue is None else _bytes(queue) + b" "
    return b"SUB %b %b%b\r\n" % (_bytes(subject), group, _bytes(sid))


def encode_unsub(sid: str, max_messages: int | None = None) -> bytes:
    """Return ``UNSUB``."""
    if max_messages is None:
        return b"UNSUB %b\r\n" % _bytes(sid)
    return b"UNSUB %b %d\r\n" % (_bytes(sid), max_messages)


def encode_err(text: str) -> bytes:
    """Return ``-ERR``."""
    return b"-ERR '%b'\r\n" % text.encode()
