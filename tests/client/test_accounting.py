"""Exit codes, and who is missing."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer, ExitCode, Outcome, Stop


def answer(sender: str, status: int = 0, action: str = "ping", **data: Any) -> Answer:
    """Return an answer."""
    return Answer(sender, RpcReply(status, "OK" if not status else "no", data, action), 0.1)


def outcome(discovered: dict[str, int], *answers: Answer, **fields: Any) -> Outcome:
    """Return an outcome of ``ping``."""
    return Outcome(
        service="app",
        agent="backplane",
        action="ping",
        request_id="0" * 32,
        discovered=discovered,
        answers=answers,
        **fields,
    )


class ExitCodeTests(SynchronousTestCase):
    """The promise to scripts."""

    def test_codes(self) -> None:
        """Each case, and which wins when several apply: 3, then 4, then 2."""
        one, two = {"one": 1}, {"one": 1, "two": 1}
        good, bad = answer("one"), answer("one", 5)
        sick = answer("one", action="health", healthy=False)
        for code, result in (
            (0, outcome(one, good)),
            (0, outcome(one, answer("one", action="health", healthy=True))),
            (0, outcome(one, good, named=frozenset(one), expect=1)),
            (0, outcome(one, good, unexpected=("x",), repeated=("one",))),
            (1, outcome({})),
            (2, outcome(one, bad)),
            (2, outcome(one, answer("one", 1))),
            (2, outcome(one, sick)),
            (2, outcome(one, answer("one", action="health"))),
            (2, outcome(two, good, answer("two", 1))),
            (2, outcome(one, good, invalid={"bad_hash": 1})),
            (3, outcome(one)),
            (3, outcome(one, named=frozenset({"one", "two"}), late=("x",))),
            (4, outcome(two, good)),
            (4, outcome(two, bad)),
            (4, outcome({"one": 2}, good)),
            (4, outcome({}, named=frozenset({"ghost"}))),
            (4, outcome({}, expect=1)),
            (4, outcome(one, good, expect=2)),
            (4, outcome(one, good, late=("two",))),
            (4, outcome(one, good, named=frozenset({"one", "ghost"}))),
            (5, outcome(one, sent=False, stop=Stop.NOT_SENT)),
            (69, outcome(two, good, stop=Stop.LOST)),
            (77, outcome({}, sent=False, stop=Stop.REFUSED)),
            (130, outcome(two, good, stop=Stop.INTERRUPTED)),
            (130, outcome(one, good, stop=Stop.INTERRUPTED)),
        ):
            self.assertEqual(result.exit_code, code, result)
            self.assertEqual(result.as_dict()["exit_code"], code)

    def test_values(self) -> None:
        """The numbers themselves."""
        self.assertEqual([int(code) for code in ExitCode], [0, 1, 2, 3, 4, 5, 64, 69, 74, 77, 130])

    def test_silent(self) -> None:
        """Once for each answer that is missing, and not when nothing was sent."""
        result = outcome({"one": 2, "two": 1}, answer("one"), named=frozenset({"ghost", "one"}))
        self.assertEqual(result.silent, ("ghost", "one", "two"))
        self.assertEqual(result.namesakes, ("one",))
        stopped = outcome({"one": 2}, sent=False, stop=Stop.INTERRUPTED, reason="interrupted")
        self.assertEqual(stopped.silent, ())
        self.assertEqual(stopped.error, "interrupted; nothing was sent")

    def test_errors(self) -> None:
        """In words, where nothing came of it."""
        one = {"one": 1}
        self.assertIsNone(outcome(one, answer("one", 5)).error)
        self.assertEqual(outcome({}).error, "did not discover any nodes")
        self.assertEqual(outcome(one).error, "no responses received")
        lost = outcome({"one": 2}, answer("one"), stop=Stop.LOST, reason="the broker was lost: x")
        self.assertEqual(lost.error, "the broker was lost: x; 1 of 2 had answered")

    def test_document(self) -> None:
        """It is JSON, sorted by identity."""
        result = outcome({"two": 1, "one": 2}, answer("two"), answer("one", 3, x="é\ud800"))
        document = json.loads(json.dumps(result.as_dict()))
        self.assertEqual(document["discovered"], ["one", "one", "two"])
        self.assertEqual([each["sender"] for each in document["replies"]], ["one", "two"])
        self.assertEqual(document["replies"][0]["statuscode"], 3)
        self.assertEqual((document["ok"], document["failed"]), (1, 1))
        self.assertEqual(document["silent"], ["one"])
