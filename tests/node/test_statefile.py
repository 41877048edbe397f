"""The state file, and the replay memory that is kept in it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.node import remembering, statefile
from backplane.node.outcome import Accepted, Refused
from backplane.node.remembering import Remembering
from backplane.node.statefile import StateFile, StateFileError
from backplane.security.replay import GRACE, Verdict
from tests.node.admitting import AdmissionCase
from tests.node.messages import NOW, request

HOUR = 3600.0


def digest(number: int) -> bytes:
    """Return a digest."""
    return number.to_bytes(32, "big")


class StateCase(SynchronousTestCase):
    """A folder, and what was reported."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.reports: list[str] = []

    def file(self, boot: str | None = "b1") -> StateFile:
        """Return the state file of one process."""
        made = StateFile(str(self.path), self.reports.append, lambda: boot)
        self.addCleanup(made.close)
        return made

    def remember(self, now: float = NOW, boot: str | None = "b1") -> tuple[StateFile, Remembering]:
        """Return what a process that starts remembers."""
        state = self.file(boot)
        return state, Remembering(state, state.open(), now, self.reports.append)


class StateFileTests(StateCase):
    """Records in a file."""

    def test_pipe(self) -> None:
        """A pipe is refused, and not waited for."""
        os.mkfifo(self.path)
        error = self.assertRaises(StateFileError, self.file().open)
        self.assertIn("not a regular file", str(error))

    def test_records(self) -> None:
        """What was written is there for the next process, up to the last whole line."""
        first = self.file()
        self.assertEqual(first.open(), [])
        self.assertFalse(first.continues)
        first.rewrite([{"a": 1}])
        first.append({"b": [2, "ü\n"]})
        self.assertEqual(first.lines, 2)
        first.close()
        with self.path.open("ab") as file:
            file.write(b'{"c":')  # killed while it wrote
        second = self.file()
        self.assertEqual(second.open(), [{"a": 1}, {"b": [2, "ü\n"]}])
        self.assertTrue(second.continues)
        self.assertEqual(self.reports, [])

    def test_mode(self) -> None:
        """Nobody else reads it, or leaves anything beside it."""
        state = self.file()
        state.open()
        state.rewrite([])
        state.rewrite([])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        beside = {each.name for each in self.path.parent.iterdir()}
        self.assertEqual(beside, {self.path.name, f".{self.path.name}.lock"})

    def test_other_boot(self) -> None:
        """After a boot the end of the file may be missing; without boot ids nobody knows."""
        for before, after in (("b1", "b2"), (None, None), ("b1", None), (None, "b1")):
            first = self.file(before)
            first.open()
            first.rewrite([{"a": 1}])
            first.close()
            second = self.file(after)
            self.assertEqual(second.open(), [{"a": 1}])
            self.assertFalse(second.continues)
            second.close()

    def test_second_process(self) -> None:
        """Two of them are told apart at the start."""
        self.file().open()
        error = self.assertRaises(StateFileError, self.file().open)
        self.assertIn("locked, so another process writes it", str(error))
        self.assertIn("each service needs a file of its own", str(error))

    def test_foreign(self) -> None:
        """A file that is something else is left alone, whatever it is."""
        for content in ("hello\n", '{"a": 1}\n', '{"backplane":"state","version":2}\n', "[]\n"):
            self.path.write_text(content)
            error = self.assertRaises(StateFileError, self.file().open)
            self.assertIn("is not one", str(error))
            self.assertEqual(self.path.read_text(), content)

    def test_unusable(self) -> None:
        """Where there can be none the error says why."""
        self.path = self.path / "missing" / "state"
        self.assertIn("No such file", str(self.assertRaises(StateFileError, self.file().open)))

    def test_empty(self) -> None:
        """An empty file is a new one."""
        self.path.touch()
        state = self.file()
        self.assertEqual(state.open(), [])
        self.assertFalse(state.continues)

    def test_after_fork(self) -> None:
        """A child does not write to its parent's file."""
        state = self.file()
        state.open()
        state.rewrite([])
        self.patch(os, "getpid", lambda: -1)
        self.assertRaises(OSError, state.append, {})

    @given(st.binary(max_size=200), st.integers(0, 200))
    def test_damage(self, noise: bytes, place: int) -> None:
        """Any damage: a report or a refusal, never anything else, and never wrong records."""
        self.setUp()
        first = self.file()
        first.open()
        first.rewrite([{"n": number} for number in range(5)])
        first.close()
        data = self.path.read_bytes()
        damaged = data[:place] + noise + data[place + len(noise) :]
        self.path.write_bytes(damaged)
        second = self.file()
        try:
            records = second.open()
        except StateFileError:
            return
        if second.continues and noise:
            kept = damaged.rpartition(b"\n")[0].split(b"\n")[1:]
            self.assertEqual(records, [json.loads(line) for line in kept])
        second.close()

    def test_real_boot(self) -> None:
        """On Linux there is an id of the boot, and it stays."""
        first, second = (StateFile(str(self.path), self.reports.append) for _ in range(2))
        first.open()
        first.rewrite([])
        first.close()
        second.open()
        self.addCleanup(second.close)
        self.assertEqual(second.continues, os.path.exists(statefile.BOOT_ID))


class RememberingTests(StateCase):
    """What one process acted upon the next one knows."""

    def check(
        self, kept: Remembering, number: int, now: float = NOW, change: bool = True
    ) -> Verdict:
        """Ask the memory about a request that is good for a minute."""
        return kept.memory.check(digest(number), "choria=a", now + 60, now, change)

    def test_restart(self) -> None:
        """Reads and changes are known after a restart, and after several."""
        state, kept = self.remember()
        self.assertFalse(kept.complete)
        for number in range(10):
            self.assertIs(self.check(kept, number, change=number % 2 == 0), Verdict.FRESH)
        for start in range(3):
            state.close()  # nothing was written at the end, as when it is killed
            state, kept = self.remember(NOW + start)
            self.assertTrue(kept.complete)
            for number in range(10):
                self.assertIs(self.check(kept, number, NOW + start), Verdict.REPEATED)
        self.assertEqual(kept.memory.share_of("choria=a"), 10)

    def test_shares(self) -> None:
        """A share that was full is full."""
        state, kept = self.remember()
        kept.memory._max_per_caller = 3
        for number in range(3):
            self.check(kept, number)
        state.close()
        state, kept = self.remember()
        kept.memory._max_per_caller = 3
        self.assertIs(self.check(kept, 4), Verdict.FULL)

    def test_over(self) -> None:
        """What is over stays known for a while, for clocks that go back, and is let go then."""
        state, kept = self.remember()
        self.check(kept, 1)
        state.close()
        state, kept = self.remember(NOW + 300)
        self.assertEqual(len(kept.memory), 0)
        self.assertIs(self.check(kept, 1, NOW + 1), Verdict.REPEATED)
        state.close()
        state, kept = self.remember(NOW + 61 + GRACE)
        self.assertIs(self.check(kept, 1, NOW), Verdict.UNCERTAIN)
        state.close()
        state, kept = self.remember(NOW + 62 + GRACE)
        self.assertIs(self.check(kept, 2, NOW), Verdict.UNCERTAIN)
        self.assertTrue(kept.complete)

    def test_bounded(self) -> None:
        """The file is made anew before it grows without bound."""
        self.patch(remembering, "SPARE", 100)
        state, kept = self.remember()
        now = NOW
        for number in range(3000):
            now += 10.0
            self.assertIs(self.check(kept, number, now), Verdict.FRESH)
        self.assertLess(state.lines, 400)
        self.assertLess(self.path.stat().st_size, 100_000)
        state.close()
        state, kept = self.remember(now)
        self.assertIs(self.check(kept, 2999, now), Verdict.REPEATED)

    def text(self, rest: str) -> str:
        """Return what is reported of a full disk."""
        return f"state file {self.path}: No space left on device; {rest}"

    def break_writing(self, state: StateFile) -> None:
        """Let the disk be full."""

        def full(*given: Any) -> None:
            raise OSError(28, "No space left on device")

        self.patch(state, "append", full)

    def test_disk_full(self) -> None:
        """It goes on without, says so once, and the next start does not believe the file."""
        state, kept = self.remember()
        self.check(kept, 1)
        self.break_writing(state)
        self.assertIs(self.check(kept, 2), Verdict.FRESH)
        self.assertIs(self.check(kept, 3), Verdict.FRESH)
        self.assertIs(self.check(kept, 2), Verdict.REPEATED)
        self.assertEqual(
            self.reports,
            [self.text("requests from before the next start will be refused")],
        )
        state.close()
        state, kept = self.remember()
        self.assertFalse(kept.complete)

    def test_no_way(self) -> None:
        """It can neither be written nor deleted: changes are refused, reads pass."""
        state, kept = self.remember()
        self.break_writing(state)

        def refuse() -> None:
            raise OSError(30, "Read-only file system")

        self.patch(state, "discard", refuse)
        for number in (1, 2):
            self.assertIs(self.check(kept, number), Verdict.UNSAVED)
        self.assertIs(self.check(kept, 3, change=False), Verdict.FRESH)
        self.assertEqual(self.reports, [self.text("and it cannot be deleted: changes are refused")])
        self.assertEqual(kept.memory.refused, 2)

    def test_strange_records(self) -> None:
        """Records that another version has written harm nobody; damaged ones are no knowledge."""
        for strange, complete in (
            ({"later": 1}, True),
            ({"seen": ["zz", 1, "a"]}, False),
            ({"seen": 5}, False),
            ({"seen": ["00", 1, "a"]}, False),
            ({"forgotten_until": "x"}, True),
            ({"forgotten_until": float("inf")}, True),
            ({"forgotten_until": float("nan")}, True),
            ({"forgotten_until": 10**400}, True),
        ):
            state = self.file()
            state.open()
            state.rewrite([strange])
            state.close()
            state, kept = self.remember()
            self.assertEqual(kept.complete, complete, strange)
            self.assertIs(self.check(kept, 1, NOW + 1), Verdict.FRESH, strange)
            state.close()


class RestartTests(AdmissionCase):
    """Admission before and after a restart, with the memory and without."""

    def started(self, path: str, boot: str = "b1") -> Callable[[], None]:
        """Let a service start now; return what ends it."""
        state = StateFile(path, print, lambda: boot)
        kept = Remembering(state, state.open(), self.now, print)
        self.admission = self.make(replay=kept.memory, started=0.0 if kept.complete else self.now)
        return state.close

    def test_restart(self) -> None:
        """The same document is dropped; another one from before the start acts."""
        path = str(Path(self.mktemp()).absolute())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        end = self.started(path)
        self.now = NOW + 2
        change = request(action="pause", time=int(NOW) + 2)
        read = request(time=int(NOW) + 2)
        # A first start knows nothing: what is older than it is refused.
        self.assertIsInstance(self.admit(request(action="pause", time=int(NOW) - 1)), Refused)
        self.accepted(change)
        self.accepted(read)
        end()
        self.now = NOW + 10
        end = self.started(path)
        self.dropped("repeated", change)
        self.dropped("repeated", read)
        self.accepted(request(action="pause", time=int(NOW) + 3))
        end()
        end = self.started(path, "b2")
        for before in (change, request(action="pause", time=int(NOW) + 4)):
            outcome = self.admit(before)
            assert isinstance(outcome, Refused)
            self.assertEqual(outcome.reason, "before_start")
        self.dropped("repeated", read)
        self.assertIsInstance(self.admit(request(time=int(NOW) + 4)), Accepted)
        end()
