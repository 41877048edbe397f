"""``threads`` and ``stalls``: what is shown of dumps that real agents in memory make."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.cli.console import Console
from backplane.cli.session import Command
from backplane.cli.threads import stalls, threads
from backplane.client.accounting import Answer, ExitCode, Outcome
from backplane.testing import Harness, RecordingApplication
from tests.cli.sessions import session_on

SECRET = "hunter2-in-a-local"
Verb = Callable[[Command], Coroutine[Any, Any, ExitCode]]


class ShownCase(SynchronousTestCase):
    """Verbs, and what they write."""

    def show(self, verb: Verb, form: str, **how: Any) -> int:
        """Do a verb; keep what it writes."""
        self.out, self.err = io.StringIO(), io.StringIO()
        console = Console(self.out, self.err, {"NO_COLOR": "1"})
        console.form = form
        return self.perform(verb, console, **how)

    def perform(self, verb: Verb, console: Console, **how: Any) -> int:
        raise NotImplementedError

    @property
    def text(self) -> str:
        """What was written."""
        return self.out.getvalue()


class FleetTests(ShownCase):
    """Three applications in this process, so that all have the same threads."""

    names = ("one", "three", "two")

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        for name in self.names:
            self.harness.manage(RecordingApplication(), identity=name)

    def perform(self, verb: Verb, console: Console, **how: Any) -> int:
        harness = self.harness
        session = session_on(harness, self)
        verbose = how.pop("verbose", False)
        who = {"service": "app", **how}
        command = Command(session, console, who, as_json=False, verbose=verbose)

        async def work() -> ExitCode:
            await session.connect()
            return await verb(command)

        return int(harness.result_of(Deferred.fromCoroutine(work())))

    def worker(self) -> None:
        """Have a thread that waits, with a secret in its locals, and a call with another."""
        go, there = threading.Event(), threading.Event()

        def waits(password: str) -> None:
            card = [password]
            there.set()
            go.wait(60)  # here it waits
            card.clear()

        thread = threading.Thread(target=waits, args=(SECRET,), name="payer-17")
        thread.start()
        self.addCleanup(thread.join, 60)
        self.addCleanup(go.set)
        self.assertTrue(there.wait(60))
        later = self.harness.clock.callLater(900, waits, SECRET)
        self.addCleanup(later.cancel)

    def test_threads(self) -> None:
        """Groups with count, names, instances and source lines; then what is held."""
        self.worker()
        self.assertEqual(self.show(threads, "text"), 0)
        self.assertIn("3 of 3 service(s): payer-#\n", self.text)
        self.assertRegex(
            self.text, r"test_threads\.py:\d+ \S*waits\n        go\.wait\(60\)  # here"
        )
        self.assertIn(
            "3 of 3 service(s): MainThread, reactor\n      answers this request\n", self.text
        )
        self.assertRegex(
            self.text, r"(?m)^      3  \S+\.FleetTests\.worker\.<locals>\.waits  on 3$"
        )
        self.assertNotIn("    on one", self.text)
        self.assertNotIn(SECRET, self.text)
        self.assertEqual(self.show(threads, "text", verbose=True), 0)
        self.assertIn("    on one\n    on three\n    on two\n", self.text)
        self.assertNotIn("answers this request", self.text)
        self.assertNotIn(SECRET, self.text)

    def test_forms(self) -> None:
        """Every form has it, and none a value."""
        self.worker()
        self.assertEqual(self.show(threads, "json"), 0)
        document = json.loads(self.text)
        self.assertNotIn(SECRET, self.text)
        self.assertEqual((document["ok"], document["replies"], document["exit_code"]), (3, [], 0))
        (group,) = (group for group in document["groups"] if group["names"] == ["payer-#"])
        self.assertEqual((group["instances"], group["threads"]), (list(self.names), 3))
        sources = [frame["source"] for frame in group["frames"]]
        self.assertIn("go.wait(60)  # here it waits", sources)
        (held,) = (each for each in document["delayed_calls"] if "waits" in each["what"])
        self.assertEqual((held["count"], held["instances"]), (3, list(self.names)))
        self.assertEqual(document["truncated"], [])
        self.assertEqual(self.show(threads, "jsonl"), 0)
        self.assertIn(["payer-#"], [json.loads(line)["names"] for line in self.text.splitlines()])
        self.assertNotIn(SECRET, self.text)
        self.assertEqual(self.show(threads, "names"), 0)
        self.assertEqual(self.text, "app/one\napp/three\napp/two\n")
        self.assertEqual(self.show(threads, "table"), 0)
        self.assertRegex(
            self.text,
            r"(?m)^3  +3  +payer-#  +\S+test_threads\.py:\d+ in \S+waits  +one, three, two$",
        )

    def test_whom(self) -> None:
        """Flags of every verb choose whom; who does not answer is told."""
        self.assertEqual(self.show(threads, "text", identities=["two"]), 0)
        self.assertIn("1 of 1 service(s): MainThread, reactor\n", self.text)
        self.assertEqual(self.show(threads, "text", identities=["two", "ghost"]), 4)
        self.assertIn("ghost", self.err.getvalue())

    def test_nobody_looks(self) -> None:
        """Without a watch the answer is not that there was nothing."""
        self.assertEqual(self.show(stalls, "text"), 0)
        self.assertEqual(self.text, "No stalls on 3 service(s)\n")
        note = "Nobody looks for stalls on 3: one, three, two\n"
        self.assertEqual(self.err.getvalue(), note)
        self.assertEqual(self.show(stalls, "json"), 0)
        document = json.loads(self.text)
        self.assertEqual((document["stalls"], document["not_watching"]), ([], list(self.names)))
        self.assertEqual(self.err.getvalue(), "")


class Fixed:
    """In place of a connection: answers that are there already."""

    interrupted = False

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = answers

    async def ask(self, job: Any) -> Outcome:
        return Outcome(
            service=job.service,
            agent="backplane",
            action=job.action,
            request_id="f" * 32,
            discovered={each.sender: 1 for each in self._answers},
            answers=self._answers,
        )


def stall(at: float, **more: Any) -> dict[str, Any]:
    """Return a stall of one place."""
    return {
        "at": at,
        "seconds": 2.0,
        "longest": 2.0,
        "place": "/srv/app.py:7 in pay",
        "source": "bank.charge(card)",
        "count": 1,
        **more,
    }


class AnswersTests(ShownCase):
    """Answers of services that were stuck, are too big, or send nonsense."""

    answers: tuple[Answer, ...] = ()

    def perform(self, verb: Verb, console: Console, **how: Any) -> int:
        session: Any = Fixed(self.answers)
        command = Command(session, console, {"service": "app"}, as_json=False, verbose=False)
        return int(self.successResultOf(Deferred.fromCoroutine(verb(command))))

    def given(self, status: int = 0, **data: dict[str, Any]) -> None:
        """Let each instance answer with its data."""
        self.answers = tuple(
            Answer(name, RpcReply(action="x", status=status, message="no", data=each), 0.1)
            for name, each in data.items()
        )

    def test_stalls(self) -> None:
        """Per place: source, how often, the longest, who; and who is stuck now."""
        self.given(
            a={"watching": True, "stalls": [stall(1000.0, count=3, longest=61.0)]},
            b={"watching": True, "stalls": [stall(2000.0, seconds=None, longest=0.0)]},
            c={"watching": True, "stalls": []},
        )
        self.assertEqual(self.show(stalls, "text"), 0)
        lines = self.text.splitlines()
        self.assertEqual(lines[:2], ["/srv/app.py:7 in pay", "    bank.charge(card)"])
        self.assertRegex(lines[2], r"^    4 time\(s\), the longest 1m 1s, the last .* ago$")
        self.assertEqual(lines[3:], ["    on 2: a, b", "    stuck now: b", ""])
        self.assertEqual(self.err.getvalue(), "")
        self.assertEqual(self.show(stalls, "names"), 0)
        self.assertEqual(self.text, "app/a\napp/b\n")
        self.assertEqual(self.show(stalls, "table"), 0)
        heading, row = self.text.splitlines()
        self.assertEqual(heading.split(), ["LAST", "TIMES", "LONGEST", "PLACE", "SOURCE", "WHO"])
        self.assertRegex(row, r"  4 +61\.000 +/srv/app\.py:7 in pay +bank\.charge\(card\) +a, b$")
        self.assertEqual(self.show(stalls, "json"), 0)
        (found,) = json.loads(self.text)["stalls"]
        self.assertIsNone(found["instances"]["b"]["seconds"])
        self.assertEqual((found["count"], found["longest"], found["last"]), (4, 61.0, 2000.0))

    def test_denied(self) -> None:
        """Who refuses is named, in every form, and the exit code says so."""
        self.given(1, a={})
        for form in ("text", "json"):
            for verb in (stalls, threads):
                self.assertEqual(self.show(verb, form), ExitCode.FAILED)
                self.assertIn("no", self.text if form == "json" else self.err.getvalue())
        (reply,) = json.loads(self.text)["replies"]
        self.assertEqual((reply["sender"], reply["statuscode"]), ("a", 1))

    def test_too_big(self) -> None:
        """What could not be sent whole is said."""
        self.given(a={"truncated": True}, b={"truncated": False})
        self.assertEqual(self.show(threads, "text"), 0)
        self.assertEqual(self.err.getvalue(), "Not all of it could be sent by 1: a\n")
        self.assertEqual(self.show(threads, "json"), 0)
        self.assertEqual(json.loads(self.text)["truncated"], ["a"])

    def test_hostile(self) -> None:
        """Nothing that is sent reaches the terminal raw or breaks the command."""
        evil = "\x1b[2Jevil\n"
        wild: tuple[Any, ...] = (evil, -1, 10**300, float("inf"), True, None, [evil], {"a": evil})
        for value in wild:
            frame = {"file": value, "line": value, "function": value, "source": value}
            thread = {"name": value, "frames": [frame, 7], "omitted": value, "reactor": value}
            held = {"function": value, "waits": value, "coroutine": value, "place": value}
            pool = {"working": value, "waiting": value, "queued": value}
            kept = dict.fromkeys(("at", "seconds", "longest", "place", "source", "count"), value)
            data = {
                "threads": [thread, value],
                "delayed_calls": [{**held, "count": value}],
                "deferreds": [{**held, "count": value}],
                "tasks": [{**held, "name": value}],
                "thread_pool": pool,
                "stalls": [kept, value],
                "watching": value,
                "truncated": value,
            }
            self.given(a=data, b={**data, "thread_pool": value})
            for verb in (threads, stalls):
                for form in ("text", "table", "json", "jsonl", "names"):
                    self.assertEqual(self.show(verb, form), 0)
                    self.assertNotIn("\x1b", self.text)
                    self.assertNotIn("\x1b", self.err.getvalue())
