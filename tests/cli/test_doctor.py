"""``backplane doctor``: arguments, text, JSON, exit codes."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli import main as module
from backplane.cli.doctor import command
from backplane.cli.doctor.findings import (
    Finding,
    Verdict,
    exit_code,
    failed,
    ok,
    skipped,
    warning,
)
from backplane.cli.doctor.fixes import connect_fix, grant, login_fix, tls_fix
from backplane.client.accounting import ExitCode
from tests.cli.doctoring import operator, service

FOUND = (
    ok("file.ca", "/etc/ca.pem is readable"),
    warning("delegation", "it is on", "turn it off"),
    failed("broker.tcp", "a:4222: nobody listens\x1b[2J", "start it", ExitCode.UNREACHABLE),
    skipped("broker.tls", "a:4222: it cannot be reached"),
)

TEXT = """\
service shop1.example.net of shop, FOLDER/app.yaml

Configuration
  ok       configuration        FOLDER/app.yaml: shop, 1 broker
  skipped  application          there is no app: in the file, so twistd runs the management alone

Files
  ok       file.ca              /etc/ca.pem is readable

Who may do what
  warning  delegation           it is on
                                -> turn it off

Brokers
  failed   broker.tcp           a:4222: nobody listens\\x1b[2J
                                -> start it
  skipped  broker.tls           a:4222: it cannot be reached

2 ok, 1 warning, 1 failed, 2 skipped
"""


class CommandTests(SynchronousTestCase):
    """The command, with findings that a test has made."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(os, "environ", {"HOME": str(self.folder), "USER": "sre"})
        self.path = self.folder / "app.yaml"
        self.path.write_text(
            "management: {name: shop, identity: shop1.example.net, brokers: [a]}\n"
        )
        self.found: tuple[Finding, ...] = FOUND
        self.orders: Any = None
        self.patch(command, "examine", self.examine)
        self.patch(command, "run", self.run_begun)

    async def examine(self, party: Any, orders: Any, tell: Any, **options: Any) -> None:
        self.orders = orders
        for finding in self.found:
            tell(finding)
        if self.waits:
            await Deferred()

    waits = False

    def run_begun(self, begin: Any) -> ExitCode:
        done, interrupt = begin(None)
        if self.waits:
            interrupt()
        code: ExitCode = self.successResultOf(done)
        return code

    def run_main(self, *args: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = module.main(["doctor", *(str(arg) for arg in args)])
        return code, out.getvalue(), err.getvalue()

    def test_text(self) -> None:
        """Headings, verdicts, fixes, and the count; what is remote is escaped."""
        wanted = TEXT.replace("FOLDER", str(self.folder))
        self.assertEqual(self.run_main("-c", self.path), (69, wanted, ""))

    def test_quiet(self) -> None:
        """Only what there is to do."""
        _, out, _ = self.run_main("-c", self.path, "-q")
        words = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
        self.assertEqual(words, ["warning", "->", "failed", "->"])
        self.assertTrue(out.endswith("\n2 ok, 1 warning, 1 failed, 2 skipped\n"))

    def test_json(self) -> None:
        """A list of documents with four keys each."""
        code, out, err = self.run_main("-c", self.path, "--json")
        self.assertEqual((code, err), (69, ""))
        found = json.loads(out)
        self.assertEqual(len(found), 6)
        self.assertEqual(
            found[4],
            {
                "check": "broker.tcp",
                "verdict": "failed",
                "detail": "a:4222: nobody listens\x1b[2J",
                "fix": "start it",
            },
        )
        self.assertEqual(found[5]["fix"], None)

    def test_exit(self) -> None:
        """0 with warnings, 2 for a mixture, else what all failures have in common."""
        other = failed("audit", "", None)
        for found, code in (
            (FOUND[:2], 0),
            (FOUND, 69),
            ((*FOUND, failed("broker.login", "", "", ExitCode.CREDENTIALS)), 2),
            ((other,), 2),
            ((failed("certificate.key", "", "", ExitCode.CREDENTIALS),), 77),
        ):
            self.found = found
            self.assertEqual(self.run_main("-c", self.path)[0], code)
        self.assertIs(exit_code(()), ExitCode.OK)

    def test_interrupted(self) -> None:
        """What was found until then is shown."""
        self.waits = True
        code, out, _ = self.run_main("-c", self.path)
        self.assertEqual(code, 130)
        self.assertIn("broker.tcp", out)

    def test_configuration(self) -> None:
        """A file that cannot be used ends it with 64, in both forms."""
        self.path.write_text("management: {name: shop}\n")
        code, out, _ = self.run_main("-c", self.path)
        self.assertEqual((code, self.orders), (64, None))
        self.assertIn("please specify backplane brokers", out)
        code, out, _ = self.run_main("-c", self.path, "--json")
        self.assertEqual((code, json.loads(out)[0]["verdict"]), (64, "failed"))

    def test_orders(self) -> None:
        """What is given gets where it is needed."""
        self.run_main(
            *("-c", self.path, "--caller", "a.choria", "--caller", "choria=b", "--uid", "0"),
            *("--agent", "shopping", "--publish", "--timeout", "2s", "--identity", "x"),
        )
        orders = self.orders
        self.assertEqual(orders.callers, ("a.choria", "choria=b"))
        self.assertEqual((orders.account.name, orders.agents), ("root", ("shopping",)))
        self.assertEqual((orders.publish, orders.timeout, orders.identity), (True, 2.0, "x"))
        config = self.folder / "client.cfg"
        config.write_text("plugin.choria.middleware_hosts = a\n")
        self.run_main("--config", config, "--insecure", "--service", "shop")
        self.assertEqual((self.orders.service, self.orders.insecure), ("shop", True))

    def test_usage(self) -> None:
        """What does not go together, and what cannot be."""
        for arguments, words in (
            (("-c", "a", "--config", "b"), "-c is for a service, --config for an operator"),
            (("--uid", "root"), "--uid is for a service: give its file with -c"),
            (("--strict",), "--strict is for a service"),
            (("--agent", "x"), "--agent is for a service"),
            (("-c", "a", "--insecure"), "--insecure is for an operator, not for -c"),
            (("-c", "a", "--service", "x"), "--service is for an operator"),
            (("--service", "No!"), "'No!' is not the name of a service"),
            (("--identity", "a..b"), "'a..b' is not an identity"),
            (("-c", "a", "--agent", "a.b"), "'a.b' is not the name of an agent"),
            (("-c", "a", "--uid", "nobody-at-all"), "there is no user 'nobody-at-all'"),
            (("--timeout", "x"), "'x' is not a time"),
            (("extra",), "unexpected extra argument"),
        ):
            code, out, err = self.run_main(*arguments)
            self.assertEqual((code, out), (64, ""), arguments)
            self.assertIn(words, err)

    def test_described(self) -> None:
        """The page has every option, every verdict, every exit code and every check."""
        page = Path(__file__).parents[2].joinpath("docs", "doctor.rst").read_text("utf-8")
        for param in command.doctor_command.params:
            for flag in param.opts:
                self.assertRegex(page, rf"(?m)^``.*{flag}\b", flag)
        for verdict in Verdict:
            self.assertRegex(page, rf"(?m)^``{verdict.value}`` ")
        for code in (0, 2, 64, 69, 77, 130):
            self.assertRegex(page, rf"(?m)^``{code}`` ")
        kinds = {kind for kinds in command.TITLES.values() for kind in kinds}
        for kind in kinds:
            self.assertRegex(page, rf"(?m)^``.*\b{kind}\b", kind)

    def test_help(self) -> None:
        code, out, err = self.run_main("--help")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("whether a service or an operator would work", out)


class FixTests(SynchronousTestCase):
    """Reasons and what to do about them."""

    def test_connect(self) -> None:
        for text, words in (
            ("Connection was refused by other side: 111", "start the broker"),
            ("DNS lookup failed: no results", "correct the name"),
            ("User timeout caused connection failure", "firewall"),
            ("TCP connection timed out: 110", "firewall"),
            ("No route to host", "routes"),
            ("something else", "the address and the network"),
        ):
            self.assertIn(words, connect_fix(text))

    def test_sides(self) -> None:
        """The settings that are named are those of whoever is examined."""
        text = "the broker's certificate is for a, not for b"
        self.assertIn("management.brokers", tls_fix(text, service()))
        self.assertIn("plugin.choria.middleware_hosts", tls_fix(text, operator()))
        self.assertIn("plugin.nats.user", login_fix("Authorization Violation", operator()))
        self.assertIn("the broker's log", tls_fix("who knows", service()))
        self.assertIn("the broker's log", login_fix("who knows", service()))
        self.assertIn("something else answers", login_fix("not a NATS server: got b''", service()))

    def test_grant(self) -> None:
        for subject, wide in (
            ("shop_backplane.broadcast.agent.backplane", "shop_backplane.broadcast.agent.>"),
            ("shop_backplane.node.a.b.c", "shop_backplane.node.>"),
            ("shop_backplane.reply.0123.x", "shop_backplane.reply.>"),
            ("choria.lifecycle.event.alive.backplane", "choria.lifecycle.>"),
        ):
            self.assertIn(f'subscribe: ["{wide}"]', grant(subject, "subscribe"))
