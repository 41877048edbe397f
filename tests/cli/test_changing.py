"""How far a drain is, and what became of changes in words."""

from __future__ import annotations

import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.cli import telling
from backplane.cli.drain import Drained, worse
from backplane.client.accounting import Answer, ExitCode, Outcome


def answer(sender: str, status: int = 0, **data: Any) -> Answer:
    reply = RpcReply(action="x", status=status, message="OK" if not status else "no", data=data)
    return Answer(sender, reply, 0.1)


def outcome(*answers: Answer) -> Outcome:
    return Outcome(
        service="demo",
        agent="backplane",
        action="changes",
        request_id="f" * 32,
        discovered={each.sender: 1 for each in answers},
        answers=answers,
    )


class DrainedTests(SynchronousTestCase):
    """What services say while they are waited for."""

    def test_states(self) -> None:
        """Work, no work, silence, and somebody who has ended the drain."""
        found = Drained(dict.fromkeys("abcd"))
        found.looked(
            outcome(
                answer("a", state="draining", in_flight=3),
                answer("b", state="draining", in_flight=0),
                answer("d", state="running", in_flight=1),
                answer("stranger", state="draining", in_flight=9),
            )
        )
        self.assertEqual(found.stragglers, {"a": 3})
        self.assertEqual(found.drained, ["b"])
        self.assertEqual(found.silent, ["c"])
        self.assertIn("it takes work again: the drain was ended", found.gone["d"])
        self.assertFalse(found.done)
        self.assertEqual(found.exit_code, ExitCode.SILENT)

    def test_end(self) -> None:
        """It is over when nobody has work; who was silent may speak again."""
        found = Drained({"a": None, "b": None})
        found.looked(outcome(answer("a", state="draining", in_flight=0)))
        self.assertFalse(found.done)
        idle = (answer(name, state="draining", in_flight=0) for name in "ab")
        found.looked(outcome(*idle))
        self.assertTrue(found.done)
        self.assertEqual(found.exit_code, ExitCode.OK)

    def test_silence(self) -> None:
        """Who is silent again and again is not waited for, once nobody else has work."""
        found = Drained({"a": None, "b": None})
        for count in (1, 1, 1, 1):
            found.looked(outcome(answer("a", state="draining", in_flight=count)))
            self.assertFalse(found.done)
        found.looked(outcome(answer("a", state="draining", in_flight=0)))
        self.assertTrue(found.done)
        self.assertEqual((found.silent, found.exit_code), (["b"], ExitCode.SILENT))
        # One that speaks again is waited for anew.
        found.looked(outcome(*(answer(name, state="draining", in_flight=0) for name in "b")))
        self.assertFalse(found.done)

    def test_strange(self) -> None:
        """What is no number is no answer."""
        strange: Any
        for strange in (None, "0", True, [], 0.5):
            found = Drained({"a": None})
            found.looked(outcome(answer("a", state="draining", in_flight=strange)))
            self.assertEqual(found.silent, ["a"])

    def test_worse(self) -> None:
        """When several apply 3 wins, then 4, then 2; what stops a run wins over all."""
        for one, other, expected in (
            (ExitCode.OK, ExitCode.FAILED, ExitCode.FAILED),
            (ExitCode.SILENT, ExitCode.FAILED, ExitCode.SILENT),
            (ExitCode.SILENT, ExitCode.NOBODY_ANSWERED, ExitCode.NOBODY_ANSWERED),
            (ExitCode.INTERRUPTED, ExitCode.FAILED, ExitCode.INTERRUPTED),
            (ExitCode.OK, ExitCode.UNREACHABLE, ExitCode.UNREACHABLE),
        ):
            self.assertEqual(worse(one, other), expected)


class TellingTests(SynchronousTestCase):
    """Words for people."""

    def test_span(self) -> None:
        """Two units are enough."""
        for seconds, words in (
            (0, "0s"),
            (-5, "0s"),
            (59.6, "1m"),
            (3725, "1h 2m"),
            (90061, "1d 1h"),
        ):
            self.assertEqual(telling.span(seconds), words)

    def test_changed(self) -> None:
        """What became of many is one line; a lease says its end."""
        now = time.time()
        answers = [
            answer("a", target="app", value="paused", until=None),
            answer("b", target="app", value="paused", until=None),
            answer("c", target="breaker:payments", value="open", until=now + 60),
            answer("d", 1, target="app"),
        ]
        lines = list(telling.changed(answers, now))
        self.assertEqual(lines[0], "app is paused: 2")
        self.assertRegex(lines[1], r"^breaker payments is open until \S+ \S+ \(in 1m\): 1$")
        self.assertEqual(len(lines), 2)

    def test_ended(self) -> None:
        """What was taken back, what was not and why, and nothing at all."""
        told = list(
            telling.ended(
                answer(
                    "a",
                    ended=[{"target": "app", "before": "paused", "value": "running"}],
                    refused=[{"text": "app was changed since, by \x1b[31mbob"}],
                    nothing=False,
                )
            )
        )
        self.assertEqual(told[0], ("app: paused → running", True))
        self.assertFalse(told[1][1])
        self.assertNotIn("\x1b", told[1][0])
        nothing = list(telling.ended(answer("a", ended=[], refused=[], nothing=True)))
        self.assertEqual(nothing, [("nothing to take back", True)])

    def test_strange(self) -> None:
        """Times that are none do not break it."""
        strange: Any
        for strange in (None, "x", [], 1e300, float("nan"), -1e20):
            telling.clock(strange)
            list(telling.changed([answer("a", target=strange, value=1, until="x")], 0.0))
            list(telling.ended(answer("a", ended=strange, refused=[strange, {}])))
