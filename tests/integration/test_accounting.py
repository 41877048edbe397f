"""Nobody is lost: an instance that is frozen is missed, named, and said by the exit code."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.fleet import ROOT, Ran, environment, run_cli, wait
from tests.integration.fleets import OPERATORS, SERVICE, FleetCase


class AccountingTests(FleetCase):
    """In the insecure mode."""

    count = 5

    def freeze(self, name: str) -> None:
        """Stop a process where it is."""
        process = self.services[name].process
        process.send_signal(signal.SIGSTOP)
        self.addCleanup(process.send_signal, signal.SIGCONT)
        stat = Path(f"/proc/{process.pid}/stat")
        wait(lambda: ") T " in stat.read_text(), f"{name} stopped")

    def document(self, ran: Ran) -> Any:
        """Return the one document on standard output; whatever else is there fails."""
        return json.loads(ran.out)

    def test_frozen(self) -> None:
        """Five, one stopped: exit code 4, named from the roster; without it the count is right."""
        *others, frozen = self.names
        self.good("ping", "--expect", "5")
        self.freeze(frozen)
        ran = self.good("pause", "--expect", "5", "--json", code=4)
        told = self.document(ran)
        self.assertEqual(told["missing"], [frozen])
        self.assertEqual((told["missing_count"], told["expected"]), (1, 5))
        self.assertEqual((told["discovered"], told["ok"]), (others, 4))
        self.assertEqual(told["exit_code"], 4)
        told = self.document(self.good("pause", "--expect", "5", "--json", "--no-roster", code=4))
        self.assertEqual((told["missing"], told["missing_count"]), ([], 1))
        shutil.rmtree(self.fleet.state["XDG_STATE_HOME"])
        told = self.document(self.good("pause", "--expect-at-least", "5", "--json", code=4))
        self.assertEqual((told["missing"], told["missing_count"]), ([], 1))
        self.assertEqual((told["expected"], told["expected_at_least"]), (None, 5))

    def test_without_flags(self) -> None:
        """The roster alone misses it, for reads and changes; a filter by facts only says so."""
        frozen = self.names[-1]
        self.good("ping", "--expect", "5")
        self.freeze(frozen)
        for verb in ("pause", "info", "health"):
            ran = self.good(verb, code=4)
            self.assertIn(
                f"backplane: missing: seen of late, and silent now: 1\n  {frozen}\n", ran.err
            )
        self.good("resume", "--no-roster")
        self.good("resume", "--expect", "4")
        self.good("resume", "-I", "/app[1-4]/")
        self.assertIn(frozen, self.good("resume", "-I", "/app[45]/", code=4).err)
        ran = self.good("resume", "-F", "interval=1")
        self.assertIn(f"whether they match: 1\n  {frozen}\n", ran.err)
        told = self.document(
            self.good("resume", "-F", "interval=1", "--expect", "5", "--json", code=4)
        )
        self.assertEqual((told["missing"], told["perhaps_missing"]), ([], [frozen]))
        self.assertEqual(told["missing_count"], 1)
        self.good("resume", "-F", "interval=2", code=1)
        # Whoever is named needs no roster.
        lines = "".join(f"{SERVICE}/{name}\n" for name in self.names)
        path = str(self.fleet.write("nodes", lines))
        ran = self.good("ping", "--nodes", path, "--json", code=4)
        told = self.document(ran)
        self.assertEqual((told["silent"], told["missing"]), ([frozen], []))
        self.roster(SERVICE, "--forget", frozen)
        self.good("ping")
        self.services[frozen].process.send_signal(signal.SIGCONT)
        told = self.document(self.good("ping", "--json"))
        self.assertEqual(told["discovered"], self.names)

    def test_goodbye(self) -> None:
        """Who was told to end is not missed; who was killed is, until the roster is cleared."""
        first, second, *others = self.names
        self.good("ping", "--expect", "5")
        self.good("shutdown", "-I", first)
        self.services[first].process.wait(30)
        self.good("ping")
        self.services[second].process.kill()
        self.services[second].process.wait()
        self.assertIn(second, self.good("ping", code=4).err)
        rows = {
            row["identity"]: row["state"] for row in self.document(self.roster(SERVICE, "--json"))
        }
        self.assertEqual(
            rows, {**dict.fromkeys(others, "expected"), second: "expected", first: "gone"}
        )
        self.roster("--clear")
        self.good("ping")
        # It is back under its name.
        self.services[first] = self.service(first)
        self.assertEqual(self.document(self.good("ping", "--json"))["discovered"], [first, *others])

    def test_targets(self) -> None:
        """What one command lists the next one takes, unless it is of another service."""
        first, second, *_ = self.names
        listed = self.good("ping", "-I", first, "-I", second, "-o", "names")
        self.assertEqual(listed.out, f"{SERVICE}/{first}\n{SERVICE}/{second}\n")
        paused = self.piped("pause", "--nodes", "-", stdin=listed.out)
        self.assertEqual(paused.code, 0, paused.out + paused.err)
        told = self.told("paused")
        self.assertEqual([name for name in self.names if told[name]], [first, second])
        words = self.words("pause", "--nodes", "-", service=False)
        wrong = self.run_piped(["other", *words], listed.out)
        self.assertEqual((wrong.code, wrong.out), (64, ""))
        self.assertIn(f"'{SERVICE}/{first}' is no instance of other", wrong.err)
        lines = self.good("info", "-o", "jsonl", *self.everybody()).out.splitlines()
        self.assertEqual([json.loads(line)["identity"] for line in lines], self.names)
        head, *rows = self.good("info", "-o", "table", *self.everybody()).out.splitlines()
        self.assertEqual(head.split()[:2], ["INSTANCE", "ANSWER"])
        self.assertEqual([row.split()[:2] for row in rows], [[name, "ok"] for name in self.names])
        self.assertEqual(self.good("health", "-o", "names").out, "")

    def test_networks(self) -> None:
        """What was seen through one broker is not expected through another."""
        self.good("ping", "--expect", "5")
        frozen = self.names[0]
        self.freeze(frozen)
        words = self.words("ping")
        at = words.index("--config")
        here = Path(words[at + 1])
        # A second broker of the same cluster, as a context of its own.
        there = self.fleet.write(
            "there.cfg", here.read_text().replace("localhost:", "localhost:1,localhost:")
        )
        for path, code in ((there, 0), (here, 4)):
            environ = {**self.environ(), "BACKPLANE_CONFIG": str(path)}
            ran = run_cli(*words[:at], *words[at + 2 :], **environ)
            self.assertEqual(ran.code, code, ran.err)
            self.assertEqual(frozen in ran.err, code == 4)

    def test_ls(self) -> None:
        """The services that are here, known or heard of; who is missing."""
        self.good("ping", "--expect", "5")
        self.freeze(self.names[0])
        ran = self.good("ls", "--json", "--listen", "0.1", service=False, code=4)
        (found,) = self.document(ran)["services"]
        self.assertEqual((found["service"], found["count"]), (SERVICE, 4))
        self.assertEqual(found["missing"], self.names[:1])
        self.roster("--clear")
        named = self.good("ls", SERVICE, "-o", "names", service=False)
        self.assertEqual(named.out.split(), [f"{SERVICE}/{name}" for name in self.names[1:]])
        self.roster("--clear")
        nothing = self.good("ls", "--listen", "0.1", service=False, code=1)
        self.assertIn("no service was seen", nothing.err)
        # What a service does is heard, without knowing it.
        words = self.words("ls", "--json", "--listen", "8", service=False)
        looking = subprocess.Popen(
            [sys.executable, "-m", "backplane.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environ(),
            cwd=ROOT,
        )
        self.addCleanup(looking.wait)
        self.addCleanup(looking.kill)
        while looking.poll() is None:
            self.good("ping", "--no-roster", by=OPERATORS[1])
        out, _ = looking.communicate(timeout=60)
        (found,) = json.loads(out)["services"]
        self.assertEqual((found["service"], found["count"]), (SERVICE, 4))

    # Helpers.

    def roster(self, *args: str) -> Ran:
        """Run ``backplane roster``, which needs no network."""
        ran = run_cli("roster", *args, **self.fleet.state)
        self.assertEqual(ran.code, 0, ran.err)
        return ran

    def environ(self) -> dict[str, str]:
        return {**environment(), **self.fleet.state, "MCOLLECTIVE_CERTNAME": OPERATORS[0]}

    def piped(self, *args: str, stdin: str) -> Ran:
        return self.run_piped(self.words(*args), stdin)

    def run_piped(self, words: list[str], stdin: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "backplane.cli.main", *words],
            input=stdin.encode(),
            capture_output=True,
            env=self.environ(),
            timeout=60,
            cwd=ROOT,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class SecureAccountingTests(AccountingTests):
    """The same with TLS, signed requests and operators who are verified."""

    secure = True
