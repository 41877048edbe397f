"""``backplane roster``, ``--nodes``, contexts: what needs no network."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from backplane.choria.events import lifecycle_event
from backplane.cli.attendance import Attendance, goodbye
from backplane.client.jobs import make_job
from backplane.client.roster import Roster, Rosters
from backplane.testing import Harness
from tests.cli.test_main import MainCase
from tests.client.test_accounting import answer, outcome

NETWORK = "b.example.net:4222"


class RosterCommandTests(MainCase):
    """With a roster in the user's home."""

    def setUp(self) -> None:
        super().setUp()
        self.rosters = Rosters(str((self.home / ".local/state/backplane").absolute()), self.fail)
        os.environ["HOME"] = str(self.home.absolute())
        self.see("demo", "one", "two")

    def see(self, service: str, *names: str, ago: float = 0.0, network: str = NETWORK) -> None:
        now = time.time()

        def change(roster: Roster) -> None:
            roster.see(names, now - ago)

        self.rosters.update(service, network, f"{service}_backplane", now, change)

    def test_expected(self) -> None:
        """A command expects who was seen of late, on its network, unless it shall not."""
        self.see("demo", "old", ago=7200.0)
        self.see("demo", "elsewhere", network="other:4222")
        job = self.job("demo", "pause")
        self.assertEqual((job.roster, job.faded), ({"one", "two"}, {"old"}))
        self.assertEqual(self.job("demo", "pause", "--no-roster").roster, frozenset())
        self.assertEqual(self.job("demo", "pause", "-T", "other").roster, frozenset())
        self.assertEqual(self.job("shop", "pause").roster, frozenset())
        with self.config.open("a") as file:
            file.write("plugin.backplane.roster = 3h\n")
        self.assertEqual(self.job("demo", "pause").roster, {"one", "two", "old"})
        with self.config.open("a") as file:
            file.write("plugin.backplane.roster = 0\n")
        self.assertEqual(self.job("demo", "pause").roster, frozenset())

    def test_counts(self) -> None:
        """How many there are, exactly or at least."""
        self.assertEqual(self.job("demo", "pause", "--expect-at-least", "3").at_least, 3)
        self.assertIn(
            "either", self.usage("--insecure", "demo", "pause", "--expect=1", "--expect-at-least=1")
        )
        self.usage("--insecure", "demo", "pause", "--expect-at-least", "0")

    def test_shown(self) -> None:
        """Who is remembered of which service, and where."""
        self.see("shop", "old", ago=7200.0)
        ran = self.run_main("roster")
        self.assertEqual(ran.code, 0, ran.err)
        head, *rows = ran.out.splitlines()
        self.assertEqual(
            head.split(), ["SERVICE", "INSTANCE", "STATE", "SEEN", "COLLECTIVE", "NETWORK"]
        )
        self.assertEqual(
            [row.split()[:3] for row in rows],
            [["demo", "one", "expected"], ["demo", "two", "expected"], ["shop", "old", "faded"]],
        )
        self.assertIn(f"2 h ago  shop_backplane  {NETWORK}", rows[2])
        self.assertEqual(self.run_main("roster", "-o", "names").out, "demo/one\ndemo/two\n")
        (row,) = json.loads(self.run_main("roster", "shop", "--json").out)
        self.assertEqual((row["identity"], row["state"], row["network"]), ("old", "faded", NETWORK))

    def test_forgotten(self) -> None:
        """One, or all; of one network where a configuration is given."""
        self.see("demo", "one", network="other:4222")
        config = str(self.config)
        self.assertEqual(
            self.run_main("roster", "demo", "--forget", "one", "--config", config).out,
            "forgotten: demo/one\n",
        )
        self.assertEqual(self.run_main("roster", "-o", "names").out, "demo/two\ndemo/one\n")
        self.assertEqual(self.run_main("roster", "demo", "--forget", "nobody").code, 1)
        self.assertIn("the service", self.usage("roster", "--forget", "one"))
        self.assertIn("--clear forgets", self.usage("roster", "demo", "--clear", "--forget", "one"))
        self.assertEqual(self.run_main("--insecure", "roster", "-o", "names").out.count("\n"), 2)
        self.run_main("roster", "--clear")
        self.assertEqual(self.run_main("roster").out, "")

    def test_nodes(self) -> None:
        """Names with their service; those of another one are refused, whatever the line."""
        path = self.home / "nodes"
        path.write_text("one\ndemo/two\n\n demo/three \n")
        job = self.job("demo", "pause", "--nodes", str(path))
        self.assertEqual(job.rule.named, {"one", "two", "three"})
        for text in ("demo/one\nshop/two\n", "/two\n", "a/demo/two\n"):
            path.write_text(text)
            self.assertIn(
                "is no instance of demo",
                self.usage("--insecure", "demo", "pause", "--nodes", str(path)),
            )

    def test_context(self) -> None:
        """A variable names the configuration; the flag wins."""
        other = self.home / "other.cfg"
        other.write_text("plugin.choria.middleware_hosts = other:4222\n")
        os.environ["BACKPLANE_CONFIG"] = str(other)
        self.assertEqual(self.job("demo", "ping").roster, frozenset())
        self.assertEqual(self.settings[-1].brokers, ("other:4222",))
        self.job("demo", "ping", "--config", str(self.config))
        self.assertEqual(self.settings[-1].brokers, ("b.example.net:4222",))
        os.environ["BACKPLANE_CONFIG"] = "missing.cfg"
        self.assertIn("missing.cfg", self.usage("--insecure", "demo", "ping"))
        os.environ["BACKPLANE_CONFIG"] = ""
        self.assertEqual(self.job("demo", "ping").roster, {"one", "two"})

    def test_forms(self) -> None:
        """Errors come in the form that was asked for."""
        self.assertEqual(
            json.loads(self.run_main("demo", "what", "-o", "json").out)["exit_code"], 64
        )
        out = self.run_main("demo", "what", "-o", "jsonl").out
        self.assertEqual((json.loads(out)["exit_code"], out.count("\n")), (64, 1))
        self.assertIn("contradict", self.run_main("demo", "ping", "--json", "-o", "names").out)


class AttendanceTests(MainCase):
    """While a command runs."""

    def test_learns(self) -> None:
        """From runs of its own service and collective, and from goodbyes."""
        harness = Harness()
        self.addCleanup(harness.close)
        folder = Path(self.mktemp()).absolute()
        book = Rosters(str(folder), self.fail)

        def attendance() -> Attendance:
            return Attendance(book, "app", NETWORK, "app_backplane", now=lambda: 1000.0)

        first = attendance()
        self.assertEqual((first.expected, first.faded), (frozenset(), frozenset()))
        operator = harness.operator()
        first.listen(operator.client)
        harness.advance(1)
        ping = make_job("app", "ping")
        first.learn(ping, outcome({"one": 1, "two": 1}, answer("one")))
        first.learn(make_job("app", "ping", target="other"), outcome({"three": 1}))
        self.assertEqual(attendance().expected, {"one", "two"})
        for identity in ("two", "no identity"):
            subject, payload = lifecycle_event(
                "shutdown", identity=identity, component="backplane", version="1", now=1000.0
            )
            harness.broker.publish(subject, payload)
        harness.broker.publish(subject, b"{")
        harness.advance(1)
        first.learn(ping, outcome({"one": 1}, answer("one")))
        self.assertEqual(attendance().expected, {"one"})

    def test_goodbye(self) -> None:
        """Only a shutdown event is one."""
        for payload in (
            b"",
            b"[]",
            b"[" * 50_000,
            b'{"data": []}',
            b'{"data": {"protocol": "io.choria.lifecycle.v1.startup", "identity": "one"}}',
            b'{"data": {"protocol": "io.choria.lifecycle.v1.shutdown", "identity": 1}}',
            b'{"data": {"protocol": "io.choria.lifecycle.v1.shutdown", "identity": "a*"}}',
        ):
            self.assertIsNone(goodbye(payload), payload[:60])
