"""``twistd -n backplane``, as supervisors and containers run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from tests.integration.fleet import PATIENCE, ROOT, wait
from tests.integration.twistd import TWISTD, Listener, TwistdCase


class ForegroundTests(TwistdCase):
    """twistd with ``-n``, as supervisors and containers run it."""

    def start(self, *options: str, number: int = 0) -> Any:
        """Start one in the foreground; wait until it is ready."""
        path = str(self.folder / "app.yaml")
        service = self.fleet.twistd(
            ["-n", f"--pidfile={self.pidfile}{number or ''}", *options, "backplane", "-c", path],
            self.folder,
        )
        service.wait_for("ready: ")
        return service

    def test_signals(self) -> None:
        """SIGTERM and SIGINT: an orderly stop, and then the end that the signal asked for."""
        self.config()
        for number in (signal.SIGTERM, signal.SIGINT):
            listener = Listener(self.fleet.server.port)
            self.addCleanup(listener.close)
            service = self.start()
            service.process.send_signal(number)
            listener.wait_for("choria.lifecycle.event.shutdown.backplane")
            listener.wait_for("acme.iot")
            self.assertEqual(service.process.wait(PATIENCE), -number)
            self.assertIn("stopped", service.text())
            self.assertNotIn("Traceback", service.text())
            self.assertFalse(self.pidfile.exists())

    def test_killed(self) -> None:
        """After SIGKILL the pid file is stale, which does not keep the next one from starting."""
        self.config()
        service = self.start()
        service.process.kill()
        service.process.wait(PATIENCE)
        self.assertEqual(self.pidfile.read_text(), str(service.process.pid))
        service = self.start()
        self.assertEqual(self.pidfile.read_text(), str(service.process.pid))

    def test_same_number(self) -> None:
        """A stale pid file that names the new process itself does not keep it from starting."""
        self.config()
        path = str(self.folder / "app.yaml")
        # The shell becomes twistd, with the number that it wrote down.
        program = [sys.executable, "-c", TWISTD, "-n", f"--pidfile={self.pidfile}"]
        log = self.rundir / "twistd.out"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    f'echo $$ > {self.pidfile}; exec "$@"',
                    "sh",
                    *program,
                    "backplane",
                    "-c",
                    path,
                ],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait(lambda: "ready: " in log.read_text(), "ready in the log:\n", log.read_text)
            self.assertEqual(self.pidfile.read_text(), str(process.pid))
            process.terminate()
            self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)
        finally:
            process.kill()
            process.wait()

    def test_shutdown(self) -> None:
        """A shutdown that was asked for is no failure."""
        self.config(max_stop_delay=1)
        service = self.start()
        self.assertEqual(self.fleet.cli("app", "shutdown", "--expect", "1").code, 0)
        self.assertEqual(service.process.wait(PATIENCE), 0)
        self.assertEqual(service.text().count("stopped"), 1)
        self.assertFalse(self.pidfile.exists())

    def test_without_a_broker(self) -> None:
        """A broker that is away is no error: start and stop do not wait for it."""
        self.config(brokers=["127.0.0.1:9"])
        path = str(self.folder / "app.yaml")
        service = self.fleet.twistd(["-n", "--pidfile=", "backplane", "-c", path], self.folder)
        service.wait_for("cannot connect to 127.0.0.1:9")
        self.assertIn("started by", service.text())
        service.process.terminate()
        self.assertEqual(service.process.wait(PATIENCE), -signal.SIGTERM)
        self.assertIn("stopped", service.text())

    def test_instances(self) -> None:
        """Two from one configuration are two, by ``${PID}``; each can be asked by its name."""
        self.config(identity="app", instance="${PID}")
        services = [self.start(number=1), self.start(number=2)]
        pids = {service.process.pid for service in services}
        info = self.fleet.cli("app", "info", "--expect", "2", "--json")
        self.assertEqual(info.code, 0, info.err)
        senders = {reply["sender"]: reply["data"] for reply in info.json()["replies"]}
        self.assertEqual(set(senders), {f"app-{pid}" for pid in pids})
        for sender, data in senders.items():
            self.assertEqual(sender, f"app-{data['facts']['pid']}")
        one = services[0].process.pid
        paused = self.fleet.cli("app", "pause", "-I", f"app-{one}", "--json")
        self.assertEqual([x["sender"] for x in paused.json()["replies"]], [f"app-{one}"])
        for service in services:
            self.assertNotIn("has the identity", service.text())

    def test_asyncio_reactor(self) -> None:
        """Another reactor may be asked for: nothing of ours installs one."""
        self.config()
        service = self.start("--reactor=asyncio")
        self.assertEqual(self.fleet.cli("app", "ping", "--expect", "1").code, 0)
        service.process.terminate()
        self.assertEqual(service.process.wait(PATIENCE), -signal.SIGTERM)
        self.assertNotIn("Traceback", service.text())

    def test_twist(self) -> None:
        """``python -m twisted``, the other runner, runs it too."""
        self.config()
        log = self.rundir / "twist.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "twisted", "backplane", "-c", "app.yaml"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait(lambda: "ready: " in log.read_text(), "ready in the log:\n", log.read_text)
            process.terminate()
            self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)
        finally:
            process.kill()
            process.wait()
        self.assertIn("stopped", log.read_text())

    def test_writes_nothing_else(self) -> None:
        """Without pid file and log file nothing is written at all."""
        self.config()
        before = sorted(self.fleet.folder.rglob("*"))
        path = str(self.folder / "app.yaml")
        program = [sys.executable, "-B", "-c", TWISTD, "-n", "--pidfile=", "backplane", "-c", path]
        process = subprocess.Popen(
            program,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            wait(lambda: self.fleet.cli("app", "ping", "--expect", "1").code == 0, "an answer")
            process.terminate()
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        self.assertIn(b"stopped", said)
        self.assertEqual(sorted(self.fleet.folder.rglob("*")), before)

    def test_failures(self) -> None:
        """What fails in the foreground is one message on standard error, and exit 1."""
        for factory, words in (
            ("broken", "myapp:broken failed: ValueError: the table is missing"),
            ("stuck", "OSError: Address already in use (myapp.py:"),
            ("nowhere", "the module myapp has no nowhere"),
            ("log", "log is not callable"),
        ):
            self.config(factory)
            ran = self.twistd("-n", f"--pidfile={self.pidfile}", "backplane")
            self.assertEqual(ran.code, 1, ran.out)
            (line,) = ran.err.splitlines()
            self.assertTrue(line.startswith("backplane: error: "), line)
            self.assertIn(words, line)
            self.assertFalse(self.pidfile.exists())

    def test_help(self) -> None:
        """Help needs no configuration, and twistd knows us."""
        ran = self.twistd("backplane", "--help")
        self.assertEqual(ran.code, 0, ran.err)
        self.assertIn("--config=", ran.out)
        self.assertIn("backplane", self.twistd("--help").out)
        self.assertEqual(os.listdir(self.rundir), [])
