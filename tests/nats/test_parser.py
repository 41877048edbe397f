"""P1 to P8 of the reliability checklist: the parser."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import ProtocolError
from backplane.nats.parser import (
    Connect,
    Err,
    Event,
    Info,
    Limits,
    Msg,
    Ok,
    Parser,
    Ping,
    Pong,
    Pub,
    Role,
    Sub,
    Unsub,
    encode_connect,
    encode_err,
    encode_info,
    encode_msg,
    encode_pub,
    encode_sub,
    encode_unsub,
)

ROLES: tuple[Role, ...] = ("client", "server")

STREAM = (
    b'INFO {"server_id":"x","max_payload":1048576} \r\nPING\r\nMSG a.b 1 5\r\nhello\r\n'
    b"MSG a.b 1 5\r\nMSG a\r\nMSG c 2 reply.x 0\r\n\r\nHMSG h 3 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"
    b"+OK\r\n-ERR 'Permissions Violation for Publish to \"a.b\"'\r\nPONG\r\n"
    b"MSG a.b 1 13\r\nMSG a 1 5\r\n\x00\n\r\n"
)
EVENTS: list[Event] = [
    Info({"server_id": "x", "max_payload": 1048576}),
    Ping(),
    Msg("a.b", b"hello", sid="1"),
    Msg("a.b", b"MSG a", sid="1"),
    Msg("c", b"", "reply.x", sid="2"),
    Msg("h", b"hello", None, b"NATS/1.0\r\n\r\n", sid="3"),
    Ok(),
    Err('Permissions Violation for Publish to "a.b"'),
    Pong(),
    Msg("a.b", b"MSG a 1 5\r\n\x00\n", sid="1"),
]

tokens = st.text(
    st.characters(blacklist_characters=" \t\r\n\x0b\x0c\x00\x1c\x1d\x1e\x1f\x85", codec="utf-8"),
    min_size=1,
    max_size=12,
).filter(lambda text: text.encode().split() == [text.encode()])
payloads = st.binary(max_size=40)
messages = st.builds(Msg, tokens, payloads, st.none() | tokens, st.none() | payloads, tokens)
published = st.builds(Pub, tokens, st.none() | tokens, payloads, st.none() | payloads)
subscriptions = st.builds(Sub, tokens, st.none() | tokens, tokens)
unsubscriptions = st.builds(Unsub, tokens, st.none() | st.integers(0, 10**6))
documents = st.dictionaries(tokens, st.integers() | tokens | st.booleans(), max_size=4)


def encode(event: Event) -> bytes:
    """Return what a peer would send."""
    if isinstance(event, Msg):
        return encode_msg(event.subject, event.sid, event.payload, event.reply, event.headers)
    if isinstance(event, Pub):
        return encode_pub(event.subject, event.payload, event.reply, event.headers)
    if isinstance(event, Sub):
        return encode_sub(event.subject, event.sid, event.queue)
    if isinstance(event, Unsub):
        return encode_unsub(event.sid, event.max_messages)
    if isinstance(event, Info):
        return encode_info(event.fields)
    if isinstance(event, Connect):
        return encode_connect(event.fields)
    if isinstance(event, Err):
        return encode_err(event.text)
    return {Ping: b"PING\r\n", Pong: b"PONG\r\n", Ok: b"+OK\r\n"}[type(event)]


def parse(parser: Parser, pieces: list[bytes]) -> tuple[list[Event], bool]:
    """Return the events, and whether it ended in an error."""
    events: list[Event] = []
    for piece in pieces:
        try:
            events.extend(parser.feed(piece))
        except ProtocolError as error:
            return events + error.events, True  # type: ignore[operator]
    return events, False


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut ``data`` at ``places``."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]


class SplitTests(SynchronousTestCase):
    """P1, P2: the events do not depend on how the bytes are cut."""

    def test_whole(self) -> None:
        """A stream in one piece."""
        self.assertEqual(Parser().feed(STREAM), EVENTS)

    def test_every_cut(self) -> None:
        """A stream cut once, at every position."""
        for place in range(len(STREAM)):
            parser = Parser()
            self.assertEqual(parser.feed(STREAM[:place]) + parser.feed(STREAM[place:]), EVENTS)

    def test_single_bytes(self) -> None:
        """A stream byte by byte."""
        parser = Parser()
        events = [event for byte in STREAM for event in parser.feed(bytes([byte]))]
        self.assertEqual(events, EVENTS)

    @given(
        st.lists(
            messages | documents.map(Info) | st.sampled_from([Ping(), Pong(), Ok(), Err("x y")]),
            max_size=8,
        ),
        st.lists(st.integers(0, 10000), max_size=12),
    )
    @settings(max_examples=200, deadline=None)
    def test_client_role(self, events: list[Event], places: list[int]) -> None:
        """What a server sends is understood, however it is cut."""
        data = b"".join(encode(event) for event in events)
        self.assertEqual(parse(Parser("client"), cut(data, places)), (events, False))

    @given(
        st.lists(
            published | subscriptions | unsubscriptions | documents.map(Connect)
            | st.sampled_from([Ping(), Pong()]),
            max_size=8,
        ),
        st.lists(st.integers(0, 10000), max_size=12),
    )  # fmt: skip
    @settings(max_examples=200, deadline=None)
    def test_server_role(self, events: list[Event], places: list[int]) -> None:
        """What a client sends is understood, however it is cut."""
        data = b"".join(encode(event) for event in events)
        self.assertEqual(parse(Parser("server"), cut(data, places)), (events, False))

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_damaged(self, data: st.DataObject) -> None:
        """P6: a damaged stream gives the same events and the same end however it is cut."""
        stream = bytearray(STREAM)
        for _ in range(data.draw(st.integers(1, 4))):
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        role: Role = data.draw(st.sampled_from(ROLES))
        whole = parse(Parser(role), [bytes(stream)])
        places = data.draw(st.lists(st.integers(0, 10000), max_size=20))
        self.assertEqual(parse(Parser(role), cut(bytes(stream), places)), whole)

    @given(st.binary(max_size=200), st.sampled_from(ROLES))
    @settings(max_examples=300, deadline=None)
    def test_garbage(self, data: bytes, role: Role) -> None:
        """P6: no input raises anything but the parser's own error."""
        parse(Parser(role), [data])

    def test_big_payload(self) -> None:
        """P2: a payload of 1 MiB arrives intact, in pieces that end around its CR LF."""
        body = bytes(range(256)) * 4096
        data = b"MSG a 1 %d\r\n%b\r\n" % (len(body), body)
        for tail in (0, 1, 2, 3):
            parser = Parser()
            edge = len(data) - tail
            events = parser.feed(data[:edge]) + parser.feed(data[edge:])
            self.assertEqual(events, [Msg("a", body, sid="1")])


class GrammarTests(SynchronousTestCase):
    """P3 to P5, P7: what is accepted and what is not."""

    def test_tolerated(self) -> None:
        """P3: case, blanks, tabs, bare LF."""
        data = (
            b"ping\r\nPING  \r\nmsg  a\t1  3\r\nfoo\r\n+OKay\r\nPONG\nMSG b 2 1\nx\r\nINFO  {} \r\n"
        )
        self.assertEqual(
            Parser().feed(data),
            [
                Ping(), Ping(), Msg("a", b"foo", sid="1"), Ok(), Pong(),
                Msg("b", b"x", sid="2"), Info({}),
            ],
        )  # fmt: skip

    def test_refused(self) -> None:
        """P4, P5, P7: each of these ends the connection, without an event."""
        for data in (
            b" PING\r\n", b"POO\r\n", b"MSGx\r\n", b"MSG foo\r\n", b"MSG foo 1\r\n",
            b"MSG foo bar 1 baz\r\n", b"+x\r\n", b"-ERx\r\n", b"INFO{}\r\n", b"HMSG a 1 9 3\r\n",
            b"MSG a 1 -1\r\n", b"MSG a 1 1e3\r\n", b"MSG a 1 99999999999999999999\r\n",
            b"MSG a 1 b c d\r\n", b"\r\n", b"\n", b"MSG a 1 3\r\nfooo\r\n", b"MSG a 1 3\r\nfoo\n\n",
            b"INFO {\r\n", b"INFO []\r\n", b"INFO \xff\r\n", b"INFO " + b"[" * 10000 + b"\r\n",
            b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0\r\n", b"PUB a 1\r\n", b"HMSG a 1 3\r\n",
        ):  # fmt: skip
            self.assertEqual(parse(Parser(), [data]), ([], True), data[:40])

    def test_refused_by_server(self) -> None:
        """P4: the same for what a client may send wrong."""
        for data in (
            b"PUB a\r\n", b"PUB a x\r\n", b"SUB a b c d\r\n", b"CONNECT {\r\n", b"MSG a 1 1\r\n",
            b"UNSUB\r\n", b"HPUB a 9 3\r\n", b"POST / HTTP/1.1\r\n",
        ):  # fmt: skip
            self.assertEqual(parse(Parser("server"), [data]), ([], True), data[:40])

    def test_odd_limits(self) -> None:
        """Servers take UNSUB with a number that is none, so that it ends the subscription."""
        for word in (b"x", b"-1", b"1e3", b"9999999999", b"1.5"):
            line = b"UNSUB 1 " + word + b"\r\n"
            self.assertEqual(parse(Parser("server"), [line]), ([Unsub("1", None)], False), word)

    def test_bounds(self) -> None:
        """P5: a line or size beyond its bound is refused before memory is taken."""
        limits = Limits(line=64, document=256, payload=100)
        for data in (
            b"MSG " + b"a" * 61,
            b"INFO {" + b" " * 251,
            b"MSG a 1 101\r\n",
            b"HMSG a 1 1 101\r\n",
        ):
            self.assertEqual(parse(Parser("client", limits), [data]), ([], True), data[:20])
            single = [bytes([byte]) for byte in data]
            self.assertEqual(parse(Parser("client", limits), single), ([], True), data[:20])
        self.assertEqual(parse(Parser(), [b"MSG " + b"a" * 70000]), ([], True))
        self.assertEqual(parse(Parser(), [b"INFO {" + b"a" * (2 << 20)]), ([], True))

    def test_events_before_the_error(self) -> None:
        """What was complete before the error is not lost."""
        self.assertEqual(
            parse(Parser(), [b"PING\r\n-ERR 'x'\r\nPOO\r\n"]), ([Ping(), Err("x")], True)
        )
