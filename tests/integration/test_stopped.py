"""Rollouts in the middle of which somebody is frozen, or who gave the command stops it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from tests.integration.fleet import ROOT, Ran, Service, environment, wait
from tests.integration.fleets import OPERATORS, FleetCase
from tests.integration.test_undo import run_of

SLEEP: Final = "600"
"""Seconds between batches, which no test waits for."""

FREEZING: Final = '''"""The demo, which freezes once: where a file beside it says so."""
import os, pathlib, signal
from demo import App, make as make_demo

class Freezing(App):
    def freeze(self, where):
        said = pathlib.Path(__file__).with_name("freezes")
        if said.exists() and said.read_text() == where:
            said.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    def pause(self):
        self.freeze("at pause")
        super().pause()
        print("it was paused", flush=True)

    def resume(self):
        super().resume()
        print("it was resumed", flush=True)

    def health_check(self):
        if self.paused():
            self.freeze("at the gate")
        return super().health_check()

def make(config, management):
    make_demo(config, management)
    return Freezing(config, management)
'''


@attrs.frozen
class Begun:
    """A command under way; ``out`` and ``err`` are files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def said(self) -> str:
        """What it has said of how it goes on."""
        return self.err.read_text()

    def interrupted(self) -> Ran:
        """Interrupt it, and wait for its end, which is long before it would end by itself."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        return Ran(code, self.out.read_text(), self.said())


class StoppedCase(FleetCase):
    """Five services that freeze where they are told to."""

    count = 5

    def service(self, identity: str, **fields: Any) -> Service:
        self.fleet.write(f"{identity}/freezing.py", FREEZING)
        return super().service(identity, app="freezing:make", **fields)

    def freeze(self, name: str, where: str) -> None:
        """Let a service freeze, once, "at pause" or "at the gate"."""
        self.fleet.write(f"{name}/freezes", where)

    def frozen(self, name: str) -> bool:
        """Say whether a service is stopped by a signal."""
        process = self.services[name].process.pid
        stat = Path(f"/proc/{process}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def thaw(self, name: str) -> None:
        """Let a service go on."""
        self.assertTrue(self.frozen(name), name)
        self.services[name].process.send_signal(signal.SIGCONT)

    def states(self, *names: str) -> dict[str, bool]:
        """Return whether those are paused, as they say themselves."""
        flags = [word for name in names for word in ("-I", name)]
        ran = self.good("info", *flags, "--json")
        return {each["sender"]: each["data"]["paused"] for each in ran.json()["replies"]}

    def counts(self, *names: str) -> list[tuple[int, int]]:
        """Return how often each of those was paused and resumed."""
        texts = [self.services[name].text() for name in names]
        return [(text.count("it was paused\n"), text.count("it was resumed\n")) for text in texts]

    @contextlib.contextmanager
    def begun(self, *args: str) -> Iterator[Begun]:
        """Begin a command; it is ended with the block."""
        out, err = self.fleet.write("out", ""), self.fleet.write("err", "")
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "backplane.cli.main", *self.words(*args)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**environment(), "MCOLLECTIVE_CERTNAME": OPERATORS[0], **self.fleet.state},
                cwd=ROOT,
            )
        try:
            yield Begun(process, out, err)
        finally:
            process.kill()
            process.wait()


class FrozenTests(StoppedCase):
    """Somebody freezes meanwhile, in the insecure mode."""

    def test_at_gate(self) -> None:
        """Those before it are taken back, those after it are not touched; it is named."""
        first, second, third, *others = self.names
        self.freeze(third, "at the gate")
        flags = ("--batch", "1", "--gate", "health", "--gate-timeout", "3s", "--on-failure", "undo")
        ran = self.good("pause", *flags, *self.everybody(), "--json", code=2)
        self.assertTrue(self.frozen(third))
        document = ran.json()
        self.assertEqual(document["exit_code"], 2)
        self.assertEqual(document["error"], f"the gate: {third} is not healthy: no answer")
        steps = document["rollout"]
        self.assertEqual(steps["batches"], [[first], [second], [third]])
        self.assertEqual(steps["gates"], [True, True, False])
        self.assertEqual(steps["stopped"], document["error"])
        self.assertEqual(steps["untouched"], others)
        self.assertEqual(steps["undone"], {"ok": [first, second], "failed": {}, "silent": [third]})
        self.assertEqual(self.states(first, second), {first: False, second: False})
        self.assertEqual(self.counts(first, second, third), [(1, 1), (1, 1), (1, 0)])
        # What it was told meanwhile it does when it goes on.
        self.thaw(third)
        wait(lambda: self.counts(third) == [(1, 1)], "that it takes it back", self.log(third))
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))
        self.assertEqual(self.counts(*others), [(0, 0)] * 2)

    def test_at_gate_text(self) -> None:
        """The same as it is read, without --on-failure and with it."""
        first, second, *others = self.names
        flags = ("--batch", "1", "--gate", "health", "--gate-timeout", "3s", *self.everybody())
        self.freeze(second, "at the gate")
        ran = self.good("pause", *flags, code=2)
        self.assertIn(f"stopped: the gate: {second} is not healthy: no answer\n", ran.err)
        self.assertIn(f"Done: 2\n  {first}\n  {second}\n", ran.out)
        self.assertIn("Not touched: 3\n" + "".join(f"  {name}\n" for name in others), ran.out)
        run = run_of(ran)
        # It stays so until somebody takes it back; who is frozen is missing then.
        ran = self.good("undo", run, service=False, code=4)
        self.assertIn(f"{first}  app: paused → running\n", ran.out)
        self.assertIn(f"No answer from: 1\n  {second}\n", ran.out)
        self.thaw(second)
        self.good("undo", run, service=False)
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))
        self.freeze(second, "at the gate")
        ran = self.good("pause", *flags, "--on-failure", "undo", code=2)
        self.assertIn("Taken back on 1 of 2 service(s)\n", ran.out)
        self.assertIn(f"  {second}  no answer\n", ran.out)
        self.assertIn("Not touched: 3\n" + "".join(f"  {name}\n" for name in others), ran.out)
        self.assertEqual(self.counts(*others), [(0, 0)] * 3)
        self.thaw(second)
        wait(lambda: self.counts(second) == [(2, 2)], "that it takes it back", self.log(second))

    def test_nobody_answers(self) -> None:
        """Who was there and answers nothing: exit code 3. Who is named and not there: 4."""
        for name in self.names:
            self.freeze(name, "at pause")
        ran = self.good("pause", *self.everybody(), "--json", code=3)
        self.assertEqual([self.frozen(name) for name in self.names], [True] * 5)
        document = ran.json()
        self.assertEqual((document["discovered"], document["replies"]), (self.names, []))
        self.assertEqual(document["silent"], self.names)
        self.assertEqual((document["ok"], document["exit_code"]), (0, 3))
        self.assertEqual(document["error"], "no responses received")
        # It may have been done there, so there is a run that can be taken back.
        run = document["run"]
        nodes = str(self.fleet.write("nodes", "\n".join(self.names)))
        named = [word for name in self.names[:2] for word in ("-I", name)]
        for words, silent in (
            (("pause", "--nodes", nodes), self.names),
            (("pause", *named), self.names[:2]),
            (("pause",), []),  # those of the roster, who are missing
            (("undo", run), self.names),
        ):
            ran = self.good(*words, "--json", code=4)
            document = ran.json()
            self.assertEqual((document["discovered"], document["replies"]), ([], []), words)
            self.assertEqual(document["silent"], silent, words)
            if words == ("pause",):
                self.assertEqual(document["missing"], self.names)
            self.assertEqual(document["error"], "did not discover any nodes", words)
            ran = self.good(*words, code=4)
            for name in silent or self.names:
                self.assertIn(f"  {name}\n", ran.out + ran.err.replace("no answer from ", ""))
        # Nobody has heard of these, so nothing matched.
        self.good("pause", "-F", "dc=DC9", "--no-roster", code=1)
        for name in self.names:
            self.thaw(name)
        wait(lambda: self.counts(*self.names) == [(1, 0)] * 5, "that all are paused")
        ran = self.good("undo", run, service=False)
        self.assertIn("Managed 5 service(s)", ran.out)
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))

    def log(self, name: str) -> Callable[[], str]:
        """Return what reads a service's log."""
        return self.services[name].text


class InterruptedTests(StoppedCase):
    """The operator interrupts it, in the insecure mode."""

    def test_between_batches(self) -> None:
        """Who was done is named, and taken back by the run's id: exactly those."""
        first, second, third, fourth, fifth = self.names
        self.good("pause", "-I", first, "-I", fifth)
        with self.begun("pause", "--batch", "2", "--sleep", SLEEP, *self.everybody()) as begun:
            wait(lambda: f"Next batch in {SLEEP} s" in begun.said(), "the first batch", begun.said)
            ran = begun.interrupted()
        self.assertEqual(ran.code, 130, ran.out + ran.err)
        self.assertIn(f"Done: 2\n  {first}\n  {second}\n", ran.out)
        self.assertIn(f"Not touched: 3\n  {third}\n  {fourth}\n  {fifth}\n", ran.out)
        self.assertNotIn("No answer", ran.out)
        self.assertIn("interrupted; ", ran.err)
        run = run_of(ran)
        self.assertIn(f"; `backplane app undo {run}` takes it back\n", ran.err)
        now = {first: True, second: True, third: False, fourth: False, fifth: True}
        self.assertEqual(self.states(*self.names), now)
        ran = self.good("undo", run, service=False)
        self.assertIn("Managed 2 service(s)", ran.out)
        self.assertIn(f"{first}  app: stays paused\n", ran.out)
        self.assertIn(f"{second}  app: paused → running\n", ran.out)
        self.assertEqual(self.states(*self.names), {**now, second: False})
        self.assertEqual(self.counts(third, fourth), [(0, 0)] * 2)

    def test_within_batch(self) -> None:
        """Who has not answered yet is silent, and taken back as well: it may have been done."""
        first, second, *others = self.names
        self.freeze(second, "at pause")
        with self.begun("pause", "--batch", "1", *self.everybody(), "--json") as begun:
            wait(lambda: self.frozen(second), "the second batch", begun.said)
            ran = begun.interrupted()
        self.assertEqual(ran.code, 130, ran.out + ran.err)
        document = ran.json()
        self.assertEqual(document["exit_code"], 130)
        self.assertEqual([each["sender"] for each in document["replies"]], [first])
        self.assertEqual((document["ok"], document["silent"]), (1, [second]))
        self.assertIn("interrupted; 1 of 5 had answered", document["error"])
        steps = document["rollout"]
        self.assertEqual(steps["batches"], [[first], [second]])
        self.assertEqual((steps["untouched"], steps["undone"]), (others, None))
        self.thaw(second)
        wait(lambda: self.counts(first, second) == [(1, 0)] * 2, "that it is paused")
        ran = self.good("undo", document["run"], service=False)
        self.assertIn("Managed 2 service(s)", ran.out)
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))
        self.assertEqual(self.counts(*self.names), [(1, 1)] * 2 + [(0, 0)] * 3)

    def test_at_gate(self) -> None:
        """It ends at once, and nothing is taken back, whatever --on-failure says."""
        first, *others = self.names
        self.freeze(first, "at the gate")
        flags = ("--batch", "1", "--gate", "health", "--gate-timeout", SLEEP)
        with self.begun("pause", *flags, "--on-failure", "undo", *self.everybody()) as begun:
            wait(lambda: self.frozen(first), "the gate", begun.said)
            ran = begun.interrupted()
        self.assertEqual(ran.code, 130, ran.out + ran.err)
        self.assertNotIn("Taken back", ran.out)
        self.assertIn(f"Done: 1\n  {first}\n", ran.out)
        self.assertIn("Not touched: 4\n" + "".join(f"  {name}\n" for name in others), ran.out)
        self.thaw(first)
        self.assertEqual(self.states(first), {first: True})
        self.good("undo", run_of(ran), service=False)
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))
        self.assertEqual(self.counts(*self.names), [(1, 1)] + [(0, 0)] * 4)

    def test_while_undoing(self) -> None:
        """Interrupted while it is taken back, it says what was done until then."""
        first, second, *others = self.names
        self.freeze(second, "at the gate")
        flags = ("--batch", "1", "--gate", "health", "--gate-timeout", "3s", "--on-failure", "undo")
        with self.begun("pause", *flags, *self.everybody()) as begun:
            wait(lambda: "taking back what was done on 2" in begun.said(), "undoing", begun.said)
            wait(lambda: self.counts(first) == [(1, 1)], "that the first has done so", begun.said)
            ran = begun.interrupted()
        self.assertEqual(ran.code, 130, ran.out + ran.err)
        self.assertIn("Not touched: 3\n" + "".join(f"  {name}\n" for name in others), ran.out)
        self.thaw(second)
        wait(lambda: self.counts(second) == [(1, 1)], "that the second has done so")
        self.good("undo", run_of(ran).strip(), service=False)
        self.assertEqual(self.states(*self.names), dict.fromkeys(self.names, False))
        self.assertEqual(self.counts(*self.names), [(1, 1)] * 2 + [(0, 0)] * 3)


class SecureFrozenTests(FrozenTests):
    """The same with TLS and signatures."""

    secure = True


class SecureInterruptedTests(InterruptedTests):
    """The same with TLS and signatures."""

    secure = True
