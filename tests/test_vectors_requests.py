"""Every captured request, asked of services in memory, gets the captured answer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final

import attrs
import yaml
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.service import parse
from backplane.config.settings import ServiceConfig
from backplane.interfaces import LogLevel
from backplane.nats.parser import Pub
from backplane.nats.servers import Server
from backplane.node.node import Node, NodeParts
from backplane.service import Management
from backplane.testing.application import RecordingApplication
from backplane.testing.broker import FakeBroker
from backplane.testing.network import MemoryEndpoint, MemoryNetwork, advance
from tests.vectors_support import (
    ADDED,
    ANSWERED_HERE_ONLY,
    ANSWERED_OTHERWISE,
    CONFIG,
    LEFT_OUT,
    SILENT_HERE,
    Captured,
    Kind,
    Opened,
    Scenario,
    compare_data,
    open_document,
    scenarios,
    unused,
)

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
            "tls": None,
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

    def __init__(self, start: float) -> None:
        self.clock = Clock()
        self.clock.rightNow = start
        self.answers: dict[tuple[str, str, str], list[Opened]] = defaultdict(list)
        self.applications: dict[str, RecordingApplication] = {}
        self._network = MemoryNetwork(self.clock)
        self._broker = FakeBroker()
        self._network.listen("broker.example.net", 4222, self._broker)
        self._broker.subscribe(">", self._seen)
        self._managements: list[Management] = []
        self._nodes: list[Node] = []

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
        fields = {**section, "identity": identity, "classes_file": str(CLASSES)}
        fields.pop("logfile", None)
        management = Management(
            parse(fields, env={}, hostname="host.example.net", pid=1),
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=self._endpoint,
            rng=random.Random(1),
            **provided,
        )
        self._managements.append(management)
        management.startService()
        self._network.flush()

    def demo(self, settings: Mapping[str, Any], identity: str, **more: Any) -> None:
        """Start the Go example."""
        number = len(self._managements)
        app = GoDemo(settings, lambda: self._managements[number].stopService())
        section = {**settings["management"], **more}
        self.applications[identity] = app
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
        self._manage(settings["management"], identity, pausable=RecordingApplication())

    def node(self, name: str) -> None:
        """Start a node that stands where a ``choria server`` stood."""
        folder = CONFIG / name
        app = RecordingApplication(yaml.safe_load((folder / "facts.yaml").read_text()))
        config = MCollectiveConfig(
            name="mcollective",
            brokers=("broker.example.net:4222",),
            identity=f"{name}.example.net",
            classes_file=str(folder / "classes.txt"),
        )
        # Its policies allow everything to everybody but evil.mcollective.
        config = attrs.evolve(config, auth=attrs.evolve(config.auth, full=("rip.mcollective",)))
        node = Node(
            NodeParts(
                config=config,
                provided={"info_source": (app, "reactor")},
                agents=(),
                data_publisher=False,
                reactor=self.clock,
                now=self.clock.seconds,
                endpoint=self._endpoint,
                threads=None,
                rng=random.Random(1),
                logger=lambda namespace: Logger(namespace, observer=LogPublisher()),
                changed=lambda state: None,
            )
        )
        self._nodes.append(node)
        node.start()
        self._network.flush()

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
        for node in self._nodes:
            node.presence.goodbye()
            node.client.stopService()
        self.until(self.clock.seconds() + 30)


CLASSES: Final = CONFIG / "app1" / "host-classes.txt"


def _settings(folder: str, file: str = "myapp.yaml") -> Any:
    return yaml.safe_load((CONFIG / folder / file).read_text())


def _replay(fleet: Fleet, wanted: Iterable[Scenario]) -> Fleet:
    requests = [each for scenario in wanted for each in scenario.of(Kind.REQUEST)]
    for request in sorted(requests, key=lambda each: each.time):
        fleet.ask(request)
    return fleet


def _ruby_settings(number: int) -> dict[str, Any]:
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
            fleet.demo(_ruby_settings(number), f"app{number}.example.net")
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


class RequestTests(SynchronousTestCase):
    """The captured requests, asked of us."""

    def all(self) -> Iterable[tuple[Scenario, Answers, Answers]]:
        """Return each scenario with what was captured and what we answered."""
        for scenario in scenarios().values():
            asked = {each.opened().envelope["requestid"] for each in scenario.of(Kind.REQUEST)}
            ours = replayed(fleet_of(scenario))
            yield (
                scenario,
                captured_answers(scenario),
                {key: answers for key, answers in ours.items() if key[1] in asked},
            )

    def test_who_answers(self) -> None:
        """Whoever answered, answers: on the same subject, as often."""
        total, only_here, silent = 0, set(), set()
        for scenario, captured, ours in self.all():
            for key in captured.keys() | ours.keys():
                counts = len(captured.get(key, ())), len(ours.get(key, ()))
                total += counts[0]
                if counts[0] == counts[1]:
                    continue
                told = f"{scenario.name}: {key} answered {counts[0]} times, by us {counts[1]}"
                if scenario.name in SILENT_HERE:
                    self.assertEqual(counts[1], 0, told)
                    silent.add(scenario.name)
                    continue
                self.assertIn(scenario.name, ANSWERED_HERE_ONLY, told)
                self.assertEqual(counts, (0, 1), told)
                agent = ours[key][0].envelope["agent"]
                self.assertEqual(agent, ANSWERED_HERE_ONLY[scenario.name][0], told)
                only_here.add(scenario.name)
        self.assertEqual(only_here, set(ANSWERED_HERE_ONLY))
        self.assertEqual(silent, set(SILENT_HERE))
        self.assertGreater(total, 450)

    def test_what_is_answered(self) -> None:
        """Each answer is the captured one, but for what the table leaves out."""
        otherwise = set()
        wrong = []
        for scenario, captured, ours in self.all():
            for key in captured.keys() & ours.keys():
                for wanted, given in zip(captured[key], ours[key], strict=False):
                    self.assertTrue(given.hash_is_right)
                    self.assertEqual(given.envelope.keys(), wanted.envelope.keys())
                    self.assertEqual(given.envelope["agent"], wanted.envelope["agent"])
                    self.assertEqual(
                        given.headers.get("federation"), wanted.headers.get("federation")
                    )
                    self.assertEqual(given.headers["mc_sender"], wanted.headers["mc_sender"])
                    if not isinstance(wanted.body, dict):
                        self.assertEqual(given.body, wanted.body)
                        continue
                    status = tuple(
                        given.body[name] for name in ("statuscode", "statusmsg", "action")
                    )
                    expected = wanted.body["statuscode"], wanted.body["statusmsg"]
                    if scenario.name in ANSWERED_OTHERWISE:
                        otherwise.add(scenario.name)
                        self.assertNotEqual(expected, ANSWERED_OTHERWISE[scenario.name][:2])
                        expected = ANSWERED_OTHERWISE[scenario.name][:2]
                    self.assertEqual(status, (*expected, wanted.body["action"]), scenario.name)
                    if expected[0] != wanted.body["statuscode"]:
                        continue
                    action = f"{wanted.envelope['agent']}#{wanted.body['action']}"
                    found = compare_data(action, wanted.body["data"], given.body["data"])
                    wrong += [f"{scenario.name} {key[2]} {each}" for each in found]
        self.assertEqual(wrong, [])
        self.assertEqual(otherwise, set(ANSWERED_OTHERWISE))
        self.assertEqual(unused([*LEFT_OUT, *ADDED]), [])
