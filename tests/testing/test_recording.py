"""The application that writes down how it is called."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.interfaces import LogLevel
from backplane.testing import Harness, RecordingApplication


class RecordingTests(SynchronousTestCase):
    """What it writes down, and that it does as an application does."""

    def setUp(self) -> None:
        self.app = RecordingApplication(breakers=("payments", "search"))

    def test_breakers(self) -> None:
        """Each is one of its own, and its calls have its name."""
        payments = self.app.breakers()["payments"]
        payments.pause()
        payments.flip()
        payments.flip()
        states = (payments.paused(), self.app.breakers()["search"].paused(), self.app.paused())
        self.assertEqual(states, (True, False, False))
        payments.resume()
        self.assertFalse(payments.paused())
        self.assertEqual(
            [call for call in self.app.calls if "." in call],
            [
                *("payments.pause", "payments.flip", "payments.flip", "payments.paused"),
                *("search.paused", "payments.resume", "payments.paused"),
            ],
        )

    def test_raises(self) -> None:
        """A breaker may fail, and is as before."""
        self.app.raises["payments.pause"] = OSError("no")
        payments = self.app.breakers()["payments"]
        self.assertRaises(OSError, payments.pause)
        self.assertFalse(payments.paused())

    def test_drain(self) -> None:
        """It is paused, and its work under way is what the test says."""
        self.app.working = 3
        self.app.drain()
        self.assertEqual((self.app.paused(), self.app.in_flight()), (True, 3))
        self.assertEqual(self.app.calls, ["drain", "paused", "in_flight"])

    def test_levels(self) -> None:
        """The levels of the program come back."""
        self.app.level = LogLevel.WARN
        self.app.logger_levels = {"sqlalchemy": None, "app": LogLevel.CRITICAL}
        before = self.app.loggers()
        self.app.set_log_level(LogLevel.DEBUG)
        self.app.set_log_level(LogLevel.INFO)
        self.app.set_logger_level("app", LogLevel.DEBUG)
        self.app.set_logger_level("app", LogLevel.INFO)
        self.assertEqual(
            self.app.loggers(),
            {"sqlalchemy": (None, LogLevel.INFO), "app": (LogLevel.INFO, LogLevel.INFO)},
        )
        self.app.restore_log_level()
        self.app.restore_log_level()
        self.app.set_logger_level("app", None)
        self.app.set_logger_level("never", None)
        self.assertEqual(self.app.loggers(), before)

    def test_managed(self) -> None:
        """The harness takes all of it."""
        harness = Harness(self.app)
        self.addCleanup(harness.close)
        self.assertEqual(harness.ask("pause").data, {"paused": True})
        self.assertIn("pause", self.app.calls)
