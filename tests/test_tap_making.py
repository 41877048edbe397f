"""``twistd backplane`` in this process, further steps: making and running."""

from __future__ import annotations

import functools
import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import globalLogPublisher

from backplane import Management, Phase, tap
from backplane.stalls import stalls_of
from backplane.testing import Harness
from tests.node.messages import Lines
from tests.test_tap import APPLICATION, TapCase


class MakingTests(TapCase):
    """The second and the third step."""

    def setUp(self) -> None:
        super().setUp()
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        made = functools.partial(
            Management,
            reactor=self.harness.clock,
            now=self.harness.clock.seconds,
            endpoint=self.harness.endpoint,
        )
        self.patch(tap, "Management", made)
        self.patch(sys, "excepthook", sys.excepthook)
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.terminal, self.writing = os.pipe()
        self.addCleanup(os.close, self.terminal)

    def make(self, path: Path) -> Any:
        """Return the service that twistd would run."""
        duplicated = self.patch(os, "dup", lambda descriptor: self.writing)
        try:
            return tap.makeService(self.parse(path))
        finally:
            duplicated.restore()

    def started(self, path: Path) -> tuple[Management, Any]:
        """Start a service; return its management, and the application that was made."""
        service = self.make(path)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(self.harness.broker.drop_all)
        self.addCleanup(lambda: self.harness.result_of(maybeDeferred(service.stopService)))
        (management,) = service
        self.harness.result_of(management.when_ready())
        self.harness.advance(1.5)
        # The terminal is let go of.
        self.assertEqual(os.read(self.terminal, 1000), b"")
        made = sys.modules[self.module].made if self.module in sys.modules else []
        return management, made[-1] if made else None

    def refused_start(self, path: Path) -> str:
        """Have a start refused; return what is said on the terminal."""
        service = self.make(path)
        error = self.assertRaises(Exception, service.startService)
        said = os.read(self.terminal, 10_000).decode()
        self.assertTrue(said.startswith("backplane: error: "), said)
        self.assertEqual(said.count("\n"), 1)
        self.assertEqual(os.read(self.terminal, 1), b"")
        said = said.removeprefix("backplane: error: ").removesuffix("\n")
        self.assertEqual(str(error), said)
        self.assertIn(said, "\n".join(self.log.texts("critical")))
        # The interpreter would print a traceback of it, and of others it still does.
        stderr = io.StringIO()
        with_stderr = self.patch(sys, "stderr", stderr)
        sys.excepthook(type(error), error, error.__traceback__)
        self.assertEqual(stderr.getvalue(), "")
        sys.excepthook(KeyError, KeyError("x"), None)
        with_stderr.restore()
        self.assertIn("KeyError", stderr.getvalue())
        return said

    def test_made(self) -> None:
        """The factory gets the whole file and a management that has not started."""
        management, app = self.started(self.config("make"))
        self.assertEqual(app.seen[:2], [0, "new"])
        self.assertEqual(app.document["interval"], 600)
        self.assertEqual(app.document["management"]["name"], "app")
        self.assertIs(app.management, management)
        # Each interface that it provides is taken.
        info = self.harness.ask("info", name="app").data
        self.assertTrue(info["pause_feature"] and info["healthcheck_feature"])
        self.assertFalse(info["shutdown_feature"])
        self.assertTrue(self.harness.ask("pause", name="app").data["paused"])
        self.assertTrue(app.closed)

    def watched(self, **given: Any) -> bool:
        """Say whether the reactor is watched while a service runs."""
        from twisted.internet import reactor

        service = self.make(self.config("make", **given))
        service.startService()
        watched = bool(stalls_of(reactor)["watching"])
        self.harness.result_of(maybeDeferred(service.stopService))
        self.assertIs(stalls_of(reactor)["watching"], False)
        return watched

    def test_stall_watch(self) -> None:
        """twistd's reactor is watched."""
        self.assertTrue(self.watched())

    def test_stall_watch_off(self) -> None:
        """Unless the file says otherwise."""
        self.assertFalse(self.watched(stall_watch=False))

    def test_service(self) -> None:
        """An ``IService`` starts before ready, and stops after new work was refused."""
        service = self.make(self.config("make"))
        service.startService()
        (management,) = service
        self.harness.result_of(management.when_ready())
        self.assertIs(management.state.phase, Phase.READY)
        self.harness.result_of(maybeDeferred(service.stopService))
        (app,) = sys.modules[self.module].made
        self.assertEqual(app.seen[2:], ["start new", "stop stopping"])
        self.assertFalse(app.running)
        subjects = [subject for subject, _ in self.harness.broker.published]
        self.assertIn("choria.lifecycle.event.shutdown.backplane", subjects)

    def test_none(self) -> None:
        """A factory may provide by itself and return nothing."""
        _, app = self.started(self.config("by_hand"))
        self.assertTrue(self.harness.ask("pause", name="app").data["paused"])
        self.assertTrue(app.closed)

    def test_no_application(self) -> None:
        """Without ``app`` there is a management and nothing else."""
        self.started(self.config())
        self.assertFalse(self.harness.ask("info", name="app").data["pause_feature"])

    def test_dotted_name(self) -> None:
        """The factory may be a method of a class."""
        _, app = self.started(self.config("Maker.build"))
        self.assertIsNotNone(app)

    def test_raises(self) -> None:
        """A factory that raises: reason and place on the terminal, the traceback in the log."""
        said = self.refused_start(self.config("broken"))
        line = (
            APPLICATION.split("\n").index('    raise ValueError("no such\\ntable: \\x1b[2Jshop")')
            + 1
        )
        self.assertEqual(
            said,
            f"{self.module}:broken failed: ValueError: no such table: \\x1b[2Jshop "
            f"({self.module}.py:{line})",
        )
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertIn(f"{self.module}.py", failure.getTraceback())

    def test_leaves(self) -> None:
        """A factory that wants to exit with 0 has failed all the same."""
        said = self.refused_start(self.config("leaving"))
        self.assertTrue(said.startswith(f"{self.module}:leaving failed: SystemExit: 0 ("), said)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_wrong_signature(self) -> None:
        """A factory that does not take the two."""
        said = self.refused_start(self.config("narrow"))
        self.assertIn("narrow() takes 1 positional argument but 2 were given", said)
        self.assertFalse(said.endswith(")"), "we are not the place of the mistake")
        self.flushLoggedErrors(TypeError)

    def test_useless_result(self) -> None:
        """What provides nothing is named, and what it should have been."""
        said = self.refused_start(self.config("useless"))
        self.assertIn(f"what {self.module}:useless returned: Useless provides none of", said)

    def test_provided_twice(self) -> None:
        """By hand and by return is once too often."""
        self.assertIn("was provided already", self.refused_start(self.config("twice")))

    def test_service_does_not_start(self) -> None:
        """The application's service raises when it is started."""
        said = self.refused_start(self.config("cannot_start"))
        self.assertIn("OSError: [Errno 98] Address already in use", said)
        self.assertEqual(self.harness.clock.getDelayedCalls(), [])

    def test_log_file(self) -> None:
        """A log file that can be opened no more when it comes to that."""
        (self.folder / "log").mkdir()
        path = self.config(logfile="log/app.log")
        service = self.make(path)
        (self.folder / "log").rmdir()
        self.assertRaises(Exception, service.startService)
        said = os.read(self.terminal, 10_000).decode()
        self.assertIn("log/app.log", said)
        self.assertEqual(said.count("\n"), 1)

    def test_terminal_has_gone(self) -> None:
        """Nobody there to be told: the log still is."""
        service = self.make(self.config("broken"))
        os.close(self.terminal)
        self.assertRaises(Exception, service.startService)
        self.assertIn("no such table", "\n".join(self.log.texts("critical")))
        self.flushLoggedErrors(ValueError)
        self.terminal = os.open(os.devnull, os.O_RDONLY)

    def test_after_a_fork(self) -> None:
        """``${PID}`` is the daemon's, everywhere; the file is not read a second time."""
        path = self.config("make", identity="app-${PID}", logfile="app.log", loglevel="info")
        service = self.make(path)
        # Whom it runs as may not read it.
        path.unlink()
        self.patch(os, "getpid", lambda: 4711)
        service.startService()
        (management,) = service
        self.assertEqual(management.config.identity, "app-4711")
        (app,) = sys.modules[self.module].made
        self.assertEqual(app.document["management"]["identity"], "app-4711")
        self.assertIs(app.management, management)
        self.harness.result_of(management.when_ready())
        self.harness.result_of(maybeDeferred(service.stopService))
        self.assertIn("ready: app-4711 in app_backplane", (self.folder / "app.log").read_text())

    def test_plugin(self) -> None:
        """twistd finds the options and the maker by the name ``backplane``."""
        from twisted.plugins.backplane_twistd import backplane

        self.assertEqual(backplane.tapname, "backplane")
        self.assertIs(backplane.options, tap.Options)
        self.assertIs(backplane.makeService, tap.makeService)
