"""The ledger over restarts, and over ends of the process at any point."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.change import Entry
from backplane.interfaces import LogLevel
from backplane.ledger import Ledger, Step
from backplane.node import remembering
from backplane.node.keeping import LedgerKeeper
from backplane.node.remembering import Remembering
from backplane.node.statefile import StateFile
from backplane.service import Management
from backplane.testing import Harness, RecordingApplication

NOW = 1_700_000_000.0


class Killed(BaseException):
    """The process ends here."""


class Process:
    """One process with a ledger that is kept."""

    def __init__(self, path: Path, reports: list[str]) -> None:
        self.state = StateFile(str(path), reports.append, lambda: "b1")
        self.remembering = Remembering(self.state, self.state.open(), NOW, reports.append)
        self.keeper = LedgerKeeper(self.remembering)
        self.number = 0
        self.ledger = Ledger(self.new_id, self.keeper.wrote)
        self.problems = self.keeper.load(self.ledger)

    def new_id(self) -> str:
        self.number += 1
        return f"c{self.number}"

    def change(self, target: str, to: str, until: float | None, now: float) -> None:
        step = self.ledger.propose(
            target,
            to,
            who="choria=a",
            seen=self.ledger.value(target) or "none",
            now=now,
            why="Überfall\n",
            until=until,
            run="r",
        )
        assert isinstance(step, Step)
        self.ledger.settle(step, to, now)
        self.keeper.save(self.ledger, target)

    def end(self, target: str, now: float) -> None:
        top = self.ledger.top(target)
        assert top is not None
        step = self.ledger.end(top.id, who="choria=b", seen=top.to, now=now)
        assert isinstance(step, Step)
        self.ledger.settle(step, step.to, now)
        self.keeper.save(self.ledger, target)

    def expire(self, target: str, now: float) -> None:
        step = self.ledger.expire(target, self.ledger.value(target) or "", now)
        if step is not None:
            self.ledger.settle(step, step.to, now)
        self.keeper.save(self.ledger, target)

    def note(self, now: float) -> None:
        self.ledger.note(Entry(at=now, who="choria=c", what="pause", outcome="refused"))
        self.keeper.save(self.ledger)


DOING: tuple[Callable[[Process], None], ...] = (
    lambda process: process.change("app", "paused", NOW + 60, NOW),
    lambda process: process.change("breaker:search", "open", None, NOW + 1),
    lambda process: process.change("app", "draining", NOW + 20, NOW + 2),
    lambda process: process.note(NOW + 3),
    lambda process: process.end("breaker:search", NOW + 4),
    lambda process: process.expire("app", NOW + 30),
    lambda process: process.change("log:shop", "debug", NOW + 90, NOW + 31),
    lambda process: process.expire("app", NOW + 61),
)


class KilledTests(SynchronousTestCase):
    """Whatever is left of the file, it is the state before or after what was being done."""

    def setUp(self) -> None:
        self.reports: list[str] = []
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.path = folder / "state"

    def start(self) -> Process:
        process = Process(self.path, self.reports)
        self.addCleanup(process.state.close)
        return process

    def test_cut_at_every_byte(self) -> None:
        """The file ends after any byte."""
        process = self.start()
        sizes = [self.path.stat().st_size]
        states = [process.ledger.dump()]
        for do in DOING:
            do(process)
            sizes.append(self.path.stat().st_size)
            states.append(process.ledger.dump())
        self.assertEqual(len({str(state) for state in states}), len(states))
        process.state.close()
        whole = self.path.read_bytes()
        self.assertEqual(len(whole), sizes[-1])
        checked = 0
        for size in range(sizes[0], len(whole) + 1):
            self.path.write_bytes(whole[:size])
            after = self.start()
            before = max(at for at, known in enumerate(sizes) if known <= size)
            self.assertEqual(after.ledger.dump(), states[before], size)
            self.assertEqual(after.problems, [])
            after.state.close()
            checked += 1
            if size % 16:
                continue
            # What is made anew at a start says the same again.
            again = self.start()
            self.assertEqual(again.ledger.dump(), states[before], size)
            again.state.close()
        self.assertGreater(checked, 1000)
        self.assertEqual(self.reports, [])

    def test_killed_at_every_call(self) -> None:
        """The process ends at any call of the system, also while the file is made anew."""
        self.patch(remembering, "SPARE_LEDGER", 600)
        calls = 0
        left = [10**9]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kw: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > left[0]:
                    raise Killed
                return real(*args, **kw)

            return call

        for name in ("write", "fsync", "replace"):
            self.patch(os, name, counted(getattr(os, name)))
        left[0] = 0
        states: list[Any] = []
        at = 0
        while True:
            self.path.unlink(missing_ok=True)
            calls, left[0] = 0, 10**9
            process = self.start()
            calls, left[0] = 0, at
            states, killed = [process.ledger.dump()], False
            try:
                for do in DOING:
                    do(process)
                    states.append(process.ledger.dump())
            except Killed:
                killed = True
                states.append(process.ledger.dump())
            left[0] = 10**9
            process.state.close()
            after = self.start()
            self.assertIn(after.ledger.dump(), states[-2:], at)
            after.state.close()
            if not killed:
                break
            at += 1
        self.assertGreater(at, len(DOING) + 4)  # some of it was made anew
        self.assertEqual(self.reports, [])

    def test_bounded(self) -> None:
        """The file is made anew before it grows without bound, over many starts as well."""
        self.patch(remembering, "SPARE_LEDGER", 20_000)
        for _ in range(5):
            process = self.start()
            for number in range(200):
                process.change("app", "paused", NOW + 1000 + number, NOW)
            process.state.close()
        self.assertLess(self.path.stat().st_size, 400_000)

    def test_strange_lines(self) -> None:
        """What cannot be read is left out and reported; the rest is taken."""
        process = self.start()
        process.change("app", "paused", NOW + 60, NOW)
        for strange in (5, {}, {"targets": {"x": {"normal": 1}}, "history": []}, {"targets": 1}):
            process.remembering.keep(strange)
        process.state.close()
        after = self.start()
        self.assertEqual(after.ledger.value("app"), "paused")
        self.assertEqual(after.problems, ["4 lines of the state file about changes cannot be read"])

    def test_closed(self) -> None:
        """What comes when the file is closed already neither writes to it nor deletes it."""
        process = self.start()
        process.change("app", "paused", NOW + 60, NOW)
        process.state.close()
        process.note(NOW)
        self.assertTrue(self.path.exists())
        self.assertEqual(self.start().ledger.value("app"), "paused")


class RestartTests(SynchronousTestCase):
    """A service that is started again with its state file."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.file = str(self.harness.folder / "state")

    def start(self, app: RecordingApplication | None = None) -> RecordingApplication:
        self.app = app or RecordingApplication({}, breakers=("payments",))
        self.management: Management = self.harness.manage(self.app, state_file=self.file)
        return self.app

    def restart(
        self, seconds: float = 0, app: RecordingApplication | None = None
    ) -> RecordingApplication:
        self.harness.result_of(self.management.stopService())
        self.harness._managements.remove(self.management)
        self.harness.advance(seconds)
        return self.start(app)

    def change(self, target: str, to: str, **more: Any) -> None:
        reply = self.harness.ask("change", {"target": target, "to": to, **more})
        self.assertEqual((reply.status, reply.message), (0, "OK"))

    def outcomes(self) -> list[str]:
        return [each["outcome"] for each in self.harness.ask("changes").data["history"]]

    def test_rest_of_a_lease(self) -> None:
        """What is left of a lease is kept, with who and why, and no longer."""
        self.start()
        self.change("app", "paused", **{"for": 100, "why": "db"})
        self.change("breaker:payments", "open", **{"for": 100})
        before = self.harness.ask("info").data["changes"]
        app = self.restart(30)
        self.assertTrue(app.paused())
        info = self.harness.ask("info").data
        self.assertEqual(info["changes"], before)
        self.assertEqual(info["breakers"], {"payments": "open"})
        self.harness.advance(40)
        self.assertTrue(app.paused())
        self.harness.advance(40)
        self.assertFalse(app.paused())
        self.assertEqual(self.harness.ask("info").data["changes"], [])
        self.assertEqual(self.outcomes(), ["done", "done", "expired", "expired"])

    def test_over_meanwhile(self) -> None:
        """What was over while it was down is ended at once; the application is not touched."""
        self.start()
        self.change("app", "paused", **{"for": 10})
        app = self.restart(60)
        self.assertNotIn("pause", app.calls)
        self.assertFalse(app.paused())
        self.assertEqual(self.outcomes(), ["done", "expired"])

    def test_another_level(self) -> None:
        """A program that is started with another level goes back to that one."""
        self.start()
        self.change("log:", "debug", **{"for": 60})
        app = RecordingApplication({})
        app.level = LogLevel.WARN
        self.restart(1, app)
        self.assertEqual(app.level, LogLevel.DEBUG)
        self.harness.advance(61)
        self.assertEqual(app.level, LogLevel.WARN)

    def test_lasting(self) -> None:
        """What was to last ends with the process, as ever; so does what the application did."""
        self.start()
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})
        self.assertFalse(self.restart().paused())
        last = self.harness.ask("changes").data["history"][-1]
        self.assertEqual((last["who"], last["outcome"]), ("application", "ended"))
        self.app.pause()
        self.assertEqual(self.harness.ask("changes").data["state"], "paused")
        self.assertFalse(self.restart().paused())
        self.assertEqual(self.harness.ask("changes").data["live"], [])

    def test_lease_between(self) -> None:
        """A lease over what lasts goes on and ends where the new process began; one under
        it, such as before a ``resume``, does not come back."""
        self.start()
        self.harness.ask("pause")
        self.change("app", "draining", **{"for": 100})
        app = self.restart(10)
        self.assertEqual(self.harness.ask("info").data["state"], "draining")
        self.harness.advance(100)
        self.assertFalse(app.paused())
        self.change("app", "paused", **{"for": 100})
        self.harness.ask("resume")
        app = self.restart(10)
        self.harness.advance(1)
        self.assertFalse(app.paused())

    def test_not_yet(self) -> None:
        """What cannot be restored at once is tried again."""
        self.start()
        self.change("app", "paused", **{"for": 100})
        app = RecordingApplication({})
        app.raises["pause"] = RuntimeError("not yet")
        self.restart(1, app)
        self.assertFalse(app.paused())
        self.assertEqual(len(self.harness.ask("info").data["changes"]), 1)
        del app.raises["pause"]
        self.harness.advance(10)
        self.assertTrue(app.paused())
        self.harness.advance(100)
        self.assertFalse(app.paused())

    def test_hangs(self) -> None:
        """An application that hangs hinders neither the start nor anything for ever."""
        self.start()
        self.change("app", "paused", **{"for": 100})
        app = RecordingApplication({})
        self.patch(app, "paused", lambda: Deferred())
        self.restart(1, app)
        self.assertEqual(self.harness.ask("ping").status, 0)
        self.change("log:", "debug")

    def test_without_a_file(self) -> None:
        """Nothing is kept where nobody asked for it."""
        self.app = RecordingApplication({})
        self.management = self.harness.manage(self.app)
        self.change("app", "paused")
        self.harness.result_of(self.management.stopService())
        self.harness._managements.remove(self.management)
        app = RecordingApplication({})
        self.harness.manage(app)
        self.assertFalse(app.paused())
        self.assertEqual(self.outcomes(), [])
