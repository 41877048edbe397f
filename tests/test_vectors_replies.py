"""Every captured reply is understood by our client; what we publish is what was captured."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Final

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane import DataItem
from backplane.choria import rpc, v1
from backplane.choria.message import Request, new_request_id
from backplane.client import run
from backplane.client.jobs import make_job
from backplane.testing import Harness
from tests.client.peers import Peers
from tests.vectors_support import VECTORS, Captured, Kind, Opened, open_document, scenarios

ROOT: Final = VECTORS.parent.parent

REPLIES: Final = (Kind.REPLY, Kind.FEDERATED_REPLY)


class ReplyTests(SynchronousTestCase):
    """What real services answered."""

    def test_replies(self) -> None:
        """Each opens, and its body reads as JSON reads it."""
        seen: Counter[str] = Counter()
        for scenario in scenarios().values():
            for message in scenario.of(*REPLIES):
                wanted = message.opened()
                transport, reply = v1.open_reply(message.payload)
                self.assertEqual(transport.sender, wanted.headers["mc_sender"], scenario.name)
                self.assertEqual(reply.sender_id, wanted.envelope["senderid"])
                self.assertEqual(reply.request_id, wanted.envelope["requestid"])
                self.assertEqual(reply.agent, wanted.envelope["agent"])
                self.assertEqual(reply.time, wanted.envelope["time"])
                seen[reply.agent] += 1
                if reply.agent == "discovery":
                    self.assertEqual(reply.message, "pong")
                    continue
                body = rpc.decode_reply(reply.message)
                self.assertEqual(
                    [body.status, body.message, dict(body.data), body.action],
                    [wanted.body[name] for name in ("statuscode", "statusmsg", "data")]
                    + [wanted.body.get("action", "")],
                    scenario.name,
                )
        self.assertEqual(set(seen), {"discovery", "backplane", "rpcutil", "choria_util"})
        self.assertGreater(sum(seen.values()), 450)

    def test_published(self) -> None:
        """A published item is the captured one, but for time and ids."""
        harness = Harness()
        self.addCleanup(harness.close)
        items = scenarios()["insecure/published-data"].of(Kind.ITEM)
        self.assertEqual(len(items), 3)
        wanted = items[0].opened()
        management = harness.manage(name="demo", identity="app1.example.net")
        published: list[bytes] = []
        harness.broker.subscribe("myapp.data", lambda message: published.append(message.payload))
        harness.result_of(management.publish(DataItem(wanted.body, destination="myapp.data")))
        ours = open_document(published[0])
        self.assertEqual(ours.headers["reply-to"], wanted.headers["reply-to"])
        self.assertEqual(ours.headers["mc_sender"], wanted.headers["mc_sender"])
        self.assertEqual(ours.inner["message"], wanted.inner["message"])
        self.assertEqual({**ours.secure, "message": ""}, {**wanted.secure, "message": ""})
        varying = {"requestid": "", "time": 0}
        self.assertEqual({**ours.envelope, **varying}, {**wanted.envelope, **varying})

    def test_adapted(self) -> None:
        """A data adapter makes of our item what it made of the captured one."""
        scenario = scenarios()["insecure/published-data"]
        wanted = [json.loads(each.payload) for each in scenario.of(Kind.ADAPTED)]
        items = scenario.of(Kind.ITEM)
        self.assertEqual([adapted(each.payload) for each in items], wanted)
        for item, document in zip(items, wanted, strict=True):
            with_harness = Harness(start=item.opened().envelope["time"] - 1.5)
            management = with_harness.manage(name="demo", identity="app1.example.net")
            data = DataItem(item.opened().body, destination="myapp.data")
            with_harness.result_of(management.publish(data))
            payload = next(to[1] for to in with_harness.broker.published if to[0] == "myapp.data")
            with_harness.close()
            ours = adapted(payload)
            self.assertRegex(ours["requestid"], "^[0-9a-f]{32}$")
            self.assertEqual({**ours, "requestid": document["requestid"]}, document)


def adapted(payload: bytes) -> dict[str, Any]:
    """Return what a data adapter makes of an item."""
    item = open_document(payload)
    made = datetime.fromtimestamp(item.envelope["time"], timezone.utc)
    return {
        "protocol": "choria:adapters:choria_streams:output:1",
        "data": item.inner["message"],
        "sender": item.envelope["senderid"],
        "time": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "requestid": item.envelope["requestid"],
    }


@attrs.frozen(kw_only=True)
class Asked:
    """One captured job of a client, and the replies that it got.

    :ivar discovery: the discovery request, if there was one.
    :ivar request: the request to an agent, if anybody was asked.
    """

    name: str
    discovery: Opened | None
    pongs: tuple[Captured, ...]
    request: Opened | None
    replies: tuple[Captured, ...]


def jobs() -> Iterator[Asked]:
    """Yield every captured job that got a reply."""
    for scenario in scenarios().values():
        sent: dict[str, Opened] = {}
        for message in scenario.of(Kind.REQUEST, Kind.FEDERATED_REQUEST):
            opened = message.opened()
            sent.setdefault(opened.envelope["requestid"], opened)
        # What a federation broker passed on is what a client of a federation sees.
        seen = scenario.of(Kind.FEDERATED_REPLY) or scenario.of(Kind.REPLY)
        got = {
            name: tuple(each for each in seen if each.opened().envelope["requestid"] == name)
            for name in sent
        }
        searches = [name for name in sent if sent[name].envelope["agent"] == "discovery"]
        search = searches[0] if searches else ""
        for name in [each for each in sent if each != search] or [""]:
            if got.get(name) or got.get(search):
                yield Asked(
                    name=scenario.name,
                    discovery=sent.get(search),
                    pongs=got.get(search, ()),
                    request=sent.get(name),
                    replies=got.get(name, ()),
                )


class ClientTests(SynchronousTestCase):
    """The captured replies, byte for byte, come to a client that waits for them."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.peers: dict[str, Peers] = {}
        self.astray: set[str] = set()

    def answers(self, asked: Asked) -> None:
        """Let the services of a collective answer what was captured."""
        first = asked.discovery or asked.request
        assert first is not None
        collective = first.envelope["collective"]
        if collective not in self.peers:
            self.peers[collective] = Peers(self.harness, collective)
        peers = self.peers[collective]
        # Whoever was named was not looked for: his reply shows that he is there.
        found = asked.pongs or asked.replies
        peers.pongs = [(0.01, each.payload) for each in found]
        peers.replies = {each.opened().envelope["senderid"]: [] for each in found}
        for each in asked.replies:

            def payload(request: Request, identity: str, captured: Captured = each) -> bytes:
                self.check_subject(asked, request, captured)
                return captured.payload

            peers.replies[each.opened().envelope["senderid"]].append((0.01, payload))

    def check_subject(self, asked: Asked, request: Request, captured: Captured) -> None:
        """The reply was captured where we wait for it.

        Other clients than the Go backplane's wait in a collective of their own, or
        under a name of their own for the request.
        """
        caller = request.caller_id.removeprefix("choria=")
        waits = self.harness.operator(caller).reply_to(request)
        whole = asked.name.startswith("insecure/bp-")
        parts = slice(None) if whole else slice(1, 3)
        if captured.subject.split(".")[parts] != waits.split(".")[parts]:
            self.astray.add(asked.name)

    def check(self, asked: Asked) -> int:
        """Ask as the captured client did, and compare what comes out."""
        self.answers(asked)
        first = asked.discovery or asked.request
        assert first is not None
        ids = iter(
            each.envelope["requestid"] if each is not None else new_request_id()
            for each in (asked.discovery, asked.request)
        )
        self.patch(run, "new_request_id", lambda: next(ids))
        body = {"agent": "backplane", "action": "ping"}
        if asked.request is not None:
            text = asked.request.inner["message"]
            body = json.loads(text if text.startswith("{") else base64.b64decode(text))
        collective = first.envelope["collective"]
        job = make_job(
            collective.removesuffix("_backplane"),
            body["action"],
            agent=body["agent"],
            target=collective,
            change=False,
        )
        operator = self.harness.operator(first.envelope["callerid"].removeprefix("choria="))
        found = {each.opened().envelope["senderid"] for each in asked.pongs or asked.replies}
        if asked.request is None:
            discovered = self.harness.result_of(operator.discover(job))
            self.assertEqual(dict(discovered), dict.fromkeys(found, 1), asked.name)
            return len(asked.pongs)
        outcome = self.harness.result_of(operator.request(job))
        wanted = [each.opened() for each in asked.replies]
        self.assertEqual(dict(outcome.discovered), dict.fromkeys(found, 1), asked.name)
        self.assertEqual(
            sorted(
                (each.sender, each.reply.status, each.reply.message, json.dumps(each.reply.data))
                for each in outcome.answers
            ),
            sorted(
                (
                    each.envelope["senderid"],
                    each.body["statuscode"],
                    each.body["statusmsg"],
                    json.dumps(each.body["data"]),
                )
                for each in wanted
            ),
            asked.name,
        )
        self.assertEqual({each.reply.action for each in outcome.answers} - {body["action"]}, set())
        self.assertEqual(
            set(outcome.silent), found - {each.envelope["senderid"] for each in wanted}
        )
        self.assertEqual((outcome.invalid, outcome.unexpected, outcome.repeated), ({}, (), ()))
        return len(asked.pongs) + len(wanted)

    def test_jobs(self) -> None:
        """Every reply is taken, from whom it is, on the subject where it was captured."""
        total = sum(self.check(asked) for asked in jobs())
        sent = sum(
            len(scenario.of(Kind.FEDERATED_REPLY) or scenario.of(Kind.REPLY))
            for scenario in scenarios().values()
        )
        self.assertEqual(total, sent)
        # Whose replies were to go elsewhere.
        self.assertEqual(self.astray, {"insecure/req-reply-to", "insecure/req-reply-to-fact"})


class DeviationTests(SynchronousTestCase):
    """The page that lists them."""

    def setUp(self) -> None:
        text = (ROOT / "docs" / "deviations.rst").read_text(encoding="utf-8")
        self.page = " ".join(re.sub(r"(?m)^ *\* ", " ", text).split())
        self.remarks: set[str] = set()
        for path in (VECTORS / "tables").glob("*.json"):
            collect(json.loads(path.read_text(encoding="utf-8")), self.remarks)
        self.assertGreater(len(self.remarks), 40)

    def test_listed(self) -> None:
        """Every remark of the tables stands on the page."""
        missing = {
            remark
            for remark in self.remarks
            if any(part not in self.page for part in remark.split("; "))
        }
        self.assertEqual(missing, set())

    def test_current(self) -> None:
        """Every remark on the page stands in a table."""
        plain = re.sub(r"``[^`]+``|\*\*[^*]+\*\*", "", self.page)
        quoted = re.findall(r"\*([^*]+)\*", plain)
        self.assertGreater(len(quoted), 40)
        parts = {part for remark in self.remarks for part in remark.split("; ")}
        stale = [each for each in quoted if not set(each.split("; ")) <= parts]
        self.assertEqual(stale, [])


def collect(value: object, remarks: set[str]) -> None:
    """Gather the remarks of a table."""
    if isinstance(value, dict):
        if "quirk" in value:
            remarks.add(value["quirk"])
        for item in value.values():
            collect(item, remarks)
    elif isinstance(value, list):
        for item in value:
            collect(item, remarks)
