"""What tests of the doctor share: parties, findings in short, a broker in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.doctor.examination import Orders, examine
from backplane.cli.doctor.findings import Finding
from backplane.cli.doctor.party import Party
from backplane.config.settings import ServiceConfig, TLSConfig
from backplane.node.trust import SETTINGS
from backplane.security.providers import TLSFiles
from backplane.testing import MemoryNetwork
from backplane.testing.network import advance
from backplane.testing.pki import Issued

NOW = 1795570848.0

HOST = "broker.example.net"


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return name and verdict of each."""
    return [(each.check, each.verdict.value) for each in findings]


def service(issued: Issued | None = None, **fields: Any) -> Party:
    """Return a service, in secure mode when it has a certificate."""
    given = {name: fields.pop(name) for name in list(fields) if name in _CONFIG}
    tls = None
    if issued is not None and "tls" not in given:
        tls = TLSConfig("file", ca=issued.ca, cert=issued.cert, key=issued.key)
    config = ServiceConfig(
        **{
            "name": "shop",
            "brokers": [HOST],
            "identity": "shop1.example.net",
            "tls": tls,
            **given,
        }
    )
    files = None
    if issued is not None:
        files = TLSFiles(ca=issued.ca, cert=issued.cert, key=issued.key)
    made = Party(
        kind="service",
        title="a service",
        identity=config.identity,
        certname=config.identity,
        caller_id=f"choria={config.identity}",
        brokers=config.brokers,
        secure=config.secure,
        files=files,
        settings=SETTINGS,
        user=config.user,
        password=config.password,
        token=config.token,
        config=config,
    )
    return attrs.evolve(made, **fields)


_CONFIG = {field.name for field in attrs.fields(ServiceConfig)}


def operator(issued: Issued | None = None, **fields: Any) -> Party:
    """Return an operator, in secure mode when he has a certificate."""
    name = issued.name if issued is not None else "sre.choria"
    made = Party(
        kind="operator",
        title="an operator",
        identity="desk.example.net",
        certname=name,
        caller_id=f"choria={name}",
        brokers=(HOST,),
        secure=issued is not None,
        files=None if issued is None else TLSFiles(ca=issued.ca, cert=issued.cert, key=issued.key),
        settings=SETTINGS,
    )
    return attrs.evolve(made, **fields)


class DoctorCase(SynchronousTestCase):
    """Brokers on a network in memory, and an examination on its clock."""

    start = NOW

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(self.start)
        self.network = MemoryNetwork(self.clock)
        self.findings: list[Finding] = []

    def begin(self, party: Party, **orders: Any) -> Deferred[None]:
        """Begin to examine."""
        working = examine(
            party,
            Orders(**orders),
            self.findings.append,
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=lambda server: self.network.endpoint(server.host, server.port, 5.0),
        )
        return Deferred.fromCoroutine(working)

    def examine(self, party: Party, **orders: Any) -> list[Finding]:
        """Examine; return what is said of brokers and services."""
        done = self.begin(party, **orders)
        self.network.flush()
        advance(self.clock, 15.0)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return [one for one in self.findings if one.check.startswith(("broker", "services"))]

    def assert_told(self, findings: Sequence[Finding], *wanted: tuple[str, str]) -> None:
        """Check names and verdicts, without those that went well or were skipped."""
        bad = [each for each in told(findings) if each[1] in ("warning", "failed")]
        self.assertEqual(bad, list(wanted))
