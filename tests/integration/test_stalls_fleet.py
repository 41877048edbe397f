"""A fleet's stacks and stalls: who is stuck in what, without any value."""

from __future__ import annotations

from typing import Any

from tests.integration.fleet import Service
from tests.integration.fleets import FleetCase

SENTINEL = "s3ntinel-of-a-local-variable"

APP = '''"""The demo with a worker thread, which blocks its reactor for a while where it is sick."""
import threading, time

from twisted.internet import defer, reactor

from demo import App, make as make_demo

GO, KEPT = threading.Event(), []


def charge(card):
    wait_for_the_bank = threading.Event()
    wait_for_the_bank.wait()


def idle():
    GO.wait()


def hold(password):
    time.sleep(5)  # the line that blocks


async def await_the_bank(gate, card):
    await gate
    return card


def make(config, management):
    make_demo(config, management)
    secret = "".join(["s3ntinel-", "of-a-local-variable"])
    sick = config.get("sick")
    work = (lambda: charge(secret)) if sick else idle
    threading.Thread(target=work, name="worker-1", daemon=True).start()
    if sick:
        reactor.callLater(1, hold, secret)
    reactor.callLater(3600, hold, secret)
    KEPT.append(defer.Deferred.fromCoroutine(await_the_bank(defer.Deferred(), secret)))
    return App(config, management)
'''

LINE = "time.sleep(5)  # the line that blocks"


class StallsTests(FleetCase):
    """In the insecure mode: the second and the fourth of five are sick."""

    count = 5
    sick = ("app2.example.net", "app4.example.net")

    def setUp(self) -> None:
        self.said: list[str] = []
        super().setUp()

    def service(self, identity: str, **fields: Any) -> Service:
        self.fleet.write(f"{identity}/sick.py", APP)
        return super().service(identity, app="sick:make", sick=identity in self.sick, **fields)

    def tearDown(self) -> None:
        self.assertTrue(self.said)
        for text in self.said:
            self.assertNotIn(SENTINEL, text)

    def test_stalls(self) -> None:
        """Exactly those two are named, with the line that blocked."""
        for name in self.sick:
            self.services[name].wait_for("the reactor turns again")
        ran = self.good("stalls", *self.everybody(), "--json")
        (stall,) = ran.json()["stalls"]
        self.assertEqual(sorted(stall["instances"]), list(self.sick))
        self.assertEqual(stall["source"], LINE)
        self.assertRegex(stall["place"], r"/sick\.py:\d+ in hold$")
        self.assertEqual(stall["count"], 2)
        for each in stall["instances"].values():
            self.assertGreater(each["seconds"], 3.0)
        self.assertEqual(ran.json()["not_watching"], [])
        text = self.good("stalls", *self.everybody()).out
        self.assertIn(f"    {LINE}\n", text)
        self.assertIn(f"    on 2: {', '.join(self.sick)}\n", text)
        names = self.good("stalls", *self.everybody(), "-o", "names").out.split()
        self.assertEqual(names, [f"app/{name}" for name in self.sick])
        self.said += [ran.out, text, *(each.text() for each in self.services.values())]

    def test_threads(self) -> None:
        """Stacks that are alike are one group: three workers here, two there."""
        for name in self.sick:
            self.services[name].wait_for("the reactor turns again")
        ran = self.good("threads", *self.everybody(), "--json")
        groups = {
            tuple(group["instances"]): group
            for group in ran.json()["groups"]
            if group["names"] == ["worker-#"]
        }
        well = tuple(name for name in self.names if name not in self.sick)
        self.assertEqual(set(groups), {well, self.sick})
        ours = [
            [frame["function"] for frame in group["frames"] if frame["file"].endswith("sick.py")]
            for group in (groups[well], groups[self.sick])
        ]
        self.assertEqual(ours, [["idle"], ["make.<locals>.<lambda>", "charge"]])
        calls = {each["what"]: each for each in ran.json()["delayed_calls"]}
        self.assertEqual(
            (calls["sick.hold"]["count"], len(calls["sick.hold"]["instances"])), (5, 5)
        )
        waits = [
            each for each in ran.json()["deferreds"] if each["what"].endswith(" await_the_bank")
        ]
        self.assertEqual([(each["count"], len(each["instances"])) for each in waits], [(5, 5)])
        self.assertEqual(sorted(ran.json()["thread_pools"]), self.names)
        text = self.good("threads", *self.everybody()).out
        self.assertIn(
            "2 of 5 service(s): worker-#\n    on app2.example.net, app4.example.net\n", text
        )
        self.assertIn("3 of 5 service(s): worker-#\n    on app1.example.net, app3.ex", text)
        self.assertIn("5 of 5 service(s): MainThread, reactor\n", text)
        self.assertIn("Pending Deferreds: ", text)
        self.assertIn("Thread pools: ", text)
        lines = self.good("threads", *self.everybody(), "-o", "jsonl").out
        self.said += [
            ran.out,
            text,
            lines,
            self.good("threads", *self.everybody(), "-o", "table").out,
            self.good("threads", *self.everybody(), "-v").out,
            self.good("threaddump", *self.everybody(), "--json").out,
            *(each.text() for each in self.services.values()),
        ]


class SecureStallsTests(StallsTests):
    """The same with TLS and signatures."""

    secure = True
