"""The ``management:`` section: what is said of mistakes."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from backplane.config.service import load_file, make_config, parse
from backplane.config.settings import (
    ServiceConfig,
)
from backplane.errors import ConfigError
from tests.config.test_service import BASE, Files


class Bad(Files):
    """What is refused."""

    def test_whole_numbers(self) -> None:
        """What would be right is shown as it may be written."""
        text = "management:\n  outbox: {max_items: 0, max_bytes: many}\n"
        wanted = {key: problem.wanted for key, problem in self.problems(text).items()}
        self.assertIn("such as 10000", wanted["management.outbox.max_items"])
        self.assertIn("such as 67108864", wanted["management.outbox.max_bytes"])

    def test_outbox(self) -> None:
        """A policy that there is not, and files that cannot be, are found before the start."""
        text = "management:\n  outbox: {full: block, file: /nonexistent/spool}\n"
        problems = self.problems(text)
        self.assertEqual(
            problems["management.outbox.full"].wanted, "one of wait, drop_oldest, drop_newest"
        )
        self.assertIn("no directory", problems["management.outbox.file"].found)
        problems = self.problems("management:\n  outbox: {file: /}\n")
        self.assertIn("is a directory", problems["management.outbox.file"].found)

    def test_all_at_once(self) -> None:
        """Every mistake is reported, with file, line, key, what was found and what is wanted."""
        text = """\
name: x
name: y
management:
  name: My-App
  loglevle: info
  loglevel: loud
  brokers: []
  ping_interval: often
  stop_timeout: -1
  outbox: {max_items: 1.5}
  auth:
    full: sre.choria
    read_only: ["", ".*", "a(", 5]
    insecure: "yes"
    fll: []
  tls: {scheme: https, ca: /nonexistent/ca.pem}
  nats: {token: t, user: u, passwd: p}
  reply_to: ["a..b", "a.>.b", "a b"]
  facts: []
app: web
"""
        problems = self.problems(text)
        lines = {key: problem.line for key, problem in problems.items()}
        self.assertEqual(
            lines,
            {
                "name": 2,
                "management.name": 4,
                "management.loglevle": 5,
                "management.loglevel": 6,
                "management.brokers": 7,
                "management.ping_interval": 8,
                "management.stop_timeout": 9,
                "management.outbox.max_items": 10,
                "management.auth.full": 12,
                "management.auth.read_only[0]": 13,
                "management.auth.read_only[1]": 13,
                "management.auth.read_only[2]": 13,
                "management.auth.read_only[3]": 13,
                "management.auth.insecure": 14,
                "management.auth.fll": 15,
                "management.tls.scheme": 16,
                "management.tls.ca": 16,
                "management.nats": 17,
                "management.nats.passwd": 17,
                "management.reply_to[0]": 18,
                "management.reply_to[1]": 18,
                "management.reply_to[2]": 18,
                "management.facts": 19,
                "app": 20,
            },
        )
        self.assertIn("'loglevel'", problems["management.loglevle"].wanted)
        self.assertIn("^[a-z0-9]+$", problems["management.name"].wanted)
        self.assertIn("please specify backplane brokers", problems["management.brokers"].wanted)
        self.assertIn(f"{self.folder}/app.yaml:4:9: ", str(problems["management.name"]))

    def test_types_that_nobody_meant(self) -> None:
        """Where YAML makes something else of a text, both are shown, and quotes advised."""
        written = {
            "on": "the boolean true",
            "Off": "the boolean false",
            "yes": "the boolean true",
            "0123456": "42798",
            "22:22": "1342",
            "2026-11-25": "the date",
            "~": "null",
            "12": "a number",
        }
        for text, read in written.items():
            problems = self.problems(
                f"management:\n  name: {text}\n  identity: {text}\n  loglevel: {text}\n"
                f"  instance: {text}\n"
                f"  brokers:\n    - {text}\n  auth:\n    full: [{text}]\n    read_only: [{text}]\n"
            )
            self.assertEqual(len(problems), 7)
            for problem in problems.values():
                self.assertIn(text, problem.found)
                self.assertIn(read, problem.found)
                self.assertIn("put it in quotes", problem.wanted)
            if text == "12":
                continue
            more = f"  ping_interval: {text}\n  facts: {{interval: {text}}}\n"
            problems = self.problems(BASE + more)
            self.assertEqual(len(problems), 2)
            for problem in problems.values():
                self.assertIn(text, problem.found)
                self.assertIn(read, problem.found)
                self.assertIn("put it in quotes", problem.wanted)

    def test_nothing(self) -> None:
        """A key without a value is not a default: an empty tls would mean no security."""
        for key in ("tls", "auth", "logfile", "identity", "brokers", "ping_interval", "nats"):
            text = f"management:\n  name: app\n  brokers: [b]\n  {key}:\n"
            if key == "brokers":
                text = "management:\n  name: app\n  brokers:\n"
            problems = self.problems(text)
            self.assertEqual(list(problems), [f"management.{key}"])
            self.assertEqual(problems[f"management.{key}"].found, "nothing")

    def test_names(self) -> None:
        """Names and identities that would not survive on the network."""
        for name in ("App", "a-b", "a_b", "ä", "a b", "a\\n", "٣"):
            problems = self.problems(f'management:\n  name: "{name}"\n  brokers: [b]\n')
            self.assertEqual(list(problems), ["management.name"])
        for name in ("a b", "a..b", ".a", "a.", "ö", "a*", "a\\n", "x" * 256, "٣"):
            problems = self.problems(BASE + f'  identity: "{name}"\n')
            self.assertEqual(list(problems), ["management.identity"])
        self.assertIn("management.identity", self.problems(BASE, hostname="my host"))
        long = f"  identity: {'x' * 250}\n  instance: {'y' * 10}\n"
        self.assertEqual(list(self.problems(BASE + long)), ["management.instance"])

    def test_secrets_are_not_shown(self) -> None:
        """Neither of a wrong type nor of an unset variable."""
        for text in ("123456", "1.5", "[sesame]", "2026-11-25"):
            problems = self.problems(BASE + f"  nats: {{password: {text}, token: {text}}}\n")
            self.assertNotIn(text, str(list(problems.values())))
        problems = self.problems(BASE + "  nats: {password: 'sesame${NONE}'}\n")
        self.assertNotIn("sesame", str(list(problems.values())))
        self.assertIn("NONE", problems["management.nats.password"].found)

    def test_unset_variables(self) -> None:
        """An unset variable without default is one mistake, not two."""
        problems = self.problems(
            BASE + "  identity: ${NONE}\n  tls: ${NONE}\n  auth: {full: ['${']}\napp: ${NONE}\n"
        )
        keys = {"management.identity", "management.tls", "management.auth.full[0]", "app"}
        self.assertEqual(set(problems), keys)

    def test_files(self) -> None:
        """Files that cannot be read or written are found at start-up."""
        os.makedirs(os.path.join(self.folder, "dir"))
        self.touch("good")
        for key, value, wanted in (
            ("logfile", "none/x.log", "written"),
            ("logfile", "dir", "written"),
            ("logfile", "good/x.log", "written"),
            ("classes_file", "none", "read"),
            ("classes_file", "dir", "read"),
        ):
            problems = self.problems(BASE + f"  {key}: {value}\n")
            self.assertEqual(list(problems), [f"management.{key}"])
            self.assertIn(wanted, problems[f"management.{key}"].wanted)
            self.assertIn(self.folder, problems[f"management.{key}"].found)
        for key in ("ca", "cert", "key"):
            problems = self.problems(BASE + f"  tls: {{scheme: file, {key}: none.pem}}\n")
            self.assertEqual(list(problems), [f"management.tls.{key}"])
        self.config(BASE + "  logfile: dir/new.log\n  classes_file: good\n")
        self.assertIn("management.logfile", self.problems(BASE + '  logfile: "a\\0b"\n'))

    def test_permissions(self) -> None:
        """What may not be written is refused, as the operating system says."""
        self.touch("x.log", "dir/x")
        allowed: list[str] = []
        self.patch(os, "access", lambda path, mode: path in allowed)
        for name in ("x.log", "dir/new.log"):
            self.assertIn("management.logfile", self.problems(BASE + f"  logfile: {name}\n"))
        allowed += [f"{self.folder}/x.log", f"{self.folder}/dir"]
        for name in ("x.log", "dir/new.log"):
            self.config(BASE + f"  logfile: {name}\n")

    def test_app(self) -> None:
        """The factory is a module, a colon and a name."""
        for text in ("a", "a:", ":b", "a b:c", "a:b:c", "a.:b", "1a:b", "a-b:c"):
            self.assertEqual(list(self.problems(BASE + f"app: '{text}'\n")), ["app"])
        for text in ("a:b", "a.b_c:d", "a:b.c"):
            self.assertEqual(self.load(BASE + f"app: {text}\n").app, text)

    def test_unreadable(self) -> None:
        """A file that cannot be read is named."""
        error = self.assertRaises(
            ConfigError, load_file, f"{self.folder}/none.yaml", env={}, hostname="h", pid=1
        )
        self.assertIn(f"{self.folder}/none.yaml", str(error))

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        """No content of the file raises anything but a ConfigError."""
        for prefix in (b"", BASE.encode() + b"  "):
            try:
                self.load(prefix + data)
            except ConfigError as error:
                str(error).encode()

    @given(
        st.dictionaries(
            st.sampled_from([field.name for field in attrs.fields(ServiceConfig)])
            | st.sampled_from(["instance", "nats", "x"]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(max_size=6)
                | st.sampled_from(["app", "b:4222", "${HOSTNAME}", "warn"]),
                lambda each: (
                    st.lists(each, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["full", "interval", "scheme", "user", "max_items"])
                        | st.text(),
                        each,
                        max_size=3,
                    )
                ),
                max_leaves=5,
            ),
        )
    )
    def test_any_mapping(self, mapping: dict[str, Any]) -> None:
        """The same for configurations made in code, and for the same in a file."""
        try:
            parse(mapping, env={}, hostname="h", pid=1)
        except ConfigError:
            pass
        try:
            make_config(**mapping)
        except ConfigError:
            pass
        try:
            self.load(json.dumps({"management": mapping}))
        except ConfigError as error:
            str(error).encode()

    def test_brokers(self) -> None:
        """A bad address names the entry in the file, never its credentials."""
        problems = self.problems(BASE.replace("[", "[a:42222x, 'nats://u:sesame@c:0', "))
        self.assertIn("a:42222x", problems["management.brokers[0]"].found)
        self.assertIn("nats://c:0", problems["management.brokers[1]"].found)
        problems = self.problems("management:\n  name: app\n  brokers: [a: 1]\n")
        self.assertIn("host:4222", problems["management.brokers[0]"].wanted)
