"""Arguments, help, completion, configuration: everything before the network."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane import __version__
from backplane.cli import main as module
from backplane.cli import setup
from backplane.cli.faults import ACTIONS
from backplane.client.accounting import ExitCode
from backplane.client.jobs import Job, make_job
from tests.cli.test_console import Broken

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Ran:
    """What a command left behind.

    :ivar jobs: what it would have done on the network.
    """

    code: int
    out: str
    err: str
    jobs: list[Job]


INSECURE = "backplane: warning: insecure: nothing is signed, nobody is verified\n"
"""What a run in the insecure mode says first."""


class MainCase(SynchronousTestCase):
    """The command line up to the network."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp())
        self.home.mkdir()
        self.patch(os, "environ", {"HOME": str(self.home), "USER": "bob"})
        self.config = self.home / ".choriarc"
        self.config.write_text("plugin.choria.middleware_hosts = b.example.net:4222\n")
        self.jobs: list[Job] = []
        self.settings: list[setup.Settings] = []
        self.flags: list[tuple[bool, bool]] = []
        self.debugged: list[bool] = []
        self.patch(module, "_begin", self.begin)
        self.patch(module, "run", lambda begin: ExitCode.OK)
        self.patch(setup, "log_to_stderr", lambda: self.debugged.append(True))

    def begin(
        self, job: Job, settings: setup.Settings, console: object, as_json: bool, verbose: bool
    ) -> Callable[[], None]:
        self.jobs.append(job)
        self.settings.append(settings)
        self.flags.append((as_json, verbose))
        return lambda: None

    def run_main(self, *args: str, stdin: str = "") -> Ran:
        self.jobs.clear()
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            self.patch(sys, "stdin", io.StringIO(stdin))
            code = module.main(args)
        return Ran(code, out.getvalue(), err.getvalue(), list(self.jobs))

    def job(self, *args: str) -> Job:
        ran = self.run_main("--insecure", *args)
        self.assertEqual((ran.code, ran.err), (0, INSECURE), args)
        (job,) = ran.jobs
        return job

    def usage(self, *args: str) -> str:
        """Return the complaint of what is wrong."""
        ran = self.run_main(*args)
        self.assertEqual((ran.code, ran.out, ran.jobs), (64, "", []), (args, ran))
        self.assertRegex(ran.err, r"\Abackplane: error: .*\n\Z")
        return ran.err


class WordTests(MainCase):
    """Words and flags, in any order."""

    def test_order(self) -> None:
        """Flags before, after and between the words; ``exec`` or not."""
        wanted = make_job("demo", "pause", facts=["dc=DC1"], identities=["ddl"], timeout=5.0)
        for line in (
            "demo pause -F dc=DC1 -I ddl --timeout 5 -v",
            "-F dc=DC1 -I ddl --timeout=5 -v demo pause",
            "exec demo pause --wf dc=DC1 --wi ddl --timeout 5s --verbose",
            "-F dc=DC1 exec -vI ddl demo --timeout 5 pause",
            "-vI ddl demo -Fdc=DC1 pause --timeout 5000ms",
            "demo -v --wf=dc=DC1 --timeout 5 pause --wi=ddl",
        ):
            self.assertEqual(self.job(*line.split()), wanted, line)
            self.assertEqual(self.flags[-1], (False, True))

    def test_flags(self) -> None:
        """Every flag reaches the job."""
        nodes = self.home / "nodes"
        nodes.write_text("\ufeffone\r\n\n two \n")
        for line, wanted in (
            ("demo info", make_job("demo", "info")),
            (
                "demo info -W dc=DC1 --with web",
                make_job("demo", "info", withs=["dc=DC1", "web"]),
            ),
            ("demo info -C a --wc b", make_job("demo", "info", classes=["a", "b"])),
            ("demo info -S true", make_job("demo", "info", select=["true"])),
            ("demo info --select true", make_job("demo", "info", select=["true"])),
            ("demo info -T other", make_job("demo", "info", target="other")),
            ("demo info --target other", make_job("demo", "info", target="other")),
            (f"demo info --nodes {nodes}", make_job("demo", "info", nodes=["one", "two"])),
            ("demo info --expect 3", make_job("demo", "info", expect=3)),
            ("demo pause --window 1m", make_job("demo", "pause", window=60.0)),
            ("demo pause --window 0.25", make_job("demo", "pause", window=0.25)),
            ("demo pause --window 250ms", make_job("demo", "pause", window=0.25)),
            (
                "demo pause --discovery-timeout 7",
                make_job("demo", "pause", discovery_timeout=7.0),
            ),
        ):
            self.assertEqual(self.job(*line.split()), wanted, line)
        self.assertEqual(self.debugged, [])
        self.job("demo", "ping", "-d", "--json")
        self.assertEqual((self.debugged, self.flags[-1]), ([True], (True, False)))

    def test_actions(self) -> None:
        """Every action of the brief, and ``threaddump``."""
        for action in ACTIONS:
            self.assertEqual(self.job("demo", action).action, action)

    def test_services_called_as_commands(self) -> None:
        """They need ``exec``."""
        for name in ("ddl", "completion", "help", "exec"):
            self.assertEqual(self.job("exec", name, "info").service, name)

    def test_stdin(self) -> None:
        """Nodes from standard input."""
        ran = self.run_main("--insecure", "demo", "ping", "--nodes", "-", stdin="one\ntwo\n")
        self.assertEqual(ran.jobs[0].rule.named, {"one", "two"})

    def test_closed_stdin(self) -> None:
        """No standard input at all (``<&-``): told, and 64."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            self.patch(sys, "stdin", None)
            code = module.main(["--insecure", "demo", "ping", "--nodes", "-"])
        self.assertEqual((code, out.getvalue(), self.jobs), (64, "", []))
        self.assertEqual(err.getvalue(), "backplane: error: --nodes -: standard input is closed\n")

    def test_usage(self) -> None:
        """Mistakes are one line, and 64."""
        nodes = self.home / "nodes"
        for line, words in (
            ("demo", "Missing argument 'ACTION'"),
            ("demo dance", "'dance' is not one of 'pause'"),
            ("demo ping extra", "extra"),
            ("--nosuch demo ping", "--nosuch"),
            ("demo ping --timeout 0", "is not a time"),
            ("demo ping --timeout -1", "is not a time"),
            ("demo ping --timeout soon", "is not a time"),
            ("demo ping --timeout 1e400", "is not a time"),
            ("demo ping --timeout 9" + "9" * 400, "is not a time"),
            ("demo ping --timeout nan", "is not a time"),
            ("demo ping --timeout 1.2.3", "is not a time"),
            ("demo ping --timeout .", "is not a time"),
            ("demo ping --expect 0", "0"),
            ("demo ping --expect many", "many"),
            ("demo ping --insecure --only ok", "--only is for -o table"),
            ("demo pause --for 91d", "'91d' is not between 1s and 90d"),
            ("demo pause --for 0s", "'0s' is not between 1s and 90d"),
            ("demo pause --for 0.5s", "'0.5s' is not between 1s and 90d"),
            ("demo pause --for soon", "is not a time such as 90s"),
            ("demo ping -F", "-F"),
            ("completion ksh", "ksh"),
            ("ddl nosuch", "there is no agent 'nosuch'"),
            ("ddl backplane --format xml", "xml"),
            ("--insecure ddl backplane", "backplane ddl: No such option '--insecure'"),
            ("demo ping --nosuch", "backplane exec: No such option '--nosuch'"),
            ("help nosuch", "nosuch"),
        ):
            self.assertIn(words, self.usage(*line.split()), line)
        for args, words in (
            (["pause", "--reason", "one\ntwo"], "--reason is one line"),
            (["end", "--reason", "a\u2028b"], "--reason is one line"),
            (["extend", "--for", "1m", "--reason", "a\x1b[2Jb"], "--reason is one line"),
            (["undo", "deadbeef", "--reason", "a\tb"], "--reason is one line"),
            (["drain", "--reason", "a\udcffb"], "--reason is one line of text"),
            (["pause", "--reason", " "], "1 to 200 characters"),
            (["loglevel", "debug", "--logger", ""], "--logger is empty"),
            (["loglevel", "reset", "--logger", " "], "--logger is empty"),
            (["end", "--breaker", ""], "--breaker is empty"),
            (["end", "--breaker", "A"], "'breaker:A' is none of app, breaker:NAME"),
            (["end", "--what", "nonsense"], "'nonsense' is none of app, breaker:NAME"),
            (["extend", "--for", "1m", "--what", ""], "--what is empty"),
            (["end", "--change", "", "--logger", "x"], "--change is empty"),
        ):
            self.assertIn(words, self.usage("demo", *args), args)
        for args in (
            ["-F", ""],
            ["-I", ""],
            ["-W", ""],
            ["-W", " "],
            ["-C", ""],
            ["-S", ""],
            ["-T", ""],
            ["-F", "nonsense"],
            ["-I", "/(/"],
            ["--nodes", str(nodes)],
            ["--nodes", ""],
        ):
            self.usage("--insecure", "demo", "pause", *args)
        nodes.write_text("one\na b\n")
        self.assertIn(
            f"{nodes}:2: 'a b' is not an identity",
            self.usage("--insecure", "demo", "pause", "--nodes", str(nodes)),
        )
        nodes.write_text("\n\n")
        self.usage("--insecure", "demo", "pause", "--nodes", str(nodes))
        nodes.write_bytes(b"\xff\n")
        self.usage("--insecure", "demo", "pause", "--nodes", str(nodes))
        self.usage("--insecure", "", "pause")
        self.usage("--insecure", "Demo.>", "pause")

    def test_usage_as_json(self) -> None:
        """Mistakes are documents too."""
        for args in (["demo"], ["demo", "dance"], ["demo", "ping", "-F", ""], ["--nosuch"]):
            ran = self.run_main("--insecure", *args, "--json")
            self.assertEqual((ran.code, ran.err), (64, ""), args)
            document = json.loads(ran.out)
            self.assertEqual(document["exit_code"], 64)
            self.assertTrue(document["error"])

    def test_hostile_words(self) -> None:
        """What was pasted is shown escaped."""
        self.assertIn(r"\x1b", self.usage("demo", "\x1b[2J"))


class OutputTests(MainCase):
    """Where the output goes."""

    def test_full(self) -> None:
        """Output that cannot be written is an error, whatever was shown."""
        for args in (
            ["--help"],
            ["demo", "ping", "--help"],
            ["ddl", "backplane"],
            ["completion", "bash"],
            ["roster", "-o", "json"],
        ):
            err = io.StringIO()
            full = Broken(OSError(errno.ENOSPC, "No space left on device"))
            with redirect_stdout(full), redirect_stderr(err):
                code = module.main(args)
            self.assertEqual((code, err.getvalue().count("standard output: ")), (74, 1), args)


class HelpTests(MainCase):
    """Help, version and completion need no configuration."""

    def setUp(self) -> None:
        super().setUp()
        self.config.unlink()

    def test_version(self) -> None:
        """Before and after the words."""
        for line in ("--version", "demo ping --version", "--insecure --version", "exec --version"):
            ran = self.run_main(*line.split())
            self.assertEqual((ran.code, ran.out), (0, f"backplane {__version__}\n"), line)

    def test_help(self) -> None:
        """Of everything, and of a command."""
        for line in ("--help", "-h", "help"):
            ran = self.run_main(*line.split())
            self.assertEqual(ran.code, 0, line)
            self.assertIn("backplane [exec] SERVICE ACTION [flags]", ran.out)
        for line in ("help exec", "exec --help", "demo pause --help", "--insecure --help"):
            ran = self.run_main(*line.split())
            self.assertEqual(ran.code, 0, line)
            for flag in ("-F, --wf", "-I, --wi", "-W, --with", "--insecure", "--json", "--nodes"):
                self.assertIn(flag, ran.out, line)
        self.assertIn("DDL", self.run_main("help", "ddl").out)

    def test_no_arguments(self) -> None:
        """Nothing at all shows the help, and is a mistake."""
        ran = self.run_main()
        self.assertEqual(ran.code, 64)
        self.assertIn("Usage: backplane", ran.out)

    def test_ddl(self) -> None:
        """The DDL of agents, in both forms; of what is no agent, an error."""
        for agent in ("backplane", "rpcutil", "choria_util"):
            ran = self.run_main("ddl", agent)
            self.assertEqual(ran.code, 0)
            self.assertEqual(json.loads(ran.out)["metadata"]["name"], agent)
            ran = self.run_main("ddl", "--format", "ruby", agent)
            self.assertRegex(ran.out, rf'\Ametadata +:name +=> "{agent}"')
        actions = {
            each["action"] for each in json.loads(self.run_main("ddl", "backplane").out)["actions"]
        }
        self.assertEqual(set(ACTIONS) - actions, set())
        ran = self.run_main("ddl", "examples.testing.service:LettersAgent")
        self.assertEqual(json.loads(ran.out)["metadata"]["name"], "letters")
        for wrong in ("no.such:Agent", "json:JSONDecoder", "json:nosuch", "backplane.nothing"):
            self.usage("ddl", wrong)


class CompletionTests(SynchronousTestCase):
    """What shells ask."""

    def complete(self, words: str, at: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from backplane.cli.main import main; main()"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "_BACKPLANE_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(at),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return [line.partition(",")[2] for line in done.stdout.split()]

    def test_words(self) -> None:
        """Commands, actions with or without ``exec``, and flags in both places."""
        self.assertEqual(
            self.complete("backplane ", 1),
            [
                "audit",
                "completion",
                "ddl",
                "doctor",
                "enroll",
                "exec",
                "help",
                "ls",
                "roster",
                "undo",
            ],
        )
        self.assertEqual(self.complete("backplane demo pa", 2), ["pause"])
        self.assertEqual(self.complete("backplane exec demo i", 3), ["info", "infolvl"])
        self.assertIn("--insecure", self.complete("backplane --", 1))
        self.assertIn("--window", self.complete("backplane demo ping --w", 3))
        self.assertEqual(self.complete("backplane ddl backplane --format r", 4), ["ruby"])

    def test_scripts(self) -> None:
        """The scripts of the shells."""
        for shell, words in (
            ("bash", "complete -o nosort -F"),
            ("zsh", "#compdef backplane"),
            ("fish", "complete --no-files --command backplane"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "backplane.cli.main", "completion", shell],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(words, done.stdout)


class ConfigurationTests(MainCase):
    """Files and environment."""

    def test_places(self) -> None:
        """The file in the home directory is found; ``--config`` wins."""
        self.job("demo", "ping")
        self.assertEqual(self.settings[-1].brokers, ("b.example.net:4222",))
        other = self.home / "other.cfg"
        other.write_text("plugin.choria.middleware_hosts = c.example.net:4222\n")
        self.job("demo", "ping", "--config", str(other))
        self.assertEqual(self.settings[-1].brokers, ("c.example.net:4222",))

    def test_place_of_the_brief(self) -> None:
        """``/etc/choria/client.cfg`` is among the places."""
        asked: list[str] = []

        def exists(path: str) -> bool:
            asked.append(path)
            return False

        self.patch(os.path, "exists", exists)
        self.run_main("--insecure", "demo", "ping")
        self.assertIn("/etc/choria/client.cfg", asked)

    def test_discovery_timeout(self) -> None:
        """That of the file counts where no flag says otherwise."""
        self.config.write_text(self.config.read_text() + "discovery_timeout = 5\n")
        self.assertEqual(self.job("demo", "pause").rule.timeout, 5.0)
        self.assertEqual(self.job("demo", "pause", "--discovery-timeout", "3").rule.timeout, 3.0)

    def test_no_file(self) -> None:
        """The places that were searched are named; ``BROKER`` does instead."""
        self.config.unlink()
        self.patch(os.path, "exists", lambda path: False)
        text = self.usage("--insecure", "demo", "ping")
        for place in (".choriarc", "/etc/choria/client.cfg"):
            self.assertIn(place, text)
        os.environ["BROKER"] = "one:4222, two:4223"
        self.job("demo", "ping")
        self.assertEqual(self.settings[-1].brokers, ("one:4222", "two:4223"))

    def test_bad_files(self) -> None:
        """Unreadable ones, bad brokers, none at all: 64, with the place."""
        self.assertIn("nosuch", self.usage("--insecure", "demo", "ping", "--config", "nosuch"))
        for text in ("plugin.choria.middleware_hosts = b:42222x\n", "color = no\n"):
            self.config.write_text(text)
            self.assertIn(".choriarc", self.usage("--insecure", "demo", "ping"))

    def test_warnings(self) -> None:
        """Lines without effect are told on standard error, and do not stop it."""
        self.config.write_text(self.config.read_text() + "nonsense\n")
        ran = self.run_main("--insecure", "demo", "ping", "--json")
        self.assertEqual((ran.code, ran.out, len(ran.jobs)), (0, "", 1))
        self.assertRegex(
            ran.err, r"\Abackplane: warning: .*\.choriarc:2: has no effect.*\n" + INSECURE + r"\Z"
        )

    def test_warnings_without_brokers(self) -> None:
        """A line without effect may be the very one that was to name the brokers."""
        self.config.write_text("plugin.choria.middleware_hosts: b:4222\n")
        ran = self.run_main("--insecure", "demo", "ping")
        self.assertEqual((ran.code, ran.jobs), (64, []))
        self.assertRegex(ran.err, r"no brokers.*\n.*\.choriarc:1: has no effect.*\n\Z")

    def test_secure(self) -> None:
        """Without ``--insecure``: 77, as there is nothing else yet."""
        ran = self.run_main("demo", "ping")
        self.assertEqual(ran.code, ExitCode.CREDENTIALS)
        self.assertIn("--insecure", ran.err)
        ran = self.run_main("demo", "ping", "--json")
        self.assertEqual((json.loads(ran.out)["exit_code"], ran.err), (77, ""))

    def test_caller(self) -> None:
        """Who asks: from the environment, as Choria does it; nonsense is 77."""
        os.environ["MCOLLECTIVE_CERTNAME"] = "sre.choria"
        self.job("demo", "ping")
        self.assertEqual(self.settings[-1].credentials.caller_id, "choria=sre.choria")
        os.environ["MCOLLECTIVE_CERTNAME"] = "a b"
        self.assertEqual(self.run_main("--insecure", "demo", "ping").code, 77)

    def test_identity(self) -> None:
        """The identity of the file."""
        self.config.write_text(self.config.read_text() + "identity = here.example.net\n")
        self.job("demo", "ping")
        self.assertEqual(self.settings[-1].identity, "here.example.net")
