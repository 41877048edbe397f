"""The ``management:`` section: what is taken, and what is said of mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.config.service import (
    AuthConfig,
    FactsConfig,
    LoadedConfig,
    OutboxConfig,
    ServiceConfig,
    StandardConfiguration,
    TLSConfig,
    check_broker,
    load_file,
    make_config,
    parse,
)
from backplane.errors import ConfigError, Problem
from backplane.interfaces import IConfigProvider

VECTORS = Path(__file__).parent.parent / "vectors"

BASE = "management:\n  name: app\n  brokers: [broker.example.net:4222]\n"

GO_EXAMPLE = """\
# your own config here
interval: 600

# Standard Backplane specific configuration here
management:
    name: app
    logfile: "{root}/var/log/app/backplane.log"
    loglevel: warn

    tls:
        scheme: file
        ca: {root}/path/to/ca.pem
        cert: {root}/path/to/cert.pem
        key: {root}/path/to/key.pem
        cache: {root}/path/to/ssl_cache

    auth:
        full:
            - sre.choria

        read_only:
            - 1stline.choria

    brokers:
        - choria1.example.net:4222
        - choria2.example.net:4222
"""


class Files(SynchronousTestCase):
    """Files are written into a directory of the test's own."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def load(self, text: str | bytes, name: str = "app.yaml", **options: Any) -> LoadedConfig:
        """Write a file and load it."""
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        options = {"env": {}, "hostname": "node1.example.net", "pid": 77, **options}
        return load_file(path, **options)

    def config(self, text: str | bytes, **options: Any) -> ServiceConfig:
        """Write a file and return its management."""
        management = self.load(text, **options).management
        assert management is not None
        return management

    def problems(self, text: str, **options: Any) -> dict[str, Problem]:
        """Write a file, have it refused, and return the mistakes by their key."""
        error = self.assertRaises(ConfigError, self.load, text, **options)
        for problem in error.problems:
            self.assertTrue(problem.path and problem.found and problem.wanted, problem)
        return {problem.key: problem for problem in error.problems}

    def touch(self, *names: str) -> None:
        """Make empty files."""
        for name in names:
            path = Path(self.folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


class Good(Files):
    """What is taken."""

    def test_go_example(self) -> None:
        """The Go backplane's example works as written."""
        root = self.folder
        self.touch("path/to/ca.pem", "path/to/cert.pem", "path/to/key.pem", "var/log/app/x")
        config = self.config(GO_EXAMPLE.format(root=root))
        self.assertEqual(
            config,
            ServiceConfig(
                name="app",
                brokers=("choria1.example.net:4222", "choria2.example.net:4222"),
                logfile=f"{root}/var/log/app/backplane.log",
                loglevel="warn",
                tls=TLSConfig(
                    scheme="file",
                    ca=f"{root}/path/to/ca.pem",
                    cert=f"{root}/path/to/cert.pem",
                    key=f"{root}/path/to/key.pem",
                    cache=f"{root}/path/to/ssl_cache",
                ),
                auth=AuthConfig(full=("sre.choria",), read_only=("1stline.choria",)),
                identity="node1.example.net",
            ),
        )
        self.assertTrue(config.secure)
        self.assertEqual(config.collective, "app_backplane")
        loaded = self.load(GO_EXAMPLE.format(root=""), check_files=False)
        self.assertEqual(loaded.document["interval"], 600)
        assert loaded.management is not None
        self.assertEqual(loaded.management.logfile, "/var/log/app/backplane.log")

    def test_go_fragments(self) -> None:
        """So do the two other pieces of its manual."""
        config = self.config(BASE + "  auth:\n    insecure: true\n  tls:\n    scheme: puppet\n")
        self.assertEqual(config.auth, AuthConfig(insecure=True))
        self.assertEqual(config.tls, TLSConfig(scheme="puppet"))

    def test_files_of_go_services(self) -> None:
        """Files that Go services really ran with load; what is theirs stays as it is."""
        paths = sorted((VECTORS / "config" / "insecure").glob("*/*.yaml"))
        paths = [path for path in paths if "management:" in path.read_text()]
        self.assertEqual(len(paths), 7)
        for path in paths:
            loaded = load_file(str(path), env={}, hostname="h", pid=1, require=True)
            assert loaded.management is not None
            self.assertEqual(loaded.management.brokers, ("broker.example.net:4222",))
            self.assertEqual(loaded.management.loglevel, "debug")
            self.assertFalse(loaded.management.secure)
        self.assertEqual(loaded.document["version"], "2.0.0")
        assert loaded.management is not None
        self.assertEqual(loaded.management.auth.full, ("^choria=rip\\.mcollective$",))

    def test_all_keys(self) -> None:
        """Every key there is, in YAML and in JSON."""
        self.touch("classes.txt")
        values = {
            "name": "app",
            "brokers": ["tls://b1", " b2:4222 "],
            "loglevel": "ERROR",
            "logfile": "backplane.log",
            "identity": "app.example.net",
            "instance": "2",
            "nats": {"user": "u", "password": "p"},
            "classes_file": "classes.txt",
            "facts": {"interval": 60, "secrets": ["apikey"], "exempt": ["token_count"]},
            "outbox": {"max_items": 5, "max_bytes": 1000},
            "max_stop_delay": 1.5,
            "stop_timeout": 0,
            "reply_to": ["acme.replies.>"],
            "ping_interval": 20,
            "auth": {"insecure": False, "full": ["a"], "read_only": [], "hidden": True},
        }
        expected = ServiceConfig(
            name="app",
            brokers=("tls://b1", "b2:4222"),
            loglevel="error",
            logfile=f"{self.folder}/backplane.log",
            identity="app.example.net-2",
            user="u",
            password="p",
            classes_file=f"{self.folder}/classes.txt",
            facts=FactsConfig(60, ("apikey",), ("token_count",)),
            outbox=OutboxConfig(5, 1000),
            max_stop_delay=1.5,
            stop_timeout=0,
            reply_to=("acme.replies.>",),
            ping_interval=20,
            auth=AuthConfig(full=("a",), hidden=True),
        )
        text = json.dumps({"management": values}, indent="\t")
        self.assertEqual(self.config(text), expected)
        self.assertEqual(self.config(text, name="app.json"), expected)
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in values.items())
        self.assertEqual(self.config("management:\n" + lines), expected)
        path = f"{self.folder}/app.yaml"
        self.assertEqual(parse(values, path=path, env={}, hostname="h", pid=1), expected)

    def test_byte_order_mark_and_line_ends(self) -> None:
        """BOM, CRLF and blanks just work."""
        data = b"\xef\xbb\xbf" + BASE.replace("\n", " \r\n").encode()
        self.assertEqual(self.config(data), self.config(BASE))

    def test_provider(self) -> None:
        """The configuration is what a management asks for, under Go's name too."""
        verifyObject(IConfigProvider, self.config(BASE))
        self.assertIs(StandardConfiguration, ServiceConfig)

    def test_identity(self) -> None:
        """Host name, variables and instance make the identity, in every mode."""
        for more, env, expected in (
            ("", {}, "node1.example.net"),
            ("  instance: web.2\n", {}, "node1.example.net-web.2"),
            ("  identity: ${HOSTNAME}.x\n", {}, "node1.example.net.x"),
            ("  identity: ${HOSTNAME}\n", {"HOSTNAME": "c0ffee"}, "c0ffee"),
            ("  identity: ${HOSTNAME}\n", {"HOSTNAME": ""}, "node1.example.net"),
            ("  identity: a\n  instance: ${PID}\n", {"PID": "1"}, "a-77"),
            ("  identity: a\n  tls: {scheme: puppet}\n  instance: b\n", {}, "a-b"),
        ):
            self.assertEqual(self.config(BASE + more, env=env).identity, expected)

    def test_variables(self) -> None:
        """Variables are expanded in management and app, after parsing, and nowhere else."""
        text = (
            "management:\n  name: ${N}\n  brokers: ['${B:-b:4222}']\n  ping_interval: ${I}\n"
            "  auth: {insecure: '${T}', full: [x$$, '^a$']}\napp: ${N}.web:make\nother: ${N} $$\n"
        )
        loaded = self.load(text, env={"N": "app", "I": "1e2", "T": "true"})
        assert loaded.management is not None
        self.assertEqual(loaded.management.name, "app")
        self.assertEqual(loaded.management.brokers, ("b:4222",))
        self.assertEqual(loaded.management.ping_interval, 100.0)
        self.assertEqual(loaded.management.auth, AuthConfig(insecure=True, full=("x$", "^a$")))
        self.assertEqual(loaded.app, "app.web:make")
        self.assertEqual(loaded.document["other"], "${N} $$")
        self.assertEqual(loaded.document["management"]["name"], "app")
        # A variable cannot bring in other keys or types.
        problems = self.problems(BASE + "  identity: ${X}\n", env={"X": "a\n  logfile: b"})
        self.assertEqual(list(problems), ["management.identity"])

    def test_numbers(self) -> None:
        """1e3 is a number, though YAML takes it for text."""
        for text, expected in (("1e3", 1000.0), ("2.5", 2.5), ("+5", 5.0), ("1_0", 10.0)):
            self.assertEqual(
                self.config(BASE + f"  ping_interval: {text}\n").ping_interval, expected
            )

    def test_merge_keys(self) -> None:
        """Anchors and merge keys work."""
        text = "x: &x {loglevel: debug, name: y}\n" + BASE + "  <<: *x\n"
        config = self.config(text)
        self.assertEqual((config.name, config.loglevel), ("app", "debug"))

    def test_without_management(self) -> None:
        """A file may be the application's alone, unless a management was asked for."""
        loaded = self.load("name: 5\n")
        self.assertEqual((loaded.management, loaded.app), (None, None))
        self.assertEqual(loaded.document, {"name": 5})
        self.assertEqual((loaded.path, loaded.folder), (f"{self.folder}/app.yaml", self.folder))
        self.assertEqual(self.load("").document, {})
        for text in ("", "name: 5\n", "management:\n", "# only this"):
            self.assertIn("management", self.problems(text, require=True))

    def test_repr(self) -> None:
        """Credentials are not in the repr."""
        config = make_config(
            name="app", brokers=["nats://u:sesame@b"], user="u", password="sesame", identity="x"
        )
        self.assertNotIn("sesame", repr(config))
        self.assertNotIn("sesame", repr(make_config(name="a", brokers=["b"], token="sesame")))


class Bad(Files):
    """What is refused."""

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

    def test_brokers(self) -> None:
        """A bad address names the entry, never its credentials, and nothing is guessed."""
        good = (
            "b",
            "b:4222",
            " b:4222 ",
            "nats://b",
            "TLS://b:1",
            "tls://b:65535/",
            "nats://u:p@b:4222",
            "token@b",
            "[::1]:4222",
            "nats://[fe80::1%eth0]",
            "127.0.0.1:4222",
        )
        for entry in good:
            self.assertEqual(check_broker(entry), None, entry)
        bad = (
            "",
            " ",
            "b:",
            "b:0",
            "b:70000",
            "b:42222x",
            "b: 4222",
            "b:-1",
            "b:٣",
            "::1",
            "[b]:4222",
            "[::1",
            "http://b",
            "nats://",
            "a,b",
            "a b",
            "nats://u:sesame@b:x",
            "u:sesame@b:x",
            "sesame://x@b:0",
            "u:sesame://x@b:0",
            "ftp://u:sesame@b",
        )
        for entry in bad:
            wrong = check_broker(entry)
            assert wrong is not None, entry
            if not entry.startswith("sesame://"):
                self.assertNotIn("sesame", "".join(wrong))
        problems = self.problems(BASE.replace("[", "[a:42222x, 'nats://u:sesame@c:0', "))
        self.assertIn("a:42222x", problems["management.brokers[0]"].found)
        self.assertIn("nats://c:0", problems["management.brokers[1]"].found)
        problems = self.problems("management:\n  name: app\n  brokers: [a: 1]\n")
        self.assertIn("host:4222", problems["management.brokers[0]"].wanted)

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


class MadeInCode(SynchronousTestCase):
    """Configurations that no file has."""

    def test_make_config(self) -> None:
        """Fields are those of the configuration, values ours or plain."""
        config = make_config(
            name="app",
            brokers=["b"],
            auth=AuthConfig(full=["sre"]),
            facts={"interval": 60},
            token="t",
            identity="${HOSTNAME}",
            instance="${PID}",
            hostname="h",
            pid=5,
        )
        self.assertEqual(config.identity, "h-5")
        self.assertEqual(config.auth.full, ("sre",))
        self.assertEqual(config.facts.interval, 60.0)
        self.assertEqual(config.token, "t")
        self.assertEqual(make_config(**attrs.asdict(config, recurse=False)), config)

    def test_mistakes(self) -> None:
        """The same mistakes are reported, without places."""
        error = self.assertRaises(
            ConfigError,
            make_config,
            name="App",
            brokers="a:4222",
            auth=AuthConfig(full=[""]),
            loglevel=5,
            bogus=True,
        )
        keys = {problem.key for problem in error.problems}
        self.assertEqual(
            keys,
            {
                "management.name",
                "management.brokers",
                "management.auth.full[0]",
                "management.loglevel",
                "management.bogus",
            },
        )
        for problem in error.problems:
            self.assertEqual((problem.path, problem.line), (None, None))
            self.assertNotIn("quotes", problem.wanted)

    def test_text_is_no_list(self) -> None:
        """A text instead of a list does not become a list of letters."""
        self.assertRaises(ConfigError, AuthConfig, full="sre")
        self.assertRaises(ConfigError, ServiceConfig, name="app", brokers="b:4222")

    def test_variables_stay(self) -> None:
        """Elsewhere than in identity and instance a dollar is a dollar."""
        config = make_config(name="app", brokers=["b"], auth={"full": ["x$$"]}, identity="a")
        self.assertEqual(config.auth.full, ("x$$",))
