"""Runs on a clock: who is found, who is late, what is malformed, what ends a run."""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import v1
from backplane.client.accounting import Answer, ExitCode, Outcome
from backplane.client.asking import MAX_STRANGERS, Run
from backplane.client.jobs import make_job
from backplane.client.run import Operator, Progress
from backplane.nats.errors import NotConnected
from backplane.testing import Harness
from tests.client.peers import Peers, reply


class RunCase(SynchronousTestCase):
    """Peers on a harness, and an operator."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        # What peers still want to say is of no interest at the end.
        self.addCleanup(self.harness.advance, 30)
        self.peers = Peers(self.harness)
        self.operator: Operator = self.harness.operator()

    def request(self, action: str = "ping", data: Any = None, **who: Any) -> Outcome:
        """Run to its end."""
        job = make_job("app", action, data, **who)
        return self.harness.result_of(self.operator.request(job))

    def begin(self, action: str = "ping", **who: Any) -> Run:
        """Begin a run."""
        run = self.operator.begin(make_job("app", action, **who))
        self.harness.network.flush()
        return run

    def near(self, seconds: float, expected: float) -> None:
        """They are the same, but for a step of the harness."""
        self.assertLess(abs(seconds - expected), 0.06, f"{seconds}, not {expected}")


class DiscoveryTests(RunCase):
    """When discovery ends, on the clock."""

    def seconds(self, action: str, **who: Any) -> float:
        return round(self.request(action, **who).discovery_seconds, 2)

    def test_ends(self) -> None:
        """0.3 s after the last answer for reads, after 2 s for changes, at once when complete."""
        self.peers.add("one", "two", after=0.1)
        for expected, action, who in (
            (0.4, "ping", {}),
            (2.0, "pause", {}),
            (0.1, "pause", {"identities": ["one", "two"]}),
            (0.1, "pause", {"nodes": ["one", "two"]}),
            (0.1, "pause", {"expect": 2}),
            (2.0, "pause", {"expect": 3}),
            (0.4, "ping", {"expect": 3}),
            (0.6, "pause", {"window": 0.5}),
            (0.6, "ping", {"window": 0.5}),
            (1.0, "pause", {"discovery_timeout": 1.0}),
            (2.0, "ping", {"identities": ["ghost"]}),
        ):
            options: dict[str, Any] = dict(who)
            self.near(self.seconds(action, **options), expected)

    def test_late(self) -> None:
        """Who answers after the end of discovery is not asked, but named."""
        self.peers.add("one")
        self.peers.add("two", after=1.0)
        self.peers.replies["one"] = [(2.0, reply())]
        outcome = self.request()
        self.assertEqual((outcome.late, self.peers.asked), (("two",), ["one"]))
        self.assertEqual(outcome.exit_code, ExitCode.SILENT)

    def test_late_namesake(self) -> None:
        """Whoever shares the identity of one that was asked is counted, late or not."""
        self.peers.add("one")
        self.peers.add("one", after=0.2)
        for order in ([(0.1, reply()), (0.3, reply())], [(0.3, reply()), (0.4, reply())]):
            self.peers.replies["one"] = list(order)
            self.peers.replies["two"] = [(0.5, reply())]
            self.peers.pongs = [(0.01, "one"), (0.01, "two"), (0.2, "one")]
            outcome = self.request(identities=["one", "two"])
            self.assertEqual(dict(outcome.discovered), {"one": 2, "two": 1})
            self.assertEqual(len(outcome.answers), 3)
            self.assertEqual((outcome.namesakes, outcome.repeated), (("one",), ()))
            self.assertEqual(outcome.exit_code, ExitCode.OK)

    def test_reply_before_its_discovery(self) -> None:
        """A namesake's reply that comes before its answer to discovery is not lost."""
        self.peers.pongs = [(0.01, "one"), (0.01, "two"), (0.2, "one")]
        self.peers.replies["one"] = [(0.05, reply()), (0.06, reply())]
        self.peers.replies["two"] = [(0.5, reply())]
        outcome = self.request(nodes=["one", "two"])
        self.assertEqual((len(outcome.answers), outcome.repeated), (3, ()))

    def test_malformed(self) -> None:
        """Answers that cannot be used are counted, and the rest goes on."""
        self.peers.pongs = [
            (0.01, b""),
            (0.01, b"\xff\xfe"),
            (0.01, b"[]"),
            (0.01, b'{"headers": null, "data": "x", "protocol": "choria:transport:1"}'),
            (0.01, "a..b"),
            (0.02, "one"),
        ]
        outcome = self.request()
        self.assertEqual(dict(outcome.discovered), {"one": 1})
        self.assertEqual(sum(outcome.invalid.values()), 5)
        self.assertEqual(outcome.invalid["bad_sender"], 1)
        self.assertEqual(outcome.exit_code, ExitCode.FAILED)

    def test_discover_only(self) -> None:
        """Discovery alone asks nobody."""
        self.peers.add("one", "one", "two")
        found = self.harness.result_of(self.operator.discover(make_job("app", "ping")))
        self.assertEqual((found, self.peers.asked), ({"one": 2, "two": 1}, []))

    def test_filter(self) -> None:
        """The filter goes with discovery; what is asked then is for the agent alone."""
        self.peers.add("one")
        job = make_job("app", "pause", facts=["dc=DC1"], nodes=["one"])
        self.harness.result_of(self.operator.request(job))
        self.assertEqual(self.peers.discoveries[0].filter, job.filter)


class ReplyTests(RunCase):
    """What comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.peers.add("one", "two")

    def test_good(self) -> None:
        """Everybody answers; it ends at once."""
        seen: list[object] = []

        class Seen(Progress):
            def found(self, count: int) -> None:
                seen.append(("found", count))

            def discovered(self, count: int) -> None:
                seen.append(("discovered", count))

            def replied(self, answer: Answer) -> None:
                seen.append(answer.sender)

            def answered(self, done: int, count: int) -> None:
                seen.append((done, count))

        run = self.operator.begin(make_job("app", "ping", expect=2), Seen())
        outcome = self.harness.result_of(run.result)
        self.assertEqual(outcome.exit_code, ExitCode.OK)
        self.assertLess(outcome.request_seconds, 0.2)
        self.assertEqual(
            seen, [("found", 1), ("found", 2), ("discovered", 2), "one", (1, 2), "two", (2, 2)]
        )

    def test_progress_that_fails(self) -> None:
        """What is told of the answers may raise: it is logged, and the run ends as ever."""

        class Broken(Progress):
            def found(self, count: int) -> None:
                raise RuntimeError

            def answered(self, done: int, count: int) -> None:
                raise RuntimeError

        run = self.operator.begin(make_job("app", "ping", expect=2), Broken())
        outcome = self.harness.result_of(run.result)
        self.assertEqual((outcome.exit_code, len(outcome.answers)), (ExitCode.OK, 2))
        self.assertLess(outcome.request_seconds, 0.2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 4)

    def test_duplicates(self) -> None:
        """A reply that comes again is counted once, and named."""
        self.peers.replies["one"] = [(0.01, reply()), (0.02, reply()), (0.02, reply())]
        self.peers.replies["two"] = [(0.1, reply())]
        outcome = self.request()
        self.assertEqual(sorted(each.sender for each in outcome.answers), ["one", "two"])
        self.assertEqual(outcome.repeated, ("one", "one"))
        self.assertEqual(outcome.exit_code, ExitCode.OK)

    def test_conflict(self) -> None:
        """A second reply that says something else: the first counts, and the run says so."""
        self.peers.replies["one"] = [(0.01, reply()), (0.02, reply(status=5))]
        self.peers.replies["two"] = [(0.1, reply())]
        outcome = self.request()
        self.assertEqual([each.reply.status for each in outcome.answers], [0, 0])
        self.assertEqual((outcome.repeated, outcome.conflicts), (("one",), ("one",)))
        self.assertEqual(outcome.exit_code, ExitCode.FAILED)

    def test_unexpected(self) -> None:
        """Who was not asked does not count; a flood of strangers is bounded."""
        flood = [(0.01, reply(sender=f"host{number}")) for number in range(MAX_STRANGERS * 2)]
        self.peers.replies["one"] = [*flood, (0.05, reply())]
        self.peers.replies["two"] = [(0.2, reply())]
        outcome = self.request()
        self.assertEqual(len(outcome.answers), 2)
        self.assertEqual(len(outcome.unexpected), MAX_STRANGERS + 2)

    def test_malformed(self) -> None:
        """What cannot be used is counted; who sent nothing better is silent."""
        secure = json.dumps({"protocol": "choria:secure:reply:1", "message": "{}", "hash": "x"})
        wrong = v1.encode_transport(secure.encode(), sender="one")
        null = json.dumps({"protocol": "choria:reply:1", "message": "x", "envelope": None})
        hostile = json.dumps({"protocol": "choria:secure:reply:1", "message": null, "hash": ""})
        headers = json.dumps(
            {
                "protocol": "choria:transport:1",
                "data": base64.b64encode(hostile.encode()).decode(),
                "headers": None,
            }
        )
        for payload in (
            lambda *_: b"",
            lambda *_: b"\x00" * 1000,
            lambda *_: wrong,
            lambda *_: headers.encode(),
            lambda *_: v1.encode_transport(hostile.encode(), sender="one"),
            reply(request_id="f" * 32),
            reply(body="pong"),
            reply(body="[]"),
            reply(body='{"statuscode": "0"}'),
            reply(body='{"statuscode": 0, "data": [1]}'),
            reply(body="[" * 5000),
        ):
            self.peers.replies["one"] = [(0.01, payload)]
            outcome = self.request(timeout=3.0)
            self.assertEqual(sum(outcome.invalid.values()), 1)
            self.assertEqual(outcome.silent, ("one",))
            self.assertEqual(outcome.exit_code, ExitCode.SILENT)

    def test_failures(self) -> None:
        """Failures, denials, and statuses that nobody knows."""
        self.peers.replies["one"] = [(0.01, reply(1, "You are not authorized"))]
        self.peers.replies["two"] = [(0.01, reply(77, "what?"))]
        outcome = self.request("pause")
        self.assertEqual(outcome.exit_code, ExitCode.FAILED)
        self.assertEqual({each.reply.status for each in outcome.failed}, {1, 77})

    def test_silent(self) -> None:
        """Nobody answers: 3, after discovery timeout and agent timeout."""
        self.peers.replies.update({"one": [], "two": []})
        outcome = self.request()
        self.assertEqual((outcome.exit_code, outcome.silent), (3, ("one", "two")))
        self.near(outcome.request_seconds, 12.0)

    def test_one_call_after_another(self) -> None:
        """A hundred calls leave nothing behind."""
        for _ in range(100):
            self.assertEqual(self.request(expect=2).exit_code, ExitCode.OK)
        self.harness.advance(1)
        (client,) = self.harness.broker.clients
        self.assertEqual(dict(client.subscriptions), {})


class EndTests(RunCase):
    """What ends a run before its time."""

    def test_timeout(self) -> None:
        """The whole run takes no longer; a longer one than usual is honoured."""
        self.peers.add("one", "two")
        self.peers.replies["two"] = []
        outcome = self.request(timeout=3.0)
        self.near(outcome.discovery_seconds + outcome.request_seconds, 3.0)
        self.assertEqual(outcome.exit_code, ExitCode.SILENT)
        self.peers.replies["two"] = [(20.0, reply())]
        self.assertEqual(self.request(timeout=30.0).exit_code, ExitCode.OK)

    def test_timeout_in_discovery(self) -> None:
        """Nothing is sent when nobody would wait for the answers: 5."""
        self.peers.add("one")
        outcome = self.request("pause", timeout=1.5)
        self.assertEqual((outcome.exit_code, outcome.sent, self.peers.asked), (5, False, []))
        self.assertEqual(outcome.error, "1.5 s were over during discovery; nothing was sent")

    def test_interrupted(self) -> None:
        """In discovery nothing was sent; later, what is known so far is told."""
        self.peers.add("one", "two")
        self.peers.replies["two"] = []
        run = self.begin("pause")
        self.harness.advance(1)
        run.interrupt()
        outcome = self.successResultOf(run.result)
        self.assertEqual((outcome.exit_code, outcome.count, outcome.sent), (130, 2, False))
        self.assertEqual((outcome.silent, self.peers.asked), ((), []))
        run = self.begin("pause")
        self.harness.advance(3)
        run.interrupt()
        run.interrupt()
        outcome = self.successResultOf(run.result)
        self.assertEqual((outcome.exit_code, outcome.silent), (130, ("two",)))
        self.assertEqual([each.sender for each in outcome.answers], ["one"])
        run.interrupt()

    def test_cancelled(self) -> None:
        """Cancelling ends it without an outcome, and leaves nothing."""
        self.peers.add("one")
        for seconds in (0.01, 1.0):
            self.peers.replies["one"] = []
            run = self.begin()
            self.harness.advance(seconds)
            run.result.cancel()
            self.failureResultOf(run.result, CancelledError)
        self.harness.network.flush()
        (client,) = self.harness.broker.clients
        self.assertEqual(dict(client.subscriptions), {})

    def test_broker_lost(self) -> None:
        """A lost broker ends it at once: 69, with what is known so far."""
        self.peers.add("one", "two")
        self.peers.replies["two"] = []
        run = self.begin()
        searching: Deferred[Any] = self.operator.discover(make_job("app", "pause"))
        self.harness.advance(1)
        self.harness.broker.drop_all()
        self.harness.network.flush()
        outcome = self.successResultOf(run.result)
        self.assertEqual((outcome.exit_code, len(outcome.answers)), (69, 1))
        self.assertIn("the broker was lost", outcome.error or "")
        self.failureResultOf(searching, NotConnected)

    def test_broker_refuses(self) -> None:
        """Subjects that the broker does not allow: 77, with its words."""
        for deny in (self.harness.broker.deny_publish, self.harness.broker.deny_subscribe):
            deny.append("app_backplane.>")
            run = self.begin()
            outcome = self.successResultOf(run.result)
            self.assertEqual((outcome.exit_code, outcome.sent), (77, False))
            self.assertIn("Permissions Violation", outcome.error or "")
            deny.clear()

    def test_too_large(self) -> None:
        """A request that the broker does not take is not sent: 5."""
        self.peers.add("one")
        self.harness.broker.send_info(max_payload=5000)
        outcome = self.request("pause", {"text": "x" * 6000}, agent="own")
        self.assertEqual((outcome.exit_code, outcome.sent), (5, False))
        self.assertIn("cannot be sent", outcome.error or "")
