"""A broker, services and the command line as separate processes, as users run them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

from backplane.testing.natsserver import NatsServer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds after which something that should have happened counts as failed."""


@attrs.frozen
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@attrs.define
class Service:
    """One ``twistd backplane``."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        wait(lambda: words in self.text(), f"{words!r} in the log:\n", self.text)


def wait(condition: Any, what: str, more: Any = lambda: "") -> None:
    """Wait until ``condition()``; fail after :data:`PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never came: {what}{more()}")
        time.sleep(0.05)


class Fleet:
    """Everything that one test starts; :meth:`close` ends it."""

    def __init__(self, config: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="backplane-test-"))
        self.server = NatsServer(config=config)
        self.server.start()
        self.server.wait_ready()
        self.services: list[Service] = []
        self._memory = tempfile.mkdtemp(prefix="backplane-test-")
        self.state = {"XDG_STATE_HOME": self._memory}
        self.client_cfg = self.folder / "client.cfg"
        self.client_cfg.write_text(
            f"loglevel = warning\nplugin.choria.middleware_hosts = 127.0.0.1:{self.server.port}\n"
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def demo(self, name: str, identity: str, **fields: Any) -> Service:
        """Start the demo application; wait until it is ready."""
        source = ROOT / "examples" / "demo" / "demo.py"
        folder = self.folder / identity
        folder.mkdir(exist_ok=True)
        shutil.copy(source, folder / "demo.py")
        document = {
            "app": "demo:make",
            "interval": 1,
            "management": {
                "name": name,
                "identity": identity,
                "loglevel": "info",
                "auth": {"insecure": True},
                "brokers": [f"127.0.0.1:{self.server.port}"],
            },
        }
        document.update(fields)
        config = folder / "app.yaml"
        config.write_text(json.dumps(document))
        service = self.twistd(["-n", "--pidfile=", "backplane", "-c", str(config)], folder)
        service.wait_for("ready:")
        return service

    def twistd(self, args: list[str], folder: Path | None = None) -> Service:
        """Start ``twistd`` with these arguments."""
        log = self.folder / f"service{len(self.services)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_twistd(), *args],
                cwd=folder or self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        service = Service(process, log)
        self.services.append(service)
        return service

    def cli(self, *args: str, **environ: str) -> Ran:
        """Run the command line with ``--insecure`` and the configuration of this broker."""
        given = {**self.state, **environ}
        return run_cli("--insecure", "--config", str(self.client_cfg), *args, **given)

    def close(self) -> None:
        for service in self.services:
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGCONT)
                service.process.terminate()
        for service in self.services:
            try:
                service.process.wait(15)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
        self.server.stop()
        for folder in (self.folder, self._memory):
            shutil.rmtree(folder, ignore_errors=True)


def run_cli(*args: str, **environ: str) -> Ran:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "backplane.cli.main", *args],
        capture_output=True,
        env={**environment(), **environ},
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def _twistd() -> list[str]:
    # Background jobs of a shell ignore SIGINT, and so would what they start.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    )
    return [sys.executable, "-c", code]


def environment() -> dict[str, str]:
    environ = {**os.environ, "USER": "tester", "PYTHONPATH": str(ROOT)}
    environ.pop("NO_COLOR", None)
    return environ
