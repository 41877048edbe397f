"""Commands as real processes: what comes of them, and what hostile ones cannot do."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from backplane.config.sidecarvalues import CommandConfig
from backplane.sidecar import commands, running
from backplane.sidecar.commands import MAX_OUTPUT, Commands, Outcome
from backplane.sidecar.errors import CommandError
from backplane.sidecar.running import Running
from tests.sidecar.outside import PATIENCE, OutsideCase, lives


class CommandCase(OutsideCase):
    """Commands that are run in the folder."""

    def setUp(self) -> None:
        super().setUp()
        self.real = str(self.folder.resolve())
        self.commands = self.made(GREETING="hello")

    def made(self, **environment: str) -> Commands:
        logger = self.book.logger
        return Commands(self.reactor, str(self.folder), environment, logger, logger)

    def run_sh(
        self, text: str, kind: str = "check", timeout: float = PATIENCE, **more: str
    ) -> Deferred[Outcome]:
        """Run a shell with a script."""
        return self.commands.run(kind, CommandConfig(("sh", "-c", text), timeout), **more)

    async def refused(self, running: Deferred[Outcome]) -> str:
        error = await self.assertFailure(running, CommandError)
        return str(error)


class OutcomeTests(CommandCase):
    """What an orderly command leaves."""

    async def test_outcome(self) -> None:
        """Exit code, output and errors; errors go to the log as well."""
        outcome = await self.run_sh("echo '{\"a\": 1}'; echo oh >&2; exit 3")
        self.assertEqual(outcome, Outcome(3, b'{"a": 1}\n', False, b"oh\n"))
        self.assertEqual(self.book.lines, [("warn", "check wrote: oh")])
        await self.run_sh("echo fine >&2")
        self.assertEqual(self.book.lines[1:], [("info", "check wrote: fine")])

    async def test_signal(self) -> None:
        """One that another kills is told from one that we do."""
        outcome = await self.run_sh("kill -SEGV $$")
        self.assertEqual(outcome.code, -signal.SIGSEGV)

    async def test_surroundings(self) -> None:
        """Folder, group, session, standard input, environment."""
        script = (
            'pwd -P; cat; echo "$GREETING $SIDECAR_COMMAND $SIDECAR_PID $PATH"; '
            "cut -d' ' -f 5,6 /proc/$$/stat; echo $$"
        )
        outcome = await self.run_sh(script, SIDECAR_PID="77")
        where, words, ids, pid = outcome.out.decode().splitlines()
        self.assertEqual(where, self.real)
        self.assertEqual(words, f"hello check 77 {os.environ['PATH']}")
        self.assertEqual(ids, f"{pid} {pid}")

    async def test_descriptors(self) -> None:
        """Nothing of ours is open in it."""
        held = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, held)
        os.set_inheritable(held, False)
        outcome = await self.run_sh("ls /proc/$$/fd")
        self.assertEqual(outcome.out.split(), [b"0", b"1", b"2"])

    async def test_level(self) -> None:
        """``{level}`` is replaced in arguments; nothing in it is looked at by a shell."""
        command = CommandConfig(("echo", "--to={level}", "$HOME; {x}"), PATIENCE)
        outcome = await self.commands.run("loglevel", command, "a b;c")
        self.assertEqual(outcome.out, b"--to=a b;c $HOME; {x}\n")

    async def test_cannot_run(self) -> None:
        """A program that is not there, or is none; the kind is free again."""
        self.write("plain", "").chmod(0o644)
        for program in ("/nowhere/app", "no-such-program", str(self.folder / "plain"), "a\0b"):
            running = self.commands.run("check", CommandConfig((program,)))
            self.assertIn("cannot be run", await self.refused(running))
        self.assertEqual((await self.run_sh("true")).code, 0)

    async def test_folder_gone(self) -> None:
        """So is a folder that has gone."""
        made = Commands(self.reactor, "/nowhere", {}, self.book.logger, self.book.logger)
        running = made.run("check", CommandConfig(("true",)))
        self.assertIn("No such file", await self.refused(running))

    async def test_one_of_a_kind(self) -> None:
        """A second one of the kind is refused; another kind is not."""
        first = self.run_sh("cat fifo")
        os.mkfifo(self.folder / "fifo")
        await self.until(lambda: True, "")
        self.assertIn("has not ended", await self.refused(self.run_sh("true")))
        self.assertEqual((await self.run_sh("true", "other")).code, 0)
        first.addErrback(lambda failure: failure.trap(CancelledError, CommandError))
        await self.commands.stop()
        await first

    async def test_without_watching(self) -> None:
        """Where the system does not tell of ends, they are looked for."""
        done: Deferred[int | None] = Deferred()
        pieces: list[tuple[str, bytes]] = []
        Running(
            self.reactor,
            ["sh", "-c", "echo x; sleep 0.2; echo y >&2; exit 4"],
            str(self.folder),
            dict(os.environ),
            lambda stream, data: pieces.append((stream, data)),
            done.callback,
            watch=False,
        )
        self.assertEqual(await done, 4)
        self.assertEqual(pieces, [("out", b"x\n"), ("err", b"y\n")])

    async def test_no_handler(self) -> None:
        """No SIGCHLD handler is needed; where the host ignores it, nothing is made up."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            self.assertEqual((await self.run_sh("exit 5")).code, 5)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            self.assertIn("nobody knows how", await self.refused(self.run_sh("exit 5")))
        finally:
            signal.signal(signal.SIGCHLD, before)


class HostileTests(CommandCase):
    """What does not end, prints without end, or leaves others behind."""

    async def test_hangs(self) -> None:
        """Past its limit its whole group is ended, children that wait included."""
        script = "sleep 1000 & echo $! > inner; echo $$ > outer; wait"
        said = await self.refused(self.run_sh(script, timeout=0.5))
        self.assertEqual(said, "check: sh had not ended after 0.5 s and was killed")
        inner, outer = self.number("inner"), self.number("outer")
        self.assertTrue(inner and outer)
        await self.until(lambda: not lives(inner) and not lives(outer), "the end of both")
        self.assertEqual((await self.run_sh("true")).code, 0)

    async def test_deaf(self) -> None:
        """One that ignores SIGTERM gets SIGKILL."""
        self.patch(commands, "GRACE", 0.2)
        script = "trap '' TERM; echo $$ > outer; while :; do sleep 0.05; done"
        said = await self.refused(self.run_sh(script, timeout=0.5))
        self.assertIn("was killed", said)
        outer = self.number("outer")
        self.assertTrue(outer)
        self.assertFalse(lives(outer))

    async def test_floods(self) -> None:
        """Whoever prints without end is killed at once, on either stream."""
        for script in ("yes", "yes >&2"):
            said = await self.refused(self.run_sh(script))
            self.assertEqual(said, "check: sh printed more than 1048576 bytes and was killed")
        self.assertTrue(len(self.book.text) < 10_000)

    async def test_much(self) -> None:
        """What is much and no flood is cut."""
        outcome = await self.run_sh("head -c 200000 /dev/zero")
        self.assertEqual((outcome.code, outcome.cut, len(outcome.out)), (0, True, MAX_OUTPUT))

    async def test_grandchild_holds_pipes(self) -> None:
        """It is done when the program is; what is left in its group is killed."""
        script = "sleep 1000 & echo $! > inner; echo done"
        outcome = await self.run_sh(script)
        self.assertEqual((outcome.code, outcome.out), (0, b"done\n"))
        inner = self.number("inner")
        self.assertTrue(inner)
        await self.until(lambda: not lives(inner), "the end of what was left")

    async def test_grandchild_in_its_own_session(self) -> None:
        """What has left the group goes on, and its hold on the pipes keeps nobody."""
        script = (
            "setsid sh -c 'echo $$ > inner; exec sleep 1000' & "
            "while [ ! -s inner ]; do :; done; echo done"
        )
        outcome = await self.run_sh(script)
        self.assertEqual((outcome.code, outcome.out), (0, b"done\n"))
        inner = self.number("inner")
        self.assertTrue(lives(inner))
        os.kill(inner, signal.SIGKILL)

    async def test_closes_its_output(self) -> None:
        """An end of the output is not the end of the program."""
        outcome = await self.run_sh("exec >&- 2>&-; sleep 0.2; exit 6")
        self.assertEqual((outcome.code, outcome.out), (6, b""))

    async def test_stopped(self) -> None:
        """One that is frozen is ended as well."""
        self.patch(commands, "GRACE", 0.2)
        said = await self.refused(self.run_sh("kill -STOP $$", timeout=0.3))
        self.assertIn("was killed", said)

    async def test_cancelled(self) -> None:
        """A caller who does not wait any more ends it; the kind is taken until then."""
        running = self.run_sh("trap '' TERM; echo $$ > outer; while :; do sleep 0.05; done")
        await self.until(lambda: self.number("outer"), "its start")
        self.patch(commands, "GRACE", 0.2)
        running.cancel()
        await self.assertFailure(running, CancelledError)
        self.assertIn("has not ended", await self.refused(self.run_sh("true")))
        outer = self.number("outer")
        await self.until(lambda: not lives(outer), "its end")
        await self.until(lambda: not self.commands._running, "its kind to be free")
        self.assertEqual((await self.run_sh("true")).code, 0)

    async def test_stop(self) -> None:
        """Stopping kills what runs, and waits for it."""
        failures = [
            self.refused(self.run_sh(f"trap '' TERM; echo $$ > {kind}; sleep 1000", kind))
            for kind in ("one", "two")
        ]
        waiting = [Deferred.fromCoroutine(each) for each in failures]
        await self.until(lambda: self.number("one") and self.number("two"), "their starts")
        await self.commands.stop()
        for kind, failed in zip(("one", "two"), waiting, strict=True):
            self.assertFalse(lives(self.number(kind)))
            self.assertIn("the service stops", await failed)
        await self.commands.stop()

    async def test_cannot_be_killed(self) -> None:
        """What even SIGKILL does not end keeps its kind, and callers hear of it."""
        self.patch(commands, "GRACE", 0.1)
        sent: list[int] = []
        self.patch(Running, "signal_group", lambda self, number: sent.append(number))
        said = await self.refused(self.run_sh("exec sleep 1000", timeout=0.3))
        self.assertIn("does not end", said)
        self.assertEqual(sent, [signal.SIGTERM, signal.SIGKILL])
        self.assertIn("has not ended", await self.refused(self.run_sh("true")))
        await self.commands.stop()  # does not wait for ever
        self.end_all()
        await self.until(lambda: not self.commands._running, "its end after all")

    async def test_one_after_another(self) -> None:
        """What begins as soon as another ends is not taken for it: numbers are used again."""
        for _ in range(30):
            first = self.run_sh("echo $$ > outer; exec sleep 1000", timeout=0.1)
            await self.refused(first)
            outcome = await self.run_sh("echo one; sleep 0.01; head -c 300000 /dev/zero; echo two")
            self.assertEqual((outcome.code, outcome.cut), (0, True))

    async def test_woken_for_another(self) -> None:
        """What the reactor tells of a descriptor that was another's is looked at first."""
        done: Deferred[int | None] = Deferred()
        pieces: list[bytes] = []
        os.mkfifo(self.folder / "go")
        made = Running(
            self.reactor,
            ["sh", "-c", "read x < go; head -c 300000 /dev/zero; exit 3"],
            str(self.folder),
            dict(os.environ),
            lambda stream, data: pieces.append(data),
            done.callback,
        )
        lost = Failure(ConnectionDone())
        assert made._watch is not None
        for descriptor in (*made._pipes, made._watch):
            made._reactor.removeReader(descriptor)
            descriptor.connectionLost(lost)
        made._watch.doRead()
        await deferLater(self.reactor, 0.1)
        self.assertFalse(done.called)
        (self.folder / "go").write_text("go\n")
        self.assertEqual((await done, sum(map(len, pieces))), (3, 300_000))

    def test_poll_is_a_number(self) -> None:
        """Without help from the system an end is seen soon, and looking costs little."""
        poll: Any = running.POLL
        self.assertTrue(0.01 <= poll <= 0.2)
