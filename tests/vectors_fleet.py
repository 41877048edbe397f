"""Services in memory that stand where the captured ones stood, and what they answer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs
import yaml
from twisted.internet.task import Clock

from backplane.config.service import parse
from backplane.config.settings import ServiceConfig
from backplane.interfaces import LogLevel
from backplane.nats.parser import Pub
from backplane.nats.servers import Server
from backplane.service import Management
from backplane.testing.application import RecordingApplication
from backplane.testing.broker import FakeBroker
from backplane.testing.brokertls import BrokerSideTLS
from backplane.testing.network import MemoryEndpoint, MemoryNetwork, advance
from tests.vectors_support import CONFIG, Captured, Kind, Opened, Scenario, open_document, scenarios

__all__ = ["Answers", "Fleet", "captured_answers", "fleet_of", "replayed", "ruby_settings"]

LEVELS: Final[Mapping[str, LogLevel]] = {
    "debug": LogLevel.DEBUG,
    "info": LogLevel.INFO,
    "warning": LogLevel.WARN,
    "critical": LogLevel.CRITICAL,
}

BEFORE: Final = 60.0
"""Seconds that services are started before the first request."""

Answers = Mapping[tuple[str, str, str], list[Opened]]
"""By subject, request id and sender."""


class GoDemo(RecordingApplication):
    """The Go example: its facts are its whole configuration, as Go spells it."""

    def __init__(self, settings: Mapping[str, Any], stop: Callable[[], object]) -> None:
        super().__init__(version="0.0.1")
        management = settings["management"]
        self.health = ({"Configured": True}, True)
        self.level = LEVELS[settings["loglevel"]]
        self._stop = stop
        self._settings = settings
        self._management = {
            "brokers": management["brokers"],
            "name": management["name"],
            "logfile": management.get("logfile", ""),
            "loglevel": management["loglevel"],
            "tls": {"ssl_dir": "", **management["tls"]} if "tls" in management else None,
            "auth": {"insecure": False, **management["auth"]},
        }

    def fact_data(self) -> Any:
        words = {level: word for word, level in LEVELS.items()}
        return {
            "Interval": self._settings["interval"],
            "Name": self._settings["name"],
            "LogLevel": words[self.level],
            "Management": self._management,
        }

    def shutdown(self) -> None:
        super().shutdown()
        self._stop()


class MCollectiveConfig(ServiceConfig):
    """A node of Choria's own collective instead of an application's."""

    @property
    def collective(self) -> str:
        return "mcollective"


class Fleet:
    """Services on one broker in memory, and what they answer."""

    def __init__(self, start: float, tls: BrokerSideTLS | None = None) -> None:
        self.clock = Clock()
        self.clock.rightNow = start
        self.answers: dict[tuple[str, str, str], list[Opened]] = defaultdict(list)
        self.applications: list[RecordingApplication] = []
        self._network = MemoryNetwork(self.clock)
        self._broker = FakeBroker(tls=tls, clock=self.clock)
        self._network.listen("broker.example.net", 4222, self._broker)
        self._broker.subscribe(">", self._seen)
        self._managements: list[Management] = []

    def _seen(self, message: Pub) -> None:
        if b"choria:transport:1" not in message.payload:
            return
        opened = open_document(message.payload)
        if opened.is_reply:
            key = (message.subject, opened.envelope["requestid"], opened.envelope["senderid"])
            self.answers[key].append(opened)

    def _endpoint(self, server: Server) -> MemoryEndpoint:
        return self._network.endpoint(server.host, server.port)

    def _manage(self, section: Mapping[str, Any], identity: str, **provided: Any) -> None:
        self._start(self._make(section, identity, **provided))

    def _make(self, section: Mapping[str, Any], identity: str, **provided: Any) -> Management:
        fields = {"classes_file": str(CLASSES), **section, "identity": identity}
        fields.pop("logfile", None)
        return Management(
            parse(fields, env={}, hostname="host.example.net", pid=1),
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=self._endpoint,
            rng=random.Random(1),
            **provided,
        )

    def _start(self, management: Management) -> None:
        self._managements.append(management)
        management.startService()
        self._network.flush()

    def demo(self, settings: Mapping[str, Any], identity: str, **more: Any) -> None:
        """Start the Go example."""
        number = len(self._managements)
        app = GoDemo(settings, lambda: self._managements[number].stopService())
        section = {**settings["management"], **more}
        self.applications.append(app)
        self._manage(
            section,
            identity,
            info_source=app,
            pausable=app,
            health_check=app,
            stopable=app,
            log_level=app,
        )

    def sick(self, settings: Mapping[str, Any], facts: Any, identity: str) -> None:
        """Start an application that has its health only, be it good or bad."""
        app = RecordingApplication(facts, settings["version"])
        result = yaml.safe_load(settings["health_result"])
        app.health = (result, not settings.get("unhealthy", False))
        self._manage(settings["management"], identity, info_source=app, health_check=app)

    def bare(self, settings: Mapping[str, Any], identity: str) -> None:
        """Start an application that can be paused and has no facts."""
        app = RecordingApplication()
        self.applications.append(app)
        self._manage(settings["management"], identity, pausable=app)

    def node(self, name: str, full: Sequence[str] = ("rip.mcollective",)) -> None:
        """Start a node that stands where a ``choria server`` stood.

        :param full: its policies allow everything to everybody but ``evil.mcollective``.
        """
        folder = CONFIG / name
        section = {
            "name": "mcollective",
            "brokers": ["broker.example.net:4222"],
            "classes_file": str(folder / "classes.txt"),
            "auth": {"full": list(full)},
        }
        app = RecordingApplication(yaml.safe_load((folder / "facts.yaml").read_text()))
        management = self._make(section, f"{name}.example.net", info_source=app)
        fields = attrs.asdict(management.config, recurse=False)
        management.config = MCollectiveConfig(**fields)
        self._start(management)

    def until(self, time: float) -> None:
        """Let time go by."""
        if time > self.clock.seconds():
            advance(self.clock, time - self.clock.seconds(), 1.0)
            self._network.flush()

    def ask(self, request: Captured) -> None:
        """Publish a captured request at its time."""
        self.until(request.time)
        self._broker.publish(request.subject, request.payload, request.reply)
        self._network.flush()

    def close(self) -> None:
        """Stop everything."""
        for management in self._managements:
            management.stopService()
        self.until(self.clock.seconds() + 30)


CLASSES: Final = CONFIG / "app1" / "host-classes.txt"


def _settings(folder: str, file: str = "myapp.yaml") -> Any:
    return yaml.safe_load((CONFIG / folder / file).read_text())


def _replay(fleet: Fleet, wanted: Iterable[Scenario]) -> Fleet:
    requests = [each for scenario in wanted for each in scenario.of(Kind.REQUEST)]
    for request in sorted(requests, key=lambda each: each.time):
        fleet.ask(request)
    return fleet


def ruby_settings(number: int) -> dict[str, Any]:
    return {
        "interval": 100 * number,
        "name": f"shop{number}",
        "loglevel": "info",
        "management": {
            "name": "app",
            "brokers": ["broker.example.net:4222"],
            "logfile": "backplane.log",
            "loglevel": "debug",
            "auth": {"full": ["sre.choria"], "read_only": ["1stline.choria"]},
        },
    }


def fleet_of(scenario: Scenario) -> str:
    """Say who was asked in a scenario."""
    if scenario.name.startswith("insecure/"):
        return "federation" if "/federated-" in scenario.name else "go"
    return "ruby12" if scenario.servers.startswith("12 ") else "ruby3"


@cache
def replayed(name: str) -> Answers:
    """Replay all scenarios of a fleet in the order of their capture."""
    wanted = [each for each in scenarios().values() if fleet_of(each) == name]
    fleet = Fleet(min(each.captured_at for each in wanted) - BEFORE)
    if name.startswith("ruby"):
        for number in range(1, int(name[4:]) + 1):
            fleet.demo(ruby_settings(number), f"app{number}.example.net")
        _replay(fleet, wanted)
        fleet.close()
        return dict(fleet.answers)
    for host in ("app1", "app2"):
        fleet.demo(_settings(host), f"{host}.example.net", reply_to=["results.for.me"])
    if name == "go":
        for digit in ("1", "2"):
            settings = _settings(f"sick{digit}", "vecdemo.yaml")
            facts = _settings(f"sick{digit}", "facts.json")
            fleet.sick(settings, facts, f"app{digit}.example.net")
            fleet.node(f"node{digit}")
        fleet.bare(_settings("bare", "vecdemo.yaml"), "app3.example.net")
        third = scenarios()["insecure/lifecycle-backplane-startup"].captured_at
        _replay(fleet, [each for each in wanted if each.captured_at < third])
        fleet.until(third)
        fleet.demo(_settings("app3"), "app3.example.net")
        wanted = [each for each in wanted if each.captured_at >= third]
    _replay(fleet, wanted)
    fleet.close()
    return dict(fleet.answers)


def captured_answers(scenario: Scenario) -> Answers:
    """Return the captured replies of a scenario."""
    found: dict[tuple[str, str, str], list[Opened]] = defaultdict(list)
    for message in scenario.of(Kind.REPLY):
        opened = message.opened()
        key = (message.subject, opened.envelope["requestid"], opened.envelope["senderid"])
        found[key].append(opened)
    return found
