"""The client's side of a connection, without any network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.encoder import encode_info
from backplane.nats.errors import ConnectionFailed, ProtocolError
from backplane.nats.parser import Msg
from backplane.nats.session import Answered, Established, InfoChanged, Refused, Session

STREAM = (
    b'INFO {"proto":1,"max_payload":9}\r\n'
    b"+OK\r\nPONG\r\n"
    b'INFO {"connect_info":true,"client_id":7} \r\n'
    b"PING\r\nMSG a 1 r 2\r\nhi\r\nPONG\r\n-ERR 'Invalid Subject'\r\nping\r\n"
    b"HMSG a 2 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
)


class SessionTests(SynchronousTestCase):
    """What comes in, what goes out, what is told."""

    def setUp(self) -> None:
        self.infos: list[dict[str, Any]] = []
        self.session = Session(self.connect)

    def connect(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note the INFO, and return CONNECT."""
        self.infos.append(dict(info))
        return {"name": "n", "user": 'a"\r\n'}

    def out(self) -> bytes:
        """Return what is to be sent, and forget it."""
        data, self.session.outgoing = b"".join(self.session.outgoing), []
        return data

    def established(self) -> Session:
        """Return the session after its handshake."""
        events = self.session.receive(encode_info({}) + b"PONG\r\n")
        self.assertEqual(events, [Established()])
        self.out()
        return self.session

    def test_handshake(self) -> None:
        """CONNECT and PING answer INFO; PONG is the end."""
        self.assertEqual(self.out(), b"")
        self.assertEqual(self.session.receive(encode_info({"proto": 1})), [])
        self.assertEqual(self.infos, [{"proto": 1, "connect_urls": None}])
        said = self.out()
        self.assertTrue(said.startswith(b"CONNECT "))
        self.assertTrue(said.endswith(b"\r\nPING\r\n"))
        self.assertEqual(said.count(b"\r\n"), 2)
        self.assertEqual(json.loads(said[8:-8]), {"name": "n", "user": 'a"\r\n'})
        self.assertFalse(self.session.established)
        self.assertEqual(self.session.receive(b"+OK\r\nPONG\r\n"), [Established()])
        self.assertTrue(self.session.established)
        self.assertEqual(self.out(), b"")

    def test_later_info(self) -> None:
        """It replaces what it names, except that a list of servers is news or none."""
        session = self.session
        session.receive(encode_info({"max_payload": 5, "connect_urls": ["a"]}) + b"PONG\r\n")
        self.out()
        (event,) = session.receive(encode_info({"ldm": True}))
        wanted = {"max_payload": 5, "ldm": True, "connect_urls": None}
        self.assertEqual((event, session.info), (InfoChanged(wanted), wanted))
        self.assertEqual((self.out(), len(self.infos)), (b"", 1))
        session.receive(encode_info({"max_payload": 6}))
        self.assertEqual(session.max_payload, 6)

    def test_max_payload(self) -> None:
        """What is no sensible number is as good as none."""
        for said in (0, -1, True, "9", None, 1.5, [9]):
            session = Session(self.connect)
            session.receive(encode_info({"max_payload": said}))
            self.assertEqual(session.max_payload, 1024 * 1024, said)

    def test_pings(self) -> None:
        """Tokens come back in order; keep-alives are in the same row."""
        session = self.established()
        session.ping("a")
        session.keep_alive()
        session.ping("b")
        self.assertEqual(self.out(), b"PING\r\n" * 3)
        self.assertEqual((session.unanswered, session.pending), (1, ["a", "b"]))
        self.assertEqual(session.receive(b"PONG\r\n"), [Answered("a")])
        self.assertEqual((session.unanswered, session.pending), (0, ["b"]))
        self.assertEqual(session.receive(b"PONG\r\nPONG\r\nPONG\r\n"), [Answered("b")])

    def test_keep_alive_counts(self) -> None:
        """Each adds one; any PONG clears all."""
        session = self.established()
        for count in (1, 2, 3):
            session.keep_alive()
            self.assertEqual(session.unanswered, count)
        session.receive(b"PONG\r\n")
        self.assertEqual(session.unanswered, 0)

    def test_server_pings(self) -> None:
        """Each is answered, also during the handshake."""
        self.session.receive(b"INFO {}\r\nPING\r\n")
        self.assertTrue(self.out().endswith(b"PING\r\nPONG\r\n"))
        self.session.receive(b"PONG\r\n")
        self.session.receive(b"PING\r\npInG x\r\n")
        self.assertEqual(self.out(), b"PONG\r\nPONG\r\n")

    def test_not_nats(self) -> None:
        """Without INFO an error says what came, shortened."""
        for said in (b"HTTP/1.1 400 Bad Request\r\n", b"x" * 1000):
            with self.assertRaises(ConnectionFailed) as caught:
                Session(self.connect).receive(said)
            self.assertIn(repr(said[:40]), str(caught.exception))
            self.assertLess(len(str(caught.exception)), 100)
            self.assertEqual(caught.exception.phase, "info")

    def test_info_is_first(self) -> None:
        """What a server might say later is not NATS when it comes first."""
        for said, name in (
            (b"PING\r\n", "PING"),
            (b"PONG\r\n", "PONG"),
            (b"+OK\r\n", "OK"),
            (b"-ERR 'no'\r\n", "-ERR 'no'"),
            (b"MSG a 1 0\r\n\r\n", "MSG"),
        ):
            with self.assertRaises(ConnectionFailed) as caught:
                Session(self.connect).receive(said)
            wanted = f"not a NATS server: {name} came before INFO"
            self.assertEqual((str(caught.exception), caught.exception.phase), (wanted, "info"))

    def test_error_later(self) -> None:
        """After INFO it is a protocol error, with what was complete before it."""
        session = self.established()
        with self.assertRaises(ProtocolError) as caught:
            session.receive(b"MSG a 1 1\r\nx\r\n-ERR 'bye'\r\nPOO\r\n")
        self.assertEqual(caught.exception.events, [Msg("a", b"x", sid="1"), Refused("bye")])
        self.assertEqual(caught.exception.kind, "operation")

    def test_early_message(self) -> None:
        """A message before the PONG is an error."""
        with self.assertRaises(ProtocolError):
            self.session.receive(encode_info({}) + b"MSG a 1 0\r\n\r\n")

    @given(st.lists(st.integers(0, len(STREAM)), max_size=30))
    def test_cut_anywhere(self, cuts: list[int]) -> None:
        """Events and answers do not depend on how the bytes are cut."""
        places = [0, *sorted(cuts), len(STREAM)]
        session = Session(lambda info: {})
        session.ping("flush")
        events = []
        for start, stop in itertools.pairwise(places):
            events += session.receive(STREAM[start:stop])
        self.assertEqual(
            [type(event).__name__ for event in events],
            ["Established", "InfoChanged", "Message", "Answered", "Refused", "Message"],
        )
        self.assertEqual(
            b"".join(session.outgoing), b"PING\r\nCONNECT {}\r\nPING\r\nPONG\r\nPONG\r\n"
        )
        self.assertEqual(session.info["client_id"], 7)

    @given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
    def test_garbage(self, pieces: list[bytes], greeted: bool) -> None:
        """P6: whatever comes, it is one of two errors."""
        session = Session(lambda info: {})
        try:
            if greeted:
                session.receive(b"INFO {}\r\nPONG\r\n")
            for piece in pieces:
                session.receive(piece)
        except (ProtocolError, ConnectionFailed) as error:
            self.assertTrue(str(error))
