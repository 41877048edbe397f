"""The ``sidecar:`` section: what it becomes, and what is said of mistakes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.service import LoadedConfig, load_file
from backplane.config.sidecar import SIGNALS
from backplane.config.sidecarvalues import (
    CommandConfig,
    HttpConfig,
    LevelConfig,
    ProcessConfig,
    SidecarConfig,
)
from backplane.errors import ConfigError, Problem

MANAGEMENT = "management: {name: app, brokers: [b]}\n"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "sidecar.rst"


class SectionCase(SynchronousTestCase):
    """A file with the section."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def load(self, text: str, **options: Any) -> LoadedConfig:
        path = self.folder / "app.yaml"
        path.write_text(MANAGEMENT + text)
        env = {"PATH": "/bin:/usr/bin", "WORD": "hello"}
        return load_file(str(path), env=env, hostname="h", pid=7, require=True, **options)

    def sidecar(self, text: str, **options: Any) -> SidecarConfig:
        made = self.load(text, **options).sidecar
        assert made is not None
        return made

    def problems(self, text: str, **options: Any) -> dict[str, Problem]:
        error = self.assertRaises(ConfigError, self.load, text, **options)
        for problem in error.problems:
            self.assertIsNotNone(problem.line, str(problem))
        return {problem.key: problem for problem in error.problems}


class GoodTests(SectionCase):
    """What is accepted."""

    def test_everything(self) -> None:
        """Every key; paths and programs with a slash are relative to the file's folder."""
        check = self.folder / "check"
        check.write_text("#!/bin/sh\n")
        check.chmod(0o755)
        made = self.sidecar("""\
sidecar:
  version: {command: [sh, -c, "echo 1"], timeout: 2}
  facts: run/facts.json
  environment: {GREETING: "${WORD}", EMPTY: ""}
  health: {command: [./check, "", "$1"], timeout: 0.5}
  pause: {command: [sh, pause]}
  resume: {command: [sh, resume]}
  paused: {command: [sh, paused]}
  loglevel:
    command: [sh, level, "--to={level}"]
    get: [sh, level]
    words: {critical: SEVERE}
    timeout: 3
  shutdown: {signal: sigint}
  process: {run: [sh, run], restart: true, signal: QUIT, patience: 3}
""")
        self.assertEqual(
            made,
            SidecarConfig(
                folder=str(self.folder),
                environment={"GREETING": "hello", "EMPTY": ""},
                version=CommandConfig(("sh", "-c", "echo 1"), 2.0),
                facts=str(self.folder / "run/facts.json"),
                health=CommandConfig((f"{self.folder}/check", "", "$1"), 0.5),
                pause=CommandConfig(("sh", "pause")),
                resume=CommandConfig(("sh", "resume")),
                paused=CommandConfig(("sh", "paused")),
                loglevel=LevelConfig(
                    CommandConfig(("sh", "level", "--to={level}"), 3.0),
                    CommandConfig(("sh", "level"), 3.0),
                    {"critical": "SEVERE"},
                ),
                shutdown="INT",
                process=ProcessConfig(run=("sh", "run"), restart=True, signal="QUIT", patience=3.0),
            ),
        )
        self.assertNotIn("hello", repr(made))

    def test_each_alone(self) -> None:
        """Every part may be left out."""
        for text, field, value in (
            ('version: "1.2"', "version", "1.2"),
            ("facts: /f.yaml", "facts", "/f.yaml"),
            (
                'health: {http: "http://[::1]:8080/health?x=1"}',
                "health",
                HttpConfig("http://[::1]:8080/health?x=1"),
            ),
            ("shutdown: {command: [sh]}", "shutdown", CommandConfig(("sh",))),
            ("process: {pidfile: /p}", "process", ProcessConfig(pidfile="/p")),
            (
                'loglevel: {command: [sh, "{level}"]}',
                "loglevel",
                LevelConfig(CommandConfig(("sh", "{level}"))),
            ),
        ):
            made = self.sidecar(f"sidecar:\n  {text}\n")
            fields: dict[str, Any] = {field: value}
            self.assertEqual(made, attrs.evolve(SidecarConfig(folder=str(self.folder)), **fields))

    def test_none(self) -> None:
        """Without the section there is none."""
        self.assertIsNone(self.load("").sidecar)


class BadTests(SectionCase):
    """What is refused, and where."""

    def test_all_at_once(self) -> None:
        """Every mistake of a file, with its line."""
        problems = self.problems("""\
sidecar:
  version: 1.2
  facts: [a]
  environment: {"A-B": x, NUMBER: 5}
  health: {command: sh, http: "http://x"}
  pause: {command: sh -c true}
  paused: {command: []}
  loglevel: {command: [sh, level], words: {loud: x}}
  shutdown: {signal: STOP}
  process: {pidfile: /p, restart: true}
  helth: {}
  """)
        self.assertEqual(
            {key: problem.line for key, problem in problems.items()},
            {
                "sidecar.version": 3,
                "sidecar.facts": 4,
                "sidecar.environment.A-B": 5,
                "sidecar.environment.NUMBER": 5,
                "sidecar.health": 6,
                "sidecar.pause.command": 7,
                "sidecar.pause": 7,
                "sidecar.paused.command": 8,
                "sidecar.loglevel.command": 9,
                "sidecar.loglevel.words.loud": 9,
                "sidecar.shutdown.signal": 10,
                "sidecar.process.restart": 11,
                "sidecar.helth": 12,
            },
        )
        self.assertIn("there is no shell", problems["sidecar.pause.command"].wanted)
        self.assertIn("'health'", problems["sidecar.helth"].wanted)
        self.assertIn("resume", problems["sidecar.pause"].wanted)
        self.assertIn("{level}", problems["sidecar.loglevel.command"].wanted)
        self.assertIn("TERM, INT", problems["sidecar.shutdown.signal"].wanted)

    def test_commands(self) -> None:
        """Programs that cannot be run, arguments that are no text, limits that are too long."""
        (self.folder / "plain").write_text("")
        for text, key in (
            ("health: {command: [./plain]}", "sidecar.health.command[0]"),
            ("health: {command: [/nowhere/check]}", "sidecar.health.command[0]"),
            ("health: {command: [no-such-program-there]}", "sidecar.health.command[0]"),
            ("health: {command: [/]}", "sidecar.health.command[0]"),
            ('health: {command: [""]}', "sidecar.health.command[0]"),
            ("health: {command: [sh, 5]}", "sidecar.health.command[1]"),
            ("health: {command: [sh, yes]}", "sidecar.health.command[1]"),
            ('health: {command: [sh, "a\\0b"]}', "sidecar.health.command[1]"),
            ("health: {command: [sh, [x]]}", "sidecar.health.command[1]"),
            ("health: {command: [sh, '${UNSET}']}", "sidecar.health.command[1]"),
            ("health: {command: [sh], timeout: 60}", "sidecar.health.timeout"),
            ("health: {command: [sh], timeout: 0}", "sidecar.health.timeout"),
            ("health: {command: [sh], after: 1}", "sidecar.health.after"),
            ("health: {timeout: 1}", "sidecar.health"),
            ("health: [sh]", "sidecar.health"),
            ("health:", "sidecar.health"),
            ("process: {run: [sh], pidfile: /p}", "sidecar.process"),
            ("process: {restart: true}", "sidecar.process"),
            ("process: {run: [sh], patience: -1}", "sidecar.process.patience"),
            ("shutdown: {signal: TERM}", "sidecar.shutdown"),
            ("paused: {command: [sh]}", "sidecar.paused"),
            ("resume: {command: [sh]}", "sidecar.resume"),
            ("shutdown: {signal: TERM, command: [sh]}", "sidecar.shutdown"),
            ("shutdown: {signal: 15}", "sidecar.shutdown.signal"),
            ("facts: ''", "sidecar.facts"),
            ('environment: {A: "b\\0c"}', "sidecar.environment.A"),
        ):
            self.assertIn(key, self.problems(f"sidecar:\n  {text}\n"), text)

    def test_programs(self) -> None:
        """What is in the way of a program is said, for each that is."""
        (self.folder / "plain").write_text("")
        for program, why in (
            ("./plain", "plain', which is not executable"),
            ("./nowhere", "nowhere', which does not exist"),
            ("./", ", which is no file"),
            ("no-such-program-there", "'no-such-program-there', which is not on PATH"),
        ):
            problems = self.problems(f"sidecar:\n  health: {{command: ['{program}']}}\n")
            self.assertIn(why, problems["sidecar.health.command[0]"].found)

    def test_addresses(self) -> None:
        """Only plain http without a user; anything else is for a command."""
        for url in (
            "https://localhost/",
            "ftp://localhost/",
            "localhost:80",
            "http://",
            "http://u:geheim@localhost/",
            "http://localhost:99999/",
            "http://localhost:0/",
            "http://local host/",
            "http://localhost/#x",
            "http://[::1/",
            "http://ö/",
        ):
            text = f'sidecar:\n  health: {{http: "{url}"}}\n'
            self.assertEqual(list(self.problems(text)), ["sidecar.health.http"], url)

    def test_nothing(self) -> None:
        """A section without a part manages nothing."""
        for text in ("sidecar:", "sidecar: {}", "sidecar: 5", "sidecar: {environment: {A: b}}"):
            self.assertIn("sidecar", self.problems(text + "\n"))

    def test_app_too(self) -> None:
        """A service is one or the other; both are named."""
        problems = self.problems("app: shop:make\nsidecar: {version: '1'}\n")
        self.assertEqual(list(problems), ["sidecar"])
        self.assertEqual(problems["sidecar"].found, "app and sidecar")

    def test_files_unchecked(self) -> None:
        """Where files are not to be looked at, programs are not either."""
        made = self.sidecar("sidecar: {health: {command: [/nowhere]}}\n", check_files=False)
        self.assertEqual(made.health, CommandConfig(("/nowhere",)))

    def test_path(self) -> None:
        """Programs are looked for on the PATH that they get."""
        text = f"sidecar:\n  environment: {{PATH: {self.folder}}}\n  health: {{command: [sh]}}\n"
        self.assertIn("sidecar.health.command[0]", self.problems(text))
        name = Path(sys.executable).name
        folder = Path(sys.executable).parent
        self.sidecar(
            f"sidecar:\n  environment: {{PATH: {folder}}}\n  health: {{command: [{name}]}}\n"
        )


class DocumentationTests(SynchronousTestCase):
    """The page has every key."""

    def test_keys(self) -> None:
        known = set(re.findall(r"``([^`]+)``", DOCS.read_text(encoding="utf-8")))
        parts = {field.name for field in attrs.fields(SidecarConfig)} - {"folder"}
        commands = {"pause", "resume", "paused", "loglevel", "shutdown", "health"}
        wanted = {*(parts - commands - {"process"}), *(f"{name}.command" for name in commands)}
        wanted |= {f"process.{field.name}" for field in attrs.fields(ProcessConfig)}
        wanted |= {"health.http", "loglevel.get", "loglevel.words", "shutdown.signal", "timeout"}
        self.assertEqual(wanted - known, set())
        for name in SIGNALS:
            self.assertIn(name, known)
