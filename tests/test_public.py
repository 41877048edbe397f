"""The public face, and what importing us does to a program: nothing."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

import backplane
import backplane.client
import backplane.parts

ROOT: Final = Path(__file__).resolve().parent.parent

DOORS: Final = (
    *("backplane", "backplane.client", "backplane.nats", "backplane.parts", "backplane.testing"),
)
"""Packages from which programs import."""

PROMISED: Final = {
    *("Management", "StandardConfiguration", "load_file", "DataItem", "LogLevel", "blocking"),
    *("Agent", "action", "ActionRequest", "ActionError", "StatusCode", "Metadata", "Input"),
    *("Output", "BackplaneError", "ConfigError", "StateError", "__version__"),
}
"""Names that documented programs use."""

PROMISED_PARTS: Final = {
    *("Application", "Breaker", "Breakers", "HealthChecks", "InFlight", "LogLevels"),
    *("Paused", "Work"),
}
"""The same of ``backplane.parts``."""

WRITERS: Final = {
    "tap.py": "mistakes in the configuration, before twistd becomes a daemon",
    "nats/protocol.py": "the callback that txnats has by default, which shows messages",
}
"""Who writes to a standard stream by itself, and what."""

IMPORT_ALL: Final = """
import importlib, pkgutil, sys
import backplane
names = ["backplane"] + [m.name for m in pkgutil.walk_packages(backplane.__path__, "backplane.")]
assert len(names) > 50, names
for name in [*names, "twisted.plugins.backplane_twistd"]:
    importlib.import_module(name)
    if "twisted.internet.reactor" in sys.modules:
        sys.exit(f"{name} imports the reactor")
"""

LAZY: Final = """
import sys
import backplane
heavy = ("twisted", "zope", "OpenSSL", "cryptography", "attr", "yaml", "re2", "asyncio")
came = [name for name in sys.modules if name.split(".")[0] in heavy]
ours = [name for name in sys.modules if name.startswith("backplane.")]
assert (came, ours) == ([], ["backplane._version"]), (came, ours)
missing = set(backplane.__all__) - set(dir(backplane))
assert not missing, missing
for name in backplane.__all__:
    assert getattr(backplane, name) is vars(backplane)[name], name
assert backplane.interfaces.IPausable
assert not hasattr(backplane, "nonsense") and not hasattr(backplane, "_nonsense")
assert "twisted.internet.reactor" not in sys.modules
"""

BACKGROUND: Final = """
import sys
import backplane, backplane.aio, backplane.threaded
for name in ("twisted.internet.reactor", "twisted.internet.epollreactor"):
    assert name not in sys.modules, name
"""

COMMANDS: Final = """
from backplane.cli.main import main
import io
kept, sys.stdout = sys.stdout, io.StringIO()
codes = [main(words.split()) for words in (
    "--version", "help exec", "ddl backplane", "--config missing.cfg shop ping --insecure",
    "audit verify missing.log", "doctor --config missing.cfg --json",
)]
shown, sys.stdout = sys.stdout.getvalue(), kept
assert "backplane " in shown and "--discovery-timeout" in shown and '"metadata"' in shown, shown
assert codes[:4] == [0, 0, 0, 64], codes
assert codes[5] in (2, 64), codes
"""

NO_NETWORK: Final = """
import io, sys
from backplane.cli.main import main
kept, sys.stdout = sys.stdout, io.StringIO()
codes = [main(["help", "exec"]), main(["completion", "bash"]), main(["ddl", "backplane"])]
sys.stdout = kept
assert codes == [0, 0, 0], codes
for name in ("backplane.nats", "backplane.client.run", "backplane.service"):
    assert name not in sys.modules, name
"""

NOT_POSIX: Final = """
import os, signal, sys
for name in ("pwd", "grp", "fcntl", "resource"):
    sys.modules[name] = None
for name in ("getuid", "geteuid", "getgid", "getegid"):
    if hasattr(os, name):
        delattr(os, name)
if hasattr(signal, "SIGHUP"):
    del signal.SIGHUP
"""


def modules() -> list[str]:
    """Return the names of all our modules."""
    found = pkgutil.walk_packages(backplane.__path__, "backplane.")
    return ["backplane", *(module.name for module in found)]


class FaceTests(SynchronousTestCase):
    """What is public stands in ``__all__``."""

    def test_resolve(self) -> None:
        """Every public name of every module is there, once."""
        for name in modules():
            module = importlib.import_module(name)
            public = getattr(module, "__all__", [])
            self.assertEqual(len(public), len(set(public)), name)
            for item in public:
                self.assertTrue(hasattr(module, item), f"{name}.{item}")

    def test_doors(self) -> None:
        """The doors show what is public and nothing else."""
        for name in DOORS:
            module = importlib.import_module(name)
            shown = {
                item
                for item, value in vars(module).items()
                if not item.startswith("_")
                and not isinstance(value, types.ModuleType)
                and getattr(value, "__module__", "") != "__future__"
            }
            self.assertEqual(shown - set(module.__all__), set(), name)

    def test_promised(self) -> None:
        """What documented programs import is public."""
        self.assertEqual(PROMISED - set(backplane.__all__), set())
        self.assertEqual(PROMISED_PARTS - set(backplane.parts.__all__), set())

    def test_star(self) -> None:
        """``from … import *`` works for the doors."""
        for name in DOORS:
            space: dict[str, object] = {}
            exec(f"from {name} import *", space)
            self.assertTrue(set(importlib.import_module(name).__all__) <= space.keys(), name)

    def test_documented(self) -> None:
        """Every module, and every public class and function of a door, says what it is for."""
        for name in modules():
            self.assertTrue(importlib.import_module(name).__doc__ or name.endswith("_version"))
        for name in DOORS:
            module = importlib.import_module(name)
            for item in module.__all__:
                value = getattr(module, item)
                if callable(value):
                    self.assertTrue(value.__doc__, f"{name}.{item}")


class ImportTests(SynchronousTestCase):
    """Importing is free of effects, on any system."""

    def run_python(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a process of its own."""
        return subprocess.run(
            [sys.executable, "-W", "error::SyntaxWarning", "-c", program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def run_program(self, program: str) -> None:
        """The program ends well and says nothing."""
        done = self.run_python(program)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_no_reactor(self) -> None:
        """No module imports the reactor: the application chooses it."""
        self.run_program(IMPORT_ALL)

    def test_not_posix(self) -> None:
        """Every module can be imported where users, locks, limits and hang-ups are missing."""
        self.run_program(NOT_POSIX + IMPORT_ALL)

    def test_lazy(self) -> None:
        """``import backplane`` brings nothing along; every public name comes when it is used."""
        self.run_program(LAZY)

    def test_background(self) -> None:
        """What embeds in other hosts does not choose a reactor for the process."""
        self.run_program(BACKGROUND)

    def test_no_network(self) -> None:
        """Commands that need no network do not wait for it to be imported."""
        self.run_program(NO_NETWORK)

    def test_commands_not_posix(self) -> None:
        """The command line works there too."""
        done = self.run_python(NOT_POSIX + COMMANDS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_names(self) -> None:
        """Type checkers are told the same homes of the public names as Python is."""
        for door, others in (
            (backplane, {"aio": "backplane"}),
            (backplane.client, {}),
        ):
            source = ast.parse(Path(str(door.__file__)).read_text(encoding="utf-8"))
            told = {
                alias.name: node.module
                for branch in source.body
                if isinstance(branch, ast.If)
                for node in branch.body
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            self.assertEqual(told, {**door._HOME_OF, **others}, door.__name__)
            self.assertEqual(set(told), set(door.__all__) - {"__version__"}, door.__name__)

    def test_silent(self) -> None:
        """No module prints; the command line writes through its console."""
        writers = set()
        for path in sorted((ROOT / "backplane").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                text = ast.unparse(node.func)
                self.assertNotIn(text, ("print", "pprint", "breakpoint"), path)
                if text in ("sys.stdout.write", "sys.stderr.write"):
                    writers.add(path.relative_to(ROOT / "backplane").as_posix())
        self.assertEqual(writers, set(WRITERS))
