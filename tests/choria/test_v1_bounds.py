"""The documents of protocol version 1: anything at all, round trips, and bounds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import v1
from backplane.choria.message import Reply, Request
from backplane.errors import DecodeError
from tests.choria.test_v1 import Words, decode, good

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
KEYS = ("protocol", "message", "envelope", "data", "headers", "hash", "signature", "pubcert")
DOCUMENTS = st.sampled_from(
    [v1.TRANSPORT, v1.SECURE_REQUEST, v1.SECURE_REPLY, v1.REQUEST, v1.REPLY]
).flatmap(
    lambda protocol: st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6).map(
        lambda found: json.dumps({**found, "protocol": protocol})
    )
)


def mangled(document: str, path: tuple[str, ...], value: object, drop: bool) -> str:
    """Return the document with one field replaced or dropped."""
    root = json.loads(document)
    place = root
    for key in path[:-1]:
        place = place[key]
    if drop:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return json.dumps(root)


FIELDS = [("request", ("envelope", key)) for key in json.loads(good("request"))["envelope"]] + [
    *(("request", (key,)) for key in ("message", "envelope", "protocol")),
    *(("request", ("envelope", "filter", key)) for key in ("fact", "compound", "identity")),
    *(("transport", ("headers", key)) for key in ("federation", "seen-by", "reply-to")),
    *(("transport", (key,)) for key in ("data", "headers", "protocol")),
    *(("secure_request", (key,)) for key in ("message", "signature", "pubcert")),
]


class AnythingTests(SynchronousTestCase):
    """Whatever is sent is read, or refused with the one error."""

    def feed(self, document: str) -> None:
        """Give a document to every reader."""
        payload = document.encode("utf-8", "surrogatepass")
        wrapped = json.dumps(
            {
                "protocol": v1.TRANSPORT,
                "data": base64.b64encode(payload).decode(),
                "headers": {},
            }
        ).encode()
        readers: list[tuple[Callable[[Any], object], str | bytes]] = [
            (v1.decode_transport, payload),
            (v1.decode_secure_request, payload),
            (v1.decode_secure_reply, payload),
            (v1.decode_request, document),
            (v1.decode_reply, document),
            (v1.open_reply, payload),
            (v1.open_reply, wrapped),
        ]
        for read, argument in readers:
            try:
                read(argument)
            except DecodeError as error:
                self.assertLess(len(str(error)), 400)

    @settings(deadline=None)
    @given(st.binary(max_size=100))
    def test_bytes(self, payload: bytes) -> None:
        """Any bytes."""
        self.feed(payload.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode())
        for read in (v1.decode_transport, v1.decode_secure_request, v1.open_reply):
            self.assertRaises(DecodeError, read, payload)

    @settings(deadline=None)
    @given(DOCUMENTS | JSON.map(json.dumps) | st.text(max_size=60))
    def test_documents(self, document: str) -> None:
        """Any JSON, documents with the right protocol and wrong fields among it."""
        self.feed(document)

    @settings(deadline=None, max_examples=300)
    @given(st.sampled_from(FIELDS), JSON, st.booleans())
    def test_one_field(self, field: tuple[str, tuple[str, ...]], value: Any, drop: bool) -> None:
        """A good document with one field of another value or type."""
        level, path = field
        try:
            decode(level, mangled(good(level), path, value, drop))
        except DecodeError as error:
            self.assertTrue(error.reason)

    @settings(deadline=None)
    @given(st.text(max_size=60))
    def test_body(self, message: str) -> None:
        """A body is always bytes."""
        self.assertIsInstance(v1.request_body(message), bytes)


class RoundTripTests(SynchronousTestCase):
    """What is made is read back, whatever characters are in it."""

    @settings(deadline=None)
    @given(UNICODE, UNICODE, UNICODE, st.integers(v1.MIN_TTL, 2**63 - 1), st.integers(0, 2**40))
    def test_request(self, message: str, name: str, sender: str, ttl: int, time: int) -> None:
        """Requests, through all their layers."""
        request = Request(
            message=message,
            request_id="0" * 32,
            sender_id=sender,
            caller_id=name,
            collective=name,
            agent=name,
            ttl=ttl,
            time=time,
        )
        secure = v1.decode_secure_request(v1.seal_request(request, Words()))
        self.assertEqual(v1.decode_request(secure.message), request)

    @settings(deadline=None)
    @given(UNICODE, UNICODE, st.none() | UNICODE, st.lists(st.lists(st.text("ab:é"), max_size=4)))
    def test_reply(
        self, message: str, sender: str, reply_to: str | None, hops: list[list[str]]
    ) -> None:
        """Replies with federation headers and hops."""
        reply = Reply(message=message, request_id="1" * 32, sender_id=sender, agent="a", time=5)
        federation = {"req": sender, "reply-to": message, "target": [sender], "unknown": [message]}
        payload = v1.encode_transport(
            v1.seal_reply(reply),
            sender=sender,
            reply_to=reply_to,
            seen_by=hops,
            federation=federation,
        )
        transport, found = v1.open_reply(payload)
        self.assertEqual(found, reply)
        self.assertEqual(transport.sender, sender)
        self.assertEqual(transport.reply_to, reply_to)
        self.assertEqual(transport.federation, federation)
        self.assertEqual(transport.seen_by, tuple(map(tuple, hops)))

    def test_empty_federation(self) -> None:
        """An empty federation header counts as federated and is copied."""
        payload = v1.encode_transport(b"x", sender="a", federation={})
        self.assertEqual(v1.decode_transport(payload).federation, {})
        self.assertIsNone(v1.decode_transport(v1.encode_transport(b"x", sender="a")).federation)

    def test_changed_reply(self) -> None:
        """One character changed after hashing, and the reply is refused."""
        reply = Reply(message="x", request_id="1" * 32, sender_id="a", agent="b", time=5)
        secure = json.loads(v1.seal_reply(reply))
        for change in ({"message": secure["message"] + " "}, {"hash": ""}, {"hash": "\ud800"}):
            data = json.dumps({**secure, **change}).encode()
            payload = v1.encode_transport(data, sender="a")
            error = self.assertRaises(DecodeError, v1.open_reply, payload)
            self.assertEqual(error.reason, "bad_hash")


class BoundTests(SynchronousTestCase):
    """Each bound at its value and one beyond it."""

    def refused(self, level: str, path: tuple[str, ...], value: object) -> None:
        """A good document with this value in it is refused."""
        document = mangled(good(level), path, value, False)
        error = self.assertRaises(DecodeError, decode, level, document)
        self.assertEqual((error.reason, error.layer), ("bad_field", level))

    def accepted(self, level: str, path: tuple[str, ...], value: object) -> Any:
        """A good document with this value in it is read."""
        return decode(level, mangled(good(level), path, value, False))

    def test_ttl(self) -> None:
        """30 seconds are the least."""
        self.assertEqual(self.accepted("request", ("envelope", "ttl"), v1.MIN_TTL).ttl, 30)
        for ttl in (v1.MIN_TTL - 1, 0, -1, 2**63):
            self.refused("request", ("envelope", "ttl"), ttl)

    def test_request_id(self) -> None:
        """32 characters, counted as characters."""
        for name in ("x" * 32, "é" * 32, "😀" * 32):
            self.assertEqual(
                self.accepted("request", ("envelope", "requestid"), name).request_id, name
            )
        for name in ("x" * 31, "x" * 33, "", "x" * 10**6):
            self.refused("request", ("envelope", "requestid"), name)

    def test_hops(self) -> None:
        """64 hops are read; 65, and thousands, are refused."""
        hop = ["a", "b", "c"]
        found = self.accepted("transport", ("headers", "seen-by"), [hop] * v1.MAX_HOPS)
        self.assertEqual(len(found.seen_by), v1.MAX_HOPS)
        for count in (v1.MAX_HOPS + 1, 4000):
            self.refused("transport", ("headers", "seen-by"), [hop] * count)

    def test_federation_targets(self) -> None:
        """1,000 targets are read, one more is refused."""
        path = ("headers", "federation")
        full = {"req": "1", "target": ["a.b"] * v1.MAX_FEDERATION_TARGETS}
        self.assertEqual(self.accepted("transport", path, full).federation, full)
        for count in (v1.MAX_FEDERATION_TARGETS + 1, 15_000):
            self.refused("transport", path, {"req": "1", "target": ["a.b"] * count})

    def test_sizes(self) -> None:
        """A transport beyond 8 MiB is refused, and what is inside one of 8 MiB is read."""
        room = v1.encode_transport(b"", sender="a")
        data = b" " * ((8 * 2**20 - len(room)) // 4 * 3)
        payload = v1.encode_transport(data, sender="a")
        self.assertEqual(v1.decode_transport(payload).data, data)
        error = self.assertRaises(DecodeError, v1.decode_transport, payload + b" " * 8)
        self.assertEqual(error.reason, "too_large")
        for read in (v1.decode_secure_request, v1.decode_secure_reply):
            self.assertEqual(self.assertRaises(DecodeError, read, data).reason, "not_json")
