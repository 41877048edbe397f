"""The outside process as a child: what it prints, its end, and its next start."""

from __future__ import annotations

import os
import signal

from twisted.internet.task import deferLater

from backplane.config.sidecarvalues import ProcessConfig
from backplane.sidecar import child as children
from backplane.sidecar.child import Child
from backplane.sidecar.errors import ProcessError
from backplane.sidecar.running import Running
from tests.sidecar.outside import OutsideCase, lives


class ChildCase(OutsideCase):
    """Children that are shells."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(children, "FIRST_DELAY", 0.05)
        self.now = 1000.0

    def child(
        self,
        script: str,
        *,
        restart: bool = False,
        ends_by: str = "TERM",
        patience: float = 30.0,
        argv: tuple[str, ...] | None = None,
    ) -> Child:
        """Return a child that is not started."""
        config = ProcessConfig(
            run=argv or ("sh", "-c", script), restart=restart, signal=ends_by, patience=patience
        )
        made = Child(
            self.reactor,
            config,
            str(self.folder),
            lambda: {**os.environ, "GREETING": "hello"},
            self.book.logger,
            self.book.logger,
            lambda: self.now,
        )
        self.addCleanup(made.stop)
        return made


class LifeTests(ChildCase):
    """A child that behaves."""

    async def test_life(self) -> None:
        """It is seen, its lines are logged, and stopping sends the signal and waits."""
        child = self.child(
            "trap 'echo bye; exit 7' TERM; echo $GREETING; echo oh >&2; "
            "while :; do sleep 0.05; done"
        )
        self.assertIsNone(child.look().pid)
        child.start()
        seen = child.look()
        assert seen.pid is not None
        self.assertTrue(lives(seen.pid))
        self.assertEqual(seen.started, 1000.0)
        await self.until(lambda: "[err] oh" in self.book.text, "its words")
        self.assertIn("info [out] hello", self.book.text)
        await child.stop()
        self.assertFalse(lives(seen.pid))
        self.assertIn("info [out] bye", self.book.text)
        self.assertIn(f"info process {seen.pid} ended with 7 after", self.book.text)
        self.assertIsNone(child.look().pid)
        await child.stop()

    async def test_ends_by_itself(self) -> None:
        """Without ``restart`` it stays so, and nobody is there to be signalled."""
        child = self.child("echo last words; exit 3")
        child.start()
        await self.until(lambda: child.look().pid is None, "its end")
        self.assertIn("info [out] last words", self.book.text)
        self.assertIn("ended with 3", self.book.text)
        await deferLater(self.reactor, 0.2)
        self.assertIsNone(child.look().pid)
        self.assertRaises(ProcessError, child.shut_down, signal.SIGTERM)

    async def test_restart(self) -> None:
        """With it, it comes back under a new id, later each time."""
        child = self.child("echo run >> runs; kill -KILL $$", restart=True)
        child.start()
        first = child.look().which
        runs = self.folder / "runs"
        await self.until(lambda: runs.exists() and runs.read_text().count("run") >= 4, "four runs")
        await child.stop()
        self.assertNotEqual(child.look().which, first)
        self.assertIn("was ended by SIGKILL", self.book.text)
        delays = [line for _, line in self.book.lines if line.startswith("started again")]
        expected = [f"started again in {0.05 * 2**at} s" for at in range(3)]
        self.assertEqual(delays[:3], expected)
        count = runs.read_text().count("run")
        await deferLater(self.reactor, 0.5)
        self.assertEqual(runs.read_text().count("run"), count)

    async def test_shut_down(self) -> None:
        """What was shut down is not started again."""
        child = self.child("exec sleep 1000", restart=True)
        child.start()
        child.shut_down(signal.SIGINT)
        await self.until(lambda: child.look().pid is None, "its end")
        self.assertIn("was ended by SIGINT", self.book.text)
        self.assertNotIn("started again", self.book.text)

    async def test_shut_down_between_runs(self) -> None:
        """Nor is one that was about to be started again."""
        self.patch(children, "FIRST_DELAY", 0.3)
        child = self.child("echo run >> runs", restart=True)
        child.start()
        await self.until(lambda: "started again" in self.book.text, "its end")
        child.shut_down(signal.SIGTERM)
        await deferLater(self.reactor, 0.5)
        self.assertEqual((self.folder / "runs").read_text(), "run\n")

    async def test_expected_end(self) -> None:
        """An end that a command brings about is not made good, unless the command fails."""
        child = self.child("while [ ! -e end ]; do sleep 0.02; done", restart=True)
        child.start()
        child.expect_end()()
        child.expect_end()
        self.write("end", "")
        await self.until(lambda: child.look().pid is None, "its end")
        await deferLater(self.reactor, 0.2)
        self.assertNotIn("started again", self.book.text)

    async def test_cannot_start(self) -> None:
        """The first start says so; a later one is tried again."""
        child = self.child("", argv=("/nowhere/app",), restart=True)
        error = self.assertRaises(ProcessError, child.start)
        self.assertIn("/nowhere/app cannot be run: No such file", str(error))
        program = self.write("app", "#!/bin/sh\necho run >> runs\nrm app\n")
        program.chmod(0o755)
        child = self.child("", argv=(str(program),), restart=True)
        child.start()
        await self.until(lambda: "cannot be run" in self.book.text, "a start that fails")
        program.write_text("#!/bin/sh\necho run >> runs\nexec sleep 1000\n")
        program.chmod(0o755)
        await self.until(lambda: child.look().pid is not None, "a start that does not")
        await child.stop()


class HostileTests(ChildCase):
    """A child that does not."""

    async def test_deaf(self) -> None:
        """One that does not hear its signal is killed, with all of its group."""
        child = self.child(
            "trap '' TERM; sh -c 'echo $$ > inner; sleep 1000' & "
            "echo $$ > outer; while :; do sleep 0.05; done",
            patience=0.2,
        )
        child.start()
        await self.until(lambda: self.number("inner") and self.number("outer"), "its start")
        await child.stop()
        inner = self.number("inner")
        self.assertFalse(lives(self.number("outer")))
        await self.until(lambda: not lives(inner), "the end of its group")
        self.assertIn("has not ended after 0.2 s and is killed", self.book.text)

    async def test_leaves_others(self) -> None:
        """What it leaves in its group ends with it, though it holds the pipes."""
        child = self.child(
            "sh -c 'echo $$ > inner; exec sleep 1000' & while [ ! -s inner ]; do :; done"
        )
        child.start()
        await self.until(lambda: child.look().pid is None, "its end")
        inner = self.number("inner")
        await self.until(lambda: not lives(inner), "the end of what it left")

    async def test_floods(self) -> None:
        """Endless output: a bounded log, a free reactor, and an end like any other."""
        child = self.child("exec yes")
        child.start()
        ticks = 0
        while ticks < 50:
            await deferLater(self.reactor, 0.01)
            ticks += 1
        await self.until(lambda: "lines left out" in self.book.text, "what was left out")
        self.assertTrue(len(self.book.lines) < 400)
        await child.stop()
        self.assertIn("was ended by SIGTERM", self.book.text)

    async def test_flood_must_wait(self) -> None:
        """It is read so much in a time, and no more."""
        self.patch(children, "MAX_READ", 65536)
        taken: list[int] = []
        original = Child._received

        def received(child: Child, stream: str, data: bytes) -> None:
            taken.append(len(data))
            original(child, stream, data)  # type: ignore[arg-type]

        self.patch(Child, "_received", received)
        self.patch(children, "REST", 1000)
        child = self.child("exec yes")
        child.start()
        await self.until(lambda: sum(taken) >= 65536, "the first piece")
        await deferLater(self.reactor, 0.2)
        self.assertTrue(sum(taken) <= 65536 + 8192, sum(taken))
        await child.stop()

    async def test_cannot_be_killed(self) -> None:
        """Stopping does not wait for ever."""
        self.patch(children, "GIVE_UP", 0.1)
        self.patch(Running, "signal_group", lambda self, number: None)
        child = self.child(
            "trap '' TERM; echo $$ > outer; while :; do sleep 0.05; done", patience=0.1
        )
        child.start()
        await self.until(lambda: self.number("outer"), "its start")
        await child.stop()
        self.assertIn("cannot be killed", self.book.text)
        self.end_all()
        await self.until(lambda: child.look().pid is None, "its end after all")
