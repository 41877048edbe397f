"""How the configuration says as whom a service logs in to brokers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.client import ClientConfig
from backplane.config.service import make_config, parse
from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, Problem
from tests.config.test_client import load

KEYS = ("user", "password", "token", "password_file", "token_file", "nkey_file", "jwt_file")


def read(keys: Mapping[str, str], check_files: bool = False) -> ServiceConfig:
    """Read a management whose ``nats`` has these keys."""
    given = {"name": "app", "brokers": ["b"], "nats": dict(keys)}
    return parse(
        given,
        path="/etc/app/app.yaml",
        env={"TOKEN": "s3cret"},
        hostname="h",
        pid=1,
        check_files=check_files,
    )


class ServiceTests(SynchronousTestCase):
    """The section ``nats``."""

    def problems(self, *keys: str) -> list[Problem]:
        error = self.assertRaises(ConfigError, read, dict.fromkeys(keys, "s3cret"))
        return list(error.problems)

    def test_ways(self) -> None:
        """Each of them; paths are relative to the folder of the file."""
        for keys in (
            {"user": "u", "password": "p"},
            {"user": "u"},
            {"user": "u", "password_file": "secret"},
            {"token": "${TOKEN}"},
            {"token_file": "secret"},
            {"nkey_file": "secret"},
            {"nkey_file": "seed", "jwt_file": "jwt"},
            {"credentials": "app.creds"},
        ):
            config = read(keys)
            given = {name: getattr(config, name) for name in (*KEYS, "credentials")}
            expected = {
                name: f"/etc/app/{text}"
                if name.endswith("_file") or name == "credentials"
                else text.replace("${TOKEN}", "s3cret")
                for name, text in keys.items()
            }
            self.assertEqual({k: v for k, v in given.items() if v is not None}, expected)
            again = make_config(check_files=False, **attrs.asdict(config, recurse=False))
            self.assertEqual(again, config)
            self.assertNotIn("s3cret", repr(config))

    def test_several(self) -> None:
        """What excludes one another is named."""
        for keys, found in (
            (("user", "token"), "user and token"),
            (("user", "credentials"), "user and credentials"),
            (("token_file", "nkey_file"), "token_file and nkey_file"),
            (("nkey_file", "credentials"), "nkey_file and credentials"),
            (("user", "password", "password_file"), "password and password_file"),
            (("token", "token_file"), "token and token_file"),
            (("password",), "password without user"),
            (("password_file",), "password_file without user"),
            (("jwt_file",), "jwt_file without nkey_file"),
        ):
            (problem,) = self.problems(*keys)
            self.assertEqual((problem.key, problem.found), ("management.nats", found))

    def test_files(self) -> None:
        """Files that are not there are found at once, unless they are not looked for."""
        for name in ("token_file", "nkey_file", "credentials"):
            error = self.assertRaises(ConfigError, read, {name: "no-such-file"}, True)
            (problem,) = error.problems
            self.assertEqual(problem.key, f"management.nats.{name}")
            self.assertIn("which does not exist", problem.found)


class OperatorTests(SynchronousTestCase):
    """Options of our own in Choria's file."""

    def test_handshake_first(self) -> None:
        """TLS before INFO is said in an option that Choria reads over."""
        self.assertFalse(ClientConfig().handshake_first)
        for text, expected in (("", False), ("= yes", True), ("= 0", False), ("= 1", True)):
            line = f"plugin.backplane.handshake_first {text}\n" if text else "identity = a\n"
            config = load(line)
            self.assertIs(config.handshake_first, expected)
            self.assertEqual(config.warnings, ())
        config = load("plugin.backplane.handshake_first = maybe\n")
        self.assertFalse(config.handshake_first)
        self.assertIn("wanted yes or no", config.warnings[0])
