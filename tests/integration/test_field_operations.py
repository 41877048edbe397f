"""What people ran into in operation: names, file systems, probes, other systems."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import TestCase
from zope.interface import implementer

from backplane import Phase
from backplane.host import home_folder
from backplane.interfaces import IHealthCheckable
from backplane.testing import RecordingApplication
from backplane.testing.pki import PKI
from tests.integration.fleet import PATIENCE, ROOT, Fleet, wait
from tests.integration.twistd import TWISTD
from tests.managing import ManagementCase

NOTHING_CAN_BE_WRITTEN = """
import errno, os, sys
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
KINDS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")

def hook(event, args):
    writes = event == "open" and args[2] & CHANGES and str(args[0]) != os.devnull
    if writes or event in KINDS:
        raise OSError(errno.EROFS, "Read-only file system", str(args[0]))

sys.addaudithook(hook)
"""

CLI = "from backplane.cli.main import main; import sys; sys.exit(main())"

NOT_UNIX = """
import os, select, signal, sys
import twisted.internet.reactor, twisted.internet.process  # what Twisted itself wants of Unix
for name in ("pwd", "grp", "fcntl", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
MISSING = {
    os: "getuid geteuid getgid getegid getgroups setuid setgid setsid getpgid killpg fork "
        "register_at_fork uname fchmod fchown chown mkfifo sysconf getloadavg waitid WEXITED "
        "WNOWAIT WNOHANG O_NOFOLLOW O_CLOEXEC O_DIRECTORY pidfd_open pread",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGALRM SIGPIPE SIGSTOP SIGCONT SIGQUIT "
            "pthread_kill pthread_sigmask setitimer alarm",
    select: "poll epoll",
}
for module, names in MISSING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""

EVERYTHING = """
import importlib, pkgutil
del os.O_NONBLOCK, signal.SIGCHLD  # Twisted's reactor needs them here, but none is run
import backplane
for module in pkgutil.walk_packages(backplane.__path__, "backplane."):
    importlib.import_module(module.name)
"""

LIFE = """
from backplane.testing import Harness, RecordingApplication
harness = Harness(RecordingApplication(), audit=None)
assert harness.as_full().pause().ok
harness.close()
try:
    Harness(RecordingApplication(), audit={"logfile": os.path.abspath("audit.log")})
except Exception as error:
    assert "needs a Unix" in str(error), error
else:
    raise AssertionError("an audit log without locks")
"""

COMMANDS = """
from backplane.cli.main import main
for words, code in (
    ("--version", 0), ("help exec", 0), ("ddl backplane", 0),
    ("--insecure --config client.cfg app ping --expect 1", 0),
    ("--config missing.cfg app ping", 64),
    ("--config client.cfg app ping", 77),
    ("audit verify missing.log", 64),
    ("doctor --config missing.cfg", 64),
):
    found = main(words.split())
    assert found == code, (words, found)
"""

DOCTOR = """
from backplane.cli.main import main
found = main("doctor --insecure --config client.cfg --service app".split())
assert found == 0, found
"""


class NamesakeTests(TestCase):
    """Two services with one name."""

    def test_processes(self) -> None:
        """Both are reached and shown, the count says two, a warning has the name."""
        fleet = Fleet()
        self.addCleanup(fleet.close)
        services = [fleet.demo("app", "one"), fleet.demo("app", "one")]
        for service in services:
            service.wait_for("another service of this collective has the identity one too")
            self.assertIn("`identity` or `instance`", service.text())
        # A name is found with its first answer; the number makes the run wait for the second.
        paused = fleet.cli("app", "pause", "-I", "one", "--expect", "2")
        self.assertEqual(paused.code, 0, paused.err)
        self.assertIn("2 services have the identity one\n", paused.out)
        self.assertIn("Managed 2 service(s)", paused.out)
        info = fleet.cli("app", "info", "--expect", "2", "--json")
        document = info.json()
        self.assertEqual((info.code, document["namesakes"]), (0, ["one"]))
        shown = [(each["sender"], each["data"]["paused"]) for each in document["replies"]]
        self.assertEqual(shown, [("one", True), ("one", True)])


class ReadOnlyTests(TestCase):
    """Nothing can be written anywhere, and there is neither a home nor a user's name."""

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **more}

    def test_secure(self) -> None:
        """A service with mounted secrets runs, and so does the command line."""
        folder = os.path.abspath(self.mktemp())
        pki = PKI(folder)
        fleet = Fleet(pki.nats_config(pki.server("localhost")))
        self.addCleanup(fleet.close)
        service, operator = pki.client("one.example.net"), pki.client("sre.choria")
        app = fleet.write(
            "app.yaml",
            "management:\n"
            "  name: app\n  identity: one.example.net\n  loglevel: info\n"
            f"  brokers: [localhost:{fleet.server.port}]\n"
            "  auth: {full: [sre.choria]}\n"
            f"  tls: {{scheme: file, ca: {pki.ca}, cert: {service.cert}, key: {service.key}}}\n",
        )
        client = fleet.write(
            "secure.cfg",
            f"plugin.choria.middleware_hosts = localhost:{fleet.server.port}\n"
            "plugin.security.provider = file\n"
            f"plugin.security.file.ca = {pki.ca}\n"
            f"plugin.security.file.certificate = {operator.cert}\n"
            f"plugin.security.file.key = {operator.key}\n",
        )
        log = fleet.folder / "twistd.out"
        program = NOTHING_CAN_BE_WRITTEN + TWISTD
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", program, "-n", "--pidfile=", "backplane", "-c", str(app)],
                cwd="/",
                env=self.environ(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait(lambda: "ready: " in log.read_text(), "ready", log.read_text)
        done = subprocess.run(
            [
                *(sys.executable, "-c", NOTHING_CAN_BE_WRITTEN + CLI),
                *("--config", str(client), "app", "info", "--expect", "1"),
            ],
            cwd="/",
            env=self.environ(MCOLLECTIVE_CERTNAME="sre.choria"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Managed 1 service(s)", done.stdout)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)
        for word in ("Traceback", "Read-only", "Unable"):
            self.assertNotIn(word, log.read_text())

    def test_no_home(self) -> None:
        """Without a home the folder that is called ``~`` is not taken for it."""
        self.patch(os.path, "expanduser", lambda path: path)
        self.assertEqual(home_folder(), "")


class NotUnixTests(TestCase):
    """What Unix alone has is missing."""

    def run_program(self, program: str, folder: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", NOT_UNIX + program],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "USERNAME": "Bob"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-4000:])
        self.assertNotIn("Traceback", done.stderr)

    def test_everything(self) -> None:
        """Every module is imported, a service is managed; what needs Unix says so."""
        folder = self.mktemp()
        os.makedirs(folder)
        self.run_program(EVERYTHING + LIFE, folder)

    def test_commands(self) -> None:
        """The command line asks a service, and says in its own words what is missing."""
        fleet = Fleet()
        self.addCleanup(fleet.close)
        fleet.demo("app", "one")
        self.run_program(COMMANDS, str(fleet.folder))
        self.run_program(DOCTOR, str(fleet.folder))


@implementer(IHealthCheckable)
class Probed:
    """An application that an orchestrator probes by its own health."""

    def health_check(self) -> tuple[dict[str, bool], bool]:
        return {"orders": True}, True


class ProbeTests(ManagementCase):
    """The broker is away for ten minutes; the application does not care."""

    def test_ten_minutes(self) -> None:
        """Its health is its own; the connection's state is there by itself, with the error."""
        management = self.harness.manage(Probed())
        ready_since = management.state.since
        self.assertTrue(management.state.ready)
        self.harness.network.fail_dns("broker.example.net")
        self.harness.broker.drop_all()
        self.harness.advance(1)
        lost = management.state
        self.assertIs(lost.phase, Phase.CONNECTING)
        self.assertGreater(lost.since, ready_since)
        self.harness.advance(600)
        state = management.state
        self.assertFalse(state.ready)
        self.assertEqual((state.phase, state.since), (Phase.CONNECTING, lost.since))
        self.assertIn("broker.example.net", str(state.last_error))
        self.assertEqual(Probed().health_check(), ({"orders": True}, True))
        self.harness.network.fail_dns("broker.example.net", failing=False)
        self.harness.result_of(management.when_ready())
        self.assertGreater(management.state.since, lost.since + 600)
        health = self.harness.ask("health").data
        self.assertEqual((health["healthy"], health["result"]), (True, {"orders": True}))

    def test_start_and_stop(self) -> None:
        """Neither waits for a broker that is away."""
        self.harness.network.fail_dns("broker.example.net")
        management = self.harness.make()
        management.provide(RecordingApplication())
        before = self.harness.clock.seconds()
        management.startService()
        stopped = management.stopService()
        self.harness.network.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.harness.clock.seconds(), before)
