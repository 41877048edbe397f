"""What a management is made of, what it logs, and what it never tells."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from twisted.logger import Logger, eventAsText
from zope.interface import implementer

from backplane import (
    ConfigError,
    LogLevel,
    Management,
    StandardConfiguration,
    load_file,
)
from backplane.interfaces import IConfigProvider
from backplane.testing import RecordingApplication
from tests.managing import ManagementCase

VECTORS: Final = Path(__file__).parent / "vectors" / "config" / "insecure"


class LogTests(ManagementCase):
    """``loglevel`` and ``logfile`` concern the backplane and nothing else."""

    def test_file(self) -> None:
        """The file has the backplane's lines only, and the host's log has none of them."""
        path = os.path.abspath(self.mktemp())
        host = Logger(namespace="shop.work")
        management = self.harness.make(logfile=path, loglevel="debug")

        class Chatty(RecordingApplication):
            def pause(self) -> None:
                host.debug("a word of the application's")
                super().pause()

        self.harness.operator()  # whose client logs to the host's log
        self.log.events.clear()
        management.provide(Chatty())
        self.harness.start(management)
        self.harness.ask("pause")
        self.stop(management)
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self.assertIn("ready: app1.example.net in app_backplane", [x["message"] for x in lines])
        for line in lines:
            self.assertTrue(line["namespace"].startswith("backplane."), line)
            self.assertNotIn("a word", line["message"])
        self.assertEqual(self.log.texts(), ["a word of the application's"])

    def test_level(self) -> None:
        """The level is that of the backplane's lines; the application's are as they were."""
        for level, wanted in (("warn", False), ("info", True)):
            self.log.events.clear()
            management = self.harness.manage(RecordingApplication(), loglevel=level)
            Logger(namespace="shop.work").debug("a word of the application's")
            self.stop(management)
            texts = self.log.texts()
            self.assertEqual(any(text.startswith("ready: ") for text in texts), wanted)
            self.assertIn("a word of the application's", texts)

    def test_actions_set_the_applications_level(self) -> None:
        """``debuglvl`` is about the application's log, not about the backplane's."""
        app = RecordingApplication()
        management = self.harness.manage(app, loglevel="warn")
        self.harness.ask("debuglvl")
        self.assertEqual(app.level, LogLevel.DEBUG)
        self.harness.ask("ping")
        self.assertEqual(self.log.texts("debug"), [])
        self.assertEqual(management.config.loglevel, "warn")


INSECURE: Final = """\
# your own config here
interval: 600

# Standard Backplane specific configuration here
management:
    name: app
    logfile: "{folder}/backplane.log"
    loglevel: warn

    auth:
        insecure: true

    brokers:
        - broker.example.net:4222
        - choria2.example.net:4222
"""


class ConfigurationTests(ManagementCase):
    """What a management is made of."""

    def manage(self, config: object) -> Management:
        """Start a management of a configuration as it stands."""
        management = Management(
            config,
            reactor=self.harness.clock,
            now=self.harness.clock.seconds,
            endpoint=self.harness.endpoint,
        )
        self.harness.start(management)
        return management

    def test_files_as_written(self) -> None:
        """The file of the Go backplane's manual, insecure, in YAML and in JSON."""
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        text = INSECURE.format(folder=folder)
        section = {
            "name": "app",
            "logfile": f"{folder}/backplane.log",
            "loglevel": "warn",
            "auth": {"insecure": True},
            "brokers": ["broker.example.net:4222", "choria2.example.net:4222"],
        }
        as_json = json.dumps({"interval": 600, "management": section}, indent=4)
        for name, content in (("app.yaml", text), ("app.json", as_json)):
            path = Path(folder, name)
            path.write_text(content)
            loaded = load_file(str(path), env={}, hostname="node1.example.net", pid=1)
            self.assertEqual(loaded.document["interval"], 600)
            management = self.manage(loaded.management)
            self.assertTrue(self.harness.ask("ping", caller="anybody").ok)
            self.stop(management)

    def test_files_of_go_services(self) -> None:
        """Files that Go services ran with make managements that can be reached."""
        started = 0
        for path in sorted(VECTORS.glob("*/*.yaml")):
            if "management:" not in path.read_text():
                continue
            loaded = load_file(str(path), env={}, hostname="node1.example.net", pid=1)
            management = self.manage(loaded.management)
            outcome = self.harness.request(
                "ping", name=management.config.name, caller="rip.mcollective"
            )
            self.assertEqual((outcome.count, len(outcome.answers)), (1, 1), path)
            self.stop(management)
            started += 1
        self.assertEqual(started, 7)

    def test_forms(self) -> None:
        """A mapping, our configuration, and anybody's object come to the same."""

        @implementer(IConfigProvider)
        class Own:
            name = "app"
            brokers = ("broker.example.net",)
            logfile = None
            loglevel = "info"
            tls = None
            auth = {"full": ["sre.choria"]}
            identity = "node1.example.net"

        fields = {name: getattr(Own, name) for name in ("name", "brokers", "loglevel", "auth")}
        fields["identity"] = "node1.example.net"
        checked = Management(fields).config
        self.assertIsInstance(checked, StandardConfiguration)
        self.assertEqual(Management(checked).config, checked)
        self.assertEqual(Management(Own()).config, checked)
        self.assertEqual(checked.auth.full, ("sre.choria",))

    def test_mistakes(self) -> None:
        """All of them at once, whatever it was made of."""
        raw = StandardConfiguration(name="My App", brokers=[], loglevel="loud")
        for config in ({"name": "My App", "brokers": [], "loglevel": "loud"}, raw):
            error = self.assertRaises(ConfigError, Management, config)
            self.assertEqual(
                {problem.key for problem in error.problems},
                {"management.name", "management.brokers", "management.loglevel"},
            )
        self.assertRaises(ConfigError, Management, "app.yaml")
        self.assertRaises(ConfigError, Management, None)

    def test_secure_mode(self) -> None:
        """A configuration that asks for TLS is not run without its files."""
        section = {"name": "app", "brokers": ["b"], "tls": {"scheme": "file"}}
        error = self.assertRaises(ConfigError, Management, section)
        self.assertEqual(
            [problem.key for problem in error.problems],
            ["management.tls.ca", "management.tls.cert", "management.tls.key"],
        )
        section["tls"] = {"scheme": "puppet", "ssl_dir": "/nonexistent"}
        error = self.assertRaises(ConfigError, Management, section)
        self.assertIn("/nonexistent/certs/ca.pem", str(error))


class SecretTests(ManagementCase):
    """Credentials for the broker are nobody's business."""

    def everything(self, management: Management) -> str:
        """Return what is told of a management, in every way that there is."""
        asked = [
            ("backplane", "info"),
            ("backplane", "threaddump"),
            ("rpcutil", "inventory"),
            ("rpcutil", "daemon_stats"),
            ("rpcutil", "agent_inventory"),
            ("rpcutil", "collective_info"),
            ("choria_util", "info"),
        ]
        told = [repr(self.harness.ask(name, agent=agent)) for agent, name in asked]
        for name in ("identity", "plugin.nats.pass", "plugin.nats.user", "middleware_hosts"):
            reply = self.harness.ask("get_config_item", {"item": name}, agent="rpcutil")
            told.append(repr(reply))
        told += [repr(management), repr(management.config), repr(management.state)]
        return "\n".join(told)

    def test_nowhere(self) -> None:
        """Neither in logs nor in replies, states or reprs; accepted, or refused by the broker."""
        # fmt: off
        for settings, credentials in (
            ({"nats": {"user": "shop", "password": "sesame"}},
             {"user": "shop", "password": "sesame"}),
            ({"nats": {"token": "sesame"}}, {"token": "sesame"}),
            ({"brokers": ["nats://shop:sesame@broker.example.net:4222"]},
             {"user": "shop", "password": "sesame"}),
            ({"brokers": ["nats://sesame@broker.example.net:4222"]}, {"token": "sesame"}),
        ):
            # fmt: on
            broker = self.harness.broker
            broker.user, broker.password, broker.token = "other", "other", None
            management = self.harness.make(loglevel="debug", **settings)
            management.provide(RecordingApplication())
            management.startService()
            self.harness.advance(30)
            self.assertFalse(management.state.ready)
            self.assertIn("Authorization Violation", management.state.last_error or "")
            told = repr(management.state)
            broker.user = credentials.get("user")
            broker.password = credentials.get("password")
            broker.token = credentials.get("token")
            self.harness.result_of(management.when_ready())
            # Operators come in by the back door.
            broker.user = broker.password = broker.token = None
            told += self.everything(management)
            self.stop(management)
            told += "\n".join(eventAsText(event) for event in self.log.events)
            self.assertIn("ready: ", told)
            self.assertNotIn("sesame", told)

    def test_errors(self) -> None:
        """Mistakes near a secret do not show it."""
        address = "nats://shop:sesame@broker.example.net:4222"
        for section in (
            {"nats": {"password": ["sesame"]}},
            {"nats": {"password": {"sesame": 1}}},
            {"nats": {"user": "shop", "token": "sesame"}},
            {"nats": {"passwrd": "sesame"}},
            {"nats": {"password": "sesame${NONE_OF_THESE}"}},
            {"brokers": address},
            {"brokers": [address + "x"]},
            {"brokers": [[address]]},
            {"bokers": [address]},
        ):
            whole = {"name": "app", "brokers": ["b"], **section}
            error = self.assertRaises(ConfigError, Management, whole)
            self.assertNotIn("sesame", str(error) + repr(error))
        error = self.assertRaises(ConfigError, StandardConfiguration, name="a", brokers=address)
        self.assertNotIn("sesame", str(error))

    def test_files(self) -> None:
        """A loaded file does not show it either."""
        path = self.mktemp()
        Path(path).write_text(
            "management:\n  name: app\n  brokers: [b]\n  nats: {user: u, password: sesame}\n"
        )
        loaded = load_file(path, env={}, hostname="h", pid=1)
        assert loaded.management is not None
        self.assertEqual(loaded.management.password, "sesame")
        self.assertNotIn("sesame", repr(loaded))
