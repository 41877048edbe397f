"""From a message off the network to the reply on it."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc, subjects, v1
from backplane.choria.filter import Filter
from backplane.nats.client import Message
from backplane.node import processor as module
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import COLLECTIVE, IDENTITY, REPLY_TO, Lines, request

BROADCAST = f"{COLLECTIVE}.broadcast.agent.backplane"


class ProcessorCase(SynchronousTestCase):
    """A service that a stranger publishes to; its replies and its log are looked at."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.replies: list[tuple[str, bytes]] = []
        self.harness.broker.subscribe(
            "*.reply.>", lambda message: self.replies.append((message.subject, message.payload))
        )

    def manage(self, **settings: Any) -> None:
        self.management = self.harness.manage(self.app, identity=IDENTITY, **settings)
        self.replies.clear()

    def send(self, subject: str = BROADCAST, **fields: Any) -> None:
        fields.setdefault("time", int(self.harness.clock.seconds()))
        self.harness.broker.publish(subject, request(**fields))
        self.harness.network.flush()

    def raw(self, payload: bytes) -> None:
        self.harness.broker.publish(BROADCAST, payload)
        self.harness.network.flush()

    def answer(self) -> rpc.RpcReply:
        """Return the body of the one reply since the last call."""
        ((_, payload),) = self.replies
        self.replies.clear()
        _, reply = v1.open_reply(payload)
        return rpc.decode_reply(reply.message)

    def stats(self) -> dict[str, Any]:
        found = dict(self.harness.ask("daemon_stats", agent="rpcutil").data)
        self.replies.clear()
        return found

    def warnings(self) -> list[str]:
        return [text for text in self.log.texts("warn") if text.startswith("message dropped")]


class ReplyTests(ProcessorCase):
    """What a reply looks like, and where it goes."""

    def test_reply(self) -> None:
        """It goes to the reply-to, names request, service and agent, and its hash is right."""
        self.manage()
        self.send(request_id="ab" * 16)
        ((subject, payload),) = self.replies
        self.assertEqual(subject, REPLY_TO)
        transport, reply = v1.open_reply(payload)
        self.assertEqual(
            (reply.request_id, reply.sender_id, reply.agent, reply.time),
            ("ab" * 16, IDENTITY, "backplane", int(self.harness.clock.seconds())),
        )
        self.assertEqual((transport.sender, transport.reply_to), (IDENTITY, None))
        self.assertEqual((transport.federation, transport.seen_by), (None, ()))

    def test_federation(self) -> None:
        """A federated request's headers go back with the reply, hops included."""
        self.manage()
        federation = {"req": "ab" * 16, "reply-to": "mcollective.reply.x.1", "target": ["a.b"]}
        hops = (("nats://a:4222", "fed1", "nats://b:4222"),)
        self.send(reply_to="choria.federation.prod.collective", federation=federation, seen_by=hops)
        self.assertEqual(self.replies, [])
        subject, payload = self.harness.broker.published[-1]
        self.assertEqual(subject, "choria.federation.prod.collective")
        transport, _ = v1.open_reply(payload)
        self.assertEqual((transport.federation, transport.seen_by), (federation, hops))

    def test_directed(self) -> None:
        """A request to the node's own subject is answered like one to all."""
        self.manage()
        self.send(subjects.node(COLLECTIVE, IDENTITY))
        self.assertEqual(self.answer().status, 0)

    def test_too_large(self) -> None:
        """A reply that the broker would not take becomes one that says so; the link stays."""
        self.app.health = ("x" * 1_100_000, True)
        self.manage()
        self.send(action="health")
        reply = self.answer()
        self.assertEqual((reply.status, reply.action, reply.data), (5, "health", {}))
        self.assertIn("larger than the broker takes", reply.message)
        self.assertEqual(self.harness.broker.connections, 1)

    def test_broker_refuses_the_reply(self) -> None:
        """A reply subject that the broker forbids costs that reply and nothing else."""
        self.manage()
        self.harness.broker.deny_publish.append("other.>")
        self.send(reply_to="other.reply.x.1")
        self.send()
        self.assertEqual(self.answer().status, 0)
        self.assertTrue(self.management.state.ready)


class DropTests(ProcessorCase):
    """What is dropped is counted and logged, and gets no answer."""

    def test_each_reason(self) -> None:
        """A line in the log and a number in the statistics for each reason."""
        self.manage()
        dull = {
            "not_json": b"rubbish",
            "no_reply_to": request(reply_to=None),
            "bad_reply_to": request(reply_to="$SYS.x"),
            "bad_callerid": request(caller="nobody"),
            "expired": request(time=1),
            "future": request(time=2**40),
            "ttl_too_long": request(ttl=601),
            "other_collective": request(collective="other"),
            "unknown_agent": request(agent="scout", time=int(self.harness.clock.seconds())),
        }
        for reason, payload in dull.items():
            if reason == "other_collective":
                payload = request(collective="other", time=int(self.harness.clock.seconds()))
            self.raw(payload)
            self.assertIn(f"message dropped, {reason}: ", self.warnings()[-1])
        self.assertEqual(len(self.warnings()), len(dull))
        self.assertEqual(self.replies, [])
        stats = self.stats()
        self.assertEqual(stats["dropped"], dict.fromkeys(dull, 1))
        self.assertEqual((stats["unvalidated"], stats["ttlexpired"]), (6, 3))

    def test_filtered(self) -> None:
        """What is for others is no news: it is counted and logged at debug only."""
        self.manage(loglevel="debug")
        self.send(filter=Filter(identity=("other",)))
        self.assertEqual(self.warnings(), [])
        self.assertIn("not for this node", "".join(self.log.texts("debug")))
        self.assertEqual(self.stats()["filtered"], 1)

    def test_flood(self) -> None:
        """A flood is a line a minute for each reason, with the number of the rest."""
        self.manage()
        for _ in range(1000):
            self.raw(b"rubbish")
            self.raw(request(caller="nobody"))
        self.assertEqual(len(self.warnings()), 2)
        self.harness.advance(61)
        self.raw(b"rubbish")
        self.assertEqual(len(self.warnings()), 3)
        self.assertIn("(999 more since the last such line)", self.warnings()[-1])
        self.assertEqual(self.stats()["dropped"]["not_json"], 1001)

    def test_lost_replies(self) -> None:
        """Replies that the connection cannot take are counted; a flood of them is one line."""
        self.app.health = ("x" * 400_000, True)
        self.manage()
        self.harness.network.stall()
        node = self.management._node
        assert node is not None
        for _ in range(60):
            payload = request(action="health", time=int(self.harness.clock.seconds()))
            node._processor.received(Message(BROADCAST, payload))
        self.harness.network.release()
        self.harness.network.flush()
        lost = 60 - len(self.replies)
        self.assertGreater(lost, 1)
        (line,) = self.warnings()
        self.assertIn("reply_lost", line)
        self.assertEqual(self.stats()["dropped"], {"reply_lost": lost})

    def test_remote_text(self) -> None:
        """What strangers write cannot forge a line of the log."""
        self.manage()
        self.send(agent="x\n2026-01-01 all is well \x1b[2J\u202e")
        (line,) = self.warnings()
        self.assertTrue(line.isprintable())

    def test_no_answer(self) -> None:
        """A discovery that does not ask ``ping`` is counted too, and gets none."""
        self.manage()
        self.send(agent="discovery", body="who is there")
        self.assertEqual(self.replies, [])
        self.assertEqual(self.stats()["dropped"], {"no_answer": 1})
        self.assertIn("no_answer", self.warnings()[0])

    def test_repeated(self) -> None:
        """The same message twice acts once."""
        self.manage()
        payload = request(action="flip", time=int(self.harness.clock.seconds()))
        self.raw(payload)
        self.raw(payload)
        self.assertEqual(self.app.calls.count("flip"), 1)
        self.assertEqual(len(self.replies), 1)
        self.assertIn("repeated", self.warnings()[0])
        self.assertEqual(self.stats()["dropped"], {"repeated": 1})

    @given(st.binary(max_size=100))
    def test_anything(self, payload: bytes) -> None:
        """Whatever arrives, the service goes on."""
        log = Lines()
        harness = Harness()
        management = harness.manage(identity=IDENTITY)
        harness.broker.publish(BROADCAST, payload)
        harness.network.flush()
        self.assertTrue(management.state.ready)
        self.assertTrue(harness.ask("ping").ok)
        harness.close()
        self.assertEqual(log.events, [])


class StartTests(ProcessorCase):
    """Changes that arrive around the start."""

    def start(self) -> None:
        """Start, and stay within the second of the start."""
        self.management = self.harness.make(identity=IDENTITY)
        self.management.provide(self.app)
        self.harness._managements.append(self.management)
        self.management.startService()
        self.harness.result_of(self.management.when_ready())
        self.replies.clear()

    def test_before(self) -> None:
        """A change from before the start is refused with a reply that says so."""
        self.start()
        self.send(action="pause", time=int(self.harness.clock.seconds()) - 5)
        reply = self.answer()
        self.assertEqual((reply.status, reply.action), (1, "pause"))
        self.assertIn("made before this service started", reply.message)
        self.assertNotIn("pause", self.app.calls)
        self.assertIn("before_start", self.warnings()[0])

    def test_within_the_second(self) -> None:
        """One of that second is answered when it is over; reads are answered at once."""
        self.start()
        self.send(action="pause")
        self.assertEqual(self.replies, [])
        self.send()
        self.assertEqual(self.answer().status, 0)
        self.harness.advance(1)
        self.assertEqual(self.answer().data, {"paused": True})

    def test_twice_within_the_second(self) -> None:
        """Even then the same document acts once."""
        self.start()
        payload = request(action="flip", time=int(self.harness.clock.seconds()))
        self.raw(payload)
        self.raw(payload)
        self.harness.advance(1.5)
        self.assertEqual(self.app.calls.count("flip"), 1)

    def test_too_many_held(self) -> None:
        """What waits is bounded; the rest is dropped, counted and logged."""
        self.patch(module, "MAX_HELD", 3)
        self.start()
        for _ in range(5):
            self.send(action="flip")
        self.assertIn("too_many_held", self.warnings()[0])
        self.harness.advance(1.5)
        self.assertEqual(self.app.calls.count("flip"), 3)
        self.assertEqual(self.stats()["dropped"], {"too_many_held": 2})

    def test_too_much_held(self) -> None:
        """So is its size."""
        self.patch(module, "MAX_HELD_BYTES", 3000)
        self.start()
        for _ in range(5):
            self.send(action="flip", data={"x": "y" * 300})
        self.harness.advance(1.5)
        self.assertEqual(self.app.calls.count("flip"), 2)
        self.assertEqual(self.stats()["dropped"], {"too_many_held": 3})

    def test_stop_while_held(self) -> None:
        """A stop forgets what waits and leaves nothing behind."""
        self.start()
        self.send(action="pause")
        self.harness.close()
        self.assertNotIn("pause", self.app.calls)

    def test_stopping(self) -> None:
        """A stopping service takes no new work."""
        self.manage()
        stopping = self.management.stopService()
        self.send(action="pause")
        self.harness.result_of(stopping)
        self.assertNotIn("pause", self.app.calls)


class LoadTests(ProcessorCase):
    """Many at once."""

    def test_hundred_in_a_row(self) -> None:
        """``ping`` a hundred times without a pause: a hundred answers, each to its own call."""
        self.manage()
        names = [f"{number:032}" for number in range(100)]
        for name in names:
            self.harness.broker.publish(
                BROADCAST,
                request(
                    request_id=name,
                    reply_to=f"{COLLECTIVE}.reply.me.{name}",
                    time=int(self.harness.clock.seconds()),
                ),
            )
        self.harness.network.flush()
        self.assertEqual(len(self.replies), 100)
        for (subject, payload), name in zip(self.replies, names, strict=True):
            self.assertTrue(subject.endswith(name))
            self.assertEqual(v1.open_reply(payload)[1].request_id, name)

    def test_state_survives_the_broker(self) -> None:
        """What an operator has set is still set when the broker comes back, fifty times."""
        self.manage()
        self.send(action="pause")
        self.send(action="debuglvl")
        for _ in range(50):
            self.harness.broker.drop_all()
            self.harness.advance(0.2)
            self.harness.result_of(self.management.when_ready())
        self.replies.clear()
        self.send(action="info")
        data = self.answer().data
        self.assertEqual((data["paused"], data["loglevel"]), (True, "debug"))
        self.assertNotIn("resume", self.app.calls)
        self.assertEqual(self.app.calls.count("pause"), 1)

    def test_body_in_json_is_kept(self) -> None:
        """A body in base64, as Go and Ruby send it, is the same request."""
        self.manage()
        body = json.dumps({"agent": "backplane", "action": "ping", "data": {}})
        self.send(body=base64.b64encode(body.encode()).decode())
        self.assertEqual(self.answer().status, 0)
