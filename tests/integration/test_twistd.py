"""``twistd backplane`` as a daemon: working directories, users, and starts that fail."""

from __future__ import annotations

import os
import pwd
import signal

from tests.integration.fleet import wait
from tests.integration.twistd import Listener, TwistdCase, running


class DaemonTests(TwistdCase):
    """twistd in the background."""

    def test_life(self) -> None:
        """Relative configuration, application beside it, another working directory; SIGTERM."""
        listener = Listener(self.fleet.server.port)
        self.addCleanup(listener.close)
        self.config()
        pid = self.started()
        listener.wait_for("choria.lifecycle.event.startup.backplane")
        # Reading is where we were, making and running where the daemon is.
        here, there = self.folder.resolve(), self.rundir.resolve()
        self.assertIn(f"imported by {os.getuid()} in {here}", self.logged())
        self.assertIn(f"started by {os.getuid()} in {there}", self.logged())
        paused = self.fleet.cli("app", "pause", "--expect", "1")
        self.assertEqual(paused.code, 0, paused.err)
        os.kill(pid, signal.SIGTERM)
        listener.wait_for("choria.lifecycle.event.shutdown.backplane")
        listener.wait_for("acme.iot")
        self.assert_gone(pid)
        self.assertIn("stopped", self.logged())
        self.assertNotIn("Traceback", self.logged())

    def test_shutdown(self) -> None:
        """The ``shutdown`` action: reply, delay, an orderly end, and no pid file."""
        listener = Listener(self.fleet.server.port)
        self.addCleanup(listener.close)
        self.config(max_stop_delay=0)
        pid = self.started()
        told = self.fleet.cli("app", "shutdown", "--expect", "1", "--json")
        self.assertEqual(told.code, 0, told.err)
        self.assertTrue(told.json()["replies"][0]["data"]["delay"])
        listener.wait_for("choria.lifecycle.event.shutdown.backplane")
        listener.wait_for("acme.iot")
        self.assert_gone(pid)

    def test_process_id(self) -> None:
        """``${PID}`` in the identity is the daemon's, not that of the process that read it."""
        self.config(identity="app-${PID}")
        pid = self.started()
        self.assertIn(f"ready: app-{pid} in app_backplane", self.logged())
        os.kill(pid, signal.SIGTERM)
        self.assert_gone(pid)

    def test_own_log_file(self) -> None:
        """A relative ``logfile`` lies beside the configuration."""
        self.config(logfile="backplane.log")
        ran = self.daemon()
        self.assertEqual((ran.code, ran.err), (0, ""))
        log = self.folder / "backplane.log"
        wait(lambda: log.exists() and "ready: " in log.read_text(), "ready in its log")
        self.assertNotIn("ready: ", self.logged())
        pid = int(self.pidfile.read_text())
        os.kill(pid, signal.SIGTERM)
        self.assert_gone(pid)

    def test_factory_raises(self) -> None:
        """The reason is on the terminal, whole, and the traceback in the log; exit 1."""
        self.config("broken")
        ran = self.daemon()
        self.assertEqual(ran.code, 1)
        line = ran.err.splitlines()[0]
        self.assertTrue(line.startswith("backplane: error: myapp:broken failed: ValueError: "))
        self.assertIn("the end (myapp.py:", line)
        self.assertNotIn("Traceback", ran.err)
        self.assertIn("Traceback", self.logged())
        self.assertIn("the table is missing", self.logged())
        wait(lambda: not running(self.fleet.folder), "its end")
        self.assertFalse(self.pidfile.exists())

    def test_service_does_not_start(self) -> None:
        """So it is when the application's service cannot start."""
        self.config("stuck")
        ran = self.daemon()
        self.assertEqual(ran.code, 1)
        self.assertIn("backplane: error: OSError: Address already in use", ran.err)
        self.assertNotIn("Traceback", ran.err)
        self.assertIn("Address already in use", self.logged())
        wait(lambda: not running(self.fleet.folder), "its end")
        self.assertFalse(self.pidfile.exists())

    def test_bad_configuration(self) -> None:
        """Mistakes are found before there is a daemon, a log or a pid file."""
        path = self.config(name="My App", brokers=["b:0"])
        ran = self.daemon()
        self.assertEqual((ran.code, ran.out), (1, ""))
        first, second = ran.err.splitlines()
        self.assertTrue(first.startswith(f"backplane: error: {path.resolve()}:1:"), first)
        self.assertIn("management.name: found 'My App'", first)
        self.assertIn("management.brokers[0]", second)
        self.assertEqual(os.listdir(self.rundir), [])

    def test_missing_configuration(self) -> None:
        """The default is ``app.yaml`` where one is."""
        ran = self.twistd("-n", "--pidfile=", "backplane")
        self.assertEqual((ran.code, ran.out), (1, ""))
        self.assertIn(f"{self.folder.resolve()}/app.yaml: found an unreadable file", ran.err)
        self.assertEqual(len(ran.err.splitlines()), 1)


class UserTests(TwistdCase):
    """Started by root, run as somebody else; where we are not root, as ourselves."""

    def setUp(self) -> None:
        super().setUp()
        self.uid = os.getuid()
        self.options: list[str] = []
        if self.uid == 0:
            nobody = pwd.getpwnam("nobody")
            self.uid = nobody.pw_uid
            self.options = [f"--uid={nobody.pw_uid}", f"--gid={nobody.pw_gid}"]
            self.fleet.folder.chmod(0o755)
            os.chown(self.rundir, nobody.pw_uid, nobody.pw_gid)

    def test_reads_as_starter(self) -> None:
        """Who starts reads the configuration; who runs makes the application and its files."""
        path = self.config(logfile=str(self.rundir / "backplane.log"))
        path.chmod(0o600)
        ran = self.daemon(*self.options)
        self.assertEqual((ran.code, ran.err), (0, ""), self.logged())
        log = self.rundir / "backplane.log"
        wait(lambda: log.exists() and "ready: " in log.read_text(), "ready", self.logged)
        self.assertEqual(log.stat().st_uid, self.uid)
        self.assertIn(f"imported by {os.getuid()} in ", self.logged())
        self.assertIn(f"made by {self.uid}", self.logged())
        self.assertIn(f"started by {self.uid} in ", self.logged())
        self.assertEqual(self.fleet.cli("app", "ping", "--expect", "1").code, 0)
        pid = int(self.pidfile.read_text())
        os.kill(pid, signal.SIGTERM)
        self.assert_gone(pid)
        self.assertNotIn("Traceback", self.logged())

    def test_log_file_is_not_theirs(self) -> None:
        """A log file that the user who runs may not write is a start that fails, and says so."""
        self.config("make", logfile="private/backplane.log")
        private = self.folder / "private"
        private.mkdir()
        if self.options:
            private.chmod(0o700)
        else:
            self.config("make", logfile="none/backplane.log")
        ran = self.daemon(*self.options)
        self.assertEqual(ran.code, 1)
        self.assertIn("backplane.log", ran.err.splitlines()[0])
        self.assertNotIn("Traceback", ran.err)
        wait(lambda: not running(self.fleet.folder), "its end")
