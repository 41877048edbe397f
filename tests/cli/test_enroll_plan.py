"""``backplane enroll``: its flags, what holds without them, and its page in the manual."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli import enroll as module
from backplane.cli.enroll import enroll_command
from backplane.cli.faults import Fault
from backplane.cli.main import main
from backplane.client.accounting import ExitCode
from tests.cli.enrolling import EnrolCase
from tests.examples.pages import ROOT, Page, read


class PageTests(EnrolCase):
    """The manual shows what there is to see."""

    async def test_page(self) -> None:
        """What docs/enroll.rst shows is what the command shows, but for hashes and dates."""
        self.ca.sign_at = 3
        ran = await self.run_command(wait=1800.0)
        block = next(block for block in self.page().blocks if block.text.startswith("CA from "))
        own = ran.out.replace(f"localhost:{self.port}", "puppet.example.net:8140")
        own = own.replace(str(self.folder), "/home/bob/.puppetlabs/etc/puppet/ssl")
        shown = [_masked(line) for line in block.text.splitlines()]
        self.assertEqual(shown, [_masked(line) for line in own.splitlines()][: len(shown)])

    def test_flags(self) -> None:
        """The page has every flag, every exit code, every key of the document."""
        text = self.page().text
        for param in enroll_command.params:
            self.assertIn(f"``{param.opts[0]}", text)
        told = set(re.findall(r"(?m)^``(\d+)`` ", text))
        self.assertEqual(told, set(re.findall(r"\b(\d+) ", str(enroll_command.epilog))))

    def page(self) -> Page:
        return read(ROOT / "docs" / "enroll.rst")


def _masked(line: str) -> str:
    return re.sub("([0-9A-F]{2}:){31}[0-9A-F]{2}|[0-9]{4}-[0-9]{2}-[0-9]{2}", "…", line)


class PlanTests(SynchronousTestCase):
    """What is meant where nothing is said."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.uid = 1000
        self.patch(os, "geteuid", lambda: self.uid)
        self.patch(os, "environ", {"HOME": str(self.home)})
        self.patch(module, "host_identity", lambda: "app1.example.net")
        self.patch(module, "find_config", lambda home, exists: (None, []))

    def plan(self, environ: dict[str, str], **given: Any) -> module.Plan:
        names = ("ca", "pin", "certname", "ssl_dir", "config")
        values = {**dict.fromkeys(names), "wait": 1.0, **given}
        return module._plan(environ, **values)

    def fault(self, environ: dict[str, str], **given: Any) -> str:
        fault = self.assertRaises(Fault, self.plan, environ, **given)
        self.assertEqual(fault.code, ExitCode.USAGE)
        text: str = fault.text
        return text

    def test_user(self) -> None:
        """A user has his name and his home."""
        plan = self.plan({"USER": "bob"})
        self.assertEqual((plan.ca, plan.certname), (("puppet", 8140), "bob.mcollective"))
        self.assertEqual(plan.ssl_dir, str(self.home / ".puppetlabs/etc/puppet/ssl"))
        self.assertEqual(plan.hints, ())
        self.assertEqual(self.plan({"MCOLLECTIVE_CERTNAME": "x.y"}).certname, "x.y")

    def test_root(self) -> None:
        """Root is the host."""
        self.uid = 0
        plan = self.plan({"USER": "root"})
        self.assertEqual(plan.certname, "app1.example.net")
        self.assertEqual(plan.ssl_dir, "/etc/puppetlabs/puppet/ssl")

    def test_nobody(self) -> None:
        """A user without a name, or with one that no authority signs."""
        self.assertIn("give --certname NAME", self.fault({}))
        self.assertIn("--certname bob.mcollective", self.fault({"USER": "Bob"}))

    def test_configured(self) -> None:
        """The client's configuration says where the authority is, and the files."""
        config = self.home / "client.cfg"
        config.write_text(
            "plugin.choria.puppetca_host = ca.example.net\n"
            "plugin.choria.puppetca_port = 8141\n"
            f"plugin.choria.ssldir = {self.home}/ssl\n"
        )
        plan = self.plan({"USER": "bob"}, config=str(config))
        self.assertEqual((plan.ca, plan.ssl_dir), (("ca.example.net", 8141), f"{self.home}/ssl"))
        plan = self.plan({"USER": "bob"}, config=str(config), ca="b", ssl_dir="~/x", certname="c")
        self.assertEqual((plan.ca, plan.ssl_dir), (("b", 8140), f"{self.home}/x"))
        self.assertEqual(
            plan.hints,
            (
                "MCOLLECTIVE_CERTNAME=c in the environment",
                f"plugin.choria.ssldir = {self.home}/x in the client's configuration",
            ),
        )
        config.write_text("plugin.choria.puppetca_host = ht tp\n")
        self.assertIn("'ht tp:8140' is not a host", self.fault({"USER": "b"}, config=str(config)))

    def test_arguments(self) -> None:
        """Flags are read as they are meant; wrong ones are usage errors."""
        plans: list[module.Plan] = []
        self.patch(module, "run", lambda begin: ExitCode.OK)
        self.patch(module, "_begin", lambda plan, shown: plans.append(plan))
        pin = ":".join(["AB"] * 32)
        args = ["--ca", "a:1", "--certname", "b", "--wait", "0", "--ca-fingerprint", pin]
        self.assertEqual(main(["enroll", *args]), 0)
        (plan,) = plans
        self.assertEqual((plan.ca, plan.wait, plan.pin), (("a", 1), 0.0, "ab" * 32))
        for wrong in (["--wait", "-1"], ["--ca-fingerprint", "AB"], ["x"], ["--ca", "a:0"]):
            with redirect_stderr(io.StringIO()) as err:
                self.assertEqual(main(["enroll", "--certname", "b", *wrong]), 64)
            self.assertIn("backplane: error: ", err.getvalue())
