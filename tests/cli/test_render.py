"""What operators are shown, against what the Go backplane's CLI shows."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc, v1
from backplane.choria.rpc import RpcReply
from backplane.cli.console import Console
from backplane.cli.instance import MAX_FACT_LINES
from backplane.cli.render import MAX_NAMES, render
from backplane.client.accounting import Answer, Outcome
from backplane.errors import DecodeError

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "insecure"

RUN_TOGETHER = {"bp-sick-unauthorised-health.json", "bp-unauthorised-health.json"}
"""Where Go's CLI leaves out the ends of lines."""


def outcome(action: str, *answers: Answer, **fields: Any) -> Outcome:
    """Return an outcome of services that all answered."""
    fields.setdefault("discovered", {answer.sender: 1 for answer in answers})
    return Outcome(
        service="app",
        agent="backplane",
        action=action,
        request_id="0" * 32,
        answers=answers,
        **fields,
    )


def answer(
    sender: str, action: str = "ping", status: int = 0, text: str = "OK", **data: Any
) -> Answer:
    """Return an answer."""
    return Answer(sender, RpcReply(status, text, data, action), 0.1)


def shown(result: Outcome, verbose: bool = False) -> str:
    """Return what is shown in a pipe."""
    out = io.StringIO()
    render(result, Console(out, None, {}), verbose)
    return out.getvalue()


class GoTests(SynchronousTestCase):
    """The captured replies give the captured output."""

    def test_vectors(self) -> None:
        """The same lines, whose order in Go is random; progress apart."""
        tried = 0
        for path in sorted(VECTORS.glob("bp-*.json")):
            scenario = json.loads(path.read_text())
            words = scenario["command"].split()
            answers = self.answers(scenario)
            if scenario["exit_status"] != 0 or not answers or path.name in RUN_TOGETHER:
                continue
            action = next(word for word in reversed(words) if re.fullmatch("[a-z]+", word))
            result = outcome(action, *(Answer(who, reply, 0.0) for who, reply in answers))
            self.assertEqual(
                self.lines(shown(result, "-v" in words)),
                self.lines(scenario["stdout"]),
                path.name,
            )
            tried += 1
        self.assertGreater(tried, 30)

    def answers(self, scenario: Any) -> list[tuple[str, RpcReply]]:
        found = []
        for message in scenario["messages"]:
            try:
                _, reply = v1.open_reply(message["payload"].encode())
                if reply.agent == "backplane":
                    found.append((reply.sender_id, rpc.decode_reply(reply.message)))
            except DecodeError:
                continue  # a request
        return found

    def lines(self, text: str) -> list[str]:
        text = re.sub(r"in \d+ms", "in 0ms", text)
        lines = [line.rstrip(",") for line in text.split("\n")]
        unwanted = ("\r", "Starting discovery", "Performing")
        return sorted(line for line in lines if line and not line.startswith(unwanted))


class RenderTests(SynchronousTestCase):
    """What is particular to ours."""

    def test_sorted(self) -> None:
        """By identity, whatever the order of arrival."""
        text = shown(outcome("ping", *(answer(name, version="1") for name in "cab")))
        self.assertEqual(
            text,
            '\n  a  {"version":"1"}\n  b  {"version":"1"}\n  c  {"version":"1"}\n'
            "\nManaged 3 service(s) in 0ms\n",
        )

    def test_failures_only(self) -> None:
        """Changes show failures; ``-v`` shows everything."""
        good, bad = answer("one", "pause", paused=True), answer("two", "pause", 5, "no")
        for action in ("pause", "resume", "flip", "shutdown"):
            text = shown(outcome(action, good, bad))
            self.assertNotIn("one", text)
            self.assertIn("\n  two  no\n", text)
        self.assertIn('  one  {"paused":true}\n', shown(outcome("pause", good, bad), True))

    def test_remarks(self) -> None:
        """Whoever is missing, late, or there twice is named."""
        text = shown(
            outcome(
                "ping",
                answer("one"),
                discovered={"one": 2, "two": 1},
                named=frozenset({"ghost"}),
                late=("late",),
                repeated=("again",),
                unexpected=("stranger",),
                invalid={"bad_hash": 2, "bad_json": 1},
                expect=5,
            )
        )
        for lines in (
            "No answer from: 3\n  ghost\n  one\n  two\n",
            "Found too late to be asked: 1\n  late\n",
            "Answered once more: 1\n  again\n",
            "Answered without being asked: 1\n  stranger\n",
            "Expected 5 service(s), 1 answered\n",
            "2 answers could not be used: bad_hash\n",
            "1 answer could not be used: bad_json\n",
            "2 services have the identity one\n",
        ):
            self.assertIn("\n" + lines, text)

    def test_many_names(self) -> None:
        """A long list is cut, with how many there are."""
        names = {f"host{number:04}": 1 for number in range(MAX_NAMES + 5)}
        text = shown(outcome("ping", discovered=names))
        self.assertIn("No answer from: 105\n  host0000\n", text)
        self.assertIn("  … and 5 more\n", text)

    def test_hostile(self) -> None:
        """Whatever a service sends, in whatever shape, is on lines of its own, escaped."""
        evil = "\x1b[2J\r\nManaged 99 service(s)\u202e"
        data = {
            "version": evil,
            "backplane_version": {"a": [evil]},
            "paused": evil,
            "pause_feature": True,
            "healthcheck_feature": evil,
            "health_state": evil,
            "loglevel_feature": [1],
            "loglevel": None,
            "facts": {evil: evil, "deep": [[[evil]]]},
            "result": evil,
            "threads": [evil, {"name": evil, "frames": [{"file": evil}, 7], "omitted": evil}],
            "delayed_calls": {"x": 1},
            "readers": [{"class": evil}],
            "thread_pool": evil,
            "state": "draining",
            "in_flight": evil,
            "breakers": {evil: evil, "other": [evil]},
            "changes": [evil, {"target": evil, "to": evil, "who": evil, "why": evil, "made": evil}],
        }
        for action in ("info", "ping", "health", "threaddump", "pause"):
            for status in (0, 5):
                reply = RpcReply(status, evil, data, action)
                text = shown(outcome(action, Answer(evil, reply, 0.1)), True)
                self.assertEqual(
                    [char for char in text if not char.isprintable() and char != "\n"], []
                )
                self.assertNotIn("\nManaged 99", text)
                empty = RpcReply(status, "", {}, action)
                self.assertIn("Managed", shown(outcome(action, Answer("one", empty, 0.1)), True))

    def test_changes(self) -> None:
        """``info`` lists breakers, and what is changed: by whom, for how long, why, since when."""
        now = time.time()
        change = {
            "target": "breaker:payments",
            "before": "closed",
            "to": "open",
            "who": "choria=sre",
        }
        data: dict[str, Any] = {
            "state": "draining",
            "in_flight": 3,
            "breakers": {"search": "closed", "payments": "open"},
            "changes": [
                {**change, "why": "bank", "made": now - 60, "until": now + 3600.4},
                {**change, "target": "app", "to": "draining", "made": now - 5, "until": None},
            ],
        }
        text = shown(outcome("info", answer("one", "info", **data)))
        self.assertIn("                 State: draining, 3 in flight\n", text)
        self.assertIn("              Breakers: payments open, search closed\n", text)
        self.assertIn(
            "               Changed: breaker payments open by choria=sre for 1h more (bank), "
            "1m ago\n                        app draining by choria=sre, 5s ago\n",
            text,
        )
        plain = shown(outcome("info", answer("one", "info", state="paused", breakers={})))
        self.assertNotIn("State", plain)
        self.assertNotIn("Breakers", plain)
        many = [{**change, "made": now, "until": None}] * 102
        text = shown(outcome("info", answer("one", "info", changes=many)))
        self.assertIn("… and 2 more\n", text)

    def test_huge_facts(self) -> None:
        """Facts without end are cut with a mark."""
        facts = {f"fact{number:05}": number for number in range(5000)}
        text = shown(outcome("info", answer("one", "info", facts=facts)), True)
        self.assertLess(text.count("\n"), MAX_FACT_LINES + 30)
        self.assertIn("… (5002 lines)\n", text)

    def test_health(self) -> None:
        """Unhealthy ones with their result; a state that is not of this moment is marked."""
        good = answer("one", "health", healthy=True, result={})
        bad = answer("two", "health", healthy=False, result={"x": 1})
        text = shown(outcome("health", good, bad))
        self.assertIn('\n  two  Unhealthy\n       {"x":1}\n', text)
        self.assertNotIn("one", text)
        stale = answer("one", "info", healthcheck_feature=True, healthy=True, health_state="stale")
        self.assertIn("Healthy: true (stale)\n", shown(outcome("info", stale)))
