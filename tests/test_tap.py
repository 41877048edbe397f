"""``twistd backplane`` in this process, first step: reading, and every mistake in it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from backplane import tap

GOOD = {
    "name": "app",
    "identity": "app1.example.net",
    "brokers": ["broker.example.net:4222"],
    "auth": {"insecure": True},
}

APPLICATION = """
from twisted.application.service import Service
from zope.interface import implementer
from backplane import interfaces

@implementer(interfaces.IPausable, interfaces.IHealthCheckable)
class App(Service):
    def __init__(self, document, management):
        self.document = document
        self.management = management
        self.seen = [management.running, management.state.phase.value]
        self.closed = False

    def startService(self):
        super().startService()
        self.seen.append("start " + self.management.state.phase.value)

    def stopService(self):
        super().stopService()
        self.seen.append("stop " + self.management.state.phase.value)

    def pause(self): self.closed = True
    def resume(self): self.closed = False
    def flip(self): self.closed = not self.closed
    def paused(self): return self.closed
    def health_check(self): return {"good": True}, True

made = []

def make(document, management):
    made.append(App(document, management))
    return made[-1]

def by_hand(document, management):
    made.append(App(document, management))
    management.provide(made[-1])

def twice(document, management):
    by_hand(document, management)
    return made[-1]

class Maker:
    @classmethod
    def build(cls, document, management):
        return make(document, management)

class Useless:
    pass

def useless(document, management):
    return Useless()

def broken(document, management):
    raise ValueError("no such\\ntable: \\x1b[2Jshop")

def leaving(document, management):
    raise SystemExit(0)

def narrow(document):
    return None

def cannot_start(document, management):
    class Stuck(App):
        def startService(self):
            raise OSError(98, "Address already in use")
    return Stuck(document, management)

number = 5
nothing = None
"""


class TapCase(SynchronousTestCase):
    """A folder with a configuration and an application."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.module = f"app_{id(self.folder):x}_{self.id().rpartition('.')[2]}"
        self.write(f"{self.module}.py", APPLICATION)
        self.addCleanup(setattr, sys, "path", list(sys.path))
        self.addCleanup(sys.modules.pop, self.module, None)
        self.stderr = io.StringIO()

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def config(self, app: str | None = None, **management: Any) -> Path:
        """Write a configuration whose application is ``app`` of the module."""
        document: dict[str, Any] = {"interval": 600, "management": {**GOOD, **management}}
        if app is not None:
            document["app"] = app if ":" in app else f"{self.module}:{app}"
        return self.write("app.yaml", json.dumps(document, indent=2))

    def parse(self, path: Path | str) -> tap.Options:
        """Parse options as twistd does."""
        options = tap.Options()
        options.parseOptions(["--config", str(path)])
        self.addCleanup(options["plan"].terminal.close)
        return options

    def refused(self, path: Path | str) -> str:
        """Have options refused, and return the message."""
        stderr = io.StringIO()
        with_stderr = self.patch(sys, "stderr", stderr)
        try:
            error = self.assertRaises(SystemExit, self.parse, path)
        finally:
            with_stderr.restore()
        self.assertEqual(error.code, 1)
        said = stderr.getvalue()
        self.assertTrue(said.startswith("backplane: error: "), said)
        self.assertTrue(said.endswith("\n"))
        self.assertNotIn("Traceback", said)
        return said.removeprefix("backplane: error: ").removesuffix("\n")


class ReadingTests(TapCase):
    """The first step, before twistd becomes a daemon."""

    def test_usage(self) -> None:
        """The configuration is ``app.yaml`` unless it is said; what is unknown is refused."""
        self.assertEqual(tap.Options().defaults["config"], "app.yaml")
        self.assertIn("app.yaml", str(tap.Options()))
        self.assertRaises(usage.UsageError, tap.Options().parseOptions, ["--colour=x"])

    def test_good(self) -> None:
        """The file is read, the application imported, and nothing made of it."""
        self.parse(self.config("make"))
        self.assertEqual(sys.modules[self.module].made, [])
        self.assertEqual(sys.path[0], str(self.folder))

    def test_missing(self) -> None:
        """A file that is not there."""
        path = self.folder / "none.yaml"
        wanted = f"{path}: found an unreadable file (No such file or directory), wanted a"
        self.assertTrue(self.refused(path).startswith(wanted))
        self.assertIn("(Is a directory)", self.refused(self.folder))

    def test_unreadable(self) -> None:
        """A file that this user may not read."""

        def read_file(path: str) -> bytes:
            raise PermissionError(13, "Permission denied", path)

        self.patch(tap, "read_file", read_file)
        path = self.config()
        self.assertIn(f"{path}: found an unreadable file (Permission denied)", self.refused(path))

    def test_relative(self) -> None:
        """The path may be relative; messages have it whole."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.write("app.yaml", "management: 5\n")
        self.assertIn(f"{self.folder}/app.yaml:1:13: management: ", self.refused("app.yaml"))

    def test_bad_yaml(self) -> None:
        """What is no YAML has a place; so has what is no JSON."""
        path = self.write("app.yaml", "management:\n\tname: app\n")
        self.assertEqual(
            self.refused(path),
            f"{path}:2:1: found a tab, wanted blanks: YAML takes no tabs outside of quotes",
        )
        path = self.write("app.json", '{"management": \n {"name": "app",}}')
        self.assertTrue(self.refused(path).startswith(f"{path}:2:"))

    def test_several(self) -> None:
        """All mistakes at once, a line each: file, line, column, key, found, wanted."""
        path = self.write(
            "app.yaml",
            "management:\n  name: My App\n  brokers: [b:0]\n  loglevle: info\napp: make\n",
        )
        lines = self.refused(path).splitlines()
        keys = ["2:9: management.name", "3:13: management.brokers[0]"]
        keys += ["4:3: management.loglevle", "5:6: app"]
        self.assertEqual(len(lines), len(keys))
        for line, key in zip(lines, keys, strict=True):
            self.assertTrue(line.startswith(f"{path}:{key}: found "), line)
            self.assertIn(", wanted ", line)

    def test_log_file(self) -> None:
        """A log in a folder that is not there, or that may not be written."""
        said = self.refused(self.config(logfile="none/app.log"))
        self.assertIn(f"management.logfile: found '{self.folder}/none/app.log', in ", said)
        self.patch(os, "access", lambda path, mode: False)
        said = self.refused(self.config(logfile="app.log"))
        self.assertIn("wanted a file that can be written", said)

    def test_no_management(self) -> None:
        """A file without the section is none for us, an empty one neither."""
        for text in ("", "interval: 5\n"):
            path = self.write("app.yaml", text)
            self.assertIn("management: found nothing, wanted a section", self.refused(path))

    def test_secure(self) -> None:
        """What asks for TLS is refused before anything starts."""
        said = self.refused(self.config(tls={"scheme": "puppet"}))
        self.assertIn("management.tls", said)
        self.assertIn("wanted a readable file", said)

    def test_not_importable(self) -> None:
        """A module that is not there, or not in the folder."""
        path = self.config("no_such_module:make")
        self.assertEqual(
            self.refused(path),
            f"{path}: app: no_such_module:make: importing no_such_module failed: "
            "ModuleNotFoundError: No module named 'no_such_module'",
        )

    def test_no_such_name(self) -> None:
        """A name that the module has not."""
        for name in ("mak", "Maker.biuld", "nothing"):
            said = self.refused(self.config(name))
            self.assertTrue(said.endswith(f"the module {self.module} has no {name}"), said)

    def test_not_callable(self) -> None:
        """A name that cannot be called."""
        self.assertTrue(self.refused(self.config("number")).endswith("number is not callable"))

    def test_raises_at_import(self) -> None:
        """A module that raises while it is imported: the error and its place, on one line."""
        name = f"{self.module}_bad"
        self.addCleanup(sys.modules.pop, name, None)
        for text, wanted in (
            (
                "x = 1\nraise RuntimeError('two\\nlines')\n",
                f"RuntimeError: two lines ({name}.py:2)",
            ),
            ("def f(:\n", f"SyntaxError: invalid syntax ({name}.py, line 1)"),
            ("import sys\nsys.exit(0)\n", f"SystemExit: 0 ({name}.py:2)"),
            ("import nowhere_at_all\n", f"No module named 'nowhere_at_all' ({name}.py:1)"),
            ("assert False\n", f"AssertionError ({name}.py:1)"),
        ):
            self.write(f"{name}.py", text)
            said = self.refused(self.config(f"{name}:make"))
            self.assertIn(f"importing {name} failed: ", said)
            self.assertTrue(said.endswith(wanted), said)
            self.assertEqual(said.count("\n"), 0)

    def test_folder_comes_first(self) -> None:
        """The module beside the configuration wins over one of its name elsewhere."""
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / f"{self.module}.py").write_text("raise RuntimeError('the wrong one')\n")
        sys.path.insert(0, str(self.folder))
        sys.path.insert(0, str(elsewhere))
        self.parse(self.config("make"))
        self.assertIn(self.module, sys.modules)
