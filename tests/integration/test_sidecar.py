"""An operator manages an outside process through a sidecar, on a real nats-server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import TestCase

from tests.integration.fleet import ROOT, Fleet, Service, wait
from tests.integration.twistd import lives

EXAMPLE = ROOT / "examples" / "sidecar"

PROGRAM = """
import json, os, signal, sys, time
def leave(number, frame):
    open("left", "w").write(str(os.getpid()))
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
open("facts.json", "w").write(json.dumps({"dc": "DC1", "own_pid": os.getpid()}))
open("app.pid.new", "w").write(f"{os.getpid()}\\n")
os.replace("app.pid.new", "app.pid")
while True:
    signal.pause()
"""


class SidecarCase(TestCase):
    """A broker, a folder, and a sidecar in it."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.folder = self.fleet.folder / "app"
        self.folder.mkdir()

    def start(self, sidecar: dict[str, Any], **management: Any) -> Service:
        """Start a sidecar; wait until it is ready."""
        document = {
            "management": {
                "name": "worker",
                "identity": "one",
                "loglevel": "info",
                "max_stop_delay": 0,
                "auth": {"insecure": True},
                "brokers": [f"127.0.0.1:{self.fleet.server.port}"],
                **management,
            },
            "sidecar": sidecar,
        }
        config = self.folder / "app.yaml"
        config.write_text(json.dumps(document))
        # Not where the file is: its folder is where commands run.
        service = self.fleet.twistd(
            ["-n", "--pidfile=", "backplane", "-c", str(config)], self.fleet.folder
        )
        if management:  # and nobody knows where the log goes
            ping = ("exec", "worker", "ping", "--expect", "1")
            wait(lambda: self.fleet.cli(*ping).code == 0, "its answer", service.text)
        else:
            service.wait_for("ready:")
        return service

    def do(self, action: str, code: int = 0) -> dict[str, Any]:
        """Ask for an action; return what was answered."""
        ran = self.fleet.cli("exec", "worker", action, "--expect", "1", "--json")
        self.assertEqual(ran.code, code, f"{action}: {ran.out}{ran.err}")
        reply: dict[str, Any] = ran.json()["replies"][0]
        return reply

    def info(self) -> dict[str, Any]:
        data: dict[str, Any] = self.do("info")["data"]
        return data


class ExampleTests(SidecarCase):
    """The example, whose process is a child."""

    def example(self) -> Service:
        for path in EXAMPLE.iterdir():
            if path.is_file():
                shutil.copy(path, self.folder)
        document = yaml.safe_load((EXAMPLE / "app.yaml").read_text())
        return self.start(document["sidecar"])

    def test_every_action(self) -> None:
        """Every action is done, and the process is what it is said to be."""
        service = self.example()
        info = self.info()
        features = [name for name, there in info.items() if name.endswith("_feature") and there]
        self.assertEqual(len(features), 5)
        facts = info["facts"]
        self.assertEqual((info["version"], facts["dc"]), ("1.0.0", "DC1"))
        self.assertEqual((info["healthy"], info["paused"]), (True, False))
        pid = facts["sidecar_pid"]
        self.assertTrue(lives(pid))
        self.assertEqual(self.do("health")["data"], {"result": {"waiting": 3}, "healthy": True})
        for action, paused in (("pause", True), ("flip", False), ("flip", True), ("resume", False)):
            self.assertEqual(self.do(action)["data"], {"paused": paused})
            self.assertEqual((self.folder / "paused").exists(), paused)
        for action, word in (
            ("debuglvl", "debug"),
            ("infolvl", "info"),
            ("warnlvl", "warn"),
            ("critlvl", "critical"),
        ):
            self.do(action)
            self.assertEqual((self.folder / "level").read_text(), f"{word}\n")
        self.assertEqual(self.info()["loglevel"], "critical")
        self.do("ping")
        self.do("threaddump")
        found = self.fleet.cli("worker", "info", "-W", "queue=orders", "-W", "sidecar_running=true")
        self.assertEqual(found.code, 0, found.err)
        self.do("shutdown")
        service.wait_for("going home")
        wait(lambda: not lives(pid), "its end", service.text)
        # The sidecar stays, so that operators see that the process is gone.
        self.assertFalse(self.info()["facts"]["sidecar_running"])
        self.assertNotIn("started again", service.text())
        self.assertNotIn("Traceback", service.text())

    def test_comes_back(self) -> None:
        """A child that is killed is started again, under a new id, not paused."""
        service = self.example()
        pid = self.info()["facts"]["sidecar_pid"]
        self.do("pause")
        os.kill(pid, signal.SIGKILL)
        service.wait_for(f"process {pid} was ended by SIGKILL")
        wait(lambda: self.info()["facts"]["sidecar_pid"] not in (None, pid), "its return")
        service.wait_for("working")
        info = self.info()
        self.assertTrue(lives(info["facts"]["sidecar_pid"]))
        self.assertFalse(info["paused"])

    def test_stop(self) -> None:
        """Stopping the sidecar ends the child in order."""
        service = self.example()
        pid = self.info()["facts"]["sidecar_pid"]
        service.process.terminate()
        service.process.wait(30)
        self.assertFalse(lives(pid))
        self.assertIn("[out] going home", service.text())
        self.assertIn(f"process {pid} ended with 0", service.text())


class PidFileTests(SidecarCase):
    """A process that was started by somebody else."""

    def program(self) -> subprocess.Popen[bytes]:
        """Start the process; wait until it has written its pid file."""
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=self.folder)

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        path = self.folder / "app.pid"
        wait(lambda: path.exists() and path.read_text() == f"{process.pid}\n", "its pid file")
        return process

    def managed(self) -> Service:
        return self.start(
            {
                "facts": "facts.json",
                "pause": {"command": ["true"]},
                "resume": {"command": ["true"]},
                "shutdown": {"signal": "TERM"},
                "process": {"pidfile": "app.pid"},
            }
        )

    def test_comes_back_and_ends(self) -> None:
        """It dies, comes back under a new id, and that one gets the signal."""
        first = self.program()
        self.managed()
        self.assertEqual(self.info()["facts"]["sidecar_pid"], first.pid)
        self.assertTrue(self.do("pause")["data"]["paused"])
        self.assertTrue(self.info()["paused"])
        first.kill()
        first.wait()
        facts = self.info()["facts"]
        self.assertEqual((facts["sidecar_pid"], facts["sidecar_running"]), (None, False))
        self.assertEqual(facts["own_pid"], first.pid)
        second = self.program()
        info = self.info()
        self.assertEqual(info["facts"]["sidecar_pid"], second.pid)
        self.assertEqual(info["facts"]["own_pid"], second.pid)
        self.assertFalse(info["paused"])
        self.do("shutdown")
        self.assertEqual(second.wait(30), 0)
        self.assertEqual((self.folder / "left").read_text(), str(second.pid))

    def test_stale(self) -> None:
        """A stranger that has got the number is never signalled."""
        stranger = self.program()
        path = self.folder / "app.pid"
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        service = self.managed()
        self.assertFalse(self.info()["facts"]["sidecar_running"])
        said = self.do("shutdown", code=2)["statusmsg"]
        self.assertIn(f"shutdown failed: {path.resolve()} is stale: process {stranger.pid}", said)
        self.assertIn("is another one", service.text())
        self.assertNotIn("Traceback", service.text())
        self.assertNotIn("Scheduling shutdown", service.text())
        self.assertTrue(lives(stranger.pid))
        self.assertFalse((self.folder / "left").exists())


class LogTests(SidecarCase):
    """Where the lines go."""

    def sidecar(self) -> dict[str, Any]:
        return {
            "pause": {"command": ["sh", "-c", "echo closed >&2"]},
            "resume": {"command": ["false"]},
            "process": {"run": ["sh", "-c", "echo at work; exec sleep 1000"]},
        }

    def test_file(self) -> None:
        """With ``logfile`` into it, all of them; what is printed whatever the level is."""
        service = self.start(self.sidecar(), logfile="own.log", loglevel="info")
        self.do("pause")
        self.do("resume", code=2)
        service.process.terminate()
        service.process.wait(30)
        text = (self.folder / "own.log").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        found = [line["message"] for line in lines if line["namespace"] == "backplane.sidecar"]
        pid = found[0].rpartition(" ")[2]
        self.assertEqual(found[0], f"sh runs as process {pid}")
        self.assertEqual(found[1:3], ["[out] at work", "pause wrote: closed"])
        self.assertIn(f"process {pid} was ended by SIGTERM", found[-1])
        self.assertIn("backplane#resume failed: resume: false ended with 1", text)
        for text in ("at work", "closed", "process", "resume"):
            self.assertNotIn(text, service.text())

    def test_level(self) -> None:
        """The level holds back what the sidecar says, and not what others print."""
        service = self.start(self.sidecar(), loglevel="error")
        self.do("pause")
        service.wait_for("pause wrote: closed")
        self.assertIn("[out] at work", service.text())
        self.assertNotIn("runs as process", service.text())


class HostileTests(SidecarCase):
    """Commands that hang or flood."""

    def test_hangs(self) -> None:
        """The caller hears of it, others are served meanwhile, and nothing is left."""
        hang = "echo $$$$ >> pids; trap '' TERM; sleep 1000"
        self.start(
            {
                "health": {"command": ["sh", "-c", hang], "timeout": 1},
                "pause": {"command": ["sh", "-c", hang], "timeout": 1},
                "resume": {"command": ["true"]},
            }
        )
        health = self.do("health", code=2)["data"]
        self.assertFalse(health["healthy"])
        self.assertIn("had not ended after 1 s and was killed", health["result"]["error"])
        pause = self.do("pause", code=2)
        self.assertIn("pause: sh had not ended after 1 s and was killed", pause["statusmsg"])
        self.assertFalse(self.info()["paused"])
        self.assertFalse(self.do("resume")["data"]["paused"])
        pids = [int(line) for line in Path(self.folder, "pids").read_text().split()]
        self.assertTrue(len(pids) >= 2)
        wait(lambda: not any(lives(pid) for pid in pids), "the end of what hung")

    def test_floods(self) -> None:
        """Output without end: an error, a small log, and a service that answers."""
        service = self.start(
            {
                "health": {"command": ["yes"]},
                "pause": {"command": ["sh", "-c", "yes >&2"]},
                "resume": {"command": ["true"]},
                "process": {"run": ["yes", "noise"]},
            }
        )
        service.wait_for("lines left out")
        self.do("ping")
        health = self.do("health", code=2)["data"]
        self.assertIn("printed more than", health["result"]["error"])
        self.assertIn("printed more than", self.do("pause", code=2)["statusmsg"])
        self.assertTrue(self.info()["facts"]["sidecar_running"])
        self.assertTrue(len(service.text()) < 500_000)
        service.process.terminate()
        service.process.wait(30)


class StartTests(SidecarCase):
    """Mistakes, found before anything runs."""

    def refused(self, document: dict[str, Any]) -> str:
        path = self.folder / "app.yaml"
        path.write_text(json.dumps(document, indent=1))
        service = self.fleet.twistd(["-n", "--pidfile=", "backplane", "-c", str(path)])
        self.assertEqual(service.process.wait(30), 1)
        self.assertNotIn("Traceback", service.text())
        return service.text()

    def test_mistakes(self) -> None:
        """All at once, with file and line; and ``app`` beside ``sidecar``."""
        management = {"name": "worker", "brokers": ["b"]}
        said = self.refused(
            {
                "app": "demo:make",
                "management": management,
                "sidecar": {"health": {"command": ["/nowhere"]}, "helth": {}},
            }
        )
        self.assertIn("sidecar: found app and sidecar, wanted one of the two", said)
        self.assertIn("sidecar.health.command[0]: found '/nowhere', which does not exist", said)
        self.assertIn("sidecar.helth: found an unknown key", said)
        self.assertIn(f"{self.folder.resolve()}/app.yaml:", said)

    def test_cannot_start(self) -> None:
        """A child that cannot be started ends the start, with its reason."""
        program = self.folder / "broken"
        program.write_text("#!/nowhere/interpreter\n")
        program.chmod(0o755)
        management = {"name": "worker", "brokers": ["b"], "auth": {"insecure": True}}
        said = self.refused(
            {"management": management, "sidecar": {"process": {"run": ["./broken"]}}}
        )
        self.assertIn("backplane: error: ", said)
        self.assertIn("broken cannot be run", said)
