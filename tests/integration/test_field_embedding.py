"""What people ran into with twistd and as guests of other programs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

from twisted.logger import LogBeginner, Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane.plugincache import forget_complaint
from backplane.testing.pki import PKI
from tests.integration.fleet import PATIENCE, ROOT, Ran, wait
from tests.integration.twistd import TWISTD, TwistdCase, running
from tests.node.messages import Lines

READ_ONLY = """
import errno
from twisted.python.filepath import FilePath

def setContent(self, *args, **named):
    raise PermissionError(errno.EACCES, "Permission denied", self.path)

FilePath.setContent = setContent
"""
"""The plugin directory belongs to somebody else."""

PLUGIN = """
from twisted.application.service import ServiceMaker

field = ServiceMaker("field", "backplane.tap", "{about}", "{name}")
"""

REACTORS = """
from twisted.internet import {name}
{name}.install()
from twisted.internet import reactor
print(type(reactor).__name__)
"""

USERS = """
from twisted.internet.defer import Deferred
from twisted.trial import unittest
from backplane import Management
from backplane.errors import StateError
from backplane.testing import Harness, RecordingApplication


class Endings:
    def test_success(self):
        pass

    def test_failure(self):
        self.fail("of the user's")

    def test_time(self):
        return self.later()

    test_time.timeout = 0.2

    def test_error_in_set_up(self):
        raise AssertionError("not reached")


class WithoutBroker(Endings, unittest.TestCase):
    def setUp(self):
        management = Management(
            {"name": "app", "identity": self.id(), "auth": {"insecure": True},
             "brokers": ["127.0.0.1:9"], "loglevel": "critical"}
        )
        management.provide(RecordingApplication())
        management.startService()
        self.addCleanup(management.stopService)
        self.ready = management.when_ready().addErrback(lambda why: why.trap(StateError))
        if "set_up" in self.id():
            raise KeyError("of the user's")

    def later(self):
        return self.ready


class OnTheHarness(Endings, unittest.TestCase):
    def setUp(self):
        self.harness = Harness(RecordingApplication())
        self.addCleanup(self.harness.close)
        self.harness.as_full().pause()
        if "set_up" in self.id():
            raise KeyError("of the user's")

    def later(self):
        return Deferred()
"""


def python(*args: str, folder: Path, path: Path | str = "") -> Ran:
    """Run Python; ours can be imported, and what lies in ``path``."""
    places = os.pathsep.join(map(str, filter(None, (path, ROOT))))
    done = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class PluginCacheTests(TwistdCase):
    """Installed by one user, run by another."""

    def setUp(self) -> None:
        super().setUp()
        self.site = self.fleet.folder / "site"
        self.plugin = self.site / "twisted" / "plugins" / "backplane_field.py"
        self.plugin.parent.mkdir(parents=True)

    def install(self, about: str, age: int = 0) -> None:
        """Write the plugin, so many seconds ago."""
        self.plugin.write_text(PLUGIN.format(about=about, name="field"))
        then = self.plugin.stat().st_mtime - age
        os.utime(self.plugin, (then, then))

    def usage(self, writable: bool = False) -> str:
        program = TWISTD if writable else READ_ONLY + TWISTD
        ran = python("-c", program, "--help", folder=self.folder, path=self.site)
        self.assertEqual((ran.code, ran.err), (0, ""))
        return ran.out

    def test_runs(self) -> None:
        """Without a cache and with another reactor: it works, and no line alarms."""
        self.install("The first")
        path = self.config(brokers=["127.0.0.1:9"])
        log = self.rundir / "twistd.out"
        command = [sys.executable, "-c", READ_ONLY + TWISTD, "-n", "--pidfile="]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--reactor=asyncio", "field", "-c", str(path)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": f"{self.site}{os.pathsep}{ROOT}"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait(lambda: "cannot connect to 127.0.0.1:9" in log.read_text(), "a try", log.read_text)
        said = log.read_text()
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)
        self.assertIn("AsyncioSelectorReactor", said)
        self.assertIn("started by", said)
        for word in ("Unable to write", "plugin cache", "Traceback", "rror"):
            self.assertNotIn(word, said)
        self.assertFalse((self.plugin.parent / "dropin.cache").exists())

    def test_upgrade(self) -> None:
        """A cache that cannot be replaced: the new plugin is used; gone, it leaves nothing."""
        self.install("The first", age=60)
        self.assertIn("The first", self.usage(writable=True))
        self.assertTrue((self.plugin.parent / "dropin.cache").exists())
        self.install("The second", age=-60)
        shown = self.usage()
        self.assertIn("The second", shown)
        self.assertNotIn("The first", shown)
        self.plugin.unlink()
        shown = self.usage()
        self.assertNotIn("The first", shown)
        self.assertNotIn("The second", shown)


class ComplaintTests(SynchronousTestCase):
    """What is taken out of the log before it begins."""

    def test_only_that(self) -> None:
        """That line and no other; another Twisted, that keeps its lines elsewhere, is let be."""
        publisher = LogPublisher()
        beginner = LogBeginner(publisher, io.StringIO(), sys, warnings)
        log = Logger(observer=publisher)
        log.info("first")
        publisher(
            {
                "log_level": LogLevel.info,
                "log_time": 0.0,
                "format": "Unable to write to plugin cache %(path)s: error number %(errno)d",
            }
        )
        log.info("last")
        self.assertEqual((forget_complaint(beginner), forget_complaint(beginner)), (1, 0))
        seen = Lines()
        self.addCleanup(setattr, warnings, "showwarning", warnings.showwarning)
        beginner.beginLoggingTo([seen], redirectStandardIO=False)
        self.assertEqual(seen.texts(), ["first", "last"])
        self.assertEqual(forget_complaint(object()), 0)


class ReactorTests(SynchronousTestCase):
    """The program chooses its reactor, whatever of ours it has imported."""

    def test_installed_later(self) -> None:
        """Every public module first, then each reactor."""
        imports = "import backplane, backplane.client, backplane.nats, backplane.parts\n"
        imports += "import backplane.testing, backplane.tap, backplane.aio, backplane.threaded\n"
        imports += "import backplane.cli.main, backplane.sidecar\n"
        for name in ("selectreactor", "asyncioreactor"):
            ran = python("-c", imports + REACTORS.format(name=name), folder=ROOT)
            self.assertEqual((ran.code, ran.err), (0, ""), name)
            self.assertEqual(ran.out.strip().lower()[:4], name[:4])


class StartTests(TwistdCase):
    """A start that fails says so: one message, exit 1, in both manners of starting."""

    def assert_refused(self, *words: str, foreground: bool = False) -> None:
        before = sorted(os.listdir(self.rundir))
        if foreground:
            ran = self.twistd("-n", f"--pidfile={self.pidfile}", "backplane")
        else:
            ran = self.daemon()
        self.assertEqual((ran.code, ran.out), (1, ""), ran.err)
        (line,) = ran.err.splitlines()
        self.assertTrue(line.startswith("backplane: error: "), line)
        for word in words:
            self.assertIn(word, line)
        self.assertEqual(running(self.fleet.folder), [])
        self.assertEqual(sorted(os.listdir(self.rundir)), before)

    def test_secrets(self) -> None:
        """A key that is another's, or cannot be read."""
        pki = PKI(self.fleet.folder / "pki")
        service, other = pki.client("one.example.net"), pki.client("two.example.net")
        folder = self.fleet.folder / "folder.pem"
        folder.mkdir()
        tls = {"scheme": "file", "ca": pki.ca, "cert": service.cert, "key": str(other.key)}
        self.config(auth={"full": ["sre.choria"]}, tls=tls)
        for foreground in (False, True):
            self.assert_refused("one.example.net", "key", foreground=foreground)
        self.config(auth={"full": ["sre.choria"]}, tls={**tls, "key": str(folder)})
        self.assert_refused("folder.pem", "directory")

    def test_log_folder(self) -> None:
        """A log, or an audit log, in a folder that is not there."""
        self.config(logfile="none/backplane.log")
        self.assert_refused("management.logfile", "none", "no directory")
        self.config(audit={"logfile": "none/audit.log"})
        self.assert_refused("management.audit.logfile", "none", "no directory", foreground=True)

    def test_factory(self) -> None:
        """A factory that is not there, and a module that raises when it is imported."""
        self.config("nowhere")
        self.assert_refused("the module myapp has no nowhere")
        (self.folder / "myapp.py").write_text("1 / 0\n")
        self.config()
        self.assert_refused("importing myapp failed: ZeroDivisionError", "(myapp.py:1)")


class UsersTestsTests(SynchronousTestCase):
    """Tests that users write, by two runners: nothing is left, however they end."""

    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        (self.folder / "test_users.py").write_text(textwrap.dedent(USERS))

    def assert_clean(self, *command: str) -> None:
        ran = python("-m", *command, "test_users", folder=self.folder)
        said = ran.out + ran.err
        self.assertEqual(ran.code, 1, said)
        self.assertIn("Ran 8 tests", said)
        for word in ("nclean", "DirtyReactor", "left on the clock", "Unhandled"):
            self.assertNotIn(word, said)
        self.assertIn("failures=2, errors=4", said)

    def test_trial(self) -> None:
        """trial, which looks for what is left on the reactor."""
        self.assert_clean("twisted.trial", "--reporter=bwverbose")

    def test_unittest(self) -> None:
        """The runner of Python, which runs them as other runners do."""
        self.assert_clean("unittest")
