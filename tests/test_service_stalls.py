"""A management that watches its reactor, and one that does not."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.reactors.background import BackgroundReactor
from backplane.service import Management
from backplane.stalls import stalls_of
from backplane.testing import Harness, RecordingApplication


class WatchTests(SynchronousTestCase):
    """On a reactor in a thread, without a broker."""

    def setUp(self) -> None:
        self.background = BackgroundReactor("watched")
        self.background.start()
        self.addCleanup(self.background.stop)

    def management(self, **given: Any) -> Management:
        config = {
            "name": "app",
            "identity": "host1.example.net",
            "brokers": ["127.0.0.1:1"],
            "auth": {"insecure": True},
            "loglevel": "critical",
            **given,
        }
        return Management(config, reactor=self.background.reactor)

    def watching(self) -> bool:
        return bool(self.background.call(stalls_of, self.background.reactor)["watching"])

    def test_switched(self) -> None:
        """Only where it is switched on, from the start to the end."""
        for given, watched in (({}, False), ({"stall_watch": False}, False), (ON, True)):
            management = self.management(**given)
            self.assertFalse(self.watching())
            self.background.call(management.startService)
            self.assertIs(self.watching(), watched)
            self.background.call(management.stopService)
            self.assertFalse(self.watching())
            names = [thread.name for thread in threading.enumerate()]
            self.assertNotIn("backplane-stalls", names)

    def test_failed_start(self) -> None:
        """A start that fails leaves no watch."""
        first, second = self.management(**ON), self.management(**ON)
        self.background.call(first.startService)
        self.assertRaises(Exception, self.background.call, second.startService)
        self.assertTrue(self.watching())
        self.background.call(lambda: maybeDeferred(first.stopService))
        self.assertFalse(self.watching())

    def test_clock(self) -> None:
        """A clock, as in an application's own tests, has no thread to be looked at."""
        harness = Harness()
        self.addCleanup(harness.close)
        harness.manage(RecordingApplication(), **ON)
        self.assertEqual(harness.ask("stalls").data, {"stalls": [], "watching": False})


ON: dict[str, Any] = {"stall_watch": True}
