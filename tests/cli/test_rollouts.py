"""Changes in batches, with gates, limits, plans and questions, over real agents in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.internet.defer import Deferred

from backplane.choria.rpc import ActionError
from backplane.cli.faults import Fault
from backplane.client.batches import Size
from tests.cli.rolling import NAMES, Answers, RollingCase


class BatchTests(RollingCase):
    """``--batch``, ``--limit``, ``--gate``, ``--max-failures``, ``--on-failure``."""

    def test_batches(self) -> None:
        """One after the other, all of them, with one request id."""
        outcome = self.do("pause", batch=Size(2), sleep=3.0)
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual(set(self.paused().values()), {True})
        assert outcome.rollout is not None
        self.assertEqual(outcome.rollout["batches"], [["five", "four"], ["one", "three"], ["two"]])
        self.assertIn("Batch 2 of 3: one, three\n", self.err.getvalue())
        self.assertGreaterEqual(outcome.request_seconds, 6)
        self.assertIn("Managed 5 service(s) in", self.out.getvalue())

    def test_limit(self) -> None:
        """Only so many; the others are neither silent nor expected."""
        outcome = self.do("pause", limit=Size(40, percent=True), expect=5)
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual(
            [name for name, paused in self.paused().items() if paused], ["five", "four"]
        )
        self.assertEqual(outcome.left_out, ("one", "three", "two"))

    def test_gate(self) -> None:
        """A batch that is not healthy in time stops it, and it is taken back where it was done."""
        self.do("pause")
        self.apps["one"].health = ("the disk is full", False)
        began = self.harness.clock.seconds()
        outcome = self.do("resume", batch=Size(1), gate=True, gate_timeout=4.0, undo=True)
        self.assertEqual(outcome.exit_code, 2)
        self.assertEqual(set(self.paused().values()), {True})
        self.assertEqual(outcome.untouched, ("three", "two"))
        self.assertNotIn("resume", self.apps["two"].calls)
        shown = self.out.getvalue()
        self.assertIn("Taken back on 3 of 3 service(s)\n", shown)
        self.assertIn("Not touched: 2\n  three\n  two\n", shown)
        self.assertIn("one is not healthy: the disk is full", self.err.getvalue())
        self.assertGreaterEqual(self.harness.clock.seconds() - began, 4.0)

    def test_gate_lines(self) -> None:
        """Whatever the health check says, it is taken back."""
        self.apps["one"].health = ("the disk\nis\tfull \x1b[2J" + "x" * 500, False)
        outcome = self.do("pause", batch=Size(3), gate=True, gate_timeout=2.0, undo=True)
        self.assertEqual(outcome.exit_code, 2)
        self.assertEqual(set(self.paused().values()), {False})
        self.assertIn("Taken back on 3 of 3 service(s)\n", self.out.getvalue())

    def test_gate_waits(self) -> None:
        """What becomes healthy within the time goes on."""
        self.apps["one"].health = ("warming up", False)
        self.harness.clock.callLater(8.0, setattr, self.apps["one"], "health", ("fine", True))
        outcome = self.do("pause", batch=Size(3), gate=True, gate_timeout=30.0)
        self.assertEqual((outcome.exit_code, outcome.halted), (0, ""))
        assert outcome.rollout is not None
        self.assertEqual(outcome.rollout["gates"], [True, True])

    def test_failures(self) -> None:
        """The first failure stops it, unless more are allowed; without steps nothing stops it."""
        self.apps["four"].raises["pause"] = ActionError("stuck")
        outcome = self.do("pause", batch=Size(2))
        self.assertEqual(outcome.exit_code, 2)
        self.assertEqual(outcome.untouched, ("one", "three", "two"))
        self.assertIn("error: stopped: 1 failure\n", self.err.getvalue())
        self.assertIn("\nDone: 1\n  five\n\nNot touched: 3\n  one\n", self.out.getvalue())
        outcome = self.do("pause", batch=Size(2), max_failures=1)
        self.assertEqual((outcome.exit_code, outcome.untouched), (2, ()))
        self.assertEqual([name for name, it in self.paused().items() if not it], ["four"])
        self.assertEqual(self.do("pause").untouched, ())

    def test_undo(self) -> None:
        """What had failed is asked to undo as well, and what was so before stays so."""
        self.do("pause", identities=["five"])
        self.apps["one"].raises["pause"] = ActionError("stuck")
        outcome = self.do("pause", batch=Size(3), undo=True)
        self.assertEqual(outcome.exit_code, 2)
        self.assertEqual([name for name, it in self.paused().items() if it], ["five"])
        assert outcome.rollout is not None
        self.assertEqual(outcome.rollout["undone"]["ok"], ["five", "four", "one"])

    def test_interrupted(self) -> None:
        """Between batches: 130, and who was done and who was not."""
        session, waiting = self.begin("pause", batch=Size(2), sleep=60.0)
        self.harness.advance(10)
        session.interrupt()
        outcome = self.successResultOf(waiting)
        self.assertEqual(outcome.exit_code, 130)
        self.assertEqual(outcome.untouched, ("one", "three", "two"))
        self.assertIn("\nDone: 2\n  five\n  four\n\nNot touched: 3\n", self.out.getvalue())
        self.assertEqual(sum(self.paused().values()), 2)

    def test_interrupted_gate(self) -> None:
        """While the gate is waited for, too; nothing is undone then."""
        self.apps["five"].health = ("warming up", False)
        session, waiting = self.begin("pause", batch=Size(1), gate=True, undo=True)
        self.harness.advance(10)
        session.interrupt()
        outcome = self.successResultOf(waiting)
        self.assertEqual(outcome.exit_code, 130)
        self.assertTrue(self.apps["five"].paused())
        self.assertEqual(len(outcome.untouched), 4)

    def test_time(self) -> None:
        """``--timeout`` is over between batches: 2, with who was not touched."""
        outcome = self.do("pause", batch=Size(2), sleep=60.0, timeout=10.0)
        self.assertEqual(outcome.exit_code, 2)
        self.assertEqual(outcome.halted, "10 s were over")
        self.assertEqual(len(outcome.untouched), 3)

    def test_gone(self) -> None:
        """Who is gone meanwhile does not take the time of those after him."""
        _, waiting = self.begin(
            "pause", batch=Size(1), sleep=5.0, timeout=60.0, max_failures=1, undo=True
        )
        self.harness.advance(4)
        self.harness.result_of(self.managements["four"].stopService())
        self.harness.advance(50)
        outcome = self.successResultOf(waiting)
        self.assertEqual((outcome.exit_code, outcome.silent), (4, ("four",)))
        self.assertEqual(outcome.untouched, ())
        self.assertEqual([name for name, paused in self.paused().items() if not paused], ["four"])

    def test_time_undone(self) -> None:
        """With ``--on-failure undo`` it is taken back then, where it was done."""
        outcome = self.do("pause", batch=Size(2), sleep=60.0, timeout=10.0, undo=True)
        self.assertEqual((outcome.exit_code, outcome.halted), (2, "10 s were over"))
        self.assertEqual(set(self.paused().values()), {False})
        self.assertIn("Taken back on 2 of 2 service(s)\n", self.out.getvalue())
        self.assertEqual(len(outcome.untouched), 3)

    def test_time_slow(self) -> None:
        """What is done only then is waited for, and taken back."""
        app, clock = self.apps["five"], self.harness.clock

        def pause() -> Deferred[None]:
            done: Deferred[None] = Deferred()
            clock.callLater(7.0, done.callback, None)
            return done.addCallback(lambda _: setattr(app, "_paused", True))

        self.patch(app, "pause", pause)
        outcome = self.do("pause", identities=["five"], timeout=5.0, undo=True)
        self.assertEqual((outcome.exit_code, outcome.halted), (2, "1 failure"))
        self.assertIn("Taken back on 1 of 1 service(s)\n", self.out.getvalue())
        self.assertFalse(app.paused())

    def test_time_gate(self) -> None:
        """Likewise when it is over while the gate is waited for, of the last batch too."""
        self.apps["two"].health = ("warming up", False)
        outcome = self.do("pause", batch=Size(5), gate=True, timeout=10.0, undo=True)
        self.assertEqual((outcome.exit_code, outcome.halted), (2, "10 s were over"))
        self.assertEqual(set(self.paused().values()), {False})

    def test_time_enough(self) -> None:
        """What was done everywhere in time stays, even if that was the last moment."""
        outcome = self.do("pause", batch=Size(3), sleep=3.0, timeout=10.0, undo=True)
        self.assertEqual((outcome.exit_code, outcome.halted), (0, ""))
        self.assertEqual(set(self.paused().values()), {True})

    def test_names(self) -> None:
        """What is piped into the next command leaves who did not answer on standard error."""
        self.form = "names"
        self.harness.result_of(self.managements["two"].stopService())
        outcome = self.do("pause", identities=["one", "two"])
        self.assertEqual((outcome.exit_code, self.out.getvalue()), (4, "app/one\n"))
        self.assertIn("No answer from: 1\n  two\n", self.err.getvalue())
        outcome = self.do("resume", expect=9)
        self.assertIn("Expected 9 service(s), 4 answered\n", self.err.getvalue())

    def test_long(self) -> None:
        """Requests of later batches are as fresh as the first."""
        _, waiting = self.begin("pause", batch=Size(1), sleep=600.0)
        self.harness.advance(2500)
        outcome = self.successResultOf(waiting)
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual(len(outcome.good), 5)

    def test_json(self) -> None:
        """One document that says it all."""
        self.form = "json"
        self.apps["five"].raises["pause"] = ActionError("stuck")
        self.do("pause", batch=Size(1), undo=True)
        document = json.loads(self.out.getvalue())
        self.assertEqual(document["exit_code"], 2)
        self.assertEqual(document["error"], "1 failure")
        self.assertEqual(document["silent"], [])
        steps = document["rollout"]
        self.assertEqual(steps["batches"], [["five"]])
        self.assertEqual(steps["untouched"], ["four", "one", "three", "two"])
        self.assertEqual(list(steps["failures"]), ["five"])
        self.assertEqual(steps["undone"]["failed"], {})
        self.assertEqual(self.err.getvalue(), "")


class PlanTests(RollingCase):
    """``--dry-run``, ``--plan``, ``--apply``."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(Path(self.mktemp()).resolve())

    def test_dry_run(self) -> None:
        """Says what would be done, and does nothing."""
        self.do("pause", identities=["one"])
        outcome = self.do("pause", dry_run=True)
        self.assertEqual(outcome.exit_code, 0)
        shown = self.out.getvalue()
        self.assertIn("four      ", shown)
        self.assertIn("app: running → paused\n", shown)
        self.assertIn("app is paused already\n", shown)
        self.assertIn("pause: 4 would change, 1 would stay as they are; nothing was sent", shown)
        self.assertEqual([name for name, it in self.paused().items() if it], ["one"])

    def test_nobody(self) -> None:
        """Nobody matches: 1, and no plan."""
        outcome = self.do("pause", facts=["dc=DC9"], plan=self.path)
        self.assertEqual(outcome.exit_code, 1)
        self.assertFalse(Path(self.path).exists())

    def test_apply(self) -> None:
        """What was planned is done, to those who were meant."""
        self.do("pause", limit=Size(2), plan=self.path)
        self.assertEqual(set(self.paused().values()), {False})
        outcome = self.do("pause", apply=self.path)
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual([name for name, it in self.paused().items() if it], ["five", "four"])

    def test_disagrees(self) -> None:
        """What says one thing and would do another is not done; nor is what is no plan."""
        self.do("pause", plan=self.path)
        kept = json.loads(Path(self.path).read_text())
        for written, text in (
            ({**kept, "action": "shutdown"}, "damaged: pause does not mean the action shutdown"),
            (None, "it is no plan"),
        ):
            Path(self.path).write_text(json.dumps(written))
            with self.assertRaises(Fault) as caught:
                self.do("pause", apply=self.path)
            self.assertEqual(caught.exception.code, 64)
            self.assertIn(text, caught.exception.text)
        for app in self.apps.values():
            self.assertEqual([each for each in app.calls if each in ("pause", "shutdown")], [])

    def test_folder(self) -> None:
        """A folder that is missing is not made."""
        with self.assertRaises(Fault) as caught:
            self.do("pause", plan=f"{self.path}/plan.json")
        self.assertIn("plan.json: there is no such folder; nothing was", caught.exception.text)
        self.assertFalse(Path(self.path).exists())
        with self.assertRaises(Fault) as caught:
            self.do("pause", apply="-")
        self.assertIn("--apply takes a file", caught.exception.text)

    def test_place(self) -> None:
        """Only a regular file is replaced, also through a link; a device or a pipe is not."""
        pipe, link, real = (Path(f"{self.path}.{name}") for name in ("pipe", "link", "real"))
        os.mkfifo(pipe)
        link.symlink_to(real)
        for path in (str(pipe), "-", os.devnull):
            with self.assertRaises(Fault) as caught:
                self.do("pause", plan=path)
            self.assertIn("written into a regular file; nothing was sent", caught.exception.text)
        self.assertTrue(pipe.is_fifo())
        real.write_text("old")
        self.do("pause", plan=str(link))
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.do("pause", apply=str(real)).exit_code, 0)

    def test_scheduled(self) -> None:
        """A shutdown that is scheduled is in the way of another."""
        data = {"target": "shutdown", "to": "now", "for": 3600}
        self.assertEqual(self.do("change", data=data, verb="shutdown", yes=True).exit_code, 0)
        outcome = self.do("change", data=data, verb="shutdown", dry_run=True)
        self.assertEqual(outcome.exit_code, 2)
        self.assertIn("shutdown scheduled", self.out.getvalue())
        self.assertIn("is to be called off first", self.out.getvalue())

    def test_new_instance(self) -> None:
        """A sixth one: 5, and nothing is sent."""
        self.do("pause", plan=self.path)
        self.apps["six"] = self.add("six")
        outcome = self.do("pause", apply=self.path)
        self.assertEqual(outcome.exit_code, 5)
        self.assertIn("not as planned: six: new since the plan\n", self.err.getvalue())
        self.assertEqual(set(self.paused().values()), {False})

    def test_other_state(self) -> None:
        """Somebody has changed one: 5; a plan for something else likewise."""
        self.do("pause", plan=self.path)
        self.do("debuglvl", identities=["one"])
        outcome = self.do("pause", apply=self.path)
        self.assertEqual(outcome.exit_code, 5)
        self.assertIn("one: log: is debug, was info\n", self.err.getvalue())
        with self.assertRaises(Fault) as caught:
            self.do("resume", apply=self.path)
        self.assertEqual(caught.exception.code, 5)
        self.assertIn("it is for the command pause, not resume", caught.exception.text)

    def test_expects(self) -> None:
        """New actions carry what each service is expected to be."""
        self.do("pause", identities=["one"])
        data = {"target": "app", "to": "paused", "for": 600}
        self.do("change", data=data, verb="pause", plan=self.path)
        outcome = self.do("pause", apply=self.path)
        self.assertEqual(outcome.exit_code, 0)
        self.assertEqual(set(self.paused().values()), {True})
        self.assertEqual(outcome.action, "change")

    def test_damaged(self) -> None:
        """What is no plan: 64."""
        for text in ("", "{", "[]", "{}", '{"backplane_plan": 2}', '{"backplane_plan": 1}'):
            Path(self.path).write_text(text)
            with self.assertRaises(Fault) as caught:
                self.do("pause", apply=self.path)
            self.assertEqual(caught.exception.code, 64, text)
        with self.assertRaises(Fault) as caught:
            self.do("pause", apply=self.path + "x")
        self.assertEqual(caught.exception.code, 64)

    def test_json(self) -> None:
        """The list as a document."""
        self.form = "json"
        self.do("flip", dry_run=True)
        document = json.loads(self.out.getvalue())
        self.assertTrue(document["dry_run"])
        self.assertEqual([each["identity"] for each in document["targets"]], list(NAMES))
        self.assertEqual({each["verdict"] for each in document["targets"]}, {"change"})


class QuestionTests(RollingCase):
    """Who is asked, and what the answers do."""

    def test_scripts(self) -> None:
        """Nobody to ask: all goes on, but a shutdown of everybody."""
        self.assertEqual(self.do("pause").exit_code, 0)
        outcome = self.do("shutdown")
        self.assertEqual(outcome.exit_code, 5)
        self.assertIn("needs --yes", self.err.getvalue())
        self.assertIn("nothing was sent", self.err.getvalue())
        self.assertEqual(self.do("shutdown", facts=["dc=DC1"]).exit_code, 0)
        self.assertEqual(self.do("shutdown", yes=True).exit_code, 0)

    def test_everyone(self) -> None:
        """On a terminal a change of everybody asks, one of some does not."""
        self.asker = Answers("n", "YES")
        self.assertEqual(self.do("pause").exit_code, 5)
        self.assertEqual(set(self.paused().values()), {False})
        self.assertEqual(self.do("pause").exit_code, 0)
        self.assertEqual(self.do("resume", facts=["dc=DC1"]).exit_code, 0)
        self.assertEqual(self.do("pause", yes=True).exit_code, 0)
        self.assertEqual(self.do("ping").exit_code, 0)
        self.assertEqual(self.asker.asked, ["pause all 5 service(s) of app? [y/N] "] * 2)

    def test_shutdown(self) -> None:
        """A shutdown of everybody wants the name typed."""
        self.asker = Answers("y", "app")
        self.assertEqual(self.do("shutdown").exit_code, 5)
        self.assertEqual(self.do("shutdown").exit_code, 0)
        self.assertEqual(
            self.asker.asked[0], "shutdown all 5 service(s) of app: type app to do it: "
        )

    def test_words(self) -> None:
        """What is asked says what is done, and to which part."""
        for action, data, verb, words in (
            ("end", {"target": "shutdown", "all": True}, "shutdown", "call off the shutdown of"),
            ("change", {"target": "breaker:a", "to": "open"}, "pause", "pause breaker a on"),
            (
                "change",
                {"target": "log:a.b", "to": "debug"},
                "loglevel debug",
                "debug logger a.b on",
            ),
            ("change", {"target": "log:", "to": "debug"}, "debuglvl", "debuglvl"),
            ("amend", {"target": "app", "for": 60}, "extend", "extend"),
        ):
            self.asker = Answers("n")
            self.assertEqual(self.do(action, data=data, verb=verb).exit_code, 5)
            self.assertIn(f"{words} all 5 service(s) of app? [y/N] ", self.asker.asked[0])

    def test_flip(self) -> None:
        """A fleet whose members differ is warned of, and asks."""
        self.do("pause", identities=["one"])
        self.asker = Answers("n")
        outcome = self.do("flip", facts=["dc=DC1"])
        self.assertEqual(outcome.exit_code, 5)
        self.assertIn("they differ: 1 paused, 4 running", self.err.getvalue())
        self.asker = None
        self.assertEqual(self.do("flip").exit_code, 0)
        self.assertIn("they differ", self.err.getvalue())
        self.assertEqual([name for name, it in self.paused().items() if not it], ["one"])

    def test_thinking(self) -> None:
        """Time to think is not of ``--timeout``, and an interrupt ends it."""
        self.asker = Answers()
        session, waiting = self.begin("pause", timeout=5.0)
        self.harness.advance(300)
        self.assertNoResult(waiting)
        session.interrupt()
        outcome = self.successResultOf(waiting)
        self.assertEqual(outcome.exit_code, 130)
        self.assertEqual(set(self.paused().values()), {False})
