r"""The NATS protocol: bytes in, events out, for both roles.

A client parses ``INFO MSG HMSG +OK -ERR PING PONG``, a server
``CONNECT PUB HPUB SUB UNSUB PING PONG``. One grammar serves both.

What it accepts, as every real peer does: operation names in any case, any
number of blanks and tabs between arguments, a bare LF as line end, anything
after the name in ``PING``, ``PONG`` and ``+OK``. What it refuses: everything
else, including a payload that CR LF does not follow. Nothing is consumed
before it is complete, so the events do not depend on how the bytes are cut.

Every length is checked before memory is taken, and work is linear in the
bytes: pieces of an unfinished line or payload are joined once.

Source: NATS client protocol; bounds are explained beside each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from backplane.nats.encoder import (
    encode_connect,
    encode_err,
    encode_info,
    encode_msg,
    encode_pub,
    encode_sub,
    encode_unsub,
)
from backplane.nats.errors import ProtocolError
from backplane.nats.operations import (
    Connect,
    Err,
    Event,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    Pub,
    Sub,
    Unsub,
)

__all__ = [
    "Connect",
    "Err",
    "Event",
    "Info",
    "Limits",
    "Msg",
    "Ok",
    "Parser",
    "Ping",
    "Pong",
    "Pub",
    "Sub",
    "Unsub",
    "encode_connect",
    "encode_err",
    "encode_info",
    "encode_msg",
    "encode_pub",
    "encode_sub",
    "encode_unsub",
]

Role = Literal["client", "server"]


@attrs.frozen
class Limits:
    """Bounds against a hostile or broken peer, in bytes.

    :ivar line: control line; a ``MSG`` line can exceed the 4,096 bytes that a
        server allows us, because subjects are rewritten between accounts.
    :ivar document: ``INFO`` or ``CONNECT`` line; a cluster's list of URLs is long.
    :ivar payload: headers and payload; 64 MiB is what a server keeps pending at most.
    """

    line: int = 64 * 1024
    document: int = 1024 * 1024
    payload: int = 64 * 1024 * 1024


_CACHE_SIZE: Final = 512
"""Parsed control lines kept: a subscriber sees the same few again and again."""

_FIRST: Final[Mapping[Role, bytes]] = {"client": b"IiMmHhPp+-", "server": b"CcPpHhSsUu"}
_MAX_DIGITS: Final = 10

# Subject, sid, reply, header size or -1, total size.
_Head = tuple[str, str, "str | None", int, int]


class Parser:
    """Turns a stream of bytes into events.

    After :class:`~backplane.nats.errors.ProtocolError` it is of no more use.

    :param role: whose ears these are.
    :ivar mixed: there was more than messages without headers in what came last.
    """

    def __init__(self, role: Role = "client", limits: Limits | None = None) -> None:
        self._role: Role = role
        self._limits = limits if limits is not None else Limits()
        self._first = _FIRST[role]
        self._pieces: list[bytes] = []  # of an unfinished line or payload
        self._have = 0
        self._head: _Head | None = None  # of the unfinished payload
        self._cache: dict[bytes, _Head] = {}
        self.mixed = False

    @property
    def unfinished(self) -> bool:
        """Whether a part of a line or payload was received."""
        return bool(self._pieces) or self._head is not None

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes.

        :returns: the events that are complete now, in order.
        :raises ProtocolError: when the peer does not speak NATS.
        """
        events: list[Event] = []
        self.mixed = False
        try:
            self._feed(data, events)
        except ProtocolError as error:
            error.events = list(events)
            raise
        return events

    def _feed(self, data: bytes, events: list[Event]) -> None:
        head = self._head
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if head is not None:
                if self._have < head[4] + 2:
                    return
            elif b"\n" not in data:
                self._check_line(self._pieces[0], self._have)
                return
            data = b"".join(self._pieces)
            self._pieces = []
        position = 0
        end = len(data)
        plain = self._role == "client"
        known = self._cache
        while True:
            if head is not None:
                subject, sid, reply, header, size = head
                stop = position + size
                if stop + 2 > end:
                    break
                if data[stop : stop + 2] != b"\r\n":
                    raise ProtocolError("a payload is not followed by CR LF", kind="payload")
                if plain and header < 0:
                    events.append(Msg(subject, data[position:stop], reply, None, sid))
                else:
                    events.append(self._message(head, data[position:stop]))
                self._head = head = None
                position = stop + 2
            if position >= end:
                self._have = 0
                return
            newline = data.find(b"\n", position)
            if newline < 0:
                self._check_line(data[position : position + 8], end - position)
                break
            line = data[position:newline]
            position = newline + 1
            head = known.get(line)
            if head is None:
                if plain and line[:4] == b"MSG ":
                    head = self._msg_line(line)
                else:
                    self._line(line, events)
                    head = self._head
            self._head = head
        self._pieces = [data[position:]] if position else [data]
        self._have = end - position
        if not self._have:
            self._pieces = []
            if head is not None:
                # An empty piece marks that a payload is awaited.
                self._pieces = [b""]

    def _check_line(self, start: bytes, length: int) -> None:
        if start[0] not in self._first:
            raise ProtocolError(f"no operation starts with {start[:1]!r}", kind="operation")
        document = start[:1] in b"IiCc"
        if length > (self._limits.document if document else self._limits.line):
            raise ProtocolError(f"a line of more than {length - 1} bytes", kind="line")

    def _line(self, line: bytes, events: list[Event]) -> None:
        self.mixed = True
        if not line:
            raise ProtocolError("an empty line", kind="operation")
        self._check_line(line[:8], len(line))
        name = line[:4].upper()
        if name == b"PING":
            events.append(Ping())
        elif name == b"PONG":
            events.append(Pong())
        elif self._role == "client":
            self._client_line(line, name, events)
        else:
            self._server_line(line, name, events)

    def _client_line(self, line: bytes, name: bytes, events: list[Event]) -> None:
        if name == b"MSG " or name == b"MSG\t":
            self._head = self._msg_line(line)
        elif name == b"HMSG" and line[4:5] in (b" ", b"\t"):
            arguments = line.split()[1:]
            if len(arguments) not in (4, 5):
                raise ProtocolError(f"HMSG with {len(arguments)} arguments", kind="arguments")
            reply_text = _text(arguments[2]) if len(arguments) == 5 else None
            header, total = self._sizes(arguments[-2], arguments[-1])
            self._head = (_text(arguments[0]), _text(arguments[1]), reply_text, header, total)
        elif name == b"INFO" and line[4:5] in (b" ", b"\t"):
            events.append(Info(_document(line[5:], "INFO")))
        elif name[:3] == b"+OK":
            events.append(Ok())
        elif name == b"-ERR" and (len(line) == 4 or line[4:5] in (b" ", b"\t", b"\r")):
            text = line[4:].decode("utf-8", "replace").strip()
            events.append(Err(text.removeprefix("'").removesuffix("'")))
        else:
            raise ProtocolError(f"unknown operation {line[:16]!r}", kind="operation")

    def _msg_line(self, line: bytes) -> _Head:
        if len(line) > self._limits.line:
            raise ProtocolError(f"a line of more than {len(line) - 1} bytes", kind="line")
        words = line.split()
        count = len(words)
        if count == 5:
            # Each reply is another one, so the line will not come again.
            _, subject, sid, reply, size = words
            return _text(subject), _text(sid), _text(reply), -1, self._size(size)
        if count != 4:
            raise ProtocolError(f"MSG with {count - 1} arguments", kind="arguments")
        _, subject, sid, size = words
        head = (_text(subject), _text(sid), None, -1, self._size(size))
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[line] = head
        return head

    def _server_line(self, line: bytes, name: bytes, events: list[Event]) -> None:
        words = line.split()
        word = words[0].upper() if line[:1] not in b" \t" else b""
        arguments = words[1:]
        if word == b"PUB":
            if len(arguments) not in (2, 3):
                raise ProtocolError(f"PUB with {len(arguments)} arguments", kind="arguments")
            reply = _text(arguments[1]) if len(arguments) == 3 else None
            self._head = (_text(arguments[0]), "", reply, -1, self._size(arguments[-1]))
        elif word == b"HPUB":
            if len(arguments) not in (3, 4):
                raise ProtocolError(f"HPUB with {len(arguments)} arguments", kind="arguments")
            reply = _text(arguments[1]) if len(arguments) == 4 else None
            header, total = self._sizes(arguments[-2], arguments[-1])
            self._head = (_text(arguments[0]), "", reply, header, total)
        elif word == b"SUB":
            if len(arguments) not in (2, 3):
                raise ProtocolError(f"SUB with {len(arguments)} arguments", kind="arguments")
            queue = _text(arguments[1]) if len(arguments) == 3 else None
            events.append(Sub(_text(arguments[0]), queue, _text(arguments[-1])))
        elif word == b"UNSUB":
            if len(arguments) not in (1, 2):
                raise ProtocolError(f"UNSUB with {len(arguments)} arguments", kind="arguments")
            limit = None
            if len(arguments) == 2 and arguments[1].isdigit() and len(arguments[1]) < _MAX_DIGITS:
                # As with nats-server, what is no number is as good as none.
                limit = int(arguments[1])
            events.append(Unsub(_text(arguments[0]), limit))
        elif word == b"CONNECT":
            events.append(Connect(_document(line[7:], "CONNECT")))
        else:
            raise ProtocolError(f"unknown operation {line[:16]!r}", kind="operation")

    def _size(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > _MAX_DIGITS:
            raise ProtocolError(f"a number of {digits[:24]!r}", kind="arguments")
        size = int(digits)
        if size > self._limits.payload:
            raise ProtocolError(
                f"a payload of {size} bytes, more than {self._limits.payload}", kind="arguments"
            )
        return size

    def _sizes(self, header: bytes, total: bytes) -> tuple[int, int]:
        sizes = self._size(header), self._size(total)
        if sizes[0] > sizes[1]:
            raise ProtocolError(
                f"headers of {sizes[0]} bytes in a message of {sizes[1]}", kind="arguments"
            )
        return sizes

    def _message(self, head: _Head, body: bytes) -> Msg | Pub:
        subject, sid, reply, header, _ = head
        block = None
        if header >= 0:
            block, body = body[:header], body[header:]
        if self._role == "client":
            return Msg(subject, body, reply, block, sid)
        return Pub(subject, reply, body, block)


def _text(token: bytes) -> str:
    # Subjects are UTF-8 by custom only; surrogates keep other bytes as they are.
    try:
        return token.decode()
    except UnicodeDecodeError:
        return token.decode("utf-8", "surrogateescape")


def _document(text: bytes, name: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            f"{name} is not JSON: {type(error).__name__}", kind="document"
        ) from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"{name} is not a JSON object", kind="document")
    return fields
