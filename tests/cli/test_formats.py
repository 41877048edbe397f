"""Lists in every form, and what is read of them again."""

from __future__ import annotations

import io
import json
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.cli.console import Console
from backplane.cli.formats import FORMS, chosen, early_form, show_outcome, show_rows, table
from backplane.cli.render import absences, failure
from backplane.client.accounting import Answer, Outcome, unable
from tests.client.test_accounting import answer, outcome

EVIL = "ev\x1b[2Jil\nname"


class FormTests(SynchronousTestCase):
    """What is written."""

    def shown(self, form: str, result: Outcome, only: str | None = None) -> str:
        out = io.StringIO()
        console = Console(out, None, {})
        console.form, console.only = form, only
        self.assertEqual(show_outcome(result, console), form != "text")
        return out.getvalue()

    def result(self, action: str = "ping", **fields: Any) -> Outcome:
        answers = [answer("one"), answer("two", 5), answer("four", action="health", healthy=False)]
        discovered = {"one": 1, "two": 1, "three": 1, "four": 1}
        found = outcome(discovered, *answers, roster=frozenset({"gone"}), **fields)
        return found if action == "ping" else outcome(discovered, *answers[2:])

    def test_table(self) -> None:
        """Everybody, in columns; a column that nobody has a value for is left out."""
        self.assertEqual(
            self.shown("table", self.result()).splitlines(),
            [
                "INSTANCE  ANSWER     SECONDS  DETAIL",
                'four      unhealthy  0.100    {"healthy":false}',
                "gone      missing",
                "one       ok         0.100",
                "three     silent",
                "two       failed     0.100    no",
            ],
        )
        rows = [{"a": True, "b": None, "c": EVIL, "d": ["x"]}]
        columns = [("A", "a"), ("B", "b"), ("C", "c"), ("D", "d")]
        self.assertEqual(
            list(table(rows, columns)),
            ["A    C                  D", 'yes  ev\\x1b[2Jil\\nname  ["x"]'],
        )
        self.assertEqual(list(table([], columns)), [])

    def test_info(self) -> None:
        """What ``info`` says has columns of its own, and is not said twice."""
        reply = RpcReply(0, "OK", {"version": "1.2", "paused": False, "loglevel": "info"}, "info")
        result = Outcome(
            service="app",
            agent="backplane",
            action="info",
            request_id="0" * 32,
            discovered={"one": 1},
            answers=(Answer("one", reply, 0.1),),
        )
        self.assertEqual(
            self.shown("table", result).splitlines(),
            [
                "INSTANCE  ANSWER  VERSION  PAUSED  LOG LEVEL",
                "one       ok      1.2      no      info",
            ],
        )
        row = json.loads(self.shown("jsonl", result))
        self.assertEqual(row["data"]["version"], "1.2")
        self.assertNotIn("version", row)

    def test_lines(self) -> None:
        """A line for each instance; which of them, on demand."""
        rows = [json.loads(line) for line in self.shown("jsonl", self.result()).splitlines()]
        self.assertEqual(
            [(row["identity"], row["state"]) for row in rows],
            [
                ("four", "unhealthy"),
                ("gone", "missing"),
                ("one", "ok"),
                ("three", "silent"),
                ("two", "failed"),
            ],
        )
        self.assertEqual({row["service"] for row in rows}, {"app"})
        for only, names in (
            ("ok", ["one"]),
            ("failed", ["four", "two"]),
            ("silent", ["gone", "three"]),
        ):
            lines = self.shown("jsonl", self.result(), only).splitlines()
            self.assertEqual([json.loads(line)["identity"] for line in lines], names)

    def test_names(self) -> None:
        """Where it was done; of ``health``, who is not healthy."""
        self.assertEqual(self.shown("names", self.result()), "app/one\n")
        everybody = self.shown("names", self.result(), "all").split()
        self.assertEqual(everybody, ["app/four", "app/gone", "app/one", "app/three", "app/two"])
        sick = Answer("one", RpcReply(0, "OK", {"healthy": False}, "health"), 0.1)
        well = Answer("two", RpcReply(0, "OK", {"healthy": True}, "health"), 0.1)
        health = Outcome(
            service="app",
            agent="backplane",
            action="health",
            request_id="0" * 32,
            discovered={"one": 1, "two": 1},
            answers=(sick, well),
        )
        self.assertEqual(self.shown("names", health), "app/one\n")
        self.assertEqual(self.shown("names", health, "ok"), "app/two\n")

    def test_json(self) -> None:
        """One document, the outcome."""
        self.assertEqual(json.loads(self.shown("json", self.result()))["missing"], ["gone"])

    def test_rows(self) -> None:
        """Lists of other commands: rows without an identity have no name."""
        out = io.StringIO()
        console = Console(out, None, {})
        console.form = "names"
        rows: list[dict[str, Any]] = [
            {"identity": "one"},
            {"group": 3},
            {"identity": "one"},
            {"identity": "x", "service": "b"},
        ]
        self.assertTrue(show_rows(console, rows, [], service="a"))
        self.assertEqual(out.getvalue(), "a/one\nb/x\n")

    def test_unable(self) -> None:
        """Who does not know an action is told from who fails."""
        old = Answer(
            "one", RpcReply(2, "Unknown action change for agent backplane", {}, "change"), 0.1
        )
        self.assertTrue(unable(old))
        self.assertEqual(
            failure(old), "unable: does not know change (an older or another backplane)"
        )
        for reply in (
            RpcReply(2, "no such thing", {}, "x"),
            RpcReply(1, "Unknown action", {}, "x"),
        ):
            self.assertFalse(unable(Answer("one", reply, 0.1)))
        result = outcome({"one": 1}, old)
        self.assertEqual((result.unable, result.exit_code), (("one",), 2))
        self.assertEqual(result.as_dict()["unable"], ["one"])
        self.assertIn("unable", self.shown("table", result))

    def test_absences(self) -> None:
        """Who is missing is named, escaped, and not without end."""
        names = frozenset({f"host{number:03}" for number in range(150)})
        lines = list(absences(outcome({"one": 1}, answer("one"), roster=names)))
        self.assertEqual(lines[0], "backplane: missing: seen of late, and silent now: 150")
        self.assertEqual((len(lines), lines[-1]), (102, "  … and 50 more"))


class ChoiceTests(SynchronousTestCase):
    """What is asked for."""

    def test_early(self) -> None:
        """Errors have the form that is wanted, also before the arguments can be read."""
        for line, form in (
            ("demo ping", "text"),
            ("demo ping --json", "json"),
            ("demo ping -o json", "json"),
            ("demo ping -ojsonl", "jsonl"),
            ("demo -vo names ping", "names"),
            ("demo --output=table ping", "table"),
            ("demo --output table ping", "table"),
            ("demo ping -o", "text"),
            ("demo ping -o nonsense", "text"),
            ("demo ping -- --json", "text"),
        ):
            self.assertEqual(early_form(line.split()), form, line)

    def test_chosen(self) -> None:
        """``--json`` is ``-o json``; with another form it is a contradiction."""
        self.assertEqual(chosen(None, True), "json")
        self.assertEqual(chosen("json", True), "json")
        self.assertEqual(chosen(None, False), "text")
        for form in set(FORMS) - {"json"}:
            self.assertEqual(chosen(form, False), form)
            self.assertRaises(click.UsageError, chosen, form, True)
