"""What people ran into with configuration files: what YAML makes of them, and what is broken."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.main import main
from backplane.config.client import load_client_config
from backplane.config.service import LoadedConfig, load_file
from backplane.errors import ConfigError, Problem

READ_OTHERWISE: Final = {
    "on": "the boolean true",
    "yes": "the boolean true",
    "Off": "the boolean false",
    "no": "the boolean false",
    "NO": "the boolean false",
    "0123456": "the number 42798",
    "0x1F": "the number 31",
    "0b11": "the number 3",
    "1_000": "the number 1000",
    "22:22": "the number 1342",
    "1:30": "the number 90",
    "1.10": "the number 1.1",
    ".inf": "the number inf",
    "2026-11-25": "the date 2026-11-25",
    "2026-11-25T10:00:00Z": "the date 2026-11-25 10:00:00+00:00",
    "~": "null, that is nothing",
    "null": "null, that is nothing",
}
"""What people write, and what PyYAML makes of it."""

TEXTS: Final = {
    "name": "name: {}",
    "identity": "identity: {}",
    "instance": "instance: {}",
    "loglevel": "loglevel: {}",
    "brokers[0]": "brokers: [{}]",
    "auth.full[0]": "auth: {{full: [{}]}}",
    "auth.read_only[0]": "auth: {{read_only: [{}]}}",
    "tls.allow[0]": "tls: {{scheme: puppet, allow: [{}]}}",
    "tls.privileged[0]": "tls: {{scheme: puppet, privileged: [{}]}}",
    "tls.identity": "tls: {{scheme: puppet, identity: {}}}",
    "reply_to[0]": "reply_to: [{}]",
    "facts.secrets[0]": "facts: {{secrets: [{}]}}",
    "facts.exempt[0]": "facts: {{exempt: [{}]}}",
    "nats.user": "nats: {{user: {}, password: x}}",
    "logfile": "logfile: {}",
    "state_file": "state_file: {}",
}
"""Each key that is a text, and how it is written."""

NUMBERS: Final = {
    "ping_interval": "ping_interval: {}",
    "stop_timeout": "stop_timeout: {}",
    "max_stop_delay": "max_stop_delay: {}",
    "facts.interval": "facts: {{interval: {}}}",
    "outbox.max_items": "outbox: {{max_items: {}}}",
    "outbox.max_bytes": "outbox: {{max_bytes: {}}}",
}

SAME: Final = {"1_000": 1000.0, "1e3": 1000.0, "1.5e3": 1500.0, "1E3": 1000.0}
"""Numbers that are what they seem to be."""


class FilesCase(SynchronousTestCase):
    """Files in a folder of the test's own."""

    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()

    def load(self, text: str | bytes) -> LoadedConfig:
        path = self.folder / "app.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_file(str(path), env={}, hostname="node", pid=7, check_files=False)

    def problem(self, text: str | bytes) -> Problem:
        """Return the only mistake."""
        error = self.assertRaises(ConfigError, self.load, text)
        (problem,) = error.problems
        assert isinstance(problem, Problem)
        return problem


class TypeTests(FilesCase):
    """YAML reads another type than the author meant."""

    def written(self, key: str, line: str) -> str:
        lines = {"name": "name: app", "brokers": "brokers: [b]"}
        lines[key.partition("[")[0].partition(".")[0]] = line
        return "management:\n" + "".join(f"  {each}\n" for each in lines.values())

    def test_texts(self) -> None:
        """Each as each: what was written, what YAML made of it, and the quotes that mend it."""
        for key, form in TEXTS.items():
            for text, reading in READ_OTHERWISE.items():
                problem = self.problem(self.written(key, form.format(text)))
                self.assertEqual(problem.key, f"management.{key}")
                self.assertEqual(problem.found, f"{text}, which YAML reads as {reading}")
                self.assertIn("; put it in quotes", problem.wanted)
                self.assertIsNotNone(problem.line)

    def test_secrets(self) -> None:
        """Of a password that is none only the kind is told."""
        for keys in ("user: u, password", "token"):
            for text in READ_OTHERWISE:
                problem = self.problem(self.written("nats", f"nats: {{{keys}: {text}}}"))
                self.assertIn(problem.found, ("a boolean", "a number", "a date", "null"))
                self.assertIn("; put it in quotes", problem.wanted)

    def test_quoted(self) -> None:
        """In quotes it is what was written, or is refused for what it is."""
        for text in READ_OTHERWISE:
            loaded = self.load(self.written("auth", f"auth: {{full: ['{text}']}}"))
            assert loaded.management is not None
            self.assertEqual(loaded.management.auth.full, (text,))
        for text in ("1e3", "y", "n"):  # texts for PyYAML, too
            loaded = self.load(self.written("identity", f"identity: {text}"))
            assert loaded.management is not None
            self.assertEqual(loaded.management.identity, text)

    def test_numbers(self) -> None:
        """A number is the one that was written, or an error that shows both."""
        for key, form in NUMBERS.items():
            for text, value in SAME.items():
                found: Any = self.load(self.written(key, form.format(text))).management
                for name in key.split("."):
                    found = getattr(found, name)
                self.assertEqual(found, value, (key, text))
            for text, reading in READ_OTHERWISE.items():
                if text in ("1_000", "1.10"):
                    continue
                problem = self.problem(self.written(key, form.format(text)))
                self.assertEqual(problem.found, f"{text}, which YAML reads as {reading}")
                self.assertIn("put it in quotes", problem.wanted)
            self.assertIn(
                "without quotes", self.problem(self.written(key, form.format("'5'"))).wanted
            )

    def test_marks(self) -> None:
        """What begins with a mark of YAML's is told without YAML's words, and without the text."""
        for text, mark in (
            ("*.choria", "*"),
            ("*secret", "*"),
            ("&.secret", "&"),
            ("!secret!x", "!"),
            ("!secret", "!"),
            ("%secret", "%"),
            ("@secret", "@"),
            ("`secret`", "`"),
        ):
            for line in (
                f"auth:\n    full:\n      - {text}",
                f"nats:\n    user: u\n    password: {text}",
            ):
                problem = self.problem(f"management:\n  name: app\n  brokers: [b]\n  {line}\n")
                self.assertIn(f"a value that begins with {mark}", problem.found)
                self.assertNotIn("secret", str(problem))
                self.assertNotIn("choria", str(problem))
                self.assertIsNotNone(problem.line)


class FormTests(FilesCase):
    """Tabs, byte-order marks, blanks, ports."""

    GOOD = "management:\n  name: app\n  identity: one\n  brokers:\n    - b:4222  \n"

    def test_just_work(self) -> None:
        """A byte-order mark, CRLF, blanks at the end, in every combination."""
        for mark in (b"", b"\xef\xbb\xbf"):
            for end in ("\n", "\r\n", "  \n", "  \r\n"):
                loaded = self.load(mark + self.GOOD.replace("\n", end).encode())
                assert loaded.management is not None
                self.assertEqual(loaded.management.brokers, ("b:4222",))
                self.assertEqual(loaded.management.identity, "one")

    def test_told(self) -> None:
        """A tab and Latin-1 are told with file, line, column and the plain reason."""
        tab = self.problem(self.GOOD.replace("    - b", "\t- b"))
        self.assertEqual((tab.line, tab.column, tab.found), (5, 1, "a tab"))
        self.assertIn("blanks", tab.wanted)
        latin = self.problem(self.GOOD.encode() + b"# caf\xe9\n")
        self.assertEqual((latin.line, latin.column), (6, 6))
        self.assertIn("0xE9", latin.found)
        self.assertIn("Latin-1", latin.wanted)
        for problem in (tab, latin):
            self.assertEqual(problem.path, str(self.folder / "app.yaml"))

    def test_ports(self) -> None:
        """A bad port is an error that names the entry, in either file; blanks are nothing."""
        for port in ("42222x", "0", "70000", "", "-1", "4 222", "٤"):
            entry = f"b:{port}"
            problem = self.problem(self.GOOD.replace("b:4222", f'"{entry}"'))
            self.assertEqual(problem.key, "management.brokers[0]")
            self.assertIn("65535", problem.wanted)
            path = self.folder / "client.cfg"
            path.write_text(f"plugin.choria.middleware_hosts = a:4222, {entry}\n", encoding="utf-8")
            error = self.assertRaises(
                ConfigError, load_client_config, str(path), home="", cwd="/", env={}
            )
            (problem,) = error.problems
            self.assertEqual(problem.key, "plugin.choria.middleware_hosts[1]")
            self.assertEqual((problem.path, problem.line), (str(path), 1))
            self.assertIn("65535", problem.wanted)
        path.write_bytes(b"\xef\xbb\xbfplugin.choria.middleware_hosts = a:4222, b:4222  \r\n")
        config = load_client_config(str(path), home="", cwd="/", env={})
        self.assertEqual(config.middleware_hosts, ("a:4222", "b:4222"))
        self.assertEqual(config.warnings, ())


class BrokenTests(FilesCase):
    """Help and diagnosis, where the very thing that they need is broken."""

    def setUp(self) -> None:
        super().setUp()
        self.environ = {"HOME": str(self.folder), "USER": "bob"}
        self.patch(os, "environ", self.environ)

    def ran(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        return code, out.getvalue(), err.getvalue()

    def test_always(self) -> None:
        """Without a file, with one that cannot be read, without certificates."""
        for state in ("none", "unreadable", "no certificates"):
            rc = self.folder / ".choriarc"
            if state == "unreadable":
                rc.mkdir()  # which root cannot read either
            elif state == "no certificates":
                rc.rmdir()
                rc.write_text("plugin.choria.middleware_hosts = 127.0.0.1:9\n")
            for words in (["--help"], ["--version"], ["help", "exec"], ["ddl", "backplane"]):
                code, out, err = self.ran(*words)
                self.assertEqual((code, err), (0, ""), (state, words))
                self.assertTrue(out)
            code, out, err = self.ran("app", "ping")
            self.assertEqual((code, out), (64 if state != "no certificates" else 77, ""), state)
            self.assertNotIn("Traceback", err)
            if state == "none":
                for place in (".choriarc", ".mcollective", "/etc/choria/client.conf"):
                    self.assertIn(place, err)
            elif state == "unreadable":
                self.assertIn(f"{rc}: found an unreadable file", err)
                self.assertIn("/etc/choria/client.conf", err)
            else:
                self.assertIn("certs", err)

    def test_doctor(self) -> None:
        """It reports what it finds, each for itself, and goes on with what does not need it."""
        code, out, err = self.ran("doctor", "--json")
        findings = json.loads(out)
        self.assertEqual(code, 64)
        verdicts = [each["verdict"] for each in findings]
        self.assertEqual((verdicts[0], set(verdicts[1:])), ("failed", {"skipped"}))
        text = json.dumps(findings[0])
        for place in (".choriarc", "/etc/choria/client.conf"):
            self.assertIn(place, text)
        self.assertNotIn("Traceback", out + err)

    def test_rights(self) -> None:
        """Whether a file can be read is asked with the rights that we have, not with the user's."""
        asked: list[bool] = []

        def access(path: str, mode: int, *, effective_ids: bool = False) -> bool:
            asked.append(effective_ids)
            return True

        self.patch(os, "access", access)
        self.patch(os, "supports_effective_ids", {access})
        path = self.folder / "app.yaml"
        classes = self.folder / "classes"
        classes.touch()
        path.write_text(
            "management: {name: app, brokers: [b], classes_file: classes, logfile: log}\n"
        )
        load_file(str(path), env={}, hostname="node", pid=7)
        self.assertEqual(set(asked), {True})
        self.assertEqual(len(asked), 2)
