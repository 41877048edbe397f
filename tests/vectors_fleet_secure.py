"""Services with certificates that stand where the captured ones of the secure mode stood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from backplane.interfaces import LogLevel
from backplane.service import Management
from backplane.testing.application import RecordingApplication
from tests.secured import PKI, RUBY_PKI, broker_side, tls_section
from tests.vectors_fleet import BEFORE, Answers, Fleet, ruby_settings
from tests.vectors_support import VECTORS, Kind, Scenario, scenarios

__all__ = ["fleet_of", "replayed"]

CONFIG: Final = VECTORS / "config" / "secure"

EVERYBODY: Final = (
    *("rip.mcollective", "sre.choria", "other.choria", "chained.choria"),
    "admin.privileged.mcollective",
)
"""The policies of the captured nodes allow everything to all but ``evil.mcollective``."""


class SecureFleet(Fleet):
    """Services on one broker under TLS.

    :param pki: folder of certificates and keys.
    """

    def __init__(self, start: float, pki: Path) -> None:
        super().__init__(start, broker_side(pki))
        self._network.listen("broker.example.net", 4223, self._broker)
        self._pki = pki

    def _make(self, section: Mapping[str, Any], identity: str, **provided: Any) -> Management:
        tls = tls_section(identity, self._pki)
        return super()._make({**section, "tls": tls}, identity, **provided)

    def ruby_node(self, classes: Path) -> None:
        """Start what stands where the ``choria server`` of the Ruby captures stood."""
        shop = {"name": "shop", "tags": ["a", "b"]}
        facts = {"dc": "DC1", "interval": 600, "paused": False, "app": shop}
        section = {
            "name": "app",
            "brokers": RUBY_BROKERS,
            "classes_file": str(classes),
            "auth": {"full": ["sre.choria"]},
        }
        app = RecordingApplication(facts)
        self._manage(section, "node1.example.net", info_source=app)

    def replay(self, wanted: Iterable[Scenario]) -> None:
        """Ask everything at its time."""
        requests = [each for scenario in wanted for each in scenario.of(Kind.REQUEST)]
        for request in sorted(requests, key=lambda each: each.time):
            self.ask(request)


RUBY_BROKERS: Final = ["broker.example.net:4223"]


def _ruby_settings(number: int) -> Mapping[str, Any]:
    settings = ruby_settings(number)
    identity = f"app{number}.example.net"
    settings["management"] |= {
        "brokers": RUBY_BROKERS,
        "tls": {
            "identity": identity,
            "scheme": "file",
            "ca": "pki/ca.pem",
            "cert": f"pki/{identity}.pem",
            "key": f"pki/{identity}.key",
            "cache": "cache",
        },
    }
    return settings


def _settings(folder: str, file: str = "myapp.yaml") -> Any:
    return yaml.safe_load((CONFIG / folder / file).read_text())


def fleet_of(scenario: Scenario) -> str:
    """Say who was asked in a scenario.

    Where the Ruby client asks a node, the backplanes beside it are silent, as Go's
    do not have the agents that are asked for.
    """
    if scenario.name.startswith("secure/"):
        return "federation" if "/federated-" in scenario.name else "go"
    return "ruby node" if "choria server" in scenario.servers else "ruby"


@cache
def replayed(name: str, folder: str) -> tuple[Answers, Sequence[RecordingApplication]]:
    """Replay all scenarios of a fleet in the order of their capture.

    :param folder: for files that are made for it.
    :returns: the answers, and the applications that can be paused.
    """
    wanted = [each for each in scenarios("secure").values() if fleet_of(each) == name]
    start = min(each.captured_at for each in wanted) - BEFORE
    fleet = SecureFleet(start, RUBY_PKI if name.startswith("ruby") else PKI)
    if name == "ruby":
        for number in (1, 2, 3):
            fleet.demo(_ruby_settings(number), f"app{number}.example.net")
    elif name == "ruby node":
        classes = Path(folder) / "classes.txt"
        classes.parent.mkdir(parents=True, exist_ok=True)
        classes.write_text("role::web\napache\n")
        fleet.ruby_node(classes)
    else:
        for host in ("app1", "app2"):
            fleet.demo(_settings(host), f"{host}.example.net", reply_to=["results.for.me"])
    if name == "go":
        for digit in ("1", "2"):
            settings = _settings(f"sick{digit}", "vecdemo.yaml")
            facts = _settings(f"sick{digit}", "facts.json")
            fleet.sick(settings, facts, f"app{digit}.example.net")
            fleet.node(f"node{digit}", EVERYBODY)
        fleet.bare(_settings("bare", "vecdemo.yaml"), "app3.example.net")
        third = scenarios("secure")["secure/lifecycle-backplane-startup"].captured_at
        fleet.replay(each for each in wanted if each.captured_at < third)
        fleet.until(third)
        fleet.demo(_settings("app3"), "app3.example.net")
        # They were shut down by then, and started again on Choria's broker.
        again = scenarios("secure")["secure/choria-broker-bp-info"].captured_at
        fleet.replay(each for each in wanted if third <= each.captured_at < again)
        fleet.until(again - BEFORE)
        for host in ("app1", "app2"):
            fleet.demo(_settings(host), f"{host}.example.net")
        # The first one's level had been set between start and capture.
        fleet.applications[-2].level = LogLevel.INFO
        wanted = [each for each in wanted if each.captured_at >= again]
    fleet.replay(wanted)
    fleet.close()
    return dict(fleet.answers), fleet.applications
