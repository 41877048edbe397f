"""Services with an older backplane beside ours: they are named, and nothing happens to them."""

from __future__ import annotations

from typing import Any, Final

from tests.integration.fleet import wait
from tests.integration.fleets import FleetCase
from tests.integration.test_undo import run_of

OLDER: Final = "older.example.net"

ACTIONS: Final = {
    *("pause", "resume", "flip", "info", "health", "ping", "shutdown"),
    *("debuglvl", "infolvl", "warnlvl", "critlvl"),
}
"""What the Go backplane's agent knows."""

INFO: Final = {
    *("backplane_version", "version", "paused", "facts", "healthy", "loglevel"),
    *("pause_feature", "facts_feature", "healthcheck_feature", "shutdown_feature"),
    "loglevel_feature",
}
"""What its ``info`` says."""

PROGRAM: Final = f'''"""An application with the Go backplane's actions and outputs, no others."""
from twisted.application.service import Service
from twisted.internet import reactor, task
from zope.interface import implementer

import backplane.node.node
from backplane import interfaces
from backplane.node.agent import action
from backplane.node.backplane import BackplaneAgent
from backplane.parts import Breaker, LogLevels

class OlderAgent(BackplaneAgent):
    def provides(self, name):
        return name in {ACTIONS!r}

    @action("Information about the managed service", role="read_only")
    async def info(self, request):
        found = await super().info(request)
        return {{name: found[name] for name in {INFO!r}}}

backplane.node.node.BackplaneAgent = OlderAgent

@implementer(
    interfaces.IPausable,
    interfaces.IHealthCheckable,
    interfaces.IStopable,
    interfaces.ILogLevelSetable,
    interfaces.IInfoSource,
)
class Older(Service):
    def __init__(self):
        self.breaker, self.levels = Breaker(), LogLevels("older")
        self.paused, self.flip = self.breaker.paused, self.breaker.flip
        self.get_log_level = self.levels.get_log_level

    def startService(self):
        super().startService()
        task.LoopingCall(self.work).start(0.2)

    def work(self):
        print("older: " + ("skipping work" if self.paused() else "doing work"), flush=True)

    def pause(self):
        print("older: told to pause", flush=True)
        self.breaker.pause()

    def resume(self):
        print("older: told to resume", flush=True)
        self.breaker.resume()

    def set_log_level(self, level):
        print("older: told to log", level.name, flush=True)
        self.levels.set_log_level(level)

    def health_check(self):
        return "fine", True

    def shutdown(self):
        reactor.stop()

    def fact_data(self):
        return {{"older": True}}

    def version(self):
        return "0.0.0"

def make(config, management):
    return Older()
'''


class OlderTests(FleetCase):
    """Four of ours, and one that is older, in the insecure mode."""

    count = 4
    fields = {"interval": 0.2}

    def setUp(self) -> None:
        super().setUp()
        self.fleet.write(f"{OLDER}/older.py", PROGRAM)
        self.older = self.services[OLDER] = self.service(OLDER, app="older:make")

    def unable(self, *args: str, action: str = "change") -> dict[str, Any]:
        """Run a command that all of ours do, and the older one cannot; return its document."""
        document: dict[str, Any] = self.good(*args, *self.everybody(), "--json", code=2).json()
        self.assertEqual(document["unable"], [OLDER])
        self.assertEqual(document["exit_code"], 2)
        self.assertEqual((document["ok"], document["failed"]), (4, 1))
        self.assertEqual((document["silent"], document["missing"]), ([], []))
        replies = {each["sender"]: each for each in document["replies"]}
        self.assertEqual(sorted(replies), [*self.names, OLDER])
        answer = replies[OLDER]
        self.assertEqual(answer["statuscode"], 2)
        self.assertEqual(answer["statusmsg"], f"Unknown action {action} for agent backplane")
        self.assertEqual(answer["data"], {})
        return document

    def works(self, name: str, line: str) -> None:
        """Wait until a service says something that it has not said up to now."""
        service = self.services[name]
        before = len(service.text())
        wait(lambda: line in service.text()[before:], line, service.text)

    def untouched(self) -> None:
        """Nothing was done with the older one, and it works."""
        self.assertNotIn("older: told", self.older.text())
        self.works(OLDER, "older: doing work")

    def test_is_older(self) -> None:
        """It knows and says what the Go backplane's agent does; what else is asked is told."""
        (reply,) = self.good("info", "-I", OLDER, "--json").json()["replies"]
        self.assertEqual(set(reply["data"]), INFO)
        self.assertEqual(reply["data"]["facts"], {"older": True})
        for verb, action in (
            ("history", "changes"),
            ("loggers", "loggers"),
            ("stalls", "stalls"),
            ("threads", "threaddump"),
            ("who", "changes"),
        ):
            ran = self.good(verb, *self.everybody(), code=2)
            unable = f"  {OLDER}  unable: does not know {action} (an older or another backplane)\n"
            self.assertEqual((ran.out + ran.err).count(unable), 1, ran.out + ran.err)
        # What is told by the old actions is told of it as well.
        rows = self.good("status", *self.everybody(), "--json").json()["instances"]
        found = {row["identity"]: (row["condition"], row["health"]) for row in rows}
        self.assertEqual(found, dict.fromkeys([*self.names, OLDER], ("ok", "ok")))

    def test_breaker(self) -> None:
        """Open on all of ours, and the other part of their work goes on; it is named as unable."""
        document = self.unable("pause", "--breaker", "payments")
        for reply in document["replies"]:
            if reply["sender"] != OLDER:
                self.assertEqual(reply["data"]["value"], "open")
        replies = self.good("info", *self.everybody(), "--json").json()["replies"]
        self.assertEqual(len(replies), 5)
        for reply in replies:
            self.assertIs(reply["data"]["paused"], False, "as an old client sees it")
            if reply["sender"] != OLDER:
                states = {"payments": "open", "search": "closed"}
                self.assertEqual(reply["data"]["breakers"], states)
        for name in self.names:
            self.works(name, "app: doing work: search\n")
        self.untouched()
        # An old client's words for all of it leave the breakers alone.
        self.good("pause", *self.everybody())
        self.good("resume", *self.everybody())
        self.assertEqual(set(self.told("paused").values()), {False})
        for name in self.names:
            self.works(name, "app: doing work: search\n")
        # Closed again, and as text.
        ran = self.good("resume", "--breaker", "payments", *self.everybody(), code=2)
        self.assertIn(f"{OLDER}  unable: does not know change (an older or another", ran.out)
        self.assertIn("Managed 4 service(s)", ran.out)
        for name in self.names:
            self.assertNotIn(f"{name}  unable", ran.out)
            self.works(name, "app: doing work: payments, search\n")

    def test_lease(self) -> None:
        """Paused for a time are those that can take it back; the older one is not paused."""
        self.unable("pause", "--for", "5s")
        for name in self.names:
            self.services[name].wait_for("app: skipping work while paused\n")
        self.untouched()
        wait(lambda: not any(self.told("paused").values()), "the end of all leases")
        self.untouched()
        # With an hour it is seen in the states; levels and reasons are no different.
        self.unable("pause", "--for", "1h", "--reason", "bank is down")
        self.assertEqual(self.told("paused"), {OLDER: False, **dict.fromkeys(self.names, True)})
        self.unable("debuglvl", "--for", "1h")
        level = {name: each.lower() for name, each in self.told("loglevel").items()}
        self.assertEqual(level, {OLDER: level[OLDER], **dict.fromkeys(self.names, "debug")})
        self.assertNotEqual(level[OLDER], "debug")
        self.untouched()
        # Its own word for that is understood by all.
        self.good("debuglvl", *self.everybody())
        self.older.wait_for("older: told to log DEBUG")
        self.good("resume", *self.everybody())
        self.assertEqual(set(self.told("paused").values()), {False})

    def test_drain(self) -> None:
        """Drained are ours, with or without waiting for it; the older one goes on working."""
        self.unable("drain")
        states = {
            each["sender"]: each["data"].get("state")
            for each in self.good("info", *self.everybody(), "--json").json()["replies"]
        }
        self.assertEqual(states, {OLDER: None, **dict.fromkeys(self.names, "draining")})
        document = self.unable("drain", "--wait")
        self.assertEqual((document["drained"], document["stragglers"]), (self.names, {}))
        ran = self.good("drain", "--wait", *self.everybody(), code=2)
        self.assertIn("Drained 4 of 5 service(s)\n", ran.out)
        self.assertIn(f"{OLDER}  unable: does not know change", ran.out)
        self.untouched()
        self.assertEqual(self.told("paused"), {OLDER: False, **dict.fromkeys(self.names, True)})
        self.good("resume", *self.everybody())
        self.assertEqual(set(self.told("paused").values()), {False})

    def test_undo(self) -> None:
        """It does what it was always able to; that it cannot take that back is said."""
        run = run_of(self.good("pause", *self.everybody()))
        self.assertEqual(set(self.told("paused").values()), {True})
        ran = self.good("undo", run, *self.everybody(), service=False, code=2)
        self.assertIn(f"{OLDER}  unable: does not know end (an older or another", ran.out)
        for name in self.names:
            self.assertIn(f"{name}  app: paused → running\n", ran.out)
        self.assertIn("Managed 4 service(s)", ran.out)
        self.assertEqual(self.told("paused"), {OLDER: True, **dict.fromkeys(self.names, False)})
        self.assertNotIn("older: told to resume", self.older.text())
        # Once more, as a document; then in its own words.
        document = self.unable("undo", run, action="end")
        self.assertEqual(document["action"], "end")
        self.assertEqual(self.told("paused"), {OLDER: True, **dict.fromkeys(self.names, False)})
        self.good("resume", "-I", OLDER)
        self.assertEqual(set(self.told("paused").values()), {False})

    def test_batches(self) -> None:
        """It stops a rollout, as who fails does; all else is taken back, and there is nothing."""
        flags = ("--batch", "1", "--on-failure", "undo", *self.everybody())
        document = self.good("pause", "--for", "1h", *flags, "--json", code=2).json()
        steps = document["rollout"]
        self.assertEqual(document["unable"], [OLDER])
        unknown = "Unknown action change for agent backplane"
        self.assertEqual(steps["failures"], {OLDER: unknown})
        self.assertEqual(steps["undone"]["ok"], self.names)
        self.assertEqual(list(steps["undone"]["failed"]), [OLDER])
        self.assertEqual(set(self.told("paused").values()), {False})
        ran = self.good("pause", "--for", "1h", *flags, code=2)
        self.assertIn("Taken back on 4 of 5 service(s)\n", ran.out)
        self.assertIn(f"  {OLDER}  does not know how to take it back\n", ran.out)
        self.untouched()

    def test_dry_run(self) -> None:
        """It is known beforehand."""
        ran = self.good("pause", "--for", "1h", "--dry-run", *self.everybody(), code=2)
        self.assertRegex(ran.out, rf"  {OLDER}  .*  unable  does not know change: ")
        self.assertIn("4 would change, 1 would be unable; nothing was sent\n", ran.out)
        ran = self.good("pause", "--dry-run", *self.everybody())
        self.assertIn("pause: 5 would change; nothing was sent\n", ran.out)
        self.untouched()
        for name in self.names:
            self.assertNotIn("skipping work", self.services[name].text())

    def test_old_actions(self) -> None:
        """What every backplane knows is done by all five."""
        for name in ("ping", "health", "info", "infolvl"):
            self.assertEqual(self.good(name, *self.everybody(), "--json").json()["ok"], 5, name)
        for action, paused in (("pause", True), ("resume", False), ("flip", True), ("flip", False)):
            ran = self.good(action, *self.everybody(), "--json").json()
            self.assertEqual((ran["ok"], ran["unable"]), (5, []), action)
            for reply in ran["replies"]:
                self.assertIs(reply["data"]["paused"], paused, action)
            self.assertEqual(set(self.told("paused").values()), {paused})
        self.good("shutdown", "-I", OLDER)
        self.assertEqual(self.older.process.wait(30), 0)


class SecureOlderTests(OlderTests):
    """The same with TLS and signatures."""

    secure = True
