"""The application as the ``backplane`` agent calls it: forms of methods, health, stacks."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred

from tests.node.managed import AgentCase


class FormsTests(AgentCase):
    """Methods of the application may be plain, return Deferreds, or be coroutines."""

    def later(self, result: object) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.harness.clock.callLater(0.2, done.callback, result)
        return done

    def check(self) -> None:
        self.manage(self.app)
        self.assertEqual(self.data("pause"), {"paused": True})
        self.assertEqual(self.data("health"), {"result": "fine", "healthy": True})
        self.assertEqual(self.data("critlvl"), {"level": "critical"})
        info = self.data("info")
        self.assertEqual(
            (info["facts"], info["version"], info["paused"], info["loglevel"]),
            ({"form": "other"}, "4", True, "critical"),
        )
        self.data("shutdown")
        self.harness.advance(12)
        self.assertIn("shutdown", self.app.calls)

    def test_deferreds(self) -> None:
        self.app.health = ("fine", True)
        self.app.facts = {"form": "other"}
        self.patch(self.app, "_version", "4")
        for name in (
            *("pause", "paused", "health_check", "shutdown", "set_log_level", "get_log_level"),
            *("fact_data", "version"),
        ):
            plain = getattr(self.app, name)
            self.patch(self.app, name, lambda *args, plain=plain: self.later(plain(*args)))
        self.check()

    def test_coroutines(self) -> None:
        def slowly(plain: Any) -> Any:
            async def method(*args: object) -> Any:
                await self.later(None)
                return plain(*args)

            return method

        self.app.health = ("fine", True)
        self.app.facts = {"form": "other"}
        self.patch(self.app, "_version", "4")
        for name in (
            *("pause", "paused", "health_check", "shutdown", "set_log_level", "get_log_level"),
            *("fact_data", "version"),
        ):
            self.patch(self.app, name, slowly(getattr(self.app, name)))
        self.check()


class HealthTests(AgentCase):
    """``health`` by itself; ``info`` and its patience are in ``test_health``."""

    def test_healthy(self) -> None:
        """The application's result and its verdict."""
        self.manage(self.app)
        self.assertEqual(self.data("health"), {"result": {"configured": True}, "healthy": True})

    def test_unhealthy(self) -> None:
        """Unhealthy is no failure of the action."""
        self.app.health = ({"queue": 10}, False)
        self.manage(self.app)
        self.assertEqual(self.data("health"), {"result": {"queue": 10}, "healthy": False})

    def test_any_result(self) -> None:
        """Whatever JSON can hold is shown as it is, what it cannot as text or a placeholder."""
        self.manage(self.app)
        for given, shown in (
            (None, None),
            ("fine", "fine"),
            ([1, 2.5], [1, 2.5]),
            (float("nan"), "nan"),
            (object(), "<object>"),
            ({"password": "x", "user": "y"}, {"password": "********", "user": "y"}),
        ):
            self.app.health = (given, True)
            self.assertEqual(self.data("health"), {"result": shown, "healthy": True})

    def test_not_a_pair(self) -> None:
        """Anything but a pair is unhealthy and says what is wanted."""
        self.manage(self.app)
        for result in (True, None, "ok", {"a": 1, "b": 2}, (1, 2, 3), iter([1, 2])):
            self.app.health = result
            found = self.data("health")
            self.assertIs(found["healthy"], False, result)
            self.assertIn("must return (result, ok)", found["result"]["error"])

    def test_raises(self) -> None:
        """A check that raises is unhealthy, with the error as result, without its secrets."""
        self.manage(self.app)
        self.app.raises["health_check"] = RuntimeError("redis://:hunter2@cache is away")
        found = self.data("health")
        self.assertEqual(
            found,
            {
                "result": {"error": "RuntimeError: redis://********@cache is away"},
                "healthy": False,
            },
        )
        self.flushLoggedErrors(RuntimeError)


class ThreadDumpTests(AgentCase):
    """Where every thread is; never what it holds."""

    def test_dump(self) -> None:
        """Threads with their stacks and what the reactor holds, within bounds, without values."""
        self.manage(self.app)
        secret = "".join(["hun", "ter2"])
        later = self.harness.clock.callLater(99, print, secret, password=secret)
        dump = self.data("threaddump")
        later.cancel()
        self.assertEqual(dump["thread_count"], len(sys._current_frames()))
        frames = dump["threads"][0]["frames"]
        self.assertEqual(set(frames[0]), {"file", "line", "function", "source"})
        functions = [frame["function"].rpartition(".")[2] for frame in frames]
        self.assertIn("thread_dump", functions)
        self.assertIn("print", " ".join(call["function"] for call in dump["delayed_calls"]))
        text = json.dumps(dump)
        self.assertLess(len(text), 256 * 1024)
        self.assertNotIn(secret, text)

    def test_deep_stack(self) -> None:
        """A stack without end is shown by its innermost frames and the number left out."""
        self.manage(self.app)

        def deep(levels: int) -> dict[str, Any]:
            return deep(levels - 1) if levels else self.data("threaddump")

        dump = deep(300)
        (thread,) = [thread for thread in dump["threads"] if thread["reactor"]]
        self.assertLessEqual(len(thread["frames"]), 60)
        self.assertGreater(thread["omitted"], 250)
        self.assertIs(dump["truncated"], True)

    def test_role(self) -> None:
        """Stacks are for those who may do everything."""
        self.manage(self.app, auth={"full": ["sre.choria"], "read_only": ["1stline.choria"]})
        self.assertEqual(self.harness.ask("threaddump", caller="1stline.choria").status, 1)
        self.assertEqual(self.harness.ask("threaddump", caller="sre.choria").status, 0)
