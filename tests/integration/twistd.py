"""``twistd`` as processes: how tests start them, hear of them, and end them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration.fleet import PATIENCE, ROOT, Fleet, Ran, wait

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"

APPLICATION = """
import os
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.logger import Logger
from zope.interface import implementer
from backplane import interfaces, DataItem

log = Logger()
imported = f"imported by {os.getuid()} in {os.getcwd()}"

@implementer(interfaces.IPausable, interfaces.IStopable, interfaces.IInfoSource)
class App(Service):
    def __init__(self, management):
        self.management = management
        self.closed = False

    def startService(self):
        super().startService()
        log.info("started by {uid} in {cwd}", uid=os.getuid(), cwd=os.getcwd())

    def stopService(self):
        super().stopService()
        self.management.publish(DataItem("last", destination="acme.iot"))
        log.info("stopped")

    def pause(self): self.closed = True
    def resume(self): self.closed = False
    def flip(self): self.closed = not self.closed
    def paused(self): return self.closed
    def shutdown(self): reactor.stop()
    def fact_data(self): return {"pid": os.getpid()}
    def version(self): return "1"

def make(document, management):
    log.info("{imported}, made by {uid}", imported=imported, uid=os.getuid())
    return App(management)

def broken(document, management):
    raise ValueError("the table is missing: " + 200 * "x" + " the end")

class Stuck(App):
    def startService(self):
        raise OSError("Address already in use")

def stuck(document, management):
    return Stuck(management)
"""


class Listener:
    """Hears what is published on a broker; a few lines of NATS of its own."""

    def __init__(self, port: int, subject: str = ">") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._data = b""
        self._socket.sendall(
            b'CONNECT {"verbose":false}\r\nSUB ' + subject.encode() + b" 1\r\nPING\r\n"
        )
        self.wait_for("PONG")

    def wait_for(self, words: str) -> None:
        """Read until something was said."""
        end = time.monotonic() + PATIENCE
        while words.encode() not in self._data:
            if time.monotonic() > end:
                raise AssertionError(f"never heard: {words!r} in {self._data!r}")
            more = self._socket.recv(65536)
            if not more:
                raise AssertionError(f"the broker has gone before {words!r} in {self._data!r}")
            self._data += more

    def close(self) -> None:
        self._socket.close()


def running(folder: Path) -> list[int]:
    """Return the processes that were started with a file of this folder (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and b"twistd" in text:
            found.append(int(path.parent.name))
    return found


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    # One that has ended and that nobody has waited for does not count.
    return state != "Z"


class TwistdCase(TestCase):
    """A broker, a folder with an application and its configuration, and another to run in."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.addCleanup(self.end_daemons)
        self.folder = self.fleet.folder / "conf"
        self.rundir = self.fleet.folder / "run"
        for folder in (self.folder, self.rundir):
            folder.mkdir()
        self.log = self.rundir / "twistd.log"
        self.pidfile = self.rundir / "app.pid"
        (self.folder / "myapp.py").write_text(APPLICATION)

    def end_daemons(self) -> None:
        """End what a failed test has left, by what it was started with."""
        for pid in running(self.fleet.folder):
            os.kill(pid, signal.SIGKILL)

    def config(self, factory: str = "make", **management: Any) -> Path:
        """Write the configuration."""
        document = {
            "app": f"myapp:{factory}",
            "management": {
                "name": "app",
                "identity": "one.example.net",
                "loglevel": "info",
                "auth": {"insecure": True},
                "brokers": [f"127.0.0.1:{self.fleet.server.port}"],
                **management,
            },
        }
        path = self.folder / "app.yaml"
        path.write_text(json.dumps(document))
        return path

    def twistd(self, *args: str, program: str = TWISTD) -> Ran:
        """Run twistd until it has ended, or is a daemon and has let go of the terminal."""
        done = subprocess.run(
            [sys.executable, "-c", program, *args],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def daemon(self, *options: str, config: str = "app.yaml") -> Ran:
        """Start a daemon; the configuration is where we are, the daemon is elsewhere."""
        return self.twistd(
            f"--pidfile={self.pidfile}",
            f"--logfile={self.log}",
            f"--rundir={self.rundir}",
            *options,
            *("backplane", "-c", config),
        )

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_logged(self, words: str) -> None:
        wait(lambda: words in self.logged(), f"{words!r} in the log:\n", self.logged)

    def started(self, *options: str) -> int:
        """Start a daemon that is ready; return its process id."""
        ran = self.daemon(*options)
        self.assertEqual((ran.code, ran.err), (0, ""), self.logged())
        self.wait_logged("ready: ")
        pid = int(self.pidfile.read_text())
        self.assertTrue(lives(pid))
        return pid

    def assert_gone(self, pid: int) -> None:
        """Wait until a process has ended and has left nothing."""
        wait(lambda: not lives(pid), f"the end of {pid}:\n", self.logged)
        self.assertFalse(self.pidfile.exists())
        self.assertEqual(running(self.fleet.folder), [])
