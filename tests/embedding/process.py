"""Programs in processes of their own, whose every thread, socket and module counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.testing import PKI, NatsServer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds after which a program that hangs has failed."""

BEGIN = """\
import asyncio, gc, logging, os, sys, threading, time
from backplane import DataItem, aio
from backplane.errors import StateError
from backplane.forks import ForkedError
from backplane.testing import RecordingApplication
from backplane.threaded import start_in_thread

def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0

def nothing_left(management):
    reactor = management._management._reactor
    assert reactor.getDelayedCalls() == [], reactor.getDelayedCalls()
    assert reactor.getReaders() == reactor.getWriters() == [], reactor.getReaders()

def no_reactor():
    assert "twisted.internet.reactor" not in sys.modules, "the global reactor was imported"
"""


class ProgramCase(SynchronousTestCase):
    """A broker, plain or with TLS, and programs that use it."""

    maxDiff = None

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.wait_ready()
        self.config: dict[str, Any] = {
            "name": "app",
            "identity": "host1.example.net",
            "brokers": [f"127.0.0.1:{self.server.port}"],
            "auth": {"insecure": True},
        }

    def secure(self) -> None:
        """Let the broker want certificates, and the service have one."""
        pki = PKI(self.folder / "pki", reuse_keys=True)
        self.server.config = pki.nats_config(pki.server("127.0.0.1"))
        self.server.restart()
        self.server.wait_ready()
        issued = pki.client("host1.example.net")
        self.config["auth"] = {"full": ["sre.choria"]}
        self.config["tls"] = {
            "scheme": "file",
            "ca": pki.ca,
            "cert": issued.cert,
            "key": issued.key,
        }

    def run_program(self, text: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a program that has ``config``; return how it ended."""
        path = self.folder / "program.py"
        source = BEGIN + f"config = {self.config!r}\n" + textwrap.dedent(text)
        path.write_text(source)
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", str(path), *args],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def succeed(self, text: str) -> str:
        """Run a program that must end well and say nothing on standard error; return its output."""
        done = self.run_program(text)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout


class QuietCase(ProgramCase):
    """Programs that log nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.config["loglevel"] = "critical"

    def silent_broker(self) -> None:
        """Let the broker be one that takes connections and says nothing."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        self.config["brokers"] = [f"127.0.0.1:{silent.getsockname()[1]}"]
