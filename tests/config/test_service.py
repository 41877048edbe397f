"""The ``management:`` section: what is taken, and what is said of mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.config.service import LoadedConfig, load_file, make_config, parse
from backplane.config.settings import (
    AuthConfig,
    FactsConfig,
    OutboxConfig,
    ServiceConfig,
    StandardConfiguration,
    TLSConfig,
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
            "outbox": {
                "max_items": 5,
                "max_bytes": 1000,
                "file": "spool",
                "full": "drop_oldest",
            },
            "max_stop_delay": 1.5,
            "stop_timeout": 0,
            "reply_to": ["acme.replies.>"],
            "ping_interval": 20,
            "loglevel_lease": "1h30m",
            "stall_watch": False,
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
            outbox=OutboxConfig(5, 1000, f"{self.folder}/spool", "drop_oldest"),
            max_stop_delay=1.5,
            stop_timeout=0,
            reply_to=("acme.replies.>",),
            ping_interval=20,
            loglevel_lease=5400.0,
            stall_watch=False,
            auth=AuthConfig(full=("a",), hidden=True),
        )
        text = json.dumps({"management": values}, indent="\t")
        self.assertEqual(self.config(text), expected)
        self.assertEqual(self.config(text, name="app.json"), expected)
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in values.items())
        self.assertEqual(self.config("management:\n" + lines), expected)
        path = f"{self.folder}/app.yaml"
        self.assertEqual(parse(values, path=path, env={}, hostname="h", pid=1), expected)

    def test_stall_watch(self) -> None:
        """On, off, and not said are three things."""
        base = "management: {name: app, brokers: [b]%s}\n"
        for given, watch in (
            (", stall_watch: true", True),
            (", stall_watch: false", False),
            ("", None),
        ):
            self.assertIs(self.config(base % given).stall_watch, watch)
        error = self.assertRaises(ConfigError, self.config, base % ", stall_watch: 1")
        self.assertIn(
            "management.stall_watch: found 1, which is a number, wanted true or false", str(error)
        )

    def test_lease(self) -> None:
        """Seconds or a duration, of at least one second."""
        base = "management: {name: app, brokers: [b], loglevel_lease: %s}\n"
        for given, seconds in (("90", 90.0), ('"90"', 90.0), ("1.5", 1.5), ("2m", 120.0)):
            self.assertEqual(self.config(base % given).loglevel_lease, seconds)
        for given in ("0", "-1", "soon", "[]", "true", '""', "1ms", ".nan", ".inf"):
            error = self.assertRaises(ConfigError, self.config, base % given)
            self.assertIn("or a duration such as 1h", str(error), given)

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
