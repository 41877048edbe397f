"""``status --watch``: what is drawn, what is written, and what events may say."""

from __future__ import annotations

import io
import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.changed import ChangeEvent, change_subject, decode_change, encode_change
from backplane.choria.events import lifecycle_event
from backplane.cli.console import Console
from backplane.cli.fitting import cells, cut, fitted
from backplane.cli.status import Look, doubt
from backplane.cli.watching import RETURN, Watch, everybody
from backplane.client.lifecycle import read_lifecycle
from backplane.errors import DecodeError
from backplane.nats.client import Message
from tests.cli.test_console import Terminal
from tests.client.test_fleet import WELL, answer, outcome

EVENT = ChangeEvent(
    service="demo",
    identity="a",
    at=1_700_000_000.0,
    who="choria=bob",
    what="app: running → paused",
    outcome="done",
    why="trial",
    target="app",
    change="c1",
    run="f" * 32,
)

CHANGE = {"id": "c1", "target": "app", "to": "paused", "who": "choria=bob", "why": "trial"}
PAUSED = {**WELL, "state": "paused", "changes": [CHANGE]}


def heard(event: ChangeEvent) -> Message:
    return Message(change_subject(event.service), encode_change(event), None)


class WatchingTests(SynchronousTestCase):
    """A view that is told of looks and events."""

    def setUp(self) -> None:
        self.out: io.StringIO = io.StringIO()
        self.poked = 0
        self.now = 1_700_000_000.0

    def watch(self, form: str = "text", *, all_of: bool = True, **environ: str) -> Watch:
        console = Console(self.out, io.StringIO(), {"NO_COLOR": "1", **environ})
        console.form = form
        return Watch(
            console,
            Look(),
            "demo",
            everybody=all_of,
            poke=self.poke,
            now=lambda: self.now,
        )

    def poke(self) -> None:
        self.poked += 1

    def take(self) -> str:
        text = self.out.getvalue()
        self.out.truncate(0)
        self.out.seek(0)
        return text

    def look(self, watch: Watch, *answers: Any, **more: Any) -> str:
        watch.looking()
        watch.looked(outcome(*answers, **more))
        return self.take()

    def message(self, kind: Any, identity: str) -> Message:
        subject, payload = lifecycle_event(
            kind, identity=identity, component="backplane", version="1", now=0.0
        )
        return Message(subject, payload, None)

    def test_lines(self) -> None:
        """Without a terminal: the whole once, then a line for each thing, told once."""
        watch = self.watch()
        self.assertIsNone(watch.code)
        first = self.look(watch, answer("a", **WELL), answer("b", **WELL))
        self.assertIn("2 instance(s): 2 ok\n", first)
        self.assertEqual(watch.code, 0)
        watch.changed(heard(EVENT))
        self.assertEqual(self.poked, 1)
        (line,) = self.take().splitlines()
        self.assertRegex(
            line, r"^\d\d:\d\d:\d\d a  app: running → paused: done, by choria=bob \(trial\)$"
        )
        self.assertEqual(self.look(watch, answer("a", **PAUSED), answer("b", **WELL)), "")
        gone = self.look(watch, answer("a", **PAUSED), discovered={"b": 1})
        self.assertRegex(gone, r"^\S+ b  ok → silent\n$")
        self.assertEqual(watch.code, 4)

    def test_heard_during_a_look(self) -> None:
        """An event that comes while it is looked is of the look after that."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        watch.looking()
        watch.changed(heard(EVENT))
        self.take()
        watch.looked(outcome(answer("a", **WELL)))
        self.assertEqual(self.take(), "")
        self.assertEqual(self.look(watch, answer("a", **PAUSED)), "")

    def test_unheard(self) -> None:
        """Where services may not tell of changes a look names who made them."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        lines = self.look(watch, answer("a", **PAUSED)).splitlines()
        self.assertEqual(
            [line.partition(" ")[2] for line in lines],
            ["a  ok → paused", "a  app paused by choria=bob (trial)"],
        )

    def test_not_meant(self) -> None:
        """Of other services, and of others than were asked for, nothing is shown."""
        watch = self.watch(all_of=False)
        self.look(watch, answer("b", **WELL))
        watch.changed(heard(EVENT))
        watch.lived(self.message("startup", "a"))
        other = attrs.evolve(EVENT, service="other", identity="b")
        watch.changed(heard(other))
        self.assertEqual((self.take(), self.poked), ("", 0))

    def test_lives(self) -> None:
        """Starts and ends; whether a stranger is one of ours shows when we look."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        watch.lived(self.message("alive", "a"))
        self.assertEqual((self.take(), self.poked), ("", 0))
        watch.lived(self.message("shutdown", "a"))
        self.assertRegex(self.take(), r"^\S+ a  ends\n$")
        watch.lived(self.message("startup", "new"))
        self.assertEqual((self.take(), self.poked), ("", 2))
        text = self.look(watch, answer("a", **WELL), answer("new", **WELL))
        self.assertRegex(text, r"^\S+ new  is new: ok\n$")

    def test_expected(self) -> None:
        """Who was seen is expected from then on, unless he says goodbye."""
        watch = self.watch()
        self.assertEqual(watch.looking(), frozenset())
        watch.looked(outcome(answer("a", **WELL), answer("b", **WELL)))
        self.assertEqual(watch.looking(), {"a", "b"})
        watch.lived(self.message("shutdown", "a"))
        self.assertEqual(watch.looking(), {"b"})
        self.take()
        watch.looked(outcome(roster=frozenset({"b"})))
        self.assertEqual(
            [line.partition(" ")[2] for line in self.take().splitlines()],
            ["a  is not there any more", "b  ok → silent"],
        )
        self.assertEqual(watch.code, 4)
        watch.lived(self.message("startup", "a"))
        self.assertEqual(watch.looking(), {"a", "b"})

    def test_expected_of_some(self) -> None:
        """With a filter, who matched before and is silent now is named, and nobody else is."""
        watch = self.watch(all_of=False)
        self.look(watch, answer("a", **WELL), answer("b", **WELL))
        seen = frozenset({"a", "b", "c"})
        text = self.look(watch, answer("a", **WELL), roster=seen, whole=False)
        self.assertRegex(text, r"^\S+ b  ok → silent\n$")
        self.assertEqual(watch.code, 4)

    def test_words(self) -> None:
        """Targets have the names that people give them."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        for target, what, shown in (
            ("log:", "log:: info → debug", "log level: info → debug"),
            ("log:a.b", "log:a.b: unset → debug", "logger a.b: unset → debug"),
            ("breaker:x", "breaker:x: closed → open", "breaker x: closed → open"),
            ("app", "pause", "pause"),
        ):
            watch.changed(heard(attrs.evolve(EVENT, target=target, what=what, outcome="expired")))
            self.assertIn(f" a  {shown}: expired, of choria=bob", self.take())
        to = "1700000060"
        watch.changed(heard(attrs.evolve(EVENT, target="shutdown", what=f"shutdown: none → {to}")))
        self.assertRegex(self.take(), r"shutdown: none → \d{4}-\S+ \S+ \(in 1m\): done")

    def test_away(self) -> None:
        """A broker that is away is told of once for each time."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        watch.away()
        watch.away()
        self.assertEqual(self.take().count("the broker is away"), 1)
        self.assertRegex(self.look(watch, answer("a", **WELL)), r"^\S+ the broker is back\n$")
        watch.away()
        self.assertIn("the broker is away", self.take())
        self.assertIn("the broker is back", self.look(watch, answer("a", **WELL)))

    def test_returning(self) -> None:
        """Services need a while to find the broker again; until then nobody is called silent."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL), answer("b", **WELL))
        watch.away()
        self.take()
        missing = {"roster": frozenset({"a", "b", "c"})}
        text = self.look(watch, answer("a", **WELL), **missing)
        self.assertIn("the broker is back", text)
        self.assertNotIn("b  ", text)
        self.assertIn("c  is new: silent", text)
        self.now += RETURN - 1
        self.assertEqual(self.look(watch, answer("a", **WELL), **missing), "")
        self.now += 2
        text = self.look(watch, answer("a", **WELL), **missing)
        self.assertRegex(text, r"^\S+ b  ok → silent\n$")

    def test_jsonl(self) -> None:
        """A document for each instance at first, then for each thing that happens."""
        watch = self.watch("jsonl")
        first = json.loads(self.look(watch, answer("a", **WELL)))
        self.assertEqual((first["kind"], first["identity"]), ("instance", "a"))
        watch.changed(heard(EVENT))
        told = json.loads(self.take())
        found = {key: told[key] for key in ("kind", "identity", "who", "target", "why", "outcome")}
        self.assertEqual(
            found,
            {
                "kind": "change",
                "identity": "a",
                "who": "choria=bob",
                "target": "app",
                "why": "trial",
                "outcome": "done",
            },
        )
        seen = json.loads(self.look(watch, answer("a", **{**PAUSED, "version": "2"})))
        self.assertEqual((seen["kind"], seen["text"]), ("seen", "version 1 → 2"))

    def test_hostile(self) -> None:
        """An event does not drive the terminal, nor forge lines."""
        watch = self.watch()
        self.look(watch, answer("a", **WELL))
        evil: dict[str, Any] = {
            "identity": "a",
            "who": "x\x1b[2J",
            "what": "a\nb",
            "why": "\u202e" * 500,
        }
        watch.changed(heard(attrs.evolve(EVENT, **evil)))
        text = self.take()
        self.assertEqual(text.count("\n"), 1)
        self.assertTrue(text[:-1].isprintable(), text)
        self.assertLess(len(text), 900)

    def test_terminal(self) -> None:
        """A terminal shows the whole anew, the worst that fits, and what happened last."""
        self.out = Terminal()
        watch = self.watch(COLUMNS="60", TERM="xterm")
        many = [answer(f"host{n:02}.example.net", **WELL) for n in range(40)]
        ill = answer("z.example.net", **{**WELL, "healthy": False, "health_state": "failed"})
        first = self.look(watch, *many, ill)
        self.assertTrue(first.startswith("\x1b[2J\x1b[H"))
        lines = first.replace("\x1b[2J\x1b[H", "").replace("\x1b[K", "").split("\n")
        self.assertEqual(lines[-1], "\x1b[J")
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(cells, lines)), 60)
        self.assertTrue(lines[2].startswith("z.example.net"))
        self.assertIn("41 instance(s): 1 unhealthy, 40 ok", lines)
        watch.changed(heard(attrs.evolve(EVENT, identity="z.example.net")))
        again = self.take()
        self.assertTrue(again.startswith("\x1b[H"))
        self.assertIn("z.example.net  app: running", again)
        watch.away()
        self.assertIn("the broker is away", self.take().partition("\n")[0])

    def test_piped(self) -> None:
        """What is redirected has no control characters, though errors go to a terminal."""
        console = Console(self.out, Terminal(), {"TERM": "xterm"})
        watch = Watch(console, Look(), "demo", everybody=True, poke=self.poke)
        self.assertNotIn("\x1b", self.look(watch, answer("a", **WELL)))

    def test_doubts(self) -> None:
        """What no row can show is said on standard error, and what rows show is not."""
        err = io.StringIO()
        console = Console(self.out, err, {"NO_COLOR": "1"})
        well = answer("a", **WELL)
        doubt(outcome(well, discovered={"b": 1}, roster=frozenset({"c"})), console)
        self.assertEqual(err.getvalue(), "")
        doubt(outcome(well, expect=3, repeated=("a",), invalid={"not_json": 1}), console)
        self.assertEqual(
            err.getvalue().splitlines(),
            [
                "Answered once more: 1",
                "  a",
                "Expected 3 service(s), 1 answered",
                "1 answer could not be used: not_json",
            ],
        )
        doubt(outcome(), console)
        self.assertIn("did not discover any nodes", err.getvalue())

    def test_everybody(self) -> None:
        """A filter means some."""
        self.assertTrue(everybody({"facts": (), "identities": (), "nodes": None}))
        self.assertFalse(everybody({"identities": ("a",)}))
        self.assertFalse(everybody({"nodes": ["a"]}))


class EventsTests(SynchronousTestCase):
    """What is read of the network."""

    def test_change(self) -> None:
        """It is read as it was written."""
        self.assertEqual(decode_change(encode_change(EVENT)), EVENT)

    def test_no_change(self) -> None:
        """Anything else is refused."""
        good = json.loads(encode_change(EVENT))
        others: tuple[object, ...] = (
            {**good, "protocol": "x"},
            {**good, "at": True},
            {**good, "at": None},
            {**good, "until": "1"},
            {**good, "who": None},
            {key: value for key, value in good.items() if key != "identity"},
            {**good, "Who": "choria=root"},
            {**good, "why": "x" * 20_000},
            [],
        )
        for bad in others:
            with self.assertRaises(DecodeError):
                decode_change(json.dumps(bad).encode())

    @given(st.binary(max_size=200))
    def test_anything(self, payload: bytes) -> None:
        """Whatever comes is refused in one way."""
        self.assertIsNone(read_lifecycle(payload))
        with self.assertRaises(DecodeError):
            decode_change(payload)

    def test_lifecycle(self) -> None:
        """Kind and identity; an identity that is none is nobody."""
        _, payload = lifecycle_event(
            "startup", identity="a", component="backplane", version="1", now=0.0
        )
        found = read_lifecycle(payload)
        assert found is not None
        self.assertEqual((found.kind, found.identity), ("startup", "a"))
        document = json.loads(payload)
        for bad in (
            {"identity": "a b"},
            {"identity": 1},
            {"protocol": "startup"},
            {"protocol": "io.choria.lifecycle.v1.upgraded"},
        ):
            altered = {**document, "data": {**document["data"], **bad}}
            self.assertIsNone(read_lifecycle(json.dumps(altered).encode()))


class FittingTests(SynchronousTestCase):
    """Tables on narrow terminals."""

    COLUMNS = (("NAME", "name"), ("MORE", "more"), ("WHY", "why"))
    ROWS = ({"name": "a" * 20, "more": "b" * 20, "why": "c" * 40},)

    def test_cells(self) -> None:
        """Wide characters take two, combining ones none."""
        self.assertEqual([cells(text) for text in ("abc", "日本", "e\u0301")], [3, 4, 1])
        self.assertEqual(cut("日本語", 5), "日本…")
        self.assertEqual(cut("abc", 3), "abc")
        self.assertEqual(cut("abcd", 3), "ab…")

    def test_columns(self) -> None:
        """A dispensable column goes first; then ends are cut; a pipe gets everything."""
        self.assertEqual(len(fitted(self.ROWS, self.COLUMNS, None, ["more"])[1]), 84)
        whole = fitted(self.ROWS, self.COLUMNS, 70, ["more"])
        self.assertEqual(whole[0].split(), ["NAME", "MORE", "WHY"])
        self.assertTrue(whole[1].endswith("c…"))
        narrow = fitted(self.ROWS, self.COLUMNS, 50, ["more"])
        self.assertEqual(narrow[0].split(), ["NAME", "WHY"])
        self.assertEqual([len(line) <= 50 for line in narrow], [True, True])

    @given(st.text(max_size=30), st.integers(1, 20))
    def test_bounded(self, text: str, width: int) -> None:
        """No line is longer than the terminal is wide."""
        self.assertLessEqual(cells(cut(text, width)), width)
