"""The systemd unit and the compose demo of the examples: what they start is started."""

from __future__ import annotations

import configparser
import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.examples.pages import ROOT
from tests.integration.fleet import PATIENCE, Fleet, Service

UNIT: Final = ROOT / "examples" / "systemd" / "shop.service"
COMPOSE: Final = ROOT / "examples" / "compose"


def started(case: TestCase, fleet: Fleet, words: list[str], **environ: str) -> Service:
    """Start what a file says; ``words`` begin with a ``twistd``, for which ours stands."""
    case.assertEqual(Path(words[0]).name, "twistd")
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        service = fleet.twistd(words[1:])
    finally:
        os.environ.clear()
        os.environ.update(before)
    service.wait_for("ready: ")
    return service


class UnitTests(TestCase):
    """``examples/systemd/shop.service``."""

    def setUp(self) -> None:
        self.unit = configparser.ConfigParser(interpolation=None, strict=False)
        self.unit.optionxform = str  # type: ignore[assignment,method-assign]
        self.unit.read(UNIT)

    def test_started(self) -> None:
        """What the unit starts becomes ready, writes no pid file, and stops when it is told to."""
        fleet = Fleet()
        self.addCleanup(fleet.close)
        config = fleet.write(
            "etc/app.yaml",
            "management:\n  name: shop\n  loglevel: info\n  auth: {insecure: true}\n"
            f"  brokers: ['127.0.0.1:{fleet.server.port}']\n",
        )
        words = shlex.split(self.unit["Service"]["ExecStart"])
        self.assertEqual(words[-1], "/etc/shop/app.yaml")
        service = started(self, fleet, [*words[:-1], str(config)])
        self.assertEqual(fleet.cli("shop", "ping", "--expect", "1").code, 0)
        self.assertEqual(list(fleet.folder.rglob("*.pid")), [])
        service.process.terminate()
        # systemd takes an end by SIGTERM for a good one.
        self.assertEqual(service.process.wait(PATIENCE), -signal.SIGTERM)

    def test_verified(self) -> None:
        """systemd understands it, where there is one to ask; everywhere it has its parts."""
        self.assertEqual(set(self.unit), {"DEFAULT", "Unit", "Service", "Install"})
        self.assertEqual(self.unit["Service"]["Restart"], "on-failure")
        analyze = shutil.which("systemd-analyze")
        if analyze is not None:
            path = Path(self.mktemp()).resolve() / "shop.service"
            path.parent.mkdir()
            path.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/sh", UNIT.read_text()))
            done = subprocess.run(
                [analyze, "verify", str(path)], capture_output=True, text=True, check=False
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class ComposeTests(TestCase):
    """``examples/compose/docker-compose.yml``."""

    def setUp(self) -> None:
        with (COMPOSE / "docker-compose.yml").open() as file:
            self.services: dict[str, Any] = yaml.safe_load(file)["services"]

    def test_services(self) -> None:
        """A broker, two services and the command line, none of which can write anywhere."""
        self.assertEqual(set(self.services), {"nats", "demo1", "demo2", "backplane"})
        for name in ("demo1", "demo2", "backplane"):
            service = self.services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            context = (COMPOSE / service["build"]["context"]).resolve()
            self.assertEqual(context / service["build"]["dockerfile"], COMPOSE / "Dockerfile")
            # Several of one service must be possible: --scale.
            self.assertEqual({"ports", "container_name", "hostname"} & set(service), set())
        self.assertEqual(self.services["backplane"]["environment"]["BROKER"], "nats:4222")

    def test_managed(self) -> None:
        """What the services start is managed; pausing one application leaves the other alone."""
        fleet = Fleet()
        self.addCleanup(fleet.close)
        fleet.write("demo/app.yaml", (COMPOSE / "app.yaml").read_text())
        fleet.write("demo/demo.py", (ROOT / "examples" / "demo" / "demo.py").read_text())
        broker = f"127.0.0.1:{fleet.server.port}"
        running = {}
        for name in ("demo1", "demo2"):
            *words, config = self.services[name]["entrypoint"]
            self.assertEqual(config, "/demo/app.yaml")
            words.append(str(fleet.folder / "demo" / "app.yaml"))
            environ = self.services[name]["environment"]
            running[name] = started(self, fleet, words, BROKER=broker, **environ)
        self.assertEqual(fleet.cli("demo2", "pause", "--expect", "1").code, 0)
        running["demo2"].wait_for("demo2: skipping work while paused")
        info = fleet.cli("demo1", "info", "--expect", "1")
        self.assertEqual(info.code, 0)
        self.assertIn("Paused: false", info.out)
        self.assertEqual(fleet.cli("demo2", "shutdown", "--expect", "1").code, 0)
        # With `restart: on-failure` it stays down.
        self.assertEqual(running["demo2"].process.wait(PATIENCE), 0)


class DockerfileTests(SynchronousTestCase):
    """``examples/compose/Dockerfile``."""

    def setUp(self) -> None:
        text = (COMPOSE / "Dockerfile").read_text().replace("\\\n", "")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.steps = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]

    def values(self, kind: str) -> list[str]:
        return [value for step, value in self.steps if step == kind]

    def test_files(self) -> None:
        """What is copied is there, and what the package needs is not left out of the context."""
        ignored = (COMPOSE / "Dockerfile.dockerignore").read_text().split()
        kept = {line[1:] for line in ignored if line.startswith("!")}
        needed = {"backplane", "twisted", "pyproject.toml", "setup.py", "README.rst", "LICENSE"}
        self.assertEqual(needed - kept, set())
        for name in kept:
            self.assertTrue((ROOT / name).exists(), name)
        for value in self.values("COPY"):
            for source in value.split()[:-1]:
                if not source.startswith(("--", "/", ".")):
                    self.assertTrue((ROOT / source).is_file(), source)
                    self.assertTrue(
                        any(fnmatch.fnmatch(source, f"{name}*") for name in kept), source
                    )

    def test_base(self) -> None:
        """The Python is one that the package is for, and nothing runs as root."""
        metadata = (ROOT / "pyproject.toml").read_text()
        for value in self.values("FROM"):
            version = re.match(r"python:(\d+\.\d+)-slim\b", value)
            assert version is not None, value
            self.assertIn(f'"Programming Language :: Python :: {version[1]}"', metadata)
        (user,) = self.values("USER")
        self.assertNotIn(user.split(":")[0], ("root", "0"))
        self.assertEqual(self.values("ENTRYPOINT"), ['["backplane"]'])
