"""Every captured reply is understood by our client; what we publish is what was captured."""

from __future__ import annotations

import json
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from backplane import DataItem
from backplane.choria import rpc, v1
from backplane.testing import Harness
from tests.vectors_support import VECTORS, Kind, open_document, scenarios

ROOT = VECTORS.parent.parent


class ReplyTests(SynchronousTestCase):
    """What real services answered."""

    def test_replies(self) -> None:
        """Each opens, and its body reads as JSON reads it."""
        seen: Counter[str] = Counter()
        for scenario in scenarios().values():
            for message in scenario.of(Kind.REPLY, Kind.FEDERATED_REPLY):
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
        """What the data adapter made of an item holds the data that was published."""
        scenario = scenarios()["insecure/published-data"]
        adapted = [json.loads(each.payload) for each in scenario.of(Kind.ADAPTED)]
        published = [each.opened().body for each in scenario.of(Kind.ITEM)]
        self.assertEqual([each["data"] for each in adapted], published)


class DeviationTests(SynchronousTestCase):
    """The page that lists them."""

    SECURE = ("allow_lists.json",)
    """Tables of the secure mode, which is not there yet."""

    def test_listed(self) -> None:
        """Every remark of the tables stands on the page."""
        page = " ".join((ROOT / "docs" / "deviations.rst").read_text(encoding="utf-8").split())
        remarks: set[str] = set()
        for path in (VECTORS / "tables").glob("*.json"):
            if path.name not in self.SECURE:
                collect(json.loads(path.read_text(encoding="utf-8")), remarks)
        self.assertGreater(len(remarks), 40)
        missing = [each for each in remarks if any(part not in page for part in each.split("; "))]
        self.assertEqual(missing, [])


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
