"""What ``make demo-secure`` runs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from examples.demo.terminal import NotShown, Terminal
from tests.examples.pages import ROOT
from tests.integration.fleet import wait

DENIED: Final = "You are not authorized to call this agent or action."

SHOWN: Final = (
    "with TLS and verify: true",
    "$ twistd -n --pidfile= backplane -c shop2.yaml",
    "# sre.choria has the role full",
    "backplane --config sre.choria.cfg shop info",
    "Paused: false",
    "shop pause -F dc=DC1",
    "(exit code 0)",
    "Paused: true",
    "# 1stline.choria has the role read_only",
    "Paused: false",
    "(exit code 0)",
    "shop pause",
    DENIED,
    "(exit code 2)",
    "# eve.choria has",
    DENIED,
    "(exit code 2)",
    "# mallory.choria has",
    "backplane: error: the broker is not reachable",
    "it does not know the authority of our certificate",
    "(exit code 69)",
    "captured",
    "pause, signed by choria=sre.choria",
    "published",
    "message dropped, repeated",
    "Paused: false",
    "1stline.choria  pause   only   deny",
    "$ backplane audit verify shop1.audit",
    "(exit code 0)",
    "$ backplane audit verify altered.audit",
    "altered.audit:8: edited",
    "(exit code 2)",
    "stopped everything",
)
"""What is shown, in this order."""

MODULE: Final = "examples.demo.secure"

# Background jobs of a shell ignore SIGINT, and so would what they start.
STARTED: Final = f"""
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module({MODULE!r}, run_name="__main__")
"""

FAILING: Final = f"""
import sys
from {MODULE} import Demo, main
Demo.run = lambda demo: demo.terminal.run("backplane --version", "never shown")
sys.exit(main())
"""


class DemoTests(SynchronousTestCase):
    """The secure mode, as a newcomer sees it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "TMPDIR": str(self.folder),
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "shown").open("wb") as shown:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environ,
                stdout=shown,
                stderr=subprocess.STDOUT,
            )

    def shown(self) -> str:
        return (self.folder / "shown").read_text(encoding="utf-8")

    def running(self) -> list[str]:
        """Return the processes that run in a folder of the demo (Linux)."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if os.readlink(path).startswith(f"{self.folder}/"):
                    found.append(path.parent.name)
            except OSError:
                continue  # somebody else's, or ended meanwhile
        return found

    def nothing_left(self) -> None:
        """Neither a process nor a file."""
        self.assertEqual(self.running(), [])
        self.assertEqual([each.name for each in self.folder.iterdir()], ["shown"])

    def test_demo(self) -> None:
        """It shows everything, says that it is so, and leaves nothing."""
        self.assertEqual(self.start("-m", MODULE).wait(180), 0, self.shown())
        text, at = self.shown(), 0
        for words in SHOWN:
            at = text.find(words, at)
            self.assertNotEqual(at, -1, f"{words!r} is missing in:\n{text}")
        self.nothing_left()

    def test_interrupted(self) -> None:
        """Ctrl-C in the middle ends everything that was started."""
        demo = self.start("-c", STARTED)
        wait(lambda: "(exit code 0)" in self.shown(), "the first command", self.shown)
        self.assertGreater(len(list(self.folder.iterdir())), 1)
        if Path("/proc/self/cwd").exists():
            self.assertGreaterEqual(len(self.running()), 3)  # the broker and two services
        demo.send_signal(signal.SIGINT)
        self.assertEqual(demo.wait(60), 130, self.shown())
        self.assertIn("interrupted", self.shown())
        self.assertTrue(self.shown().endswith("stopped everything\n"), self.shown())
        self.nothing_left()

    def test_not_shown(self) -> None:
        """What does not show what it should is named, and the exit code says so."""
        self.assertEqual(self.start("-c", FAILING).wait(60), 1, self.shown())
        self.assertIn("not as it should be: 'never shown' should be shown", self.shown())
        self.nothing_left()


class TerminalTests(SynchronousTestCase):
    """The terminal that runs the commands."""

    def setUp(self) -> None:
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        self.patch(sys, "stdout", self.out)
        self.terminal = Terminal(Path(self.mktemp()), os.environ)
        self.terminal.folder.mkdir()

    def test_shown(self) -> None:
        """Words in their order, the exit code, variables; all of it is printed."""
        run = self.terminal.run
        self.assertEqual(run("printf 'one\\ntwo\\n'", "one", "two", without=("three",)), "one\ntwo")
        self.assertEqual(run("NAME=ann sh -c 'echo $NAME'", "ann"), "ann")
        self.assertEqual(run("false", code=1), "")
        self.out.seek(0)
        self.assertEqual(
            self.out.read(),
            "\n$ printf 'one\\ntwo\\n'\none\ntwo\n"
            "\n$ NAME=ann sh -c 'echo $NAME'\nann\n"
            "\n$ false\n(exit code 1)\n",
        )

    def test_not_shown(self) -> None:
        """Anything else is an error that says what should be."""
        run = self.terminal.run
        for told, wrong in (
            ("'two' should be shown", lambda: run("printf 'two one'", "one", "two")),
            ("'one' should not be shown", lambda: run("echo one", without=("one",))),
            ("the exit code should be 0", lambda: run("false")),
            ("the exit code should be 2", lambda: run("true", code=2)),
        ):
            self.assertRaisesRegex(NotShown, told, wrong)
