"""Two hundred services, and not one is missed."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from backplane import Management
from backplane.testing.application import RecordingApplication
from backplane.testing.natsserver import NatsServer
from tests.integration.fleet import ROOT

COUNT = 200
RUNS = 10


class ScaleTests(TestCase):
    """Services in separate connections, managed by the command line."""

    timeout = 300

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)
        self.applications = []
        managements = []
        for number in range(COUNT):
            app = RecordingApplication({"number": number}, "1.0")
            management = Management(
                {
                    "name": "many",
                    "identity": f"many{number}",
                    "loglevel": "critical",
                    "auth": {"insecure": True},
                    "brokers": [f"127.0.0.1:{self.server.port}"],
                },
                info_source=app,
                pausable=app,
            )
            management.startService()
            self.addCleanup(management.stopService)
            self.applications.append(app)
            managements.append(management)
        yield gatherResults([each.when_ready() for each in managements])
        self.config = self.mktemp()
        with open(self.config, "w") as stream:
            stream.write(f"plugin.choria.middleware_hosts = 127.0.0.1:{self.server.port}\n")

    @inlineCallbacks
    def test_pause_all(self) -> Generator[Any, Any, None]:
        """One command finds and pauses them all, ten times in a row."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = ["-m", "backplane.cli.main", "--insecure", "--config", self.config]
        for run in range(RUNS):
            out, err, code = yield getProcessOutputAndValue(
                sys.executable, [*command, "many", "pause"], environ
            )
            told = f"run {run}: {out.decode()}{err.decode()}"
            self.assertEqual(code, 0, told)
            self.assertIn(f"Managed {COUNT} service(s)", out.decode(), told)
            self.assertEqual([app.paused() for app in self.applications], [True] * COUNT, told)
            for app in self.applications:
                app.resume()
