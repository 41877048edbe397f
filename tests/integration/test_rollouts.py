"""Changes in batches, plans and confirmations, on services that are processes."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import tempfile
from functools import cache
from typing import Any, Final

from twisted.trial.unittest import TestCase

from backplane.testing.pki import PKI
from tests.integration.fleet import ROOT, Fleet, Ran, Service, environment, run_cli, wait

SRE: Final = "sre.choria"
NAMES: Final = tuple(f"app{number}.example.net" for number in range(1, 6))

MOODY: Final = '''"""The demo, which is ill after it was resumed where its file says so."""
from demo import App, make as make_demo

class Moody(App):
    def resume(self):
        super().resume()
        self.configured = not self.config.get("moody")

    def pause(self):
        super().pause()
        self.configured = True

def make(config, management):
    make_demo(config, management)
    return Moody(config, management)
'''


@cache
def authority() -> PKI:
    return PKI(tempfile.mkdtemp(prefix="backplane-test-"), reuse_keys=True)


class RolloutCase(TestCase):
    """Five services, the third of which is moody."""

    secure = False

    def setUp(self) -> None:
        config = authority().nats_config(authority().server("localhost")) if self.secure else ""
        self.fleet = Fleet(config)
        self.addCleanup(self.fleet.close)
        self.services = {name: self.service(name) for name in NAMES}

    def service(self, identity: str) -> Service:
        management: dict[str, Any] = {
            "name": "app",
            "identity": identity,
            "loglevel": "info",
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "auth": {"full": [SRE]} if self.secure else {"insecure": True},
        }
        if self.secure:
            management["tls"] = {"scheme": "file", **self.files(identity)}
        self.fleet.write(f"{identity}/moody.py", MOODY)
        return self.fleet.demo(
            "app",
            identity,
            app="moody:make",
            moody=identity == NAMES[2],
            management=management,
        )

    def files(self, name: str) -> dict[str, str]:
        issued = authority().client(name)
        return {"ca": issued.ca, "cert": issued.cert, "key": issued.key}

    def words(self, *args: str) -> list[str]:
        """Return the arguments of a command of this network."""
        lines = [f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}"]
        if self.secure:
            files = self.files(SRE)
            lines += [
                "plugin.security.provider = file",
                f"plugin.security.file.ca = {files['ca']}",
                f"plugin.security.file.certificate = {files['cert']}",
                f"plugin.security.file.key = {files['key']}",
            ]
        config = self.fleet.write("sre.cfg", "\n".join(lines) + "\n")
        mode = () if self.secure else ("--insecure",)
        return [*mode, "--config", str(config), "app", *args]

    def cli(self, *args: str) -> Ran:
        return run_cli(*self.words(*args), MCOLLECTIVE_CERTNAME=SRE, **self.fleet.state)

    def paused(self) -> dict[str, bool]:
        ran = self.cli("info", "--expect", str(len(self.services)), "--json")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        return {each["sender"]: each["data"]["paused"] for each in ran.json()["replies"]}


class RolloutTests(RolloutCase):
    """In the insecure mode."""

    def test_gate(self) -> None:
        """The third is unhealthy once resumed: three are as before, two were not touched."""
        self.assertEqual(self.cli("pause", "--expect", "5").code, 0)
        flags = ("--batch", "1", "--gate", "health", "--gate-timeout", "3", "--on-failure", "undo")
        ran = self.cli("resume", *flags, "--expect", "5")
        self.assertEqual(ran.code, 2, ran.out + ran.err)
        self.assertIn("Taken back on 3 of 3 service(s)\n", ran.out)
        self.assertIn(f"Not touched: 2\n  {NAMES[3]}\n  {NAMES[4]}\n", ran.out)
        self.assertIn(f"the gate: {NAMES[2]} is not healthy", ran.err)
        self.assertEqual(self.paused(), dict.fromkeys(NAMES, True))
        for name in NAMES[3:]:
            self.assertNotIn("resume", self.services[name].text())
        # Without the third it goes through, as a document.
        ran = self.cli("resume", *flags, "-I", NAMES[0], "-I", NAMES[1], "-I", NAMES[3], "--json")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertEqual(ran.json()["rollout"]["batches"], [[NAMES[0]], [NAMES[1]], [NAMES[3]]])

    def test_frozen(self) -> None:
        """One that is frozen does not eat the time; when that is over, all is taken back."""
        self.assertEqual(self.cli("ping", "--expect", "5").code, 0)
        frozen = self.services[NAMES[1]].process
        frozen.send_signal(signal.SIGSTOP)
        self.addCleanup(frozen.send_signal, signal.SIGCONT)
        flags = ("--nodes", str(self.fleet.write("all", "\n".join(NAMES))), "--on-failure", "undo")
        # It does not answer discovery either: it is missing, and the others are done.
        ran = self.cli("pause", "--batch", "1", *flags, "--json")
        self.assertEqual(ran.code, 4, ran.out + ran.err)
        self.assertEqual(len(ran.json()["rollout"]["batches"]), 4)
        self.assertEqual(self.cli("resume", *flags).code, 4)
        # The time is not enough for the sleep between batches.
        ran = self.cli("pause", "--batch", "2", "--sleep", "60", "--timeout", "6", *flags, "--json")
        self.assertEqual(ran.code, 4, ran.out + ran.err)
        steps = ran.json()["rollout"]
        self.assertEqual(steps["stopped"], "6 s were over")
        self.assertEqual(steps["undone"]["ok"], [NAMES[0], NAMES[2]])
        self.assertEqual(steps["untouched"], [NAMES[3], NAMES[4]])
        frozen.send_signal(signal.SIGCONT)
        self.assertEqual(self.paused(), dict.fromkeys(NAMES, False))

    def test_plan(self) -> None:
        """A sixth instance: nothing is sent; without it the plan is applied."""
        path = str(self.fleet.folder / "plan.json")
        ran = self.cli("pause", "--plan", path, "--expect", "5")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertIn("5 would change; nothing was sent", ran.out)
        sixth = self.services["app6.example.net"] = self.service("app6.example.net")
        ran = self.cli("pause", "--apply", path)
        self.assertEqual(ran.code, 5, ran.out + ran.err)
        self.assertIn("not as planned: app6.example.net: new since the plan\n", ran.err)
        self.assertIn("nothing was sent", ran.err)
        for service in self.services.values():
            self.assertNotIn("pause", service.text())
        sixth.process.terminate()
        sixth.process.wait(30)
        del self.services["app6.example.net"]
        ran = self.cli("pause", "--apply", path, "--batch", "40%")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertIn("Batch 3 of 3", ran.err)
        self.assertEqual(self.paused(), dict.fromkeys(NAMES, True))
        # It is used once: they are paused now.
        ran = self.cli("pause", "--apply", path)
        self.assertEqual(ran.code, 5)
        self.assertIn(f"{NAMES[0]}: app is paused, was running", ran.err)

    def test_shutdown(self) -> None:
        """With standard input closed, a shutdown of everybody needs ``--yes``."""
        for closed in (True, False):
            ran = self.closed("shutdown", "--expect", "5", closed=closed)
            self.assertEqual(ran.code, 5, ran.out + ran.err)
            self.assertIn("needs --yes", ran.err)
        for service in self.services.values():
            self.assertNotIn("shutdown", service.text().lower())
        self.assertEqual(self.closed("shutdown", "-I", NAMES[0]).code, 0)
        self.assertEqual(self.services.pop(NAMES[0]).process.wait(30), 0)
        self.assertEqual(self.closed("pause").code, 0)
        self.assertEqual(self.closed("shutdown", "--yes").code, 0)
        for service in self.services.values():
            self.assertEqual(service.process.wait(30), 0)

    def closed(self, *args: str, closed: bool = True) -> Ran:
        """Run a command without standard input: closed, or one that is at its end."""
        words = [sys.executable, "-m", "backplane.cli.main", *self.words(*args)]
        shell = ["sh", "-c", 'exec "$@" <&-', "sh", *words] if closed else words
        done = subprocess.run(
            shell,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environ(),
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def test_interrupt(self) -> None:
        """An interrupt between batches: 130, and who was done and who was not."""
        words = [sys.executable, "-m", "backplane.cli.main"]
        words += self.words("pause", "--batch", "2", "--sleep", "60", "--expect", "5")
        said = self.fleet.write("stderr", "")
        with said.open("wb") as errors:
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=errors, env=self.environ(), cwd=ROOT
            )
        try:
            wait(lambda: "Next batch in 60 s" in said.read_text(), "the end of a batch")
            process.send_signal(signal.SIGINT)
            out = process.communicate(timeout=30)[0].decode()
        finally:
            process.kill()
        self.assertEqual(process.returncode, 130, out + said.read_text())
        self.assertIn(f"Done: 2\n  {NAMES[0]}\n  {NAMES[1]}\n", out)
        self.assertIn(f"Not touched: 3\n  {NAMES[2]}\n  {NAMES[3]}\n  {NAMES[4]}\n", out)

    def test_terminal(self) -> None:
        """On a terminal a change of everybody asks; no, yes, and an interrupt instead."""
        self.assertEqual(self.typed(b"n\n"), 5)
        self.assertEqual(set(self.paused().values()), {False})
        self.assertEqual(self.typed(None), 130)
        self.assertEqual(set(self.paused().values()), {False})
        self.assertEqual(self.typed(b"y\n"), 0)
        self.assertEqual(set(self.paused().values()), {True})

    def typed(self, answer: bytes | None) -> int:
        """Type an answer to a pause of everybody, or interrupt; return the exit code."""
        words = [sys.executable, "-m", "backplane.cli.main", *self.words("pause", "--expect", "5")]
        ours, theirs = pty.openpty()
        environ = {**self.environ(), "TERM": "xterm"}
        process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=ROOT
        )
        os.close(theirs)
        shown = b""
        try:
            while b"pause all 5 service(s) of app? [y/N] " not in shown:
                shown += os.read(ours, 4096)
            if answer is None:
                process.send_signal(signal.SIGINT)
            else:
                os.write(ours, answer)
            with contextlib.suppress(OSError):  # it is closed at the other end
                while os.read(ours, 4096):
                    pass
            return process.wait(30)
        finally:
            process.kill()
            os.close(ours)

    def environ(self) -> dict[str, str]:
        return {**environment(), **self.fleet.state, "MCOLLECTIVE_CERTNAME": SRE}


class SecureRolloutTests(RolloutTests):
    """With TLS, and requests that are signed."""

    secure = True
