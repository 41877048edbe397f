"""The provider as a management calls it, over real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

from twisted.internet.defer import Deferred

from backplane.config.service import load_file
from backplane.interfaces import (
    IHealthCheckable,
    IInfoSource,
    ILogLevelSetable,
    IPausable,
    IStopable,
    LogLevel,
)
from backplane.node.provided import Provision
from backplane.sidecar import Sidecar, SidecarError
from backplane.sidecar.errors import CommandError, ProcessError
from backplane.sidecar.factsfile import MAX_FACTS
from backplane.sidecar.table import ProcessTable
from tests.sidecar.outside import OutsideCase, lives

FACES = (IPausable, IHealthCheckable, IStopable, ILogLevelSetable, IInfoSource)


class ProviderCase(OutsideCase):
    """A sidecar made of the text of a section."""

    def sidecar(
        self, table: ProcessTable | None = None, start: bool = True, **parts: Any
    ) -> Sidecar:
        """Return a sidecar, started, with these parts."""
        management = {"name": "app", "brokers": ["b"]}
        path = self.write("app.yaml", json.dumps({"management": management, "sidecar": parts}))
        loaded = load_file(str(path), env=os.environ, hostname="h", pid=7)
        assert loaded.sidecar is not None
        made = Sidecar(loaded.sidecar, reactor=self.reactor, log=self.book.logger, table=table)
        Provision().add(made, "reactor")
        if start:
            made.startService()
            self.addCleanup(made.stopService)
        return made

    async def refused(self, call: Any, kind: type[SidecarError] = CommandError) -> str:
        """Have a call fail, and return the message."""
        try:
            got = await call
        except kind as error:
            return str(error)
        raise AssertionError(f"did not fail: {got!r}")

    def sleeper(self) -> subprocess.Popen[bytes]:
        """Start a process that a pid file names."""
        process = subprocess.Popen(["sleep", "1000"], cwd=self.folder)

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        self.write("app.pid", f"{process.pid}\n")
        return process


def sh(script: str, **more: Any) -> dict[str, Any]:
    """Return a command that is a shell's script."""
    # In a configuration ``$$`` is ``$``.
    return {"command": ["sh", "-c", script.replace("$", "$$"), "sh"], **more}


class PartsTests(ProviderCase):
    """What is configured is provided, and nothing else."""

    def test_interfaces(self) -> None:
        """Each part enables its feature."""
        for parts, faces in (
            ({"pause": sh("true"), "resume": sh("true")}, {IPausable}),
            ({"health": sh("true")}, {IHealthCheckable}),
            ({"health": {"http": "http://127.0.0.1:1/"}}, {IHealthCheckable}),
            ({"shutdown": sh("true")}, {IStopable}),
            ({"loglevel": {"command": ["echo", "{level}"]}}, {ILogLevelSetable}),
            ({"version": "1"}, {IInfoSource}),
            ({"facts": "f"}, {IInfoSource}),
            ({"process": {"pidfile": "p"}}, {IInfoSource}),
        ):
            made = self.sidecar(start=False, **parts)
            self.assertEqual({face for face in FACES if face.providedBy(made)}, faces)

    async def test_before_the_start(self) -> None:
        """Nothing is run before the start."""
        made = self.sidecar(start=False, health=sh("touch ran"))
        result, healthy = await made.health_check()
        self.assertFalse(healthy)
        self.assertIn("not started", result["error"])
        await made.stopService()

    def test_no_proc(self) -> None:
        """A system that cannot tell processes apart is said at the start."""
        made = self.sidecar(
            ProcessTable(str(self.folder)), start=False, process={"pidfile": "app.pid"}
        )
        error = self.assertRaises(ProcessError, made.startService)
        self.assertIn("when a process started", str(error))
        self.assertFalse(made.running)


class PauseTests(ProviderCase):
    """Pausing, and what is known of it."""

    async def test_remembered(self) -> None:
        """Without ``paused:``, what was asked last and confirmed."""
        made = self.sidecar(pause=sh("[ ! -e broken ]"), resume=sh("true"))
        states = [await made.paused()]
        for call in (made.pause, made.pause, made.flip, made.flip, made.resume):
            await call()
            states.append(await made.paused())
        self.assertEqual(states, [False, True, True, False, True, False])
        self.write("broken", "")
        said = await self.refused(made.pause())
        self.assertEqual(said, "pause: sh ended with 1")
        self.assertFalse(await made.paused())

    async def test_asked(self) -> None:
        """With it, what it says, whoever paused; flip goes by it."""
        made = self.sidecar(
            pause=sh("touch closed"), resume=sh("rm closed"), paused=sh("[ -e closed ]")
        )
        self.assertFalse(await made.paused())
        self.write("closed", "")
        self.assertTrue(await made.paused())
        await made.flip()
        self.assertFalse((self.folder / "closed").exists())
        await made.flip()
        self.assertTrue(await made.paused())

    async def test_unknown(self) -> None:
        """What says neither is an error, and flip changes nothing."""
        made = self.sidecar(
            pause=sh("touch changed"), resume=sh("touch changed"), paused=sh("echo perhaps")
        )
        for call in (made.paused(), made.flip()):
            said = await self.refused(call)
            self.assertIn("paused: sh printed 'perhaps', which is neither", said)
        self.assertFalse((self.folder / "changed").exists())

    async def test_shared(self) -> None:
        """Several who ask at once share one command."""
        made = self.sidecar(
            pause=sh("true"),
            resume=sh("true"),
            paused=sh("echo run >> runs; while [ ! -e go ]; do sleep 0.02; done"),
        )
        asked = [Deferred.fromCoroutine(made.paused()) for _ in range(3)]
        await self.until((self.folder / "runs").exists, "its start")
        asked[0].addErrback(lambda failure: None)
        asked[0].cancel()
        self.write("go", "")
        self.assertEqual([await each for each in asked], [None, True, True])
        self.assertEqual((self.folder / "runs").read_text(), "run\n")

    async def test_new_process(self) -> None:
        """A process that came anew has not been asked to pause."""
        made = self.sidecar(
            pause=sh("true"),
            resume=sh("true"),
            loglevel={"command": ["true", "{level}"]},
            process={"pidfile": "app.pid"},
        )
        self.sleeper()
        await made.pause()
        await made.set_log_level(LogLevel.DEBUG)
        self.assertEqual((await made.paused(), await made.get_log_level()), (True, LogLevel.DEBUG))
        self.sleeper()
        self.assertEqual((await made.paused(), await made.get_log_level()), (False, None))


class HealthTests(ProviderCase):
    """Health by command; by HTTP see its own tests."""

    async def test_results(self) -> None:
        """Exit code 0 is healthy; the result is JSON, or text, or what happened."""
        for script, expected in (
            ("echo '{\"rows\": 7}'", ({"rows": 7}, True)),
            ("echo all well", ("all well", True)),
            ("true", (None, True)),
            ("exit 2", ({"error": "ended with 2"}, False)),
            ("echo '{\"rows\": 0}'; exit 1", ({"rows": 0}, False)),
            ("kill -KILL $$", ({"error": "was ended by SIGKILL"}, False)),
        ):
            made = self.sidecar(health=sh(script))
            self.assertEqual(await made.health_check(), expected)

    async def test_cannot_check(self) -> None:
        """A check that hangs or floods is unhealthy, and says why."""
        for script, words in (("sleep 1000", "had not ended after 0.3 s"), ("yes", "printed more")):
            made = self.sidecar(health=sh(script, timeout=0.3 if "sleep" in script else 6))
            result, healthy = await made.health_check()
            self.assertFalse(healthy)
            self.assertIn(words, result["error"])

    async def test_http(self) -> None:
        """Nobody listens: unhealthy."""
        made = self.sidecar(health={"http": "http://127.0.0.1:1/health"})
        result, healthy = await made.health_check()
        self.assertFalse(healthy)
        self.assertIn("cannot be reached", result["error"])

    async def test_environment(self) -> None:
        """A command gets the id of the process, where there is one."""
        process = self.sleeper()
        made = self.sidecar(
            environment={"GREETING": "hello"},
            health=sh('echo "$GREETING $SIDECAR_COMMAND $SIDECAR_PID"'),
            process={"pidfile": "app.pid"},
        )
        self.assertEqual(await made.health_check(), (f"hello health {process.pid}", True))


class LevelTests(ProviderCase):
    """Log levels."""

    async def test_set(self) -> None:
        """The word is an argument; what was set is known, and nothing before that."""
        made = self.sidecar(
            loglevel={
                "command": [
                    "sh",
                    "-c",
                    '[ ! -e broken ] && echo "$1 $SIDECAR_LEVEL" > set',
                    "sh",
                    "{level}",
                ],
                "words": {"critical": "SEVERE"},
            }
        )
        self.assertIsNone(await made.get_log_level())
        for level, words in (
            (LogLevel.CRITICAL, "SEVERE SEVERE\n"),
            (LogLevel.WARN, "warn warn\n"),
        ):
            await made.set_log_level(level)
            self.assertEqual((self.folder / "set").read_text(), words)
            self.assertEqual(await made.get_log_level(), level)
        self.write("broken", "")
        await self.refused(made.set_log_level(LogLevel.DEBUG))
        self.assertEqual(await made.get_log_level(), LogLevel.WARN)

    async def test_get(self) -> None:
        """Where the process can be asked, it is."""
        self.write("level", "SEVERE\n")
        made = self.sidecar(
            loglevel={
                "command": ["true", "{level}"],
                "get": ["cat", "level"],
                "words": {"critical": "SEVERE"},
            }
        )
        self.assertEqual(await made.get_log_level(), LogLevel.CRITICAL)
        self.write("level", "what\n")
        said = await self.refused(made.get_log_level())
        self.assertEqual(said, "loglevel.get: cat printed 'what', which is no level")


class ShutdownTests(ProviderCase):
    """Ending the process."""

    async def test_pid_file(self) -> None:
        """By signal to whom the file names; a stale file is a clear error."""
        process = self.sleeper()
        made = self.sidecar(shutdown={"signal": "USR1"}, process={"pidfile": "app.pid"})
        made.check_shutdown()
        self.assertTrue(lives(process.pid))
        await made.shutdown()
        self.assertEqual(process.wait(30), -signal.SIGUSR1)
        stale = f"app.pid is stale: process {process.pid} does not run"
        self.assertIn(stale, await self.refused(made.shutdown(), ProcessError))
        self.assertIn(stale, str(self.assertRaises(ProcessError, made.check_shutdown)))

    async def test_number_used_again(self) -> None:
        """A stranger that has the number gets nothing."""
        stranger = self.sleeper()
        os.utime(self.folder / "app.pid", (time.time() - 60, time.time() - 60))
        made = self.sidecar(shutdown={"signal": "KILL"}, process={"pidfile": "app.pid"})
        self.assertIn("is another one", await self.refused(made.shutdown(), ProcessError))
        self.assertIn("is another one", str(self.assertRaises(ProcessError, made.check_shutdown)))
        self.assertTrue(lives(stranger.pid))

    async def test_child(self) -> None:
        """A child gets the signal, and does not come back."""
        made = self.sidecar(
            shutdown={"signal": "INT"}, process={"run": ["sleep", "1000"], "restart": True}
        )
        pid = (await made.fact_data())["sidecar_pid"]
        made.check_shutdown()
        self.assertTrue(lives(pid))
        await made.shutdown()
        await self.until(lambda: not lives(pid), "its end")
        await self.until(lambda: "was ended by SIGINT" in self.book.text, "what is logged of it")
        self.assertNotIn("started again", self.book.text)
        facts = await made.fact_data()
        self.assertEqual((facts["sidecar_pid"], facts["sidecar_running"]), (None, False))
        said = self.assertRaises(ProcessError, made.check_shutdown)
        self.assertIn("does not run", str(said))

    async def test_child_by_command(self) -> None:
        """So it is when a command ends it; one that fails changes nothing."""
        made = self.sidecar(
            shutdown=sh('[ -e may ] && kill "$SIDECAR_PID"'),
            process={"run": ["sleep", "1000"], "restart": True},
        )
        pid = (await made.fact_data())["sidecar_pid"]
        await self.refused(made.shutdown())
        self.assertTrue(lives(pid))
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: "started again" in self.book.text, "its next start")
        await self.until(lambda: "SIGKILL" in self.book.text, "its end")
        self.book.lines.clear()
        await self.until(lambda: "runs as process" in self.book.text, "its next life")
        self.write("may", "")
        await made.shutdown()
        await self.until(lambda: "was ended by SIGTERM" in self.book.text, "its end")
        self.assertNotIn("started again", self.book.text)

    async def test_stop(self) -> None:
        """Stopping the service ends commands and child."""
        made = self.sidecar(
            start=False,
            health=sh("echo $$ > check; exec sleep 1000", timeout=6),
            process={"run": ["sleep", "1000"]},
        )
        made.startService()
        pid = (await made.fact_data())["sidecar_pid"]
        checking = Deferred.fromCoroutine(made.health_check())
        await self.until(lambda: self.number("check"), "the check")
        await made.stopService()
        self.assertFalse(lives(pid) or lives(self.number("check")))
        self.assertFalse((await checking)[1])

    def test_cannot_start(self) -> None:
        """A child that cannot be started is a start that fails."""
        program = self.write("app", "#!/nowhere/interpreter\n")
        program.chmod(0o755)
        made = self.sidecar(start=False, process={"run": ["./app"]})
        self.assertIn("cannot be run", str(self.assertRaises(ProcessError, made.startService)))


class InfoTests(ProviderCase):
    """Facts and version."""

    async def test_version(self) -> None:
        """Text, or what a command prints, or unknown."""
        for version, expected in (
            ({"version": "1.2.3"}, "1.2.3"),
            ({"version": sh("echo 4.5; echo beta")}, "4.5 | beta"),
            ({"facts": "f"}, "unknown"),
        ):
            self.assertEqual(await self.sidecar(**version).version(), expected)
        said = await self.refused(self.sidecar(version=sh("exit 9")).version())
        self.assertEqual(said, "version: sh ended with 9")

    async def test_file(self) -> None:
        """Read anew each time; YAML or JSON."""
        made = self.sidecar(facts="facts.yaml")
        for text, facts in (
            ("dc: DC1\n", {"dc": "DC1"}),
            ("dc: DC1\n", {"dc": "DC1"}),
            ('{"dc": "DC2", "n": [1]}', {"dc": "DC2", "n": [1]}),
        ):
            self.write("facts.yaml", text)
            self.assertEqual(await made.fact_data(), facts)

    async def test_bad_files(self) -> None:
        """A file that cannot be used says so, once in the log, and hides nothing else."""
        process = self.sleeper()
        made = self.sidecar(facts="facts.yaml", process={"pidfile": "app.pid"})
        path = self.folder / "facts.yaml"
        cases: tuple[tuple[bytes, str], ...] = (
            (b"a: [geheim", "is neither YAML nor JSON"),
            (b"[1]", "holds no mapping"),
            (b"a: 1\n" * MAX_FACTS, "has more than"),
        )
        for data, words in cases:
            path.write_bytes(data)
            for _ in range(2):
                facts = await made.fact_data()
                self.assertIn(words, facts["sidecar_facts_error"])
                self.assertNotIn("geheim", str(facts))
                self.assertEqual(facts["sidecar_pid"], process.pid)
        path.unlink()
        os.mkfifo(path)
        self.assertIn("no regular file", (await made.fact_data())["sidecar_facts_error"])
        self.assertEqual(len([level for level, _ in self.book.lines if level == "warn"]), 4)

    async def test_process(self) -> None:
        """A process that dies and comes back is seen under its new id."""
        made = self.sidecar(process={"pidfile": "app.pid"})
        self.assertEqual(
            await made.fact_data(),
            {"sidecar_pid": None, "sidecar_running": False, "sidecar_started": None},
        )
        for _ in range(2):
            process = self.sleeper()
            facts = await made.fact_data()
            self.assertEqual((facts["sidecar_pid"], facts["sidecar_running"]), (process.pid, True))
            self.assertRegex(facts["sidecar_started"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
            process.kill()
            process.wait()
            self.assertFalse((await made.fact_data())["sidecar_running"])
