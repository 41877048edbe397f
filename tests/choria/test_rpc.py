"""Bodies: what an agent is asked and what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.documents import MAX_DEPTH, MAX_DIGITS, MAX_PAYLOAD
from backplane.choria.rpc import (
    ActionError,
    RpcReply,
    RpcRequest,
    StatusCode,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from backplane.choria.v1 import open_reply, request_body
from backplane.errors import DecodeError

VECTORS = Path(__file__).parent.parent / "vectors" / "insecure"

PREFIX = (
    "Could not process request: could not parse incoming message "
    "as a MCollective SimpleRPC Request: "
)

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UNICODE, inner, max_size=4),
    max_leaves=8,
)
FINITE = JSON.filter(lambda value: "Infinity" not in json.dumps(value))


class StatusTests(SynchronousTestCase):
    """The six status codes."""

    def test_numbers(self) -> None:
        """They are those of every Choria peer."""
        self.assertEqual(
            {code.name: int(code) for code in StatusCode},
            {
                "OK": 0,
                "ABORTED": 1,
                "UNKNOWN_ACTION": 2,
                "MISSING_DATA": 3,
                "INVALID_DATA": 4,
                "UNKNOWN_ERROR": 5,
            },
        )

    def test_error(self) -> None:
        """An action that only says why has failed with status 1 and without data."""
        error = ActionError("no such order")
        self.assertEqual((str(error), error.status, error.data), ("no such order", 1, None))
        error = ActionError("x", StatusCode.MISSING_DATA, {"a": 1})
        self.assertEqual((error.status, error.data), (3, {"a": 1}))


class DecodeRequestTests(SynchronousTestCase):
    """What is read of a request's body."""

    def refused(self, body: bytes, detail: str = "") -> None:
        """The body is answered with status 4 and a short text that begins as Go's does."""
        error = self.assertRaises(ActionError, decode_request, body)
        assert isinstance(error, ActionError)
        self.assertEqual(error.status, StatusCode.INVALID_DATA)
        self.assertTrue(error.message.startswith(PREFIX + detail), error.message)
        self.assertLess(len(error.message), 400)

    def test_fields(self) -> None:
        """What is missing is empty, null data stays null, other keys are ignored."""
        for text, wanted in (
            ('{"agent":"a","action":"b","data":{"x":1}}', RpcRequest("a", "b", {"x": 1})),
            ('{"agent":"a","action":"b"}', RpcRequest("a", "b", {})),
            ('{"agent":"a","data":{}}', RpcRequest("a", "", {})),
            ("{}", RpcRequest("", "", {})),
            ('{"agent":null,"action":null,"data":null}', RpcRequest("", "", None)),
            ('{"agent":"a","action":"b","data":[1]}', RpcRequest("a", "b", [1])),
            ('{"agent":"a","action":"b","data":"x"}', RpcRequest("a", "b", "x")),
            ('{"agent":"a","action":"b","caller":"c=d"}', RpcRequest("a", "b", {})),
            ('{"action":"b","callerid":"x","requestid":7,"ttl":""}', RpcRequest("", "b", {})),
            ('{"agent":"\\ud800"}', RpcRequest("\ufffd", "", {})),
        ):
            self.assertEqual(decode_request(text.encode()), wanted, text)

    def test_ruby(self) -> None:
        """A Ruby client's process_results is passed on; it is for the inputs' check to drop."""
        body = b'{"agent":"a","action":"b","data":{"process_results":true},"caller":"choria=x"}'
        self.assertEqual(decode_request(body).data, {"process_results": True})

    def test_not_an_object(self) -> None:
        """A body that is no JSON object is invalid."""
        for body in (b"", b"x", b"[]", b'"ping"', b"1", b"true", b"pong", b"{", b"\xff", b"{}{}"):
            self.refused(body)

    def test_null(self) -> None:
        """Null is read as an empty request; but bare ``null`` in a message is base64."""
        self.assertEqual(decode_request(b" null"), RpcRequest("", "", {}))
        self.assertEqual(decode_request(request_body(" null")), RpcRequest("", "", {}))
        self.assertEqual(decode_request(request_body("bnVsbA==")), RpcRequest("", "", {}))
        self.refused(request_body("null"))
        self.refused(request_body("true"))

    def test_wrong_types(self) -> None:
        """Agent and action are text, also where the value is false or zero."""
        values: tuple[object, ...] = (0, 1, False, [], {}, ["a"])
        for value in values:
            for key in ("agent", "action"):
                self.refused(json.dumps({key: value}).encode(), f"{key} is not text")

    def test_strange_keys(self) -> None:
        """Duplicate keys, and keys that a Go peer would read otherwise, are refused."""
        for text in ('{"agent":"a","agent":"b"}', '{"Action":"pause"}', '{"data":{"a":1,"a":2}}'):
            self.refused(text.encode())

    def test_bounds(self) -> None:
        """Depth, digits and size are bounded here, too."""
        deep = MAX_DEPTH - 1
        decode_request(('{"data":' + "[" * deep + "]" * deep + "}").encode())
        self.refused(('{"data":[' + "[" * deep + "]" * deep + "]}").encode())
        decode_request(('{"data":' + "1" * MAX_DIGITS + "}").encode())
        self.refused(('{"data":' + "1" * 10**6 + "}").encode())
        self.refused(b'{"agent":"' + b"x" * MAX_PAYLOAD + b'"}')

    @settings(deadline=None)
    @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
    def test_anything(self, body: bytes) -> None:
        """Any body is read or answered with status 4."""
        try:
            found = decode_request(body)
        except ActionError as error:
            self.assertEqual(error.status, StatusCode.INVALID_DATA)
        else:
            self.assertIsInstance(found.agent, str)
            self.assertIsInstance(found.action, str)

    @settings(deadline=None)
    @given(UNICODE, UNICODE, st.dictionaries(UNICODE, FINITE, max_size=4))
    def test_round_trip(self, agent: str, action: str, data: dict[str, Any]) -> None:
        """What a client asks is what an agent reads, through the message's body."""
        body = request_body(encode_request(agent, action, data))
        self.assertEqual(decode_request(body), RpcRequest(agent, action, data))


class ReplyTests(SynchronousTestCase):
    """What is written and read of a reply's body."""

    def test_encode(self) -> None:
        """Four keys, in Go's order; data is an object also on failure."""
        self.assertEqual(
            encode_reply("info", StatusCode.OK, "OK", {"version": "1.2.3"}),
            '{"action":"info","statuscode":0,"statusmsg":"OK","data":{"version":"1.2.3"}}',
        )
        for text in (
            encode_reply("x", StatusCode.UNKNOWN_ACTION, "Unknown action x for agent y", {}),
            encode_reply("", 4, PREFIX, {}),
        ):
            self.assertEqual(json.loads(text)["data"], {})
            self.assertIs(type(json.loads(text)["statuscode"]), int)

    def test_not_json(self) -> None:
        """Data that JSON cannot hold is an error of the agent, not a broken reply."""
        self.assertRaises(ValueError, encode_reply, "a", 0, "OK", {"x": float("inf")})
        self.assertRaises(TypeError, encode_reply, "a", 0, "OK", {"x": object()})

    def test_decode(self) -> None:
        """Replies of Go, of Ruby without an action, and with Go's text for no data."""
        for text, wanted in (
            (
                '{"action":"a","statuscode":1,"statusmsg":"m","data":{"x":1}}',
                (1, "m", {"x": 1}, "a"),
            ),
            ('{"statuscode":0,"statusmsg":"OK","data":{}}', (0, "OK", {}, "")),
            ('{"statuscode":0,"statusmsg":"OK","data":"{}"}', (0, "OK", {}, "")),
            ('{"statuscode":0,"statusmsg":"OK","data":null}', (0, "OK", {}, "")),
            ('{"statuscode":7,"statusmsg":null,"action":null}', (7, "", {}, "")),
            ("{}", (0, "", {}, "")),
        ):
            self.assertEqual(decode_reply(text), RpcReply(*wanted), text)
        self.assertTrue(decode_reply("{}").ok)
        self.assertFalse(decode_reply('{"statuscode":7}').ok)

    def test_wrong_types(self) -> None:
        """A reply with a field of another type is not read."""
        wrong: tuple[tuple[str, tuple[object, ...]], ...] = (
            ("statuscode", ("0", 0.0, True, None, [], 2**63)),
            ("statusmsg", (0, False, [], {})),
            ("action", (0, False, [], {})),
            ("data", ("x", 0, False, [], [1])),
        )
        for key, values in wrong:
            for value in values:
                text = json.dumps({key: value})
                error = self.assertRaises(DecodeError, decode_reply, text)
                self.assertEqual((error.reason, error.layer), ("bad_field", "body"), text)

    def test_captured(self) -> None:
        """Every reply that real servers sent is read, and made again says the same."""
        count = 0
        for path in sorted(VECTORS.glob("*.json")):
            for message in json.loads(path.read_text(encoding="utf-8"))["messages"]:
                if ".reply." not in message["subject"]:
                    continue
                reply = open_reply(message["payload"].encode())[1]
                if reply.message == "pong":
                    continue
                body = decode_reply(reply.message)
                again = encode_reply(body.action, body.status, body.message, body.data)
                self.assertEqual(json.loads(again), json.loads(reply.message), path.stem)
                count += 1
        self.assertGreater(count, 50)

    @settings(deadline=None)
    @given(st.text(max_size=60) | JSON.map(json.dumps))
    def test_anything(self, message: str) -> None:
        """Any text is read or refused with the one error."""
        try:
            self.assertIsInstance(decode_reply(message).data, dict)
        except DecodeError as error:
            self.assertEqual(error.layer, "body")

    @settings(deadline=None)
    @given(UNICODE, st.sampled_from(StatusCode), UNICODE, st.dictionaries(UNICODE, FINITE))
    def test_round_trip(
        self, action: str, status: StatusCode, message: str, data: dict[str, Any]
    ) -> None:
        """What an agent answers is what a client reads."""
        found = decode_reply(encode_reply(action, status, message, data))
        self.assertEqual(found, RpcReply(status, message, data, action))
