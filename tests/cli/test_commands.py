"""One run of ``exec``, with a broker in memory: what is shown, and the exit code."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.commands import Execution
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.client.jobs import make_job
from backplane.client.run import Operator
from backplane.nats.client import NatsClient
from backplane.testing import Harness, RecordingApplication
from tests.cli.test_console import Terminal
from tests.client.peers import Peers, reply

STARTING = "Starting discovery process for app backplane managed services:"


class ExecutionTests(SynchronousTestCase):
    """Executions on a harness."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.addCleanup(self.harness.advance, 30)
        self.peers = Peers(self.harness)
        self.out: io.StringIO = io.StringIO()
        self.err: io.StringIO = io.StringIO()

    def client(self, **options: Any) -> NatsClient:
        client = NatsClient(
            "broker.example.net:4222",
            self.harness.clock,
            endpoint=self.harness.endpoint,
            retry=False,
            **options,
        )
        client.startService()
        self.addCleanup(lambda: self.harness.result_of(client.stopService()))
        return client

    def execution(
        self, action: str, as_json: bool = False, verbose: bool = False, **who: Any
    ) -> Execution:
        client = self.client()
        operator = Operator(
            client,
            self.harness.clock,
            caller_id="choria=sre.choria",
            identity="here",
            now=self.harness.clock.seconds,
        )
        console = Console(self.out, self.err, {"NO_COLOR": "1"})
        job = make_job("app", action, **who)
        return Execution(job, client, operator, console, as_json=as_json, verbose=verbose)

    def run_it(self, action: str, as_json: bool = False, **who: Any) -> ExitCode:
        return self.harness.result_of(self.execution(action, as_json, **who).start())

    def test_good(self) -> None:
        """Results on standard output, progress on standard error."""
        self.peers.add("one", "two")
        self.assertEqual(self.run_it("pause", expect=2), 0)
        self.assertEqual(self.out.getvalue(), f"{STARTING} 2\n\n\n\nManaged 2 service(s) in 50ms\n")
        self.assertEqual(self.err.getvalue(), "Performing pause... ✓ 2 / 2\n")

    def test_terminal(self) -> None:
        """A terminal sees discovery and answers as they come, and nothing of it stays."""
        self.out = self.err = Terminal()
        self.peers.add("one", "two")
        self.assertEqual(self.run_it("ping", expect=2), 0)
        shown = self.out.getvalue()
        self.assertIn(f"\r{STARTING} 1\r{STARTING} 2\r", shown)
        self.assertIn(f"\r{STARTING} 2\n\n\rPerforming ping... ▖ 0 / 2\r", shown)
        self.assertIn(" 1 / 2\r", shown)
        self.assertIn("\rPerforming ping... ✓ 2 / 2\n\n  one  {}\n  two  {}\n", shown)

    def test_nothing(self) -> None:
        """Nothing matched: 1; somebody who was named: 4, with the name."""
        self.assertEqual(self.run_it("pause"), 1)
        self.assertEqual(self.out.getvalue(), f"{STARTING} 0\n")
        self.assertEqual(
            self.err.getvalue(),
            "backplane: error: Failed to manage services: could not perform action: "
            "did not discover any nodes\n",
        )
        self.assertEqual(self.run_it("pause", identities=["ghost"]), 4)
        self.assertIn("  no answer from ghost\n", self.err.getvalue())

    def test_silence(self) -> None:
        """Nobody answers: 3; one does not: 4, named in the right place."""
        self.peers.add("one", "two")
        self.peers.replies.update({"one": [], "two": []})
        self.assertEqual(self.run_it("pause"), 3)
        self.assertIn("no responses received\n", self.err.getvalue())
        del self.peers.replies["one"]
        self.assertEqual(self.run_it("pause"), 4)
        self.assertIn("\nNo answer from: 1\n  two\n", self.out.getvalue())
        self.assertIn("Performing pause... ✘ 1 / 2\n", self.err.getvalue())

    def test_failures(self) -> None:
        """Failures and denials: 2."""
        self.peers.add("one", "two")
        self.peers.replies["one"] = [(0.01, reply(1, "no\x1b[2J\nway"))]
        self.assertEqual(self.run_it("pause"), 2)
        self.assertIn("\n  one  no\\x1b[2J\\nway\n", self.out.getvalue())

    def test_json(self) -> None:
        """One document and nothing else, whatever comes of it."""
        for expected, names, replies in (
            (0, ["one"], {}),
            (1, [], {}),
            (2, ["one"], {"one": [(0.01, reply(5, "no"))]}),
            (3, ["one"], {"one": []}),
            (4, ["one", "two"], {"two": []}),
        ):
            self.peers.pongs.clear()
            self.peers.add(*names)
            self.peers.replies = dict(replies)
            self.out.truncate(0)
            self.out.seek(0)
            self.assertEqual(self.run_it("ping", as_json=True), expected)
            document = json.loads(self.out.getvalue())
            self.assertEqual(document["exit_code"], expected)
            self.assertEqual(document["discovered"], names)
            self.assertEqual(document["error"] is None, expected in (0, 2, 4))
        self.assertEqual(self.err.getvalue(), "")

    def fault(self, execution: Execution) -> Fault:
        with self.assertRaises(Fault) as caught:
            self.harness.result_of(execution.start())
        fault = caught.exception
        assert isinstance(fault, Fault)
        return fault

    def test_unreachable(self) -> None:
        """No broker: 69, with the reason."""
        self.harness.network.fail_dns("broker.example.net")
        fault = self.fault(self.execution("pause"))
        self.assertEqual(fault.code, 69)
        self.assertIn("broker.example.net", fault.text)
        self.harness.network.fail_dns("broker.example.net", False)

    def test_unreachable_in_time(self) -> None:
        """A broker that does not answer costs no more than ``--timeout``."""
        self.harness.broker.silent = True
        began = self.harness.clock.seconds()
        fault = self.fault(self.execution("pause", timeout=1.0))
        self.assertEqual(fault.code, 69)
        self.assertLess(self.harness.clock.seconds() - began, 1.2)
        self.assertIn("no connection within 1 s", fault.text)
        self.harness.broker.silent = False

    def test_credentials(self) -> None:
        """A broker that does not take the credentials: 77."""
        self.harness.broker.token = "secret"
        fault = self.fault(self.execution("pause"))
        self.assertEqual(fault.code, 77)
        self.assertIn("Authorization Violation", fault.text)
        self.assertNotIn("secret", fault.text)
        self.harness.broker.token = None

    def test_interrupted(self) -> None:
        """At any moment: 130, with what is known so far."""
        execution = self.execution("pause")
        waiting = execution.start()
        execution.interrupt()
        fault = self.failureResultOf(waiting, Fault).value
        self.assertEqual((fault.code, fault.text), (130, "interrupted; nothing was sent"))

        self.peers.add("one", "two")
        self.peers.replies["two"] = []
        for seconds, text in ((1, "nothing was sent"), (3, "1 of 2 had answered")):
            execution = self.execution("pause", verbose=True)
            waiting2 = execution.start()
            self.harness.advance(seconds)
            execution.interrupt()
            execution.interrupt()
            self.assertEqual(self.successResultOf(waiting2), 130)
            self.assertTrue(
                self.err.getvalue().endswith(f"backplane: error: interrupted; {text}\n")
            )
        self.assertIn("\n  one  {}\n", self.out.getvalue())
        self.assertIn("No answer from: 1\n  two\n", self.out.getvalue())

    def test_lost(self) -> None:
        """The broker is lost on the way: 69, with what is known so far."""
        self.peers.add("one", "two")
        self.peers.replies["two"] = []
        waiting = self.execution("ping").start()
        self.harness.advance(1)
        self.harness.broker.drop_all()
        self.harness.network.flush()
        self.assertEqual(self.successResultOf(waiting), 69)
        self.assertIn("\n  one  {}\n", self.out.getvalue())
        self.assertIn("the broker was lost", self.err.getvalue())

    def test_real_service(self) -> None:
        """With a managed application, as everything else is."""
        app = RecordingApplication({"dc": "DC1"})
        self.harness.manage(app)
        self.assertEqual(self.run_it("pause", facts=["dc=DC1"]), 0)
        self.assertTrue(app.paused())
        self.assertEqual(self.run_it("resume", facts=["dc=DC2"]), 1)
        self.assertTrue(app.paused())
