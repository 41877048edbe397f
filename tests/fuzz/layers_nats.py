"""Layers of the connection: what a broker sends, and what a client sends a broker."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from backplane.nats.config_state import read_server_info
from backplane.nats.errors import ConnectionFailed, ProtocolError
from backplane.nats.headers import HeadersError, decode_headers, encode_headers
from backplane.nats.parser import Event, Msg, Parser, Pub, Role
from backplane.nats.servers import ServerPool, parse_server, parse_servers
from backplane.nats.session import Session
from tests.fuzz.corpus import payloads
from tests.fuzz.engine import Layer
from tests.fuzz.strategies import documents

__all__ = ["LAYERS"]

INFO: Final = {
    "server_id": "NDCPQ",
    "version": "2.15.1",
    "go": "go1.24",
    "host": "0.0.0.0",
    "port": 4222,
    "headers": True,
    "auth_required": False,
    "tls_required": True,
    "tls_verify": True,
    "max_payload": 1048576,
    "client_id": 5,
    "connect_urls": ["192.168.1.5:4222", "[::1]:4222", "b.example.net:4222"],
    "ldm": False,
    "nonce": "abc",
}

HEADERS: Final = b"NATS/1.0\r\nNats-Msg-Id: 1\r\nTraceparent: 00-ab\r\n\r\n"
STATUS: Final = b"NATS/1.0 503 No Responders\r\n\r\n"

_WORDS: Final = (
    *("INFO ", "MSG ", "HMSG ", "PING\r\n", "PONG\r\n", "+OK\r\n", "-ERR 'Unknown'\r\n", "PUB "),
    *("HPUB ", "SUB ", "UNSUB ", "CONNECT ", "\r\n", "{}", " 1 ", " 0\r\n\r\n", " 12 12\r\n"),
    *("a.b ", "a.reply.x ", "5\r\nhello\r\n", "NATS/1.0\r\n", "99999999999", "-1", "18 23\r\n"),
)


def _client_stream() -> Sequence[bytes]:
    info = b"INFO " + json.dumps(INFO).encode() + b"\r\n"
    some = payloads("request")[:6]
    message = b"MSG a.b 1 5\r\nhello\r\nMSG a.b 2 a.reply.x 0\r\n\r\n"
    size = len(HEADERS)
    headed = b"HMSG a.b 1 %d %d\r\n%shello\r\n" % (size, size + 5, HEADERS)
    nobody = b"HMSG a.b 1 %d %d\r\n%s\r\n" % (len(STATUS), len(STATUS), STATUS)
    return (
        info,
        info + b"PING\r\nPONG\r\n" + message,
        info + b"PONG\r\n" + headed + nobody + b"-ERR 'Stale Connection'\r\n",
        message + headed,
        *(b"PONG\r\nMSG a.b 1 %d\r\n%s\r\n" % (len(each), each) for each in some),
    )


def _server_stream() -> Sequence[bytes]:
    connect = b'CONNECT {"verbose":false,"pedantic":true,"user":"a","pass":"b"}\r\nPING\r\n'
    size = len(HEADERS)
    return (
        connect,
        connect + b"SUB a.> 1\r\nSUB a.* q 2\r\nUNSUB 1 5\r\nUNSUB 2\r\n",
        b"PUB a.b 5\r\nhello\r\nPUB a.b a.reply.x 0\r\n\r\nPONG\r\n",
        b"HPUB a.b r %d %d\r\n%shello\r\n" % (size, size + 5, HEADERS),
        *(b"PUB a.b %d\r\n%s\r\n" % (len(each), each) for each in payloads("reply")[:6]),
    )


def _fed(role: Role, pieces: Sequence[bytes]) -> tuple[list[Event], ProtocolError | None]:
    parser, events = Parser(role), []
    for piece in pieces:
        try:
            events += parser.feed(piece)
        except ProtocolError as error:
            return [*events, *error.events], error  # type: ignore[list-item]
    return events, None


def _parse(role: Role) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        """Parse; in pieces there must come the same of it."""
        events, error = _fed(role, [data])
        cut = zlib.crc32(data) % (len(data) + 1)
        again, other = _fed(role, [data[:cut], data[cut:]])
        if (again, type(other)) != (events, type(error)):
            raise AssertionError(f"cut at {cut}: {again} {other!r}, whole: {events} {error!r}")
        for event in events:
            if isinstance(event, (Msg, Pub)) and event.headers is not None:
                _headers(event.headers, strict=False)
        if error is not None:
            raise error
        return events

    return read


def _headers(block: bytes, *, strict: bool = True) -> None:
    try:
        found = decode_headers(block)
        encode_headers(found)
    except HeadersError:
        if strict:
            raise


def _session(data: bytes) -> object:
    session = Session(lambda info: {"verbose": False, "name": str(info.get("server_id"))})
    cut = zlib.crc32(data) % (len(data) + 1)
    events = session.receive(data[:cut])
    session.ping("token")
    events += session.receive(data[cut:])
    assert session.max_payload > 0
    return events


def _info(text: str) -> object:
    """Read what a server says of itself, as the client does."""
    (event,) = Parser("client").feed(b"INFO " + text.encode("utf-8", "surrogatepass") + b"\r\n")
    fields: Mapping[str, Any] = event.fields  # type: ignore[union-attr]
    read_server_info(fields)
    urls = fields.get("connect_urls")
    here = parse_server("tls://me:secret@b.example.net:4222")
    pool = ServerPool([here], None)
    pool.learn(urls if isinstance(urls, list) else [], here)
    return pool.take()


def _server(text: str) -> object:
    return parse_servers([text]), parse_servers(text)


def _addresses() -> Iterator[str]:
    yield from ("broker1.example.net:4222", "tls://broker1:4222", "nats://u:p@[::1]:4222")
    yield from ("nats://token@b", "[fe80::1%25eth0]:1", "a:1,b:2", "b_1.example.net.", "10.0.0.1")


LAYERS: Final = (
    Layer(
        name="NATS, as a client",
        read=_parse("client"),
        errors=(ProtocolError,),
        seeds=_client_stream,
        words=_WORDS,
        binary=True,
        weight=9,
    ),
    Layer(
        name="NATS, as a broker",
        read=_parse("server"),
        errors=(ProtocolError,),
        seeds=_server_stream,
        words=_WORDS,
        binary=True,
        weight=7,
    ),
    Layer(
        name="NATS session",
        read=_session,
        errors=(ProtocolError, ConnectionFailed),
        seeds=_client_stream,
        words=_WORDS,
        binary=True,
        weight=5,
    ),
    Layer(
        name="NATS headers",
        read=_headers,
        errors=(HeadersError,),
        seeds=lambda: (HEADERS, STATUS),
        words=("NATS/1.0", " 503", " ", ":", "\r\n", "Key", "value", "\r\n\r\n", "\t"),
        binary=True,
        weight=5,
    ),
    Layer(
        name="NATS INFO",
        read=_info,
        errors=(ProtocolError,),
        seeds=lambda: (json.dumps(INFO),),
        made=documents(*INFO).filter(lambda text: "\n" not in text) | st.text(max_size=20),
        weight=4,
    ),
    Layer(
        name="NATS addresses",
        read=_server,
        errors=(ValueError,),
        seeds=lambda: tuple(_addresses()),
        words=(
            "tls://",
            "nats://",
            "@",
            ":",
            "[",
            "]",
            "::1",
            "%25",
            ",",
            ".",
            "4222",
            "host",
            "/",
        ),
        weight=3,
    ),
)
