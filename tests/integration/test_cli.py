"""The command line against a real broker and real services, as people and scripts use it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

from twisted.trial.unittest import TestCase

from tests.integration.fleet import PATIENCE, ROOT, Fleet, Ran, wait

APPLICATION = """
from twisted.internet.defer import Deferred
from zope.interface import implementer
from backplane.interfaces import IHealthCheckable

@implementer(IHealthCheckable)
class App:
    def __init__(self, slow):
        self.slow = slow
    def health_check(self):
        print("was asked")
        return Deferred() if self.slow else ({}, True)

def make(config, management):
    return App(config["slow"])
"""
"""A health check that answers, or never does."""


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a command."""
    environ = {**os.environ, "USER": "tester", "PYTHONPATH": str(ROOT), **changes}
    if "NO_COLOR" not in changes:
        environ.pop("NO_COLOR", None)
    return environ


class Terminal:
    """A command on a terminal."""

    def __init__(self, command: list[str], **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**{"TERM": "xterm", **environ}),
            cwd=ROOT,
        )
        os.close(theirs)
        self.shown = b""
        self._end = time.monotonic() + PATIENCE

    def read_until(self, text: str | None) -> None:
        """Read until this is shown, or to the end."""
        while text is None or text.encode() not in self.shown:
            left = self._end - time.monotonic()
            if left <= 0 or not select.select([self._ours], [], [], left)[0]:
                raise AssertionError(f"never shown: {text!r} in {self.shown!r}")
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # nobody has the other end any more
                piece = b""
            if not piece:
                return
            self.shown += piece

    def finish(self) -> tuple[int, str]:
        """Return the exit code, and what was shown."""
        self.read_until(None)
        os.close(self._ours)
        return self.process.wait(PATIENCE), self.shown.decode()


INSECURE = "backplane: warning: insecure: nothing is signed, nobody is verified\n"


class CommandLineTests(TestCase):
    """One broker, and two services of the demo application."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)

    def two(self) -> None:
        for identity in ("app1.example.net", "app2.example.net"):
            self.fleet.demo("demo", identity)

    def command(self, *args: str) -> list[str]:
        config = ["--insecure", "--config", str(self.fleet.client_cfg)]
        return [sys.executable, "-m", "backplane.cli.main", *config, *args]

    def shell(self, script: str, *args: str, **environ: str) -> Ran:
        """Run a script of the shell; ``"$@"`` is the command."""
        done = subprocess.run(
            ["bash", "-c", script, "bash", *self.command(*args)],
            capture_output=True,
            env=environment(**environ),
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def test_outputs(self) -> None:
        """Pause shows failures only; all is sorted; pipes, terminals, encodings, JSON."""
        self.two()
        two = ("demo", "--expect", "2")
        ran = self.fleet.cli(*two, "pause")
        self.assertEqual(ran.code, 0, ran.err)
        self.assertRegex(
            ran.out,
            r"\AStarting discovery process for demo backplane managed services: 2\n\n\n\n"
            r"Managed 2 service\(s\) in \d+ms\n\Z",
        )
        self.assertRegex(
            ran.err,
            rf"\A{re.escape(INSECURE)}Performing pause... ✓ 2 / 2\n"
            r"Run ([0-9a-f]{8}); `backplane demo undo \1` takes it back\n\Z",
        )

        ran = self.fleet.cli("-v", *two, "resume")
        self.assertIn(
            '  app1.example.net  {"paused":false}\n  app2.example.net  {"paused":false}\n', ran.out
        )

        # A reader that has gone.
        ran = self.shell('"$@" | head -1; exit ${PIPESTATUS[0]}', *two, "info", "-v")
        self.assertEqual(
            (ran.code, ran.out),
            (0, "Starting discovery process for demo backplane managed services: 2\n"),
        )
        self.assertEqual(ran.err, INSECURE + "Performing info... ✓ 2 / 2\n")
        ran = self.shell('"$@" >&- 2>&-', *two, "info")
        self.assertEqual((ran.code, ran.out, ran.err), (0, "", ""))

        # Encodings without the marks.
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        for environ in (plain, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "cp1252"}):
            ran = self.fleet.cli(*two, "info", **environ)
            self.assertEqual(ran.code, 0, ran.err)
            self.assertIn("         Pause Feature: yes\n", ran.out)
            self.assertEqual(ran.err, INSECURE + "Performing info... yes 2 / 2\n")

        # A terminal.
        code, shown = Terminal(self.command(*two, "info")).finish()
        self.assertEqual(code, 0)
        self.assertIn("\rPerforming info... ▖ 0 / 2", shown)
        self.assertIn("Performing info... \x1b[32m✓\x1b[0m 2 / 2\r\n", shown)
        code, shown = Terminal(self.command(*two, "info"), NO_COLOR="1").finish()
        self.assertEqual(code, 0)
        self.assertNotIn("\x1b", shown)
        self.assertIn("Performing info... ✓ 2 / 2\r\n", shown)

        # One document.
        ran = self.fleet.cli(*two, "ping", "--json")
        self.assertEqual((ran.code, ran.err), (0, INSECURE))
        self.assertEqual(
            [each["sender"] for each in ran.json()["replies"]],
            ["app1.example.net", "app2.example.net"],
        )

        # Exit codes.
        ran = self.fleet.cli("demo", "ping", "-F", "nobody=has-it", "--window", "300ms", "--json")
        self.assertEqual((ran.code, ran.json()["error"]), (1, "did not discover any nodes"))
        ran = self.fleet.cli(*two, "-I", "app1.example.net", "pause")
        self.assertEqual(ran.code, 4)
        self.assertIn("Expected 2 service(s), 1 answered\n", ran.out)

    def test_interrupted(self) -> None:
        """Ctrl-C ends a run with what is known so far, code 130."""
        self.fleet.write("app.py", APPLICATION)
        for identity in ("fast", "slow"):
            config = {
                "app": "app:make",
                "slow": identity == "slow",
                "management": {
                    "name": "app",
                    "identity": identity,
                    "loglevel": "info",
                    "auth": {"insecure": True},
                    "brokers": [f"127.0.0.1:{self.fleet.server.port}"],
                },
            }
            path = self.fleet.write(f"{identity}.json", json.dumps(config))
            self.fleet.twistd(["-n", "--pidfile=", "backplane", "-c", str(path)]).wait_for("ready:")
        command = self.command("app", "health", "--expect", "2", "-v")
        process = subprocess.Popen(
            [*command, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=ROOT,
        )
        wait(lambda: self.fleet.services[1].text().count("was asked") == 1, "the question")
        process.send_signal(signal.SIGINT)
        document = json.loads(process.communicate(timeout=PATIENCE)[0])
        self.assertEqual((process.returncode, document["exit_code"]), (130, 130))
        self.assertIn("slow", document["silent"])
        self.assertRegex(document["error"], "^interrupted; [01] of 2 had answered$")

        terminal = Terminal(command)
        terminal.read_until(" 1 / 2")
        terminal.process.send_signal(signal.SIGINT)
        code, shown = terminal.finish()
        self.assertEqual(code, 130, shown)
        self.assertIn("  fast  \x1b[32mHealthy\x1b[0m\r\n        {}\r\n", shown)
        self.assertIn("No answer from: 1", shown)
        self.assertIn("backplane: error: interrupted; 1 of 2 had answered\r\n", shown)
        self.assertNotIn("Traceback", shown)

    def test_endings(self) -> None:
        """Usage, credentials, terminals without abilities, SIGTERM: code and no traceback."""
        self.fleet.demo("demo", "one")
        ran = self.fleet.cli("demo", "pause", "-I", "")
        self.assertEqual((ran.code, ran.out), (64, ""))
        ran = self.fleet.cli("demo", "pause", "-I", "ghost", "--timeout", "1")
        self.assertEqual(ran.code, 5)
        self.assertIn("nothing was sent", ran.err)
        ran = self.fleet.cli("demo", "pause", "-I", "ghost", "--discovery-timeout", "0.2")
        self.assertEqual(ran.code, 4)
        process = Terminal(self.command("demo", "ping", "-I", "one"), TERM="dumb")
        code, shown = process.finish()
        self.assertEqual(code, 0)
        self.assertNotIn("\x1b", shown)
        self.assertNotIn("▖", shown)
        terminal = Terminal(self.command("demo", "pause", "--discovery-timeout", "30"))
        terminal.read_until("services: 1")
        terminal.process.send_signal(signal.SIGTERM)
        code, shown = terminal.finish()
        self.assertEqual(code, 130)
        self.assertIn("backplane: error: interrupted; nothing was sent\r\n", shown)

    def test_silent_names(self) -> None:
        """A name server that never answers costs no more than ``--timeout``."""
        config = self.fleet.write("named.cfg", "plugin.choria.middleware_hosts = b.example:4222\n")
        code = (
            "import socket, sys, threading\n"
            "socket.getaddrinfo = lambda *a, **k: threading.Event().wait()\n"
            "from backplane.cli.main import main\n"
            "sys.exit(main())\n"
        )
        command = [sys.executable, "-c", code, "--insecure", "--config", str(config)]
        done = subprocess.run(
            [*command, "demo", "ping", "--timeout", "500ms"],
            capture_output=True,
            text=True,
            env=environment(),
            cwd=ROOT,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertRegex(
            done.stderr, rf"\A{INSECURE}backplane: error: .*no connection within 0.5 s\n\Z"
        )

    def test_no_broker(self) -> None:
        """Without a broker: 69, soon, in words and as a document."""
        self.fleet.server.stop()
        ran = self.fleet.cli("demo", "ping")
        self.assertEqual((ran.code, ran.out), (69, ""))
        self.assertRegex(
            ran.err, rf"\A{INSECURE}backplane: error: the broker is not reachable: .*\n\Z"
        )
        ran = self.fleet.cli("demo", "ping", "--json")
        self.assertEqual((ran.code, ran.err), (69, INSECURE))
        self.assertEqual(json.loads(ran.out)["exit_code"], 69)
