"""A run is taken back: exactly what it changed, and not what somebody else did since."""

from __future__ import annotations

import json

from tests.integration.fleet import Ran
from tests.integration.fleets import OPERATORS, FleetCase


def run_of(ran: Ran) -> str:
    """Return the id that a run has said."""
    _, word, rest = ran.err.partition("\nRun ")
    assert word, ran.err
    return rest.partition(";")[0]


class UndoTests(FleetCase):
    """In the insecure mode."""

    count = 4
    fields = {"management": {"max_stop_delay": 3600}}

    def test_undo(self) -> None:
        """Two are paused, then all: undone, exactly the first two remain paused."""
        first, second, third, fourth = self.names
        self.good("pause", "-I", first, "-I", second)
        run = run_of(self.good("pause", *self.everybody()))
        self.assertEqual(self.told("paused"), dict.fromkeys(self.names, True))
        ran = self.good("undo", run, service=False)
        self.assertIn(f"  {first}  app: stays paused\n", ran.out)
        self.assertIn(f"  {third}  app: paused → running\n", ran.out)
        self.assertIn("Managed 4 service(s)", ran.out)
        now = {first: True, second: True, third: False, fourth: False}
        self.assertEqual(self.told("paused"), now)
        # Once more there is nothing to do, and nothing is done.
        ran = self.good("undo", run)
        self.assertEqual(ran.out.count("nothing to take back"), 4)
        self.assertEqual(self.told("paused"), now)

    def test_somebody_else(self) -> None:
        """Where another caller has changed it since, it is refused, and he is named."""
        first, *others = self.names
        run = run_of(self.good("pause", *self.everybody(), "--reason", "trial"))
        other = OPERATORS[1]
        self.good("pause", "-I", first, "--for", "10m", by=other)
        ran = self.good("undo", run, code=2)
        self.assertIn(f"{first}  not taken back: app was changed since, by choria={other}", ran.out)
        self.assertEqual(self.told("paused"), {first: True, **dict.fromkeys(others, False)})
        # Who says what he means ends the other's change as well.
        self.good("resume", "-I", first)
        self.assertEqual(self.told("paused"), dict.fromkeys(self.names, False))

    def test_another_machine(self) -> None:
        """Without a record the services know: by the id that the history shows, or all of it."""
        run = run_of(self.good("pause", *self.everybody()))
        ran = self.good("history", "-o", "jsonl", *self.everybody())
        whole = {json.loads(line)["run"] for line in ran.out.splitlines()}
        self.assertEqual({each[:8] for each in whole}, {run})
        self.fleet.state["XDG_STATE_HOME"] += "-of-another"
        self.good("undo", run, service=False, code=64)
        ran = self.good("undo", "0" * 8, *self.everybody(), code=1)
        self.assertIn("by the 4 service(s) that answered", ran.err)
        self.good("undo", run[:5], code=64)
        self.good("undo", run, *self.everybody())
        self.assertEqual(self.told("paused"), dict.fromkeys(self.names, False))
        ran = self.good("undo", whole.pop(), *self.everybody())
        self.assertEqual(ran.out.count("nothing to take back"), 4)

    def test_who(self) -> None:
        """What is changed now is told with its owner, end and reason, and ends by its owner."""
        flags = ("--logger", "demo.search", "--for", "10m", "--reason", "slow answers")
        self.good("loglevel", "debug", *flags, *self.everybody())
        rows = self.good("who", "--json", *self.everybody()).json()["changes"]
        self.assertEqual(sorted(row["identity"] for row in rows), self.names)
        for row in rows:
            self.assertEqual(
                (row["target"], row["to"], row["who"], row["why"]),
                ("log:demo.search", "debug", f"choria={OPERATORS[0]}", "slow answers"),
            )
            self.assertAlmostEqual(row["until"] - row["made"], 600, places=3)
        text = self.good("who", *self.everybody()).out
        self.assertIn("log:demo.search  debug", text)
        self.assertIn("(in 9m ", text)
        self.assertIn("4: app1.example.net, app2.example.net, app3.example.net and 1 more", text)
        loggers = self.good("loggers", "--logger", "demo", "-o", "jsonl").out.splitlines()
        self.assertIn(
            {"logger": "demo.search", "level": "debug", "effective": "debug", "instances": 4},
            [json.loads(line) for line in loggers],
        )
        self.good("extend", "--logger", "demo.search", "--for", "1h", *self.everybody())
        self.assertIn("(in 59m ", self.good("who", *self.everybody()).out)
        self.good("loglevel", "reset", "--logger", "demo.search", *self.everybody())
        ran = self.good("who", *self.everybody())
        self.assertEqual(ran.out, "Nothing is changed on 4 service(s)\n")

    def test_shutdown_called_off(self) -> None:
        """A shutdown is called off within its delay."""
        first = self.names[0]
        self.good("shutdown", "-I", first, "--reason", "wrong one")
        self.assertEqual(self.told("state")[first], "stopping")
        ran = self.good("shutdown", "--cancel", "-I", first)
        self.assertIn("the shutdown is called off", ran.out)
        self.assertEqual(self.told("state")[first], "running")
        self.good("shutdown", "--in", "3h", "--yes", *self.everybody())
        text = self.good("who", *self.everybody()).out
        self.assertEqual(text.count("shutdown"), 1, text)
        self.assertRegex(text, r"shutdown +scheduled .*\(in (3h|2h 59m)\).* 4: app1")
        ran = self.good("shutdown", "-I", first, code=2)
        self.assertIn("scheduled already, by ", ran.out)
        self.good("shutdown", "--cancel", *self.everybody())
        self.assertEqual(set(self.told("state").values()), {"running"})


class SecureUndoTests(UndoTests):
    """The same with TLS and signatures."""

    secure = True
