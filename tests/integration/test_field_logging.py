"""What people ran into with logs: levels, rotation, and one outage in a million lines."""

from __future__ import annotations

import json
import logging
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import FilteringLogObserver, LogEvent, Logger, LogLevelFilterPredicate
from twisted.logger import LogLevel as TwistedLevel
from twisted.trial.unittest import SynchronousTestCase

from backplane.hangup import HangUps
from backplane.parts import LogLevels
from backplane.security.auditverify import verify_files
from backplane.testing import Harness, RecordingApplication
from tests.integration.fleet import PATIENCE, ROOT, wait
from tests.integration.twistd import TWISTD, TwistdCase
from tests.managing import ManagementCase
from tests.node.messages import Lines


class Shown(logging.Handler):
    """What a handler lets through."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name.rpartition('.')[2]}:{record.levelname}")


class LevelTests(SynchronousTestCase):
    """``debuglvl``, log, ``infolvl``, log: nothing is lost on the way back."""

    def setUp(self) -> None:
        # Stands for the root logger, whose handlers are those of whoever runs the tests.
        self.root = logging.getLogger(f"tests.{self.id()}")
        self.root.propagate = False
        self.addCleanup(self.root.handlers.clear)
        self.root.setLevel(logging.INFO)
        self.quiet, self.apart, self.plain = map(self.root.getChild, ("quiet", "apart", "plain"))
        self.quiet.setLevel(logging.WARNING)
        self.apart.propagate = False
        self.output, self.mail, self.aside = (
            Shown(logging.INFO),
            Shown(logging.ERROR),
            Shown(logging.INFO),
        )
        self.root.addHandler(self.output)
        self.root.addHandler(self.mail)
        self.apart.addHandler(self.aside)
        self.predicate = LogLevelFilterPredicate(TwistedLevel.info)
        self.predicate.setLogLevelForNamespace("quiet", TwistedLevel.warn)
        self.events: list[str] = []
        observer = FilteringLogObserver(self.take, [self.predicate])  # type: ignore[arg-type]
        self.twisted, self.twisted_quiet = (
            Logger(namespace=name, observer=observer) for name in ("plain", "quiet")
        )
        self.harness = Harness()
        self.addCleanup(self.harness.close)

    def take(self, event: LogEvent) -> None:
        self.events.append(f"{event['log_namespace']}:{event['log_level'].name.upper()}")

    def state(self) -> list[Any]:
        """Return every level that there is."""
        loggers = [self.root, self.quiet, self.apart, self.plain]
        handlers = [self.output, self.mail, self.aside]
        return [
            *(each.level for each in loggers),
            *(each.level for each in handlers),
            *(self.predicate.logLevelForNamespace(name) for name in ("", "quiet", "plain")),
        ]

    def spoken(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """Log at every level from everywhere; return what got where."""
        outputs = (self.output.lines, self.mail.lines, self.aside.lines, self.events)
        for lines in outputs:
            lines.clear()
        for logger in (self.plain, self.quiet, self.apart):
            logger.debug("x")
            logger.info("x")
        for each in (self.twisted, self.twisted_quiet):
            each.debug("x")
            each.info("x")
        found = [list(lines) for lines in outputs]
        return found[0], found[1], found[2], found[3]

    def managed(self, *of: Any, handlers: bool = False) -> None:
        levels = LogLevels(*of, handlers=handlers)
        self.addCleanup(levels.restore)
        self.harness.manage(levels)

    def asked(self, action: str) -> str:
        return str(self.harness.ask(action).data["level"])

    def shown(self) -> str:
        return str(self.harness.ask("info").data["loglevel"])

    def test_standard(self) -> None:
        """``logging``: the handler too; the child and the one apart keep what they have."""
        self.managed(self.root, handlers=True)
        before = self.state()
        usual = self.spoken()
        self.assertEqual(usual[0], ["plain:INFO"])
        self.assertEqual((self.asked("debuglvl"), self.shown()), ("debug", "debug"))
        loud = self.spoken()
        self.assertEqual(loud[0], ["plain:DEBUG", "plain:INFO"])
        self.assertEqual(loud[2], usual[2])
        self.assertEqual(loud[3], usual[3])
        self.assertEqual((self.asked("infolvl"), self.shown()), ("info", "info"))
        self.assertEqual(self.spoken(), usual)
        self.assertEqual(self.state(), before)

    def test_twisted(self) -> None:
        """``twisted.logger``: namespaces with a level of their own keep it."""
        self.managed(self.predicate)
        before = self.state()
        usual = self.spoken()
        self.asked("debuglvl")
        self.assertEqual(self.spoken()[3], ["plain:DEBUG", "plain:INFO"])
        self.assertEqual((self.asked("infolvl"), self.shown()), ("info", "info"))
        self.assertEqual((self.spoken(), self.state()), (usual, before))

    def test_both(self) -> None:
        """Both, and the ones with levels of their own by name."""
        self.managed(self.root, self.predicate, handlers=True)
        before = self.state()
        usual = self.spoken()
        for _ in range(2):
            self.asked("debuglvl")
            loud = self.spoken()
            self.assertEqual(loud[0], ["plain:DEBUG", "plain:INFO"])
            self.assertEqual(loud[3], ["plain:DEBUG", "plain:INFO"])
            self.asked("infolvl")
            self.assertEqual((self.spoken(), self.state()), (usual, before))


def _copied(path: Path) -> None:
    shutil.copy(path, f"{path}.1")
    os.truncate(path, 0)


def _renamed(path: Path) -> None:
    path.rename(f"{path}.1")


def _replaced(path: Path) -> None:
    _renamed(path)
    path.touch(0o600)


WAYS: dict[str, Callable[[Path], None]] = {
    "rename and create": _replaced,
    "rename only": _renamed,
    "copy and truncate": _copied,
    "delete": Path.unlink,
    "nothing": lambda path: None,
}


class RotationTests(SynchronousTestCase):
    """Five ways, log and audit file, with and without SIGHUP, beside a host's own handler."""

    def rotate(self, way: str, signalled: bool) -> None:
        heard: list[int] = []

        def handler(number: int, frame: object) -> None:
            heard.append(number)

        before = signal.signal(signal.SIGHUP, handler)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        log, audit = folder / "backplane.log", folder / "audit.log"
        harness = Harness(
            RecordingApplication(),
            loglevel="info",
            logfile=str(log),
            audit={"logfile": str(audit)},
        )
        try:
            self.assertTrue(harness.ask("pause").ok)
            for path in (log, audit):
                WAYS[way](path)
            if signalled:
                os.kill(os.getpid(), signal.SIGHUP)
            self.assertTrue(harness.ask("resume").ok)
            # Whole lines, each in one place; the newest is where the path is.
            parts = [Path(f"{path}.1") for path in (log, audit) if Path(f"{path}.1").exists()]
            lines = [
                json.loads(line)
                for path in (*parts, log, audit)
                for line in path.read_text().splitlines()
            ]
            told = Counter(
                line["message"].split(":")[0] for line in lines if " by " in line.get("message", "")
            )
            actions = Counter(line["action"] for line in lines if "action" in line)
            self.assertEqual(told["resume by choria=sre.choria"], 1)
            self.assertIn("resume by", log.read_text())
            self.assertEqual(actions["resume"], 2)  # asked, done
            if way != "delete":
                self.assertEqual(told["pause by choria=sre.choria"], 1)
                self.assertEqual(actions["pause"], 2)
                verified = [str(p) for p in (*parts, audit) if "audit" in p.name]
                self.assertIsNone(verify_files(verified).fault)
            self.assertIs(signal.getsignal(signal.SIGHUP), handler)
            self.assertEqual(heard, [signal.SIGHUP] * signalled)
        finally:
            harness.close()

    def test_ways(self) -> None:
        """New lines are at the path, none is torn or lost, and the host hears its signal."""
        for way in WAYS:
            for signalled in (False, True):
                self.rotate(way, signalled)


class HangUpTests(TwistdCase):
    """SIGHUP under twistd."""

    def test_daemon(self) -> None:
        """A daemon takes it for what it is, in the log; it goes on, and stops as ever."""
        self.config(logfile=str(self.rundir / "backplane.log"))
        ran = self.daemon()
        self.assertEqual((ran.code, ran.err), (0, ""))
        log = self.rundir / "backplane.log"
        wait(lambda: log.exists() and "ready: " in log.read_text(), "ready")
        pid = int(self.pidfile.read_text())
        log.rename(self.rundir / "backplane.log.1")
        for _ in range(2):
            os.kill(pid, signal.SIGHUP)
        self.wait_logged("SIGHUP: log files are found again without it")
        self.assertEqual(self.fleet.cli("app", "pause", "--expect", "1").code, 0)
        self.assertIn("pause by", log.read_text())
        os.kill(pid, signal.SIGTERM)
        self.assert_gone(pid)
        self.assertIn("stopped", self.logged())
        self.assertNotIn("Traceback", self.logged())

    def test_terminal(self) -> None:
        """At a terminal that goes away it is an orderly stop, and one that stays is nothing."""
        path = self.config()
        log = self.rundir / "twistd.out"
        ours, theirs = pty.openpty()
        with log.open("wb") as output:
            service = subprocess.Popen(
                [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "backplane", "-c", str(path)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=theirs,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(service.wait)
        self.addCleanup(service.kill)
        os.close(theirs)
        wait(lambda: "ready: " in log.read_text(), "ready", log.read_text)
        service.send_signal(signal.SIGHUP)
        wait(lambda: "nothing to do" in log.read_text(), "the line", log.read_text)
        os.close(ours)
        service.send_signal(signal.SIGHUP)
        self.assertEqual(service.wait(PATIENCE), 0)
        self.assertIn("the terminal has gone: stopping", log.read_text())
        self.assertIn("stopped", log.read_text())


class TakenTests(SynchronousTestCase):
    """Whose signal it is."""

    def test_own_handler(self) -> None:
        """An application's handler, and ``nohup``, stay; ours goes when it is over."""

        def handler(number: int, frame: object) -> None:
            raise AssertionError(number)

        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        for mine in (handler, signal.SIG_IGN):
            signal.signal(signal.SIGHUP, mine)
            hangups = HangUps(lambda: None, Clock(), Lines().logger())
            hangups.start()
            self.assertEqual(signal.getsignal(signal.SIGHUP), mine)
            hangups.stop()
            self.assertEqual(signal.getsignal(signal.SIGHUP), mine)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        hangups = HangUps(lambda: None, Clock(), Lines().logger())
        hangups.start()
        self.assertNotEqual(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)
        hangups.stop()
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)


HOURS = 24
REMINDERS = 2 + HOURS
"""After a minute, after ten, and after each hour."""


class OutageTests(ManagementCase):
    """A day without any of three brokers, then one in which they refuse us."""

    def setUp(self) -> None:
        super().setUp()
        names = [f"b{number}.example.net:4222" for number in range(3)]
        for name in names:
            self.harness.network.listen(name.partition(":")[0], 4222, self.harness.broker)
        self.app = RecordingApplication()
        self.management = self.harness.manage(
            self.app, brokers=names, loglevel="info", nats={"user": "shop", "password": "sesame"}
        )
        self.log.events.clear()

    def a_day(self) -> list[str]:
        """Let a day go by in steps of ten seconds; return the lines of it."""
        for _ in range(HOURS * 360):
            self.harness.clock.advance(10)
            self.harness.network.flush()
        lines = self.log.texts()
        self.log.events.clear()
        return lines

    def test_two_days(self) -> None:
        """The cause at the start, rare reminders with duration and count, a line at the end."""
        network, broker = self.harness.network, self.harness.broker
        for number in range(3):
            network.fail_dns(f"b{number}.example.net")
        broker.drop_all()
        down = self.a_day()
        self.assertIn("lost: ", down[0])
        causes = [line for line in down if line.startswith("cannot connect to ")]
        self.assertEqual(len(causes), 3, down)
        reminders = [line for line in down if line.startswith("not connected for ")]
        self.assertEqual(len(down), 1 + len(causes) + len(reminders), down)
        self.assertIn(len(reminders), (REMINDERS - 1, REMINDERS))
        self.assertRegex(reminders[-1], r"not connected for 2[34]\.\d h, \d+ tries; last: ")
        # Now they are there and do not know us.
        broker.user, broker.password = "somebody", "else"
        for number in range(3):
            network.fail_dns(f"b{number}.example.net", failing=False)
        refused = self.a_day()
        causes = [line for line in refused if line.startswith("cannot connect to ")]
        self.assertEqual(len(causes), 3, refused)
        self.assertTrue(all("uthoriz" in line for line in causes), causes)
        reminders = [line for line in refused if line.startswith("not connected for ")]
        self.assertEqual(len(refused), len(causes) + len(reminders), refused)
        self.assertIn(len(reminders), (HOURS - 1, HOURS, HOURS + 1))
        self.assertNotIn("sesame", "".join(refused))
        self.assertFalse(self.management.state.ready)
        # And the end.
        broker.user = broker.password = None
        self.harness.result_of(self.management.when_ready(), patience=60)
        end = self.log.texts()
        self.assertEqual(len(end), 2, end)
        self.assertRegex(end[0], r"connected to .* after 48\.\d h, \d+ failed tries")
        self.assertTrue(end[1].startswith("ready: "))
        self.assertNotIn("factory", "".join((*down, *refused, *end)))
        self.assertTrue(self.harness.ask("ping").ok)
