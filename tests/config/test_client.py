"""Files of Choria's clients: the table of what Choria makes of them, and where we differ."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.config.client import ClientConfig, find_config, load_client_config
from backplane.errors import ConfigError

TABLES = Path(__file__).parent.parent / "vectors" / "tables"
ROOT = "/root-of-the-case"

SETTINGS: dict[str, str] = {
    "identity": "identity",
    "collectives": "collectives",
    "main_collective": "main_collective",
    "plugin.choria.middleware_hosts": "middleware_hosts",
    "plugin.choria.use_srv": "use_srv",
    "plugin.nats.user": "user",
    "plugin.nats.pass": "password",
    "plugin.nats.credentials": "credentials",
    "ttl": "ttl",
    "discovery_timeout": "discovery_timeout",
    "plugin.choria.network.connect_timeout": "connect_timeout",
    "libdir": "libdirs",
    "color": "color",
    "logfile": "logfile",
    "loglevel": "loglevel",
}


class Files:
    """A tree of files in memory."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = {
            path: text.encode() if isinstance(text, str) else text for path, text in files.items()
        }

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    def listdir(self, path: str) -> list[str]:
        """Return a directory's names, in no good order."""
        names = {
            each.removeprefix(path + "/").split("/")[0]
            for each in self._files
            if each.startswith(path + "/")
        }
        if not names:
            raise FileNotFoundError(2, "No such file or directory", path)
        return sorted(names, reverse=True)


def load(
    text: str | bytes,
    *,
    more: Mapping[str, str] | None = None,
    path: str = "/etc/choria/client.conf",
    env: Mapping[str, str] | None = None,
    home: str = "/home/ann",
    cwd: str = "/srv",
) -> ClientConfig:
    """Load one file, and more when there are more."""
    files = Files({path: text, **(more or {})})
    return load_client_config(
        path, home=home, cwd=cwd, env=env or {}, read=files.read, listdir=files.listdir
    )


class Table(SynchronousTestCase):
    """What Choria itself makes of the same files."""

    # Texts of files -> what is different here, on purpose.
    DIFFERENT: dict[str, dict[str, Any]] = {
        # Empty names are left out: they would make a subject that brokers refuse.
        "collectives = a,\n": {"collectives": ("a",)},
        "collectives = ,\n": {
            "collectives": ("mcollective",),
            "main_collective": "mcollective",
        },
        # A byte-order mark is none of the key's.
        "\ufeffidentity = app1.example.net\n": {"identity": "app1.example.net"},
    }
    REFUSED = ("plugin.choria.middleware_hosts = b1:4222;b2:4222\n",)
    """No address that a connection could be made to."""

    ELSEWHERE = ("plugin.security.client_anon_tls = true\n",)
    """Refused by Choria for a setting that is none of ours."""

    SILENT = [
        # Settings that we do not have, or that are right.
        "identity = app1.example.net\r\nttl = 90\r\n",
        "rpcaudit = on\n",
        "rpcaudit = true false\n",
        "rpcaudit = 2\n",
        "loglevel = warning\n",
        "rpclimitmethod = last\n",
        "default_discovery_method = nope\n",
        "",  # plugin.d/foo.cfg
        "",  # plugin.d/a.b.cfg
    ]
    """Peculiarities of Choria that need no warning."""

    def expected(self, case: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes that a case should give."""
        values: dict[str, Any] = {}
        for key, name in SETTINGS.items():
            if key in case["settings"]:
                value = case["settings"][key]
                if isinstance(value, list):
                    value = tuple(value)
                elif isinstance(value, str):
                    value = value.replace("$ROOT", ROOT) or None
                values[name] = value
        return values

    def test_cases(self) -> None:
        """Each case gives what it gives in Choria, or the list of differences says otherwise."""
        table = json.loads((TABLES / "config_files.json").read_text("utf-8"))
        used = set()
        silent: list[str] = []
        self.assertGreater(len(table["cases"]), 120)
        defaults = ClientConfig()
        for case in table["cases"]:
            files = {
                f"{ROOT}/{path}": text.replace("@Z70000@", "z" * 70_000)
                for path, text in case["files"].items()
            }
            disk = Files(files)
            path = f"{ROOT}/{case['main']}"

            def run(case: dict[str, Any] = case, disk: Files = disk, path: str = path) -> Any:
                return load_client_config(
                    path,
                    home=case["home"].replace("$ROOT", ROOT),
                    cwd=case["cwd"].replace("$ROOT", ROOT),
                    env=case["env"],
                    read=disk.read,
                    listdir=disk.listdir,
                )

            text = case["files"].get(case["main"], "")
            tail = text.removeprefix("identity = app1.example.net\n")
            if tail in self.REFUSED or path not in files:
                used.add(tail)
                self.assertRaises(ConfigError, run)
                continue
            config = run()
            if case["error"] is not None:
                self.assertIn(tail, self.ELSEWHERE)
                used.add(tail)
                continue
            expected = self.expected(case)
            if tail in self.DIFFERENT:
                used.add(tail)
                expected.update(self.DIFFERENT[tail])
            for name in SETTINGS.values():
                wanted = expected.get(name, getattr(defaults, name))
                self.assertEqual(getattr(config, name), wanted, (case["files"], name))
            if not text.startswith("\ufeff"):
                self.assertEqual(dict(config.raw), case["raw"])
            read = [each.replace("$ROOT", ROOT) for each in case["parsed_files"]]
            self.assertEqual(list(config.files), list(dict.fromkeys(read)))
            if case.get("quirk") and not config.warnings:
                silent.append(tail)
        self.assertEqual(silent, self.SILENT)
        self.assertEqual(used - {""}, {*self.DIFFERENT, *self.REFUSED, *self.ELSEWHERE})


class Places(SynchronousTestCase):
    """Which file it is."""

    ALL = [
        "/home/ann/.choriarc",
        "/home/ann/.mcollective",
        "/etc/choria/client.conf",
        "/etc/choria/client.cfg",
        "/usr/local/etc/choria/client.conf",
        "/etc/puppetlabs/mcollective/client.cfg",
    ]

    def test_order(self) -> None:
        """The first that exists wins; the Go backplane's own place is among them."""
        self.assertEqual(find_config("/home/ann", lambda path: False), (None, self.ALL))
        for at, place in enumerate(self.ALL):
            found = find_config("/home/ann", lambda path, at=at: path in self.ALL[at:])  # type: ignore[misc]
            self.assertEqual(found, (place, self.ALL[: at + 1]))
        self.assertEqual(find_config("", lambda path: False)[1], self.ALL[2:])
        self.assertEqual(find_config("/", lambda path: False)[1][0], "/.choriarc")

    def test_missing(self) -> None:
        """Without a file, or with one that cannot be read, the places are named."""
        for path in (None, "/nonexistent/client.conf", "/", "a\0b"):
            error = self.assertRaises(
                ConfigError, load_client_config, path, home="/home/ann", cwd="/", env={}
            )
            for place in self.ALL:
                self.assertIn(place, str(error))
            if path is not None:
                self.assertIn(path, str(error))
        error = self.assertRaises(
            ConfigError, load_client_config, None, home="", cwd="/", env={}, searched=["/x"]
        )
        self.assertIn("/x", str(error))

    def test_from_disk(self) -> None:
        """Real files are read."""
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder + "/plugin.d")
        Path(folder, "client.conf").write_text("ttl = 30\n")
        Path(folder, "plugin.d", "choria.cfg").write_text("use_srv = no\n")
        config = load_client_config(folder + "/client.conf", home="", cwd=folder, env={})
        self.assertEqual((config.ttl, config.use_srv), (30, False))

    def test_vectors(self) -> None:
        """A file that a Go client really ran with."""
        path = TABLES.parent / "config" / "insecure" / "client1" / "client.conf"
        config = load_client_config(str(path), home="/home/ann", cwd="/", env={})
        self.assertEqual(config.middleware_hosts, ("broker.example.net:4222",))
        self.assertEqual(
            config.collectives,
            ("mcollective", "demo_backplane", "sick_backplane", "bare_backplane"),
        )
        self.assertEqual(config.libdirs, ("/etc/choria/lib",))
        self.assertEqual((config.use_srv, config.loglevel, config.warnings), (False, "warn", ()))

    def test_seed(self) -> None:
        """The two lines that the Go backplane tells people to write."""
        config = load(
            "loglevel = warning\nplugin.choria.middleware_hosts = nats.example.net:4222\n"
        )
        self.assertEqual(config.middleware_hosts, ("nats.example.net:4222",))
        self.assertEqual(config.warnings, ())
