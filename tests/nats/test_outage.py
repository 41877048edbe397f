"""What a log says of a broker that is away: little, and everything that is news."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.outage import MAX_CAUSES, OutageLog
from tests.nats.bench import ClientCase


class OutageTests(SynchronousTestCase):
    """The lines of one connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log_events: list[LogEvent] = []
        self.log = Logger("test", observer=self.log_events.append)  # type: ignore[arg-type]
        self.outage = OutageLog(self.log, self.clock.seconds)

    def lines(self) -> list[str]:
        """Return the lines above debug, with their level, and forget them."""
        found = [
            f"{event['log_level'].name}: {formatEvent(event)}"
            for event in self.log_events
            if event["log_level"] > LogLevel.debug
        ]
        self.log_events.clear()
        return found

    def test_quiet_start(self) -> None:
        """A connection that is made at once is one line."""
        self.outage.connected("nats://a:1")
        self.assertEqual(self.lines(), ["info: connected to nats://a:1"])

    def test_absent_at_start(self) -> None:
        """The cause once, and the end with duration and count."""
        for _ in range(3):
            self.outage.failed("a:1", "refused")
            self.clock.advance(1)
        self.assertEqual(self.lines(), ["warn: cannot connect to a:1: refused; trying for ever"])
        self.outage.connected("nats://a:1")
        self.assertEqual(self.lines(), ["warn: connected to nats://a:1 after 3 s, 3 failed tries"])

    def test_once(self) -> None:
        """A client that walks through its servers once does not promise more."""
        OutageLog(self.log, self.clock.seconds, retry=False).failed("a:1", "refused")
        self.assertEqual(self.lines(), ["warn: cannot connect to a:1: refused"])

    def test_lost(self) -> None:
        """The loss with its reason, each new cause of each server once."""
        self.outage.connected("nats://a:1")
        self.lines()
        self.outage.lost("nats://a:1", "closed")
        for reason in ("refused", "refused", "no route", "refused"):
            for server in ("a:1", "b:1"):
                self.outage.failed(server, reason)
        self.assertEqual(
            self.lines(),
            [
                "warn: connection to nats://a:1 lost: closed; reconnecting",
                "warn: cannot connect to a:1: refused",
                "warn: cannot connect to b:1: refused",
                "warn: cannot connect to a:1: no route",
                "warn: cannot connect to b:1: no route",
            ],
        )

    def test_reminders(self) -> None:
        """After a minute, ten, an hour, and then every hour."""
        when = []
        for second in range(0, 4 * 3600 + 10, 5):
            self.outage.failed("a:1", "refused")
            if any("not connected for" in line for line in self.lines()):
                when.append(second)
            self.clock.advance(5)
        self.assertEqual(when, [60, 600, 3600, 7200, 10800, 14400])

    def test_reminder_words(self) -> None:
        """A reminder says how long, how often, and the last cause."""
        for seconds, words in ((60, "60 s"), (540, "10 min"), (6600, "2.0 h")):
            self.outage.failed("a:1", "refused")
            self.lines()
            self.clock.advance(seconds)
            self.outage.failed("a:1", "no route")
            (line,) = [line for line in self.lines() if "not connected" in line]
            self.assertIn(f"not connected for {words}, ", line)
            self.assertTrue(line.endswith("tries; last: a:1: no route"), line)

    def test_many_causes(self) -> None:
        """A cause that is new each time does not fill the log; a new outage has its own."""
        for number in range(100):
            self.outage.failed("a:1", f"port {number}")
        self.assertEqual(len(self.lines()), MAX_CAUSES)
        self.outage.connected("nats://a:1")
        self.outage.lost("nats://a:1", "closed")
        self.lines()
        self.outage.failed("a:1", "port 0")
        self.assertEqual(self.lines(), ["warn: cannot connect to a:1: port 0"])

    def test_every_try_in_debug(self) -> None:
        """The debug log has them all."""
        for _ in range(5):
            self.outage.failed("a:1", "refused")
        debug = [e for e in self.log_events if e["log_level"] is LogLevel.debug]
        self.assertEqual(len(debug), 5)


class ClientOutageTests(ClientCase):
    """R16: the same with a whole client."""

    def test_an_hour(self) -> None:
        """Six lines for an hour without a broker, from the loss to the return."""
        self.start()
        self.log_events.clear()
        self.absent()
        self.advance(3700, 1)
        self.present()
        self.advance(21, 1)
        lines = self.lines()
        self.assertEqual(len(lines), 6, lines)
        self.assertIn("lost: closed by the server", lines[0])
        self.assertIn("cannot connect to a:4222: Connection was refused", lines[1])
        self.assertTrue(all("not connected for" in line for line in lines[2:5]), lines)
        self.assertIn("connected to nats://a:4222 after 62 min", lines[5])
