"""How an operator logs in to brokers, and that TLS may come first there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli import setup
from backplane.cli.faults import Fault
from backplane.client import Client, ExitCode
from backplane.client.login import load_login
from backplane.config.client import ClientConfig
from backplane.errors import ConfigError
from backplane.nats.credentials import CredsFile, Token, UserPassword
from backplane.nats.errors import BadCredentials
from backplane.testing import PKI
from tests.nats.checklist.jwts import ACCOUNT, USER, creds, user_jwt


class FileCase(SynchronousTestCase):
    """With a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, text: str, name: str = "user.creds") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def config(self, text: str) -> str:
        """Write a client's configuration."""
        return self.file(f"plugin.choria.middleware_hosts = b.example.net\n{text}", "client.cfg")


class LoadTests(FileCase):
    """From options to what is sent."""

    def test_ways(self) -> None:
        """User and password, a file, or nothing."""
        self.assertIsNone(load_login(ClientConfig()))
        found = load_login(ClientConfig(user="u", password="p"))
        self.assertEqual(found, UserPassword("u", "p"))
        path = self.file(creds(user_jwt(), USER))
        self.assertEqual(load_login(ClientConfig(credentials=path)), CredsFile(path))

    def test_mistakes(self) -> None:
        """They name the option."""
        path = self.file(creds(user_jwt(), ACCOUNT))
        for config, words in (
            (ClientConfig(credentials=path), "the seed of an account"),
            (ClientConfig(credentials="/none"), "No such file"),
            (ClientConfig(credentials=path, user="u"), "one of the two"),
        ):
            error = self.assertRaises(ConfigError, load_login, config)
            self.assertEqual(error.problems[0].key, "plugin.nats.credentials")
            self.assertIn(words, str(error))
            self.assertNotIn(ACCOUNT, str(error))


class UsersTests(FileCase):
    """The command line, and programs."""

    def fields(self, client: Any) -> dict[str, Any]:
        """Return what is sent to a server that says little."""
        login = client._login
        assert login._given is not None
        found: dict[str, Any] = login._given.fields({})
        return found

    def test_command_line(self) -> None:
        """The file of the configuration is used; a bad one is exit code 77."""
        token = user_jwt()
        path = self.config(f"plugin.nats.credentials = {self.file(creds(token, USER))}\n")
        settings = setup.load(path, True, {"USER": "sre"})
        reactor: Any = MemoryReactorClock()
        client, _ = setup.connect(settings, reactor, reactor.seconds)
        self.assertEqual(self.fields(client), {"jwt": token})
        self.successResultOf(client.stopService())
        self.assertNotIn(USER, repr(settings))
        self.file("nothing")
        with self.assertRaises(Fault) as caught:
            setup.load(path, True, {"USER": "sre"})
        fault: Any = caught.exception
        self.assertEqual(fault.code, ExitCode.CREDENTIALS)
        self.assertIn("plugin.nats.credentials", str(fault))

    def test_programs(self) -> None:
        """What is given in code wins over the file."""
        token = user_jwt()
        path = self.config(f"plugin.nats.credentials = {self.file(creds(token, USER))}\n")

        def made(**options: Any) -> Any:
            reactor: Any = MemoryReactorClock()
            return Client.from_config(path, reactor, insecure=True, certname="a", **options)

        self.assertEqual(self.fields(made()._nats), {"jwt": token})
        self.assertEqual(self.fields(made(login=Token("t"))._nats), {"auth_token": "t"})
        found = self.fields(made(user="u", password="p")._nats)
        self.assertEqual(found, {"user": "u", "pass": "p"})
        self.assertRaises(BadCredentials, made, user="u", login=Token("t"))
        self.config("plugin.nats.user = u\nplugin.nats.pass = p\n")
        self.assertEqual(self.fields(made()._nats), {"user": "u", "pass": "p"})
        self.assertEqual(self.fields(made(password="q")._nats), {"user": "u", "pass": "q"})
        self.assertEqual(self.fields(made(login=Token("t"))._nats), {"auth_token": "t"})

    def test_first(self) -> None:
        """TLS before INFO, for both of them."""
        pki = PKI(self.folder / "pki", reuse_keys=True)
        own = pki.client("sre.choria")
        prefix = "plugin.security"
        path = self.config(
            f"{prefix}.provider = file\n{prefix}.file.ca = {own.ca}\n"
            f"{prefix}.file.certificate = {own.cert}\n{prefix}.file.key = {own.key}\n"
            "plugin.backplane.handshake_first = yes\n"
        )
        environ = {"USER": "sre", "MCOLLECTIVE_CERTNAME": "sre.choria"}
        settings = setup.load(path, False, environ)
        reactor: Any = MemoryReactorClock()
        client, _ = setup.connect(settings, reactor, reactor.seconds)
        other: Any = Client.from_config(path, reactor, certname="sre.choria")
        for each in (client, other._nats):
            self.assertTrue(each._manners.tls_first)
        self.successResultOf(client.stopService())
