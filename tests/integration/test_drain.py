"""Services finish what is under way, and an operator waits for it."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.integration.fleet import ROOT, environment, wait
from tests.integration.fleets import OPERATORS, FleetCase

JOB = 10
"""Seconds that a job takes."""


class DrainTests(FleetCase):
    """In the insecure mode: each service begins a job of ten seconds now and then."""

    count = 2
    fields = {"interval": 2, "job": JOB}

    def busy(self) -> None:
        """Wait until there is work under way everywhere."""
        wait(lambda: all(self.told("in_flight").values()), "work under way")

    def test_drain(self) -> None:
        """At the deadline the stragglers are named, exit code 2; it ends well after the last."""
        self.busy()
        ran = self.good("drain", "--wait", "--deadline", "2s", *self.everybody(), code=2)
        self.assertIn("Drained 0 of 2 service(s)\n", ran.out)
        for name in self.names:
            self.assertRegex(ran.out, rf"  {name}  [1-9] under way\n")
        self.assertEqual(set(self.told("state").values()), {"draining"})
        ran = self.good("drain", "--wait", "--deadline", "60s", *self.everybody(), "--json")
        document = ran.json()
        self.assertEqual(document["drained"], self.names)
        self.assertEqual(document["stragglers"], {})
        self.assertEqual(set(self.told("in_flight").values()), {0})
        self.good("resume", *self.everybody())
        self.assertEqual(set(self.told("state").values()), {"running"})

    def test_json(self) -> None:
        """The stragglers with their counts, as a document; then the drained are shut down."""
        self.busy()
        flags = ("drain", "--wait", *self.everybody())
        document = self.good(*flags, "--deadline", "1s", "--json", code=2).json()
        self.assertEqual(sorted(document["stragglers"]), self.names)
        self.assertTrue(all(count > 0 for count in document["stragglers"].values()))
        self.assertEqual(document["exit_code"], 2)
        ran = self.good(*flags, "--shutdown", "--yes")
        self.assertIn("Drained 2 of 2 service(s)\n", ran.out)
        for service in self.services.values():
            wait(lambda s=service: s.process.poll() is not None, "its end")

    def test_frozen(self) -> None:
        """Who stops answering meanwhile is silent, not drained: exit code 4, and it ends."""
        self.busy()
        words = self.words("drain", "--wait", *self.everybody())
        waiting = subprocess.Popen(
            [sys.executable, "-m", "backplane.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(), "MCOLLECTIVE_CERTNAME": OPERATORS[0], **self.fleet.state},
            cwd=ROOT,
        )
        self.addCleanup(waiting.kill)
        wait(lambda: set(self.told("state").values()) == {"draining"}, "both drain")
        frozen, other = self.names
        process = self.services[frozen].process
        process.send_signal(signal.SIGSTOP)
        self.addCleanup(process.send_signal, signal.SIGCONT)
        out, err = (text.decode() for text in waiting.communicate(timeout=90))
        self.assertEqual(waiting.returncode, 4, out + err)
        self.assertIn("Drained 1 of 2 service(s)\n", out)
        self.assertIn(f"  {frozen}  no answer\n", out)
        self.assertNotIn(f"  {other}  ", out)


class SecureDrainTests(DrainTests):
    """The same with TLS and signatures."""

    secure = True
