"""The ``backplane`` agent: every action, its outputs, and when it is there."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import classImplementsOnly, implementer

from backplane import __version__
from backplane.errors import StateError
from backplane.interfaces import (
    IHealthCheckable,
    IInfoSource,
    ILogLevelSetable,
    IPausable,
    IStopable,
    IStopCheckable,
    LogLevel,
)
from backplane.node.backplane import BackplaneAgent
from backplane.testing import Harness, RecordingApplication
from tests.node.managed import AgentCase
from tests.node.messages import seconds_of

ALWAYS = {"ping", "info", "threaddump", "changes", "stalls"}
CHANGING = {"change", "end", "amend"}
CHANGEABLE = {IPausable, IStopable, ILogLevelSetable}
NEEDS: dict[str, Any] = {
    "pause": IPausable,
    "resume": IPausable,
    "flip": IPausable,
    "shutdown": IStopable,
    "health": IHealthCheckable,
    "debuglvl": ILogLevelSetable,
    "infolvl": ILogLevelSetable,
    "warnlvl": ILogLevelSetable,
    "critlvl": ILogLevelSetable,
}

GO_INFO = {
    "backplane_version",
    "version",
    "paused",
    "facts",
    "healthy",
    "loglevel",
    "healthcheck_feature",
    "pause_feature",
    "shutdown_feature",
    "facts_feature",
    "loglevel_feature",
}
OUR_INFO = {
    *("health_state", "health_age", "secure"),
    *("state", "in_flight", "breakers", "changes"),
}


class PresenceOfActionsTests(AgentCase):
    """An action whose interface the application does not provide does not exist."""

    def check(self, *faces: Any) -> None:
        class Partial(RecordingApplication):
            pass

        classImplementsOnly(Partial, *faces)
        harness = Harness()
        management = harness.make()
        if faces:
            management.provide(Partial())
        harness.start(management)
        there = {*ALWAYS, *(name for name, need in NEEDS.items() if need in faces)}
        there |= CHANGING if CHANGEABLE & set(faces) else set()
        for name in (*ALWAYS, *NEEDS):
            if name == "shutdown" and name in there:
                continue
            reply = harness.ask(name)
            if name in there:
                self.assertEqual(reply.status, 0, (name, reply))
            else:
                self.assertEqual(
                    (reply.status, reply.message, reply.data),
                    (2, f"Unknown action {name} for agent backplane", {}),
                )
        info = harness.ask("info").data
        for feature, face in (
            ("healthcheck_feature", IHealthCheckable),
            ("pause_feature", IPausable),
            ("shutdown_feature", IStopable),
            ("facts_feature", IInfoSource),
            ("loglevel_feature", ILogLevelSetable),
        ):
            self.assertIs(info[feature], face in faces)
        actions = harness.ask("inventory", agent="rpcutil").data["facts"]["backplane_actions"]
        self.assertEqual(set(actions.split(",")), there)
        harness.close()

    def test_each_alone(self) -> None:
        """Each interface brings its own actions and no other's."""
        for face in (IPausable, IStopable, IHealthCheckable, ILogLevelSetable, IInfoSource):
            self.check(face)

    def test_none_and_all(self) -> None:
        """With nothing provided there is what looks at the service; else all."""
        self.check()
        self.check(IPausable, IStopable, IHealthCheckable, ILogLevelSetable, IInfoSource)

    def test_declared(self) -> None:
        """These are all the actions that there are."""
        self.assertEqual(
            set(BackplaneAgent.declared()), ALWAYS | CHANGING | set(NEEDS) | {"loggers"}
        )


class InfoTests(AgentCase):
    """``ping`` and ``info``."""

    def test_ping(self) -> None:
        """The backplane's version, nothing else."""
        self.manage(self.app)
        self.assertEqual(self.data("ping"), {"version": __version__})

    def test_info(self) -> None:
        """Go's eleven keys with Go's meanings, and ours."""
        self.manage(self.app)
        info = self.data("info")
        self.assertEqual(set(info), GO_INFO | OUR_INFO)
        self.assertEqual(
            info,
            {
                "backplane_version": __version__,
                "version": "1.2.3",
                "paused": False,
                "facts": {"interval": 600},
                "healthy": True,
                "loglevel": "info",
                "healthcheck_feature": True,
                "pause_feature": True,
                "shutdown_feature": True,
                "facts_feature": True,
                "loglevel_feature": True,
                "health_state": "ok",
                "health_age": 0.0,
                "secure": False,
                "state": "running",
                "in_flight": 0,
                "breakers": {},
                "changes": [],
            },
        )

    def test_info_of_nothing(self) -> None:
        """Without any interface the keys are there all the same."""
        self.manage()
        info = self.data("info")
        self.assertEqual(set(info), GO_INFO | OUR_INFO)
        self.assertEqual(
            {key: info[key] for key in ("version", "facts", "loglevel", "paused", "healthy")},
            {
                "version": "unknown",
                "facts": None,
                "loglevel": "unknown",
                "paused": False,
                "healthy": False,
            },
        )
        self.assertEqual((info["health_state"], info["health_age"]), ("unknown", None))
        self.assertEqual(
            [info[key] for key in ("state", "in_flight", "breakers", "changes")],
            ["running", None, {}, []],
        )

    def test_inputs_are_ignored(self) -> None:
        """No action takes inputs; whatever is sent is ignored, as Go does."""
        self.manage(self.app)
        self.assertEqual(self.data("ping", data={"a": 1}), {"version": __version__})
        self.assertEqual(self.data("pause", data={"breaker": "payments"}), {"paused": True})

    def test_state_raises(self) -> None:
        """Methods that raise or return odd things leave ``info`` with what is known."""
        self.manage(self.app)
        for name in ("paused", "get_log_level", "health_check", "fact_data", "version"):
            self.app.raises[name] = RuntimeError("no")
        info = self.data("info")
        self.assertEqual(
            {key: info[key] for key in ("facts", "loglevel", "paused", "healthy")},
            {"facts": None, "loglevel": "unknown", "paused": False, "healthy": False},
        )
        self.assertEqual(info["health_state"], "failed")
        self.flushLoggedErrors(RuntimeError)

    def test_odd_state(self) -> None:
        """A level that is none, and a truth that raises."""

        class Truthless:
            def __bool__(self) -> bool:
                raise ValueError("ambiguous")

        self.manage(self.app)
        self.patch(self.app, "paused", Truthless)
        for level in (None, 7, "debug", [1], Truthless()):
            self.app.level = level
            info = self.data("info")
            self.assertEqual((info["loglevel"], info["paused"]), ("unknown", False))


class PauseTests(AgentCase):
    """The circuit breaker."""

    def test_pause_and_resume(self) -> None:
        """Each answers with the state after the call, however often it is called."""
        self.manage(self.app)
        for action, paused in (
            ("pause", True),
            ("pause", True),
            ("resume", False),
            ("resume", False),
            ("flip", True),
            ("flip", False),
        ):
            self.assertEqual(self.data(action), {"paused": paused})
            self.assertIs(self.data("info")["paused"], paused)
        self.assertEqual(
            [name for name in self.app.calls if name in ("pause", "resume", "flip")],
            ["pause", "pause", "resume", "resume", "flip", "flip"],
        )

    def test_pause_raises(self) -> None:
        """A breaker that fails is reported as failed."""
        self.manage(self.app)
        self.app.raises["pause"] = RuntimeError("stuck")
        reply = self.harness.ask("pause")
        self.assertEqual((reply.status, reply.message), (5, "pause failed: RuntimeError: stuck"))
        self.assertEqual(self.data("info")["paused"], False)
        self.flushLoggedErrors(RuntimeError)

    def test_slow_pause(self) -> None:
        """A breaker that takes its time is waited for; meanwhile changes are refused by name."""
        waiting: Deferred[None] = Deferred()
        self.patch(self.app, "pause", lambda: waiting)
        self.manage(self.app, auth={"insecure": True})
        first = self.begin("pause", "alice.choria")
        self.harness.advance(5)
        reply = self.harness.ask("flip")
        self.assertEqual(reply.status, 5)
        self.assertRegex(
            reply.message, r"\Apause, asked by choria=alice.choria \d s ago, has not returned\Z"
        )
        self.assertEqual(self.data("info")["paused"], False)
        waiting.callback(None)
        (answer,) = self.harness.result_of(first).answers
        self.assertEqual(answer.reply.data, {"paused": False})
        self.assertEqual(self.data("flip"), {"paused": True})


class LevelTests(AgentCase):
    """Levels of logging."""

    def test_levels(self) -> None:
        """The four actions hand over Go's numbers and answer with Go's words."""
        self.manage(self.app)
        for action, number, word in (
            ("debuglvl", 1, "debug"),
            ("infolvl", 2, "info"),
            ("warnlvl", 3, "warning"),
            ("critlvl", 4, "critical"),
        ):
            self.assertEqual(self.data(action), {"level": word})
            self.assertIsInstance(self.app.level, LogLevel)
            self.assertEqual(int(self.app.level), number)
            self.assertEqual(self.data("info")["loglevel"], word)

    def test_true_level(self) -> None:
        """The answer is the level that the application has then, not the one asked for."""
        self.manage(self.app)
        self.patch(self.app, "get_log_level", lambda: LogLevel.WARN)
        self.assertEqual(self.data("debuglvl"), {"level": "warning"})

    def test_number(self) -> None:
        """An application may name its level by number."""
        self.manage(self.app)
        self.patch(self.app, "get_log_level", lambda: 4)
        self.assertEqual(self.data("info")["loglevel"], "critical")


class ShutdownTests(AgentCase):
    """The reply comes first, the shutdown after the announced delay."""

    def shutdowns(self) -> int:
        return self.app.calls.count("shutdown")

    def test_delay(self) -> None:
        """Between one and eleven seconds by default, in Go's words, and it is kept."""
        self.manage(self.app)
        delay = self.data("shutdown")["delay"]
        self.assertRegex(delay, r"\A(1?\d)(\.\d{1,9})?s\Z")
        seconds = seconds_of(delay)
        self.assertTrue(1 <= seconds <= 11)
        asked = self.harness.clock.seconds()
        self.harness.advance(seconds - 0.2)
        self.assertEqual(self.shutdowns(), 0)
        self.harness.advance(0.3)
        self.assertEqual(self.shutdowns(), 1)
        self.assertLess(self.harness.clock.seconds() - asked, seconds + 0.2)

    def test_longest(self) -> None:
        """The random part is bounded by the configuration."""
        self.manage(self.app, max_stop_delay=0.5)
        self.assertTrue(1 <= seconds_of(self.data("shutdown")["delay"]) <= 1.5)

    def test_second_request(self) -> None:
        """A second one within the delay schedules nothing new and says what is left."""
        self.manage(self.app, max_stop_delay=10)
        first = seconds_of(self.data("shutdown")["delay"])
        second = seconds_of(self.data("shutdown")["delay"])
        self.assertLess(second, first)
        self.harness.advance(12)
        self.assertEqual(self.shutdowns(), 1)

    def test_cannot(self) -> None:
        """One that knows that it cannot be ended says so at once, and nothing is promised."""

        @implementer(IStopCheckable)
        class Checked(RecordingApplication):
            def check_shutdown(self) -> None:
                self._called("check_shutdown")

        self.app = Checked()
        self.manage(self.app, max_stop_delay=0)
        self.app.raises["check_shutdown"] = StateError("there is no process 7")
        reply = self.harness.ask("shutdown")
        self.assertEqual(reply.status, 5)
        self.assertEqual(reply.message, "shutdown failed: there is no process 7")
        self.harness.advance(12)
        self.assertEqual(self.shutdowns(), 0)
        del self.app.raises["check_shutdown"]
        self.data("shutdown")
        self.harness.advance(2)
        self.assertEqual(self.shutdowns(), 1)

    def test_stopped_before(self) -> None:
        """A management that stops before the delay is over calls it off."""
        self.manage(self.app)
        self.data("shutdown")
        self.harness.close()
        self.harness.clock.advance(60)
        self.assertEqual(self.shutdowns(), 0)

    def test_raises(self) -> None:
        """A shutdown that fails is logged, and can be asked for again."""
        self.manage(self.app, max_stop_delay=0)
        self.app.raises["shutdown"] = RuntimeError("no")
        self.data("shutdown")
        self.harness.advance(2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.data("shutdown")
        self.harness.advance(2)
        self.assertEqual(self.shutdowns(), 2)
        self.flushLoggedErrors(RuntimeError)
