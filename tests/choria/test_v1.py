"""The four documents of protocol version 1, against tables and captured messages."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc, v1
from backplane.choria.documents import dumps
from backplane.choria.filter import encode_filter
from backplane.choria.message import Reply, Request
from backplane.errors import DecodeError

VECTORS: Final = Path(__file__).parent.parent / "vectors"

DUPLICATES: Final = "duplicate and case-variant keys"
"""How the table's quirk begins that we never follow."""

STRICTER: Final = {
    # (level, what): (reason of our refusal, why we refuse what upstream accepts)
    ("request", "filter compound map of null"): (
        "bad_field",
        "no expression; upstream takes it and matches nothing",
    ),
    ("request", "deep nesting in unknown key"): ("too_deep", "depth is bounded"),
    ("transport", "without headers"): ("missing_field", "nobody could be answered"),
    ("transport", "headers null"): ("bad_field", "a Go server crashes on it"),
    ("transport", "headers null after headers"): ("duplicate_key", "a Go server crashes on it"),
    ("transport", "without data"): ("missing_field", "there is no secure document in it"),
    ("transport", "data null"): ("bad_field", "there is no secure document in it"),
    ("transport", "data array of numbers"): ("bad_field", "no client sends it"),
}


def table(name: str) -> Any:
    """Return one of the truth tables."""
    return json.loads((VECTORS / "tables" / f"{name}.json").read_text(encoding="utf-8"))


def good(level: str) -> str:
    """Return the good document of a level: the protocol's worked example."""
    return next(
        str(case["document"])
        for case in table("schema_checks")["cases"]
        if (case["level"], case["what"]) == (level, "good")
    )


def captured() -> Iterator[tuple[str, str]]:
    """Yield scenario and payload of every captured transport document."""
    for path in sorted(VECTORS.glob("*/*.json")):
        if path.parent.name in ("insecure", "ruby"):
            for message in json.loads(path.read_text(encoding="utf-8"))["messages"]:
                if "choria:transport:1" in message["payload"]:
                    yield path.stem, message["payload"]


class Words:
    """Signs as the insecure mode does."""

    def sign(self, message: bytes) -> tuple[str, str]:
        """Return the two words."""
        return "insecure", "insecure"


def decode(level: str, document: str) -> object:
    """Read a document of the table."""
    if level == "request":
        return v1.decode_request(document)
    if level == "secure_request":
        return v1.decode_secure_request(document.encode("utf-8", "surrogatepass"))
    return v1.decode_transport(document.encode("utf-8", "surrogatepass"))


class SchemaTests(SynchronousTestCase):
    """The table of documents, good and bad, at three levels."""

    def test_table(self) -> None:
        """Every document is accepted or refused as upstream does, but for the listed ones."""
        cases = table("schema_checks")["cases"]
        self.assertGreater(len(cases), 250)
        stricter = set()
        for case in cases:
            key = (case["level"], case["what"])
            try:
                found = decode(case["level"], case["document"])
            except DecodeError as error:
                if not case["accepted"]:
                    continue
                if case.get("quirk", "").startswith(DUPLICATES):
                    self.assertIn(error.reason, ("duplicate_key", "case_variant_key"), key)
                else:
                    self.assertIn(key, STRICTER)
                    self.assertEqual(error.reason, STRICTER[key][0], key)
                    stricter.add(key)
            else:
                self.assertTrue(case["accepted"], key)
                self.assertFalse(case.get("quirk", "").startswith(DUPLICATES), key)
                self.check_decoded(found, case["decoded"], case["what"])
        self.assertEqual(stricter, set(STRICTER))

    def check_decoded(self, found: object, wanted: dict[str, Any], what: str) -> None:
        """What was read is what upstream read."""
        if isinstance(found, Request):
            if what == "filter without agent":  # null there, so that a Go server cannot answer
                wanted["filter"]["agent"] = []
            self.assertEqual(request_fields(found), wanted, what)
        elif isinstance(found, v1.SecureRequest):
            self.assertEqual(found.message, wanted["message"], what)
            self.assertEqual(found.pubcert, wanted["pubcert"], what)
        else:
            assert isinstance(found, v1.Transport)
            self.assertEqual(found.data.decode(), wanted["data"], what)
            self.assertEqual(found.sender, wanted["sender"], what)
            self.assertEqual(found.reply_to or "", wanted["reply_to"], what)
            hops = [[*hop, "", "", ""][:3] for hop in found.seen_by]  # Go's hops have three parts
            self.assertEqual(hops, wanted["seen_by"] or [], what)
            self.assertEqual(found.federation is None, wanted["federation"] is None, what)
            for key, value in (wanted["federation"] or {}).items():
                assert found.federation is not None
                self.assertEqual(found.federation.get(key) or None, value or None, what)


def request_fields(request: Request) -> dict[str, Any]:
    """Return a request under the names of the table."""
    return {
        "agent": request.agent,
        "callerid": request.caller_id,
        "collective": request.collective,
        "filter": encode_filter(request.filter),
        "message": request.message,
        "requestid": request.request_id,
        "senderid": request.sender_id,
        "time": request.time,
        "ttl": request.ttl,
    }


def reply_fields(reply: Reply) -> dict[str, Any]:
    """Return a reply under the names of the table."""
    return {
        "agent": reply.agent,
        "message": reply.message,
        "requestid": reply.request_id,
        "senderid": reply.sender_id,
        "time": reply.time,
    }


class ReplyTests(SynchronousTestCase):
    """The table of replies."""

    STRICTER: Final = {
        "secure protocol missing": "bad_protocol",
        "reply protocol other": "bad_protocol",
        "reply protocol mcollective": "bad_protocol",
        "without envelope": "missing_field",
    }
    """What the Go client takes and we, like the Ruby client, do not."""

    CRASHES: Final = ("envelope null", "transport headers null")
    """What kills the Go client."""

    def test_table(self) -> None:
        """Every reply is accepted or refused as the Go client does, but for the listed ones."""
        cases = table("v1_reply_checks")["cases"]
        self.assertGreater(len(cases), 35)
        for case in cases:
            what = case["what"]
            if what in self.CRASHES:
                self.assertIn("panic", case)
            try:
                transport, reply = v1.open_reply(case["document"].encode())
            except DecodeError as error:
                if case["accepted"]:
                    self.assertIn("quirk", case, what)
                    self.assertEqual(error.reason, self.STRICTER.get(what), what)
                elif case.get("error_class") == "hash":
                    self.assertIn(error.reason, ("bad_hash", "bad_field", "bad_protocol"), what)
                continue
            self.assertTrue(case["accepted"], what)
            self.assertNotIn(what, self.STRICTER)
            self.assertEqual(reply_fields(reply), case["decoded"], what)
            self.check_body(reply, case["rpc"], what)
            self.assertEqual(transport.federation is not None, what == "federated", what)

    def check_body(self, reply: Reply, wanted: dict[str, Any], what: str) -> None:
        """The body is read, or not, as the Go client does it."""
        if "error" in wanted:
            error = self.assertRaises(DecodeError, rpc.decode_reply, reply.message)
            self.assertEqual(error.layer, "body", what)
            return
        body = rpc.decode_reply(reply.message)
        data = json.loads(wanted["data"])
        self.assertEqual(body.data, {} if data in (None, "{}") else data, what)
        self.assertEqual(
            (body.action, body.status, body.message),
            (wanted["action"], wanted["statuscode"], wanted["statusmsg"]),
            what,
        )


class GoJsonTests(SynchronousTestCase):
    """How Go writes text, and what it takes for base64."""

    def test_strings(self) -> None:
        """Text that Go wrote is read, and text that we write says the same."""
        document = json.loads(good("request"))
        document["message"] = "MESSAGE"
        around = json.dumps(document)
        for case in table("go_json")["cases"]:
            wanted = bytes.fromhex(case["bytes_hex"]).decode("utf-8", "replace")
            if case["text"] is not None:
                self.assertEqual(wanted, case["text"])
                self.assertEqual(json.loads(dumps(wanted)), case["text"])
            text = around.replace('"MESSAGE"', case["go_json"])
            if not case["bytes_hex"]:
                self.assertRaises(DecodeError, v1.decode_request, text)
                continue
            found = v1.decode_request(text).message
            self.assertEqual(found, json.loads(case["go_json"]))
            if case["text"] is not None:
                self.assertEqual(found, wanted)

    def test_base64(self) -> None:
        """What decodes as data of a transport, and which body an agent gets."""
        cases = table("go_json")["base64"]
        self.assertGreater(len(cases), 30)
        for case in cases:
            document = json.loads(good("transport"))
            document["data"] = case["text"]
            payload = json.dumps(document).encode()
            if case["accepted_as_data"]:
                self.assertEqual(v1.decode_transport(payload).data.hex(), case["data_hex"], case)
            else:
                error = self.assertRaises(DecodeError, v1.decode_transport, payload)
                self.assertEqual(error.reason, "bad_base64", case)
            self.assertEqual(v1.request_body(case["text"]).hex(), case["body_hex"], case)

    def test_bodies(self) -> None:
        """Base64 of Go's discovery is decoded, Ruby's quoted word and JSON are not."""
        self.assertEqual(v1.request_body("cGluZw=="), b"ping")
        self.assertEqual(v1.request_body('"ping"'), b'"ping"')
        self.assertEqual(v1.request_body('{"agent":"é"}'), '{"agent":"é"}'.encode())


class WorkedExampleTests(SynchronousTestCase):
    """``choria=sre.choria`` asks ``app1.example.net`` for ``backplane#ping``."""

    REPLY_TO: Final = (
        "app_backplane.reply.cb504717a797947060cbb33d3b20229e.1b3a5f2c8d0e4f6a9b7c1d2e3f405162"
    )
    HOP: Final = ("nats://broker.example.net:4222", "client1.example.net", "nats://b:4222")

    def test_request(self) -> None:
        """The request is read, and made again it is the same but for spelling."""
        message = good("request")
        self.assertEqual(len(message), 386)
        digest = "2dc5c21bf3ab53b038c56e26cda8b81954aa64f8462e7d6ce85f88d6cb9da4af"
        self.assertEqual(hashlib.sha256(message.encode()).hexdigest(), digest)
        request = v1.decode_request(message)
        self.assertEqual(request.caller_id, "choria=sre.choria")
        self.assertEqual(request.ttl, 60)
        self.assertEqual(request.filter.agent, ("backplane",))
        self.assertEqual(
            rpc.decode_request(v1.request_body(request.message)),
            rpc.RpcRequest("backplane", "ping", {}),
        )
        self.assertEqual(json.loads(v1.encode_request(request)), json.loads(message))
        secure = v1.decode_secure_request(v1.seal_request(request, Words()))
        self.assertEqual(json.loads(secure.message), json.loads(message))
        self.assertEqual((secure.signature, secure.pubcert), ("insecure", "insecure"))
        self.assertEqual(v1.decode_request(secure.message), request)

    def test_transport(self) -> None:
        """What is published: data in base64, headers beside it."""
        data = good("secure_request").encode()
        payload = v1.encode_transport(
            data, sender="client1.example.net", reply_to=self.REPLY_TO, seen_by=[self.HOP]
        )
        self.assertEqual(
            json.loads(payload),
            {
                "protocol": "choria:transport:1",
                "data": base64.b64encode(data).decode(),
                "headers": {
                    "reply-to": self.REPLY_TO,
                    "mc_sender": "client1.example.net",
                    "seen-by": [list(self.HOP)],
                },
            },
        )
        self.assertEqual(
            v1.decode_transport(payload),
            v1.Transport(
                data=data,
                sender="client1.example.net",
                reply_to=self.REPLY_TO,
                seen_by=(self.HOP,),
            ),
        )

    def test_reply(self) -> None:
        """The reply is read with its hash, and made again it differs in spelling alone."""
        document = table("v1_reply_checks")["cases"][0]["document"]
        transport, reply = v1.open_reply(document.encode())
        self.assertEqual(transport.sender, "app1.example.net")
        self.assertEqual(reply.sender_id, "app1.example.net")
        captured_secure = json.loads(transport.data)
        self.assertEqual(captured_secure["hash"], "fpDD38UozuZeIh/3NNLF4AUvKWCucHDUg4cCpLDmpbA=")
        secure = json.loads(v1.seal_reply(reply))
        self.assertEqual(json.loads(secure["message"]), json.loads(captured_secure["message"]))
        # Compact and without anything to escape, it is the very text, hash included.
        self.assertEqual(secure, captured_secure)


class WrittenTests(SynchronousTestCase):
    """What is written piece by piece is what a JSON library would have written."""

    @given(st.text(), st.text(), st.text(), st.text(), st.integers())
    def test_reply(self, message: str, request_id: str, sender: str, agent: str, at: int) -> None:
        """A reply, whatever its texts have in them."""
        reply = Reply(
            message=message, request_id=request_id, sender_id=sender, agent=agent, time=at
        )
        envelope = {"requestid": request_id, "senderid": sender, "agent": agent, "time": at}
        outer = json.loads(v1.seal_reply(reply))
        inner = outer["message"]
        document = {"protocol": v1.REPLY, "message": message, "envelope": envelope}
        self.assertEqual(json.loads(inner), document)
        data = inner.encode("utf-8", "surrogatepass")
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        self.assertEqual(outer["hash"], digest)
        self.assertEqual(sorted(outer), ["hash", "message", "protocol"])

    @given(st.binary(), st.text(), st.none() | st.text())
    def test_transport(self, data: bytes, sender: str, reply_to: str | None) -> None:
        """What is around it, likewise."""
        headers = {"mc_sender": sender}
        if reply_to is not None:
            headers = {"reply-to": reply_to, **headers}
        text = base64.b64encode(data).decode()
        wanted = {"protocol": v1.TRANSPORT, "data": text, "headers": headers}
        written = v1.encode_transport(data, sender=sender, reply_to=reply_to)
        self.assertEqual(written, dumps(wanted).encode())


class CapturedTests(SynchronousTestCase):
    """Every message that real programs sent is read, and made again says the same."""

    def test_all(self) -> None:
        """Requests and replies of Go and Ruby, plain and federated."""
        count = {"request": 0, "reply": 0, "federated": 0}
        for scenario, payload in captured():
            headers = json.loads(payload)["headers"]
            transport = v1.decode_transport(payload.encode())
            count["federated"] += transport.federation is not None
            self.assertEqual(transport.federation, headers.get("federation"), scenario)
            self.assertEqual(transport.sender, headers["mc_sender"], scenario)
            again = v1.encode_transport(
                transport.data,
                sender=transport.sender,
                reply_to=transport.reply_to,
                seen_by=transport.seen_by,
                federation=transport.federation,
            )
            self.assertEqual(v1.decode_transport(again), transport, scenario)
            if b"choria:secure:reply:1" in transport.data:
                count["reply"] += 1
                self.check_reply(payload, scenario)
            else:
                count["request"] += 1
                message = v1.decode_secure_request(transport.data).message
                self.check_request(message, scenario)
        self.assertGreater(min(count.values()), 10, count)

    def check_reply(self, payload: str, scenario: str) -> None:
        """A reply made again has the same fields and no others."""
        transport, reply = v1.open_reply(payload.encode())
        inner = json.loads(json.loads(transport.data)["message"])
        self.assertEqual(json.loads(json.loads(v1.seal_reply(reply))["message"]), inner, scenario)

    def check_request(self, message: str, scenario: str) -> None:
        """A request made again has the same fields, and the filter's lists."""
        wanted = json.loads(message)
        if any("fstatement" in str(entry) for entry in wanted["envelope"]["filter"]["compound"]):
            # The compound filter of old Ruby clients, which Go servers drop, too.
            error = self.assertRaises(DecodeError, v1.decode_request, message)
            self.assertEqual((error.reason, error.layer), ("bad_field", "filter"), scenario)
            return
        found = json.loads(v1.encode_request(v1.decode_request(message)))
        wanted["envelope"]["filter"].pop("collective", None)  # Ruby's, and read by nobody
        wanted["envelope"]["filter"].setdefault("agent", [])
        self.assertEqual(found, wanted, scenario)
