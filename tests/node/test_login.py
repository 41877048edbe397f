"""How a service logs in: its files before the start, at each connect, and when they change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane import ConfigError, Management
from backplane.config.settings import ServiceConfig
from backplane.nats.credentials import CredsFile, NKey, Token, UserJWT, UserPassword
from backplane.node.login import load_login, login_files
from backplane.testing import Harness, RecordingApplication
from tests.nats.checklist.jwts import ACCOUNT, USER, creds, user_jwt


class LoadTests(SynchronousTestCase):
    """From keys to what is sent."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, text: str, name: str = "secret") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def load(self, **fields: Any) -> Any:
        return load_login(ServiceConfig(name="app", brokers=["b"], **fields))

    def test_ways(self) -> None:
        """Each has its kind."""
        self.assertIsNone(self.load())
        self.assertIsInstance(self.load(user="u", password="p"), UserPassword)
        self.assertIsInstance(self.load(token="t"), Token)
        found = self.load(user="u", password_file=self.file("s3cret\n"))
        self.assertEqual(found.fields({}), {"user": "u", "pass": "s3cret"})
        found = self.load(token_file=self.file("s3cret\n"))
        self.assertEqual(found.fields({}), {"auth_token": "s3cret"})
        self.assertIsInstance(self.load(nkey_file=self.file(USER)), NKey)
        two = {"nkey_file": self.file(USER), "jwt_file": self.file(user_jwt(), "jwt")}
        self.assertIsInstance(self.load(**two), UserJWT)
        found = self.load(credentials=self.file(creds(user_jwt(), USER)))
        self.assertIsInstance(found, CredsFile)

    def test_mistakes(self) -> None:
        """The setting and the file are named, what is in it is not shown."""
        for fields, key, words in (
            ({"token_file": self.file("a\nb", "two")}, "token_file", "2 lines"),
            ({"nkey_file": self.file(ACCOUNT)}, "nkey_file", "the seed of an account"),
            ({"credentials": self.file("nothing", "c")}, "credentials", "no JWT"),
            ({"credentials": "/none"}, "credentials", "No such file"),
            (
                {"jwt_file": self.file(USER, "jwt"), "nkey_file": self.file(USER, "seed")},
                "jwt_file",
                "found a seed, wanted the JWT",
            ),
        ):
            error = self.assertRaises(ConfigError, self.load, **fields)
            (problem,) = error.problems
            self.assertEqual(problem.key, f"management.nats.{key}")
            self.assertIn(words, str(problem))
            self.assertNotIn(USER, str(error))
            self.assertNotIn(ACCOUNT, str(error))

    def test_management(self) -> None:
        """A management does not come about with files that cannot be used."""
        path = self.file("nothing")
        config = {"name": "app", "brokers": ["b"], "nats": {"credentials": path}}
        error = self.assertRaises(ConfigError, Management, config)
        self.assertIn("management.nats.credentials", str(error))
        Path(path).write_text(creds(user_jwt(), USER))
        first = Management(config)
        self.assertEqual(login_files(first.config), {"management.nats.credentials": path})
        os.unlink(path)
        self.assertRaises(ConfigError, Management, first.config)
        Management(first.config, sources=first.sources)


class RunningTests(SynchronousTestCase):
    """A service with a token in a file."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.harness.broker.token = "0ldsecret"
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text("0ldsecret\n")

    def manage(self) -> Management:
        """Return a managed application, which is connected."""
        nats = {"token_file": str(self.path)}
        return self.harness.manage(RecordingApplication({"dc": "DC1"}), nats=nats)

    def test_renewed(self) -> None:
        """A new file is used at once: the connection moves over."""
        management = self.manage()
        self.assertEqual(management.state.phase.name, "READY")
        broker = self.harness.broker
        self.assertEqual(broker.clients[-1].fields["auth_token"], "0ldsecret")
        broker.token = "n3wsecret"
        self.path.write_text("n3wsecret\n")
        self.harness.advance(10)
        ours = [end.fields.get("auth_token") for end in broker.clients]
        self.assertEqual(ours, ["n3wsecret"])

    def test_mended(self) -> None:
        """A service that is kept out gets in as soon as the file is right."""
        management = self.manage()
        broker = self.harness.broker
        broker.token = "n3wsecret"
        broker.drop_all()
        self.harness.advance(5)
        self.assertNotEqual(management.state.phase.name, "READY")
        self.path.write_text("n3wsecret\n")
        self.harness.advance(7)
        self.assertEqual(management.state.phase.name, "READY")

    def test_hidden(self) -> None:
        """No operator sees the secret, or where it is."""
        self.harness.broker.token = None
        self.manage()
        for agent, action, data in (
            ("rpcutil", "inventory", {}),
            ("rpcutil", "get_config_item", {"item": "token"}),
            ("rpcutil", "get_config_item", {"item": "plugin.nats.pass"}),
            ("rpcutil", "get_config_item", {"item": "token_file"}),
            ("choria_util", "info", {}),
            ("backplane", "info", {}),
        ):
            reply = self.harness.ask(action, data, agent=agent)
            self.assertNotIn("0ldsecret", repr(reply))
            self.assertNotIn(str(self.path), repr(reply))
