"""``change``, ``end``, ``amend``, ``changes``, ``loggers``: the ledger on the network."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import classImplementsOnly

from backplane.choria.rpc import RpcReply
from backplane.interfaces import ILogLevelSetable, IPausable, LogLevel, blocking
from backplane.testing import Harness, RecordingApplication
from backplane.testing.managed import FULL
from tests.node.managed import AgentCase

ME = f"choria={FULL}"


class ChangesCase(AgentCase):
    """A service with two breakers."""

    def setUp(self) -> None:
        super().setUp()
        self.app = RecordingApplication({}, breakers=("payments", "search"))

    def change(self, target: str, to: str, **more: Any) -> dict[str, Any]:
        return self.data("change", data={"target": target, "to": to, **more})

    def refused(self, action: str, caller: Any = FULL, **data: Any) -> RpcReply:
        reply = self.harness.ask(action, data, caller=caller)
        self.assertNotEqual(reply.status, 0, reply)
        return reply

    def state(self) -> dict[str, Any]:
        return self.data("changes")

    def value(self, target: str) -> Any:
        return self.state()["targets"][target]

    def told(self) -> list[tuple[str, str, str]]:
        """Return who, what and outcome of the history."""
        return [(each["who"], each["what"], each["outcome"]) for each in self.state()["history"]]


class LeaseTests(ChangesCase):
    """What is changed for a time."""

    def test_expires(self) -> None:
        """The service takes it back itself; who and why are told all the while."""
        self.manage(self.app)
        made = self.change("app", "paused", **{"for": 60, "why": "db failover"})
        self.assertEqual(
            (made["value"], made["before"], made["in_flight"]), ("paused", "running", 0)
        )
        info = self.data("info")
        self.assertEqual((info["paused"], info["state"]), (True, "paused"))
        (live,) = info["changes"]
        self.assertEqual(
            {key: live[key] for key in ("id", "who", "why", "until", "to")},
            {
                "id": made["change"],
                "who": ME,
                "why": "db failover",
                "until": made["until"],
                "to": "paused",
            },
        )
        self.harness.advance(55)
        self.assertTrue(self.app.paused())
        self.harness.advance(6)
        self.assertFalse(self.app.paused())
        state = self.state()
        self.assertEqual((state["state"], state["live"]), ("running", []))
        what = "app: running → paused"
        self.assertEqual(self.told(), [(ME, what, "done"), (ME, what, "expired")])

    def test_without_a_broker(self) -> None:
        """It needs neither broker nor operator."""
        self.manage(self.app)
        self.change("app", "paused", **{"for": 5})
        self.harness.network.fail_dns("broker.example.net")
        self.harness.broker.drop_all()
        self.harness.advance(6)
        self.assertFalse(self.app.paused())

    def test_old_pause_over_it(self) -> None:
        """What somebody did later is not undone by the end of a lease."""
        self.manage(self.app)
        self.change("app", "paused", **{"for": 5})
        self.data("pause")
        self.harness.advance(10)
        self.assertTrue(self.app.paused())
        self.data("resume")
        self.assertEqual(self.state()["live"], [])

    def test_clock_is_set(self) -> None:
        """A clock that is put forward ends leases within half a minute."""
        ahead = [0.0]
        clock = self.harness.clock
        management = self.harness.make()
        self.patch(management, "_now", lambda: clock.seconds() + ahead[0])
        management.provide(self.app)
        self.harness.start(management)
        self.change("app", "paused", **{"for": 7200})
        ahead[0] = 10_000.0
        self.harness.advance(31)
        self.assertFalse(self.app.paused())

    def test_amended(self) -> None:
        """A lease is made longer and shorter, by its id and by its target."""
        self.manage(self.app)
        made = self.change("app", "paused", **{"for": 5})
        longer = self.data("amend", data={"target": "app", "for": 100, "why": "slow"})
        self.assertEqual(longer["change"], made["change"])
        self.assertGreater(longer["until"], made["until"] + 90)
        self.harness.advance(50)
        self.assertTrue(self.app.paused())
        self.data("amend", data={"change": made["change"], "for": 1})
        self.harness.advance(2)
        self.assertFalse(self.app.paused())
        reply = self.refused("amend", target="app", **{"for": 5})
        self.assertEqual(
            (reply.status, reply.message), (1, "app has no change that ends by itself")
        )
        self.assertEqual(self.refused("amend", change=made["change"], **{"for": 5}).status, 1)
        self.assertEqual(self.refused("amend", **{"for": 5}).status, 4)

    def test_loglevel_lease(self) -> None:
        """``debuglvl`` has the lease of the configuration, and its answer is as ever."""
        self.manage(self.app, loglevel_lease="1m")
        self.assertEqual(self.data("debuglvl"), {"level": "debug"})
        self.harness.advance(61)
        self.assertEqual(self.app.level, LogLevel.INFO)
        self.data("warnlvl")
        self.harness.advance(61)
        self.assertEqual(self.app.level, LogLevel.WARN)

    def test_audited(self) -> None:
        """The end of a lease is in the audit log, in the name of whose it was."""
        path = str(self.harness.folder / "audit.log")
        self.manage(self.app, audit={"logfile": path})
        made = self.change("app", "paused", **{"for": 5, "why": "db"})
        self.harness.advance(6)
        (line,) = [each for each in self.harness.audited() if each["action"] == "expire"]
        self.assertEqual((line["caller"], line["rule"], line["outcome"]), (ME, "lease", "ok"))
        self.assertEqual((line["data"]["target"], line["data"]["change"]), ("app", made["change"]))


class RefusalTests(ChangesCase):
    """What is not done, and what is said of it."""

    def test_unknown(self) -> None:
        """Targets and values that there are nowhere, and those that this service lacks."""
        self.manage(self.app, name="shop")
        for data, status, text in (
            ({"target": "nonsense", "to": "x"}, 4, "there is no target 'nonsense'"),
            ({"target": "app", "to": "off"}, 4, "one of running, draining, paused"),
            ({"target": "breaker:a b", "to": "open"}, 4, "there is no target"),
            ({"target": "log:", "to": "unset"}, 4, "cannot become 'unset'"),
            ({"target": "breaker:nope", "to": "open"}, 1, "shop has no breaker nope"),
            ({"target": "app", "to": "paused", "for": 0}, 4, "`for` is 0 seconds"),
            ({"target": "app", "to": "paused", "why": "x" * 201}, 4, "longer than 200"),
            ({"target": "app"}, 4, "'to' is required"),
        ):
            reply = self.harness.ask("change", data)
            self.assertEqual(reply.status, status, reply)
            self.assertIn(text, reply.message)
        self.assertFalse(self.app.paused())
        self.assertEqual(len(self.state()["history"]), 8)

    def test_only_a_breaker(self) -> None:
        """What cannot tell how much is under way can be paused, not drained."""

        class Plain(RecordingApplication):
            pass

        classImplementsOnly(Plain, IPausable)
        self.manage(Plain(), name="shop")
        reply = self.refused("change", target="app", to="draining")
        self.assertEqual(reply.status, 1)
        self.assertIn("shop does not say how much work is under way", reply.message)
        for target, text in (
            ("log:", "shop has no log level"),
            ("breaker:a", "shop has no breaker a"),
            ("shutdown", "shop cannot be shut down"),
        ):
            to = {"log:": "debug", "breaker:a": "open"}.get(target, "now")
            self.assertEqual(self.refused("change", target=target, to=to).message, text)
        self.assertIsNone(self.change("app", "paused")["in_flight"])

    def test_expected(self) -> None:
        """A change of what is not as it was taken for is refused, naming who."""
        self.manage(self.app)
        made = self.change("app", "paused")
        reply = self.refused("change", target="app", to="running", expect="running")
        self.assertEqual((reply.status, reply.data["reason"]), (1, "unexpected"))
        self.assertEqual(reply.message, f"app is paused, by {ME}")
        self.change("app", "running", expect=made["change"])

    def test_roles(self) -> None:
        """Who may only look sees what he may, and what he was refused is told."""
        self.manage(self.app)
        looker = self.harness.as_read_only()
        denied = self.refused("change", caller="1stline.choria", target="app", to="paused", why="x")
        self.assertEqual(denied.status, 1)
        found = looker.ask("changes").data
        self.assertEqual(found["may"], ["changes", "health", "info", "ping"])
        (entry,) = found["history"]
        self.assertEqual(
            {key: entry[key] for key in ("who", "what", "outcome", "why", "detail")},
            {
                "who": "choria=1stline.choria",
                "what": "change",
                "outcome": "refused",
                "why": "x",
                "detail": "read_only",
            },
        )
        self.assertIn("amend", self.state()["may"])

    def test_last(self) -> None:
        """As much of the history as is asked for."""
        self.manage(self.app)
        for _ in range(3):
            self.data("flip")
        self.assertEqual(len(self.data("changes", data={"last": 2})["history"]), 2)
        self.assertEqual(self.data("changes", data={"last": 0})["history"], [])


class TargetTests(ChangesCase):
    """Breakers, drains, levels, shutdowns."""

    def test_breaker(self) -> None:
        """One is opened, nothing else is, and clients of old see nothing of it."""
        self.manage(self.app)
        self.change("breaker:payments", "open", **{"for": 60})
        info = self.data("info")
        self.assertEqual(info["breakers"], {"payments": "open", "search": "closed"})
        self.assertEqual((info["paused"], info["state"]), (False, "running"))
        self.harness.advance(61)
        self.assertEqual(self.data("info")["breakers"], {"payments": "closed", "search": "closed"})

    def test_breaker_gone(self) -> None:
        """A breaker that is there no more hinders nothing."""
        self.manage(self.app)
        made = self.change("breaker:payments", "open", **{"for": 60})
        other = self.change("breaker:search", "open")
        self.app._breakers.clear()
        self.assertEqual(len(self.data("end", data={"change": other["change"]})["ended"]), 1)
        self.harness.advance(61)
        self.assertEqual(self.state()["live"], [])
        self.assertEqual(self.told()[-1][2], "expired")
        self.assertNotEqual(made["change"], other["change"])

    def test_drain(self) -> None:
        """Draining is a state of its own, with the count; pause and resume end it."""
        self.manage(self.app)
        self.app.working = 3
        self.assertEqual(self.change("app", "draining")["in_flight"], 3)
        info = self.data("info")
        self.assertEqual((info["state"], info["in_flight"], info["paused"]), ("draining", 3, True))
        self.data("pause")
        self.assertEqual(self.data("info")["state"], "paused")
        self.change("app", "draining")
        self.data("resume")
        self.assertEqual(self.data("info")["state"], "running")
        self.assertEqual([each for each in self.app.calls if each == "drain"], ["drain"] * 2)

    def test_loggers(self) -> None:
        """A logger's level is set and put back exactly."""
        self.app.logger_levels = {"shop.db": LogLevel.WARN, "shop": None, "other": None}
        self.manage(self.app)
        self.change("log:shop.db", "debug", **{"for": 10})
        self.change("log:shop", "debug", **{"for": 10})
        found = self.data("loggers", data={"match": "shop"})
        self.assertEqual(
            found,
            {
                "loggers": {
                    "shop": {"level": "debug", "effective": "debug"},
                    "shop.db": {"level": "debug", "effective": "debug"},
                },
                "truncated": False,
            },
        )
        self.harness.advance(11)
        self.assertEqual(self.app.logger_levels["shop.db"], LogLevel.WARN)
        self.assertIsNone(self.app.logger_levels["shop"])

    def test_level_without_loggers(self) -> None:
        """What can only be set is set to what it was."""

        class Plain(RecordingApplication):
            pass

        classImplementsOnly(Plain, ILogLevelSetable)
        self.app = Plain()
        self.manage(self.app)
        self.change("log:", "debug", **{"for": 10})
        self.harness.advance(11)
        self.assertEqual(self.app.level, LogLevel.INFO)
        self.assertNotIn("loggers", self.state()["may"])

    def test_by_the_application(self) -> None:
        """What the application does itself is its own change, and is not taken back."""
        self.manage(self.app)
        made = self.change("app", "paused", **{"for": 60})
        self.app.resume()
        self.assertEqual(self.state()["state"], "running")
        self.assertEqual(self.told()[-1], ("application", "app: paused → running", "done"))
        for data in ({"target": "app"}, {"change": made["change"]}):
            reply = self.refused("end", **data)
            self.assertEqual(reply.message, "app was changed since, by application")
        self.harness.advance(61)
        self.assertFalse(self.app.paused())

    def test_end_of_nothing(self) -> None:
        """Where nothing is changed, the newest change is not taken back: it led to that."""
        self.manage(self.app)
        self.change("app", "paused")
        self.change("app", "running")
        self.assertEqual(self.state()["live"], [])
        self.assertEqual(self.refused("end", target="app").message, "app is not changed")
        self.assertEqual(self.data("end", data={"target": "app", "all": True})["nothing"], True)
        self.assertFalse(self.app.paused())
        made = self.change("app", "running")
        self.data("end", data={"change": made["change"]})  # whoever names it means it

    def test_end_of_all(self) -> None:
        """All layers go in one step, and one line for each that was to be seen."""
        self.manage(self.app)
        for _ in range(40):
            self.change("app", "paused")
            self.change("app", "running")
        self.change("app", "paused")
        last = self.change("app", "draining", **{"for": 60})
        del self.app.calls[:]
        found = self.data("end", data={"target": "app", "all": True})
        self.assertEqual(
            found["ended"],
            [{"change": last["change"], "target": "app", "value": "running", "before": "draining"}],
        )
        changed = [each for each in self.app.calls if each in ("pause", "drain", "resume")]
        self.assertEqual(changed, ["resume"])
        self.assertEqual(
            [each[1:] for each in self.told()[-3:]],
            [
                ("app: paused → draining", "done"),
                ("app: paused → draining", "ended"),
                ("app: running → paused", "ended"),
            ],
        )
        self.assertEqual(self.state()["live"], [])
        self.harness.advance(61)
        self.assertFalse(self.app.paused())

    def test_shutdown(self) -> None:
        """A shutdown is scheduled, seen, called off, and asked for again."""
        self.manage(self.app)
        self.assertEqual(self.refused("end", target="shutdown").message, "no shutdown is scheduled")
        self.change("shutdown", "now", **{"for": 30})
        self.assertEqual(self.data("info")["state"], "stopping")
        again = self.refused("change", target="shutdown", to="now")
        self.assertIn(f"scheduled already, by {ME}", again.message)
        self.data("end", data={"target": "shutdown"})
        self.assertEqual(self.data("info")["state"], "running")
        self.harness.advance(60)
        self.assertNotIn("shutdown", self.app.calls)
        self.data("shutdown")
        self.data("end", data={"target": "shutdown"})
        self.harness.advance(20)
        self.assertNotIn("shutdown", self.app.calls)
        self.change("shutdown", str(self.harness.clock.seconds() + 20))
        self.harness.advance(21)
        self.assertIn("shutdown", self.app.calls)
        self.assertIn("has begun", self.refused("end", target="shutdown").message)

    def test_shutdown_twice(self) -> None:
        """One that is soon is what was asked for; one much later is in the way, and said."""
        self.manage(self.app)
        self.data("shutdown")
        self.data("shutdown")
        self.data("end", data={"target": "shutdown"})
        self.change("shutdown", "now", **{"for": 3600})
        text = f"a shutdown is scheduled already, by {ME}; call it off first"
        self.assertEqual(self.refused("shutdown").message, text)
        self.assertEqual(self.refused("change", target="shutdown", to="now").message, text)
        self.harness.advance(60)
        self.assertNotIn("shutdown", self.app.calls)

    def test_shutdown_times(self) -> None:
        """Times that are over, or none, are refused."""
        self.manage(self.app)
        for to in ("none", "1", "nan", "inf", "1e400", "soon"):
            self.assertEqual(self.refused("change", target="shutdown", to=to).status, 4)
        self.assertEqual(
            self.refused("change", target="shutdown", to="1800000000", **{"for": 5}).status, 4
        )
        self.assertEqual(self.data("info")["state"], "running")


class EndTests(ChangesCase):
    """Taking changes back."""

    def test_run(self) -> None:
        """Exactly what a run has changed, and not what somebody else has changed since."""
        self.manage(self.app)
        self.data("pause")
        run = self.state()["history"][-1]["run"]
        self.assertRegex(run, r"\A[0-9a-f]{32}\Z")
        self.change("breaker:search", "open")
        ended = self.data("end", data={"run": run, "why": "over"})
        self.assertEqual([each["value"] for each in ended["ended"]], ["running"])
        self.assertEqual(self.value("breaker:search"), "open")
        self.assertEqual(
            self.data("end", data={"run": run}), {"ended": [], "refused": [], "nothing": True}
        )

    def test_newer(self) -> None:
        """A change under another one's is refused, naming him."""
        self.manage(self.app, auth={"insecure": True})
        made = self.change("app", "paused")
        self.harness.ask("change", {"target": "app", "to": "draining"}, caller="eve.choria")
        reply = self.refused("end", change=made["change"])
        self.assertEqual(reply.message, "app was changed since, by choria=eve.choria")
        self.assertEqual(reply.data["refused"][0]["reason"], "newer")
        self.assertEqual(self.told()[-1][2], "refused")

    def test_inputs(self) -> None:
        """One of three, and something that there is."""
        self.manage(self.app)
        self.assertEqual(self.refused("end").status, 4)
        self.assertEqual(self.refused("end", target="app", run="r").status, 4)
        self.assertEqual(self.refused("end", target="app").message, "app is not changed")
        self.assertEqual(self.refused("end", change="nope").message, "there is no change nope")


class FailureTests(ChangesCase):
    """Applications that fail, hang, or do something else."""

    def test_raises(self) -> None:
        """The step has failed, and the next one is not in its way."""
        self.manage(self.app)
        self.app.raises["pause"] = RuntimeError("stuck")
        reply = self.refused("change", target="app", to="paused", **{"for": 60})
        self.assertEqual((reply.status, reply.message), (5, "change failed: RuntimeError: stuck"))
        self.assertEqual(self.told(), [(ME, "app: running → paused", "failed")])
        del self.app.raises["pause"]
        self.change("app", "paused")
        self.flushLoggedErrors(RuntimeError)

    def test_does_nothing(self) -> None:
        """A change that the application does not show has failed."""
        self.manage(self.app)
        self.patch(self.app, "pause", lambda: None)
        reply = self.refused("change", target="app", to="paused")
        self.assertEqual(reply.message, "app did not become paused: the application shows running")
        self.assertEqual(self.state()["live"], [])

    def test_raises_afterwards(self) -> None:
        """What was done in spite of an error is taken back in time all the same."""
        self.manage(self.app)

        def pause() -> None:
            self.app._paused = True
            raise RuntimeError("too late")

        self.patch(self.app, "pause", pause)
        self.refused("change", target="app", to="paused", **{"for": 60})
        self.assertEqual(self.state()["state"], "paused")
        self.harness.advance(61)
        self.assertEqual(self.state()["state"], "running")
        self.flushLoggedErrors(RuntimeError)

    def test_hangs(self) -> None:
        """A method that hangs is told of before the caller gives up, and nothing stays stuck."""
        self.manage(self.app)
        self.patch(self.app, "pause", lambda: Deferred())
        began = self.harness.clock.seconds()
        reply = self.refused("change", target="app", to="paused")
        self.assertIn("pause has not returned after", reply.message)
        self.assertLess(self.harness.clock.seconds() - began, 10)
        self.change("app", "draining")

    def test_thread_returns_late(self) -> None:
        """What a thread does after all is a lease like any other."""
        threads: list[tuple[Any, Deferred[Any]]] = []

        def run(function: Any) -> Deferred[Any]:
            threads.append((function, Deferred()))
            return threads[-1][1]

        pause = self.app.pause
        self.patch(self.app, "pause", blocking(lambda: pause()))
        management = self.harness.make()
        self.patch(management, "_threads", run)
        management.provide(self.app)
        self.harness.start(management)
        late = "has not returned"
        asked = {"target": "app", "to": "paused"}
        self.assertIn(late, self.refused("change", **asked, **{"for": 30}).message)
        self.assertIn(late, self.refused("resume").message)
        (run,) = {each["run"] for each in self.state()["history"] if each["target"]}
        refused = self.refused("end", run=run)  # it may be done yet
        self.assertIn(late, refused.message)
        self.assertEqual(refused.data["reason"], "busy")
        ((function, done),) = threads
        done.callback(function())
        (live,) = self.state()["live"]
        self.assertEqual((live["who"], live["target"]), (ME, "app"))
        self.harness.advance(31)
        self.assertFalse(self.app.paused())
        self.data("resume")

    def test_end_fails(self) -> None:
        """The end of a lease is tried until it works."""
        self.manage(self.app)
        self.change("app", "paused", **{"for": 10})
        self.app.raises["resume"] = RuntimeError("not yet")
        self.harness.advance(60)
        self.assertTrue(self.app._paused)
        outcomes = [outcome for _, _, outcome in self.told()]
        self.assertEqual(outcomes[0], "done")
        self.assertTrue(2 <= outcomes.count("failed") <= 4, outcomes)
        (live,) = self.state()["live"]
        self.assertLess(live["until"], self.harness.clock.seconds())
        del self.app.raises["resume"]
        self.harness.advance(120)
        self.assertFalse(self.app._paused)
        self.assertEqual(self.told()[-1][2], "expired")

    def test_unreadable(self) -> None:
        """A lease ends also when the application does not say what it is."""
        self.manage(self.app)
        self.change("app", "paused", **{"for": 10})
        self.app.raises["paused"] = RuntimeError("no")
        self.harness.advance(11)
        del self.app.raises["paused"]
        self.assertFalse(self.app.paused())
        self.harness.advance(30)
        self.assertEqual(self.state()["live"], [])

    def test_listener(self) -> None:
        """Changes, ends and expiries are told to the listener; refusals are not."""
        heard: list[tuple[str, str]] = []
        harness = Harness()
        self.addCleanup(harness.close)
        management = harness.make()
        management.provide(self.app)
        harness.start(management)
        node = management._node
        assert node is not None
        node.backplane.book.history.on_change = lambda entry: heard.append(
            (entry.target, entry.outcome)
        )
        harness.ask("change", {"target": "app", "to": "paused", "for": 5})
        harness.ask("change", {"target": "app", "to": "paused", "expect": "running"})
        harness.advance(6)
        self.assertEqual(heard, [("app", "done"), ("app", "expired")])
