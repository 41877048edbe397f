"""The web site of the examples, with a real broker and a real browser's questions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Final

from twisted.trial.unittest import TestCase

from tests.examples.pages import ROOT
from tests.integration.fleet import Fleet, Service, wait

SITE: Final = ROOT / "examples" / "site" / "web.py"


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SiteTests(TestCase):
    """An embedded management, and the site that it manages."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.port = free_port()
        self.service = self.start()

    def start(self) -> Service:
        """Start the site; the fleet ends it."""
        log = self.fleet.folder / "site.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(SITE)],
                cwd=self.fleet.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "BROKER": f"127.0.0.1:{self.fleet.server.port}",
                    "LISTEN": f"tcp:{self.port}:interface=127.0.0.1",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        service = Service(process, log)
        self.fleet.services.append(service)
        return service

    def status(self) -> int:
        """Return how the site answers; 0 while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def test_paused(self) -> None:
        """The site answers 200, paused 503, resumed 200; it ends when it is told to."""
        wait(lambda: self.status() == 200, "an open site", self.service.text)
        ran = self.fleet.cli("site", "pause", "--expect", "1")
        self.assertEqual((ran.code, self.status()), (0, 503), ran.err)
        ran = self.fleet.cli("site", "resume", "--expect", "1")
        self.assertEqual((ran.code, self.status()), (0, 200), ran.err)
        self.service.process.terminate()
        self.service.process.wait(30)
        self.assertEqual(self.service.text(), "")
        self.assertEqual(self.fleet.cli("site", "ping", "--no-roster").code, 1)

    def test_short(self) -> None:
        """It fits on a page: less than 40 lines that are not blank."""
        lines = [line for line in SITE.read_text(encoding="utf-8").splitlines() if line]
        self.assertLess(len(lines), 40)
