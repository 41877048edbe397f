"""A mixed fleet at a glance, live, and compared."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from typing import Any

from tests.integration.fleet import ROOT, Service, environment, wait
from tests.integration.fleets import OPERATORS, FleetCase

MOODY = '''"""The demo, which is not healthy where its file says so."""
from demo import App, make as make_demo

def make(config, management):
    app = make_demo(config, management)
    app.configured = not config.get("moody")
    return app
'''


class StatusTests(FleetCase):
    """In the insecure mode: the fourth of five is not healthy."""

    count = 5

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second, self.third, self.fourth, self.fifth = self.names

    def service(self, identity: str, **fields: Any) -> Service:
        number = int(identity[3])
        self.fleet.write(f"{identity}/moody.py", MOODY)
        return super().service(
            identity,
            app="moody:make",
            moody=number == 4,
            dc=f"DC{1 + number % 2}",
            release=7 if number == 3 else 8,
            **fields,
        )

    def test_status(self) -> None:
        """Worst first: who is frozen or gone, who is ill, who is paused and by whom."""
        self.good("ping", *self.everybody())
        self.good("pause", "-I", self.second, "--for", "10m", "--reason", "failover")
        frozen, killed = self.services[self.fifth].process, self.services[self.third].process
        frozen.send_signal(signal.SIGSTOP)
        killed.kill()
        killed.wait()
        ran = self.good("status", "--json", code=4)
        found = [(row["identity"], row["condition"]) for row in ran.json()["instances"]]
        self.assertEqual(
            found,
            [
                (self.third, "silent"),
                (self.fifth, "silent"),
                (self.fourth, "unhealthy"),
                (self.second, "paused"),
                (self.first, "ok"),
            ],
        )
        text = self.good("status", code=4).out
        self.assertIn("5 instance(s): 2 silent, 1 unhealthy, 1 paused, 1 ok\n", text)
        self.assertRegex(
            text,
            rf"{self.second} .* app paused by choria=\S+ for (9m \d+s|10m) more \(failover\)\n",
        )
        text = self.good("status", "--by", "dc", code=4).out
        self.assertIn("dc=(no answer): 2 silent\n", text)
        self.assertIn("dc=DC1: 1 unhealthy, 1 paused\n", text)
        ran = self.good("status", "--only", "failed", "-o", "names", code=4)
        self.assertEqual(ran.out, f"app/{self.fourth}\n")
        frozen.send_signal(signal.SIGCONT)

    def test_diff(self) -> None:
        """The one that differs is named, in each fact in which it does."""
        ran = self.good("diff", *self.everybody())
        self.assertIn(f"release: 8 on 4\n  7 on 1: {self.third}\n", ran.out)
        self.assertIn(f"moody: false on 4\n  true on 1: {self.fourth}\n", ran.out)
        self.assertNotIn("interval", ran.out)
        ran = self.good("diff", "--fact", "release", *self.everybody(), "--json")
        (difference,) = ran.json()["differences"]
        self.assertEqual(
            difference,
            {"fact": "release", "usual": "8", "count": 4, "others": {"7": [self.third]}},
        )
        ran = self.good("diff", "--fact", "release", "-o", "names", *self.everybody())
        self.assertEqual(ran.out, f"app/{self.third}\n")

    def watching(self, *args: str, output: Any) -> subprocess.Popen[bytes]:
        """Start ``status --watch`` as the first operator."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "backplane.cli.main"),
                *self.words("status", "--watch", "--interval", "1s", *args),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment(), "MCOLLECTIVE_CERTNAME": OPERATORS[0], **self.fleet.state},
            cwd=ROOT,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_watch(self) -> None:
        """What another operator does is shown with his name, and the broker may come and go."""
        path = self.fleet.folder / "watch.txt"
        other = OPERATORS[1]
        with path.open("wb") as output:
            watching = self.watching(output=output)
        wait(lambda: "5 instance(s): 1 unhealthy, 4 ok" in path.read_text(), "a look")
        self.good("pause", "-I", self.first, "--for", "1h", "--reason", "trial", by=other)
        paused = f"{self.first}  app: running → paused: done, by choria={other} until"
        wait(lambda: paused in path.read_text(), "the pause", path.read_text)
        self.assertRegex(path.read_text(), r"until .* \(trial\)\n")
        self.fleet.server.stop()
        wait(lambda: "the broker is away" in path.read_text(), "the loss")
        self.fleet.server.start()
        self.fleet.server.wait_ready()
        wait(lambda: self.cli("ping", *self.everybody()).code == 0, "all of them")
        # A goodbye while the broker is away is heard by nobody.
        wait(lambda: "the broker is back" in path.read_text(), "the return", path.read_text)
        gone = self.services[self.fifth].process
        gone.terminate()
        gone.wait()
        wait(lambda: f"{self.fifth}  ends" in path.read_text(), "its end", path.read_text)
        self.good("resume", "-I", self.first, by=other)
        wait(
            lambda: (
                "paused → running: done" in path.read_text()
                or f"{self.first}  paused → ok" in path.read_text()
            ),
            "the end of the pause",
            path.read_text,
        )
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(30), 130)
        self.assertNotIn("Traceback", path.read_text())
        self.assertNotIn("\x1b", path.read_text())

    def test_watch_lines(self) -> None:
        """For programs: a document a line, of instances at first, of what happens then."""
        path = self.fleet.folder / "watch.jsonl"
        with path.open("wb") as output:
            watching = self.watching("-o", "jsonl", "-I", self.first, output=output)

        def told() -> list[dict[str, Any]]:
            return [json.loads(line) for line in path.read_text().splitlines() if "{" in line[:1]]

        wait(lambda: told(), "a look", path.read_text)
        self.good("pause", "--breaker", "search", by=OPERATORS[1])
        wait(lambda: len(told()) > 1, "the change", path.read_text)
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(30), 130)
        first, change = told()
        self.assertEqual((first["kind"], first["identity"]), ("instance", self.first))
        found = tuple(change[key] for key in ("kind", "identity", "who", "target", "outcome"))
        self.assertEqual(
            found,
            ("change", self.first, f"choria={OPERATORS[1]}", "breaker:search", "done"),
        )

    def test_watch_on_a_terminal(self) -> None:
        """The whole is drawn again and again, no wider than the terminal."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
        watching = self.watching(output=theirs)
        os.close(theirs)
        self.addCleanup(os.close, ours)
        seen = [""]

        def drawn() -> str:
            while select.select([ours], [], [], 0)[0]:
                try:
                    seen[0] += os.read(ours, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
            return seen[0]

        wait(lambda: drawn().count("\x1b[J") > 2, "three looks", drawn)
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(30), 130)
        screens = drawn().split("\x1b[H")[1:]
        plain = re.sub(r"\x1b\[\d*[JKm]", "", screens[1]).split("\r\n")
        self.assertLessEqual(max(map(len, plain)), 60)
        self.assertLessEqual(len(plain), 20)
        self.assertIn("5 instance(s): 1 unhealthy, 4 ok", plain)
        self.assertTrue(plain[2].startswith(self.fourth), plain)
        self.assertIn(f"\x1b[31m{self.fourth}", screens[1])

    def test_watch_for_a_while(self) -> None:
        """With a time it ends by itself, with the exit code of the last look."""
        ran = self.good("status", "--watch", "--interval", "1s", "--timeout", "4s", code=2)
        self.assertIn("1 unhealthy, 4 ok", ran.out)


class SecureStatusTests(StatusTests):
    """The same with TLS and signatures."""

    secure = True
