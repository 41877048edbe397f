"""What ``info`` says of the health, and how long it waits for the application."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.client.accounting import Outcome
from backplane.client.run import Job
from backplane.testing import Harness, RecordingApplication


class InfoPatienceTests(SynchronousTestCase):
    """``info`` waits one second for the health check and for nothing else."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})
        self.waiting: list[Deferred[Any]] = []
        self.harness.manage(self.app)

    def hang(self, *methods: str) -> None:
        """Let these methods return Deferreds that nobody fires."""

        def slow(*args: object) -> Deferred[Any]:
            self.waiting.append(Deferred())
            return self.waiting[-1]

        for method in methods:
            self.patch(self.app, method, slow)

    def info(self) -> tuple[dict[str, Any], float]:
        """Return what ``info`` answers and how many seconds that took."""
        outcome = self.harness.request("info")
        (answer,) = outcome.answers
        self.assertEqual(answer.reply.status, 0, answer.reply)
        return dict(answer.reply.data), answer.seconds

    def health(self) -> tuple[bool, str, float | None]:
        info, _ = self.info()
        return info["healthy"], info["health_state"], info["health_age"]

    def begin(self, action: str) -> Deferred[Outcome]:
        job = Job(service="app", collective="app_backplane", action=action)
        return self.harness.operator().request(job)

    def test_states(self) -> None:
        """``ok`` and ``failed`` are of this very moment."""
        self.assertEqual(self.health(), (True, "ok", 0.0))
        self.app.health = ({}, False)
        self.assertEqual(self.health(), (False, "failed", 0.0))

    def test_hung_check(self) -> None:
        """A check that does not return costs a second; the last result counts for a minute."""
        self.assertEqual(self.health(), (True, "ok", 0.0))
        checked = self.harness.clock.seconds()
        self.hang("health_check")
        info, seconds = self.info()
        self.assertTrue(0.7 < seconds < 1.0, seconds)
        self.assertEqual((info["healthy"], info["health_state"]), (True, "stale"))
        passed = self.harness.clock.seconds() - checked
        self.assertTrue(passed - 0.5 < info["health_age"] <= passed)
        while self.harness.clock.seconds() < checked + 56:
            self.harness.advance(1)
        self.assertEqual(self.health()[:2], (True, "stale"))
        self.harness.advance(5)
        healthy, state, since = self.health()
        self.assertEqual((healthy, state), (False, "unknown"))
        assert since is not None
        self.assertGreater(since, 60)

    def test_never_checked(self) -> None:
        """Without any result so far it is unknown, and has no age."""
        self.hang("health_check")
        self.assertEqual(self.health(), (False, "unknown", None))

    def test_failed_then_hung(self) -> None:
        """The last result may be a failure: a good one before that does not come back."""
        self.assertEqual(self.health(), (True, "ok", 0.0))
        self.app.raises["health_check"] = RuntimeError("no")
        self.assertEqual(self.health()[:2], (False, "failed"))
        self.flushLoggedErrors(RuntimeError)
        self.hang("health_check")
        self.assertEqual(self.health()[:2], (False, "stale"))

    def test_recovers(self) -> None:
        """A check that returns after all is the next answer."""
        self.hang("health_check")
        self.assertEqual(self.health(), (False, "unknown", None))
        self.waiting[0].callback(({}, True))
        self.patch(self.app, "health_check", lambda: ({}, True))
        self.assertEqual(self.health(), (True, "ok", 0.0))

    def test_slow_check(self) -> None:
        """The result of a check that always takes three seconds is known the next time."""

        def slow() -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            self.harness.clock.callLater(3, done.callback, ({}, True))
            return done

        self.patch(self.app, "health_check", slow)
        self.assertEqual(self.health(), (False, "unknown", None))
        self.harness.advance(3)
        healthy, state, age = self.health()
        self.assertEqual((healthy, state), (True, "stale"))
        assert age is not None
        self.assertLess(age, 5)
        self.harness.advance(4)

    def test_everything_hangs(self) -> None:
        """Whatever hangs, ``info`` takes a second and ``ping`` none; the old facts are shown."""
        self.hang("health_check", "fact_data", "version", "paused", "get_log_level")
        for _ in range(3):
            info, seconds = self.info()
            self.assertLess(seconds, 1.3)
            self.assertEqual(info["facts"], {"dc": "DC1"})
            self.assertEqual((info["paused"], info["loglevel"]), (False, "unknown"))
            (answer,) = self.harness.request("ping").answers
            self.assertLess(answer.seconds, 0.2)

    def test_hung_health_action(self) -> None:
        """``health`` itself waits for the deadline, and says what has not returned."""
        self.hang("health_check")
        waiting = self.begin("health")
        self.harness.advance(3)
        # Meanwhile others are answered, those that ask for the same included.
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})
        self.assertEqual(self.health(), (False, "unknown", None))
        (answer,) = self.harness.result_of(waiting).answers
        self.assertEqual(
            (answer.reply.status, answer.reply.message),
            (5, "health_check has not returned after 9 s"),
        )
        self.assertLess(answer.seconds, 9)

    def test_hung_pause(self) -> None:
        """So does ``pause``: the caller hears of it, and reads go on meanwhile."""
        self.hang("pause")
        waiting = self.begin("pause")
        self.harness.advance(4)
        info, seconds = self.info()
        self.assertLess(seconds, 0.2)
        self.assertIs(info["paused"], False)
        (answer,) = self.harness.result_of(waiting).answers
        self.assertEqual(
            (answer.reply.status, answer.reply.message), (5, "pause has not returned after 9 s")
        )

    def test_readers_share(self) -> None:
        """Fifty callers of a slow check cause one call of it."""
        self.hang("health_check")
        waiting = [self.begin("health") for _ in range(50)]
        self.harness.advance(3)
        self.assertEqual(len(self.waiting), 1)
        self.waiting[0].callback(({"n": 1}, True))
        for each in waiting:
            (answer,) = self.harness.result_of(each).answers
            self.assertEqual(answer.reply.data, {"result": {"n": 1}, "healthy": True})
