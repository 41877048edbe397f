"""All checks of a service or an operator, in order; a failure ends none of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from backplane.choria import v1
from backplane.choria.message import new_request_id
from backplane.cli.doctor.access import check_access
from backplane.cli.doctor.accounts import Account
from backplane.cli.doctor.broker import BrokerCheck
from backplane.cli.doctor.certificates import (
    Material,
    check_certificates,
    check_clock,
    read_material,
)
from backplane.cli.doctor.files import check_account, check_audit, check_files
from backplane.cli.doctor.findings import Finding, failed, skipped
from backplane.cli.doctor.fleet import ask_clocks
from backplane.cli.doctor.logins import check_login
from backplane.cli.doctor.operator import read_operator
from backplane.cli.doctor.party import Party
from backplane.cli.doctor.service import read_service
from backplane.cli.doctor.subjects import Wanted, operator_subjects, service_subjects
from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.security.signing import InsecureSigner, SecureSigner
from backplane.security.tls import BrokerTLS

__all__ = ["Orders", "examine", "read"]


@attrs.frozen(kw_only=True)
class Orders:
    """What is wanted.

    :ivar service_file: of a service, or ``None`` to examine an operator.
    :ivar operator_file: of an operator; looked for when ``None``.
    :ivar strict: of a service: as if its file said so.
    :ivar callers: who is asked about.
    :ivar account: who the service becomes.
    :ivar service: name of an application that an operator manages.
    :ivar agents: further agents of the service's own.
    :ivar publish: publish also what consumers notice.
    :ivar timeout: seconds for each step of a connection.
    """

    service_file: str | None = None
    operator_file: str | None = None
    identity: str | None = None
    insecure: bool = False
    strict: bool = False
    callers: tuple[str, ...] = ()
    account: Account | None = None
    service: str | None = None
    agents: tuple[str, ...] = ()
    publish: bool = False
    timeout: float = 5.0


def read(
    orders: Orders, environ: Mapping[str, str], hostname: str
) -> tuple[Party | None, list[Finding]]:
    """Read the configuration; the rest needs it."""
    if orders.service_file is not None:
        party, found = read_service(
            orders.service_file, orders.identity, environ, hostname, orders.strict
        )
    else:
        party, found = read_operator(
            orders.operator_file, orders.identity, environ, hostname, orders.insecure
        )
    if party is None:
        why = "the configuration cannot be used; mend it first"
        found += [
            skipped(check, why)
            for check in ("file", "certificate", "clock", "mode", "roles", "broker")
        ]
    return party, found


async def examine(
    party: Party,
    orders: Orders,
    tell: Callable[[Finding], None],
    *,
    reactor: Any,
    now: Callable[[], float],
    endpoint: Callable[[Server], IStreamClientEndpoint] | None = None,
) -> None:
    """Make all checks that need the configuration; cancelling ends them.

    :param tell: told of each finding.
    :param now: wall-clock time.
    :param endpoint: makes the endpoint of a server; TCP by default. For tests.
    """
    material, found = read_material(party)
    for findings in (
        check_files(party),
        check_audit(party, orders.account),
        check_account(party, orders.account) if party.kind == "service" else (),
        found,
        check_login(party, now()),
        check_certificates(party, material, now()),
        (check_clock(material, party.sources, now()),),
        check_access(party, orders.callers),
    ):
        for finding in findings:
            tell(finding)
    await _brokers(party, orders, material, tell, reactor=reactor, now=now, endpoint=endpoint)


async def _brokers(
    party: Party,
    orders: Orders,
    material: Material,
    tell: Callable[[Finding], None],
    *,
    reactor: Any,
    now: Callable[[], float],
    endpoint: Callable[[Server], IStreamClientEndpoint] | None,
) -> None:
    if party.partial and not party.secure:
        # Without TLS by mistake perhaps, and a login would tell the password.
        tell(skipped("broker", "there is no tls section, which may be one of the mistakes"))
        return
    checks = []
    for address in party.brokers:
        warnings: list[str] = []
        try:
            tls = _tls(party, material, warnings.append)
        except SSL.Error as error:
            tell(failed("broker.tls", f"OpenSSL takes neither key nor CA: {error}", "renew them"))
            tls = None
        checks.append(
            BrokerCheck(
                party=party,
                address=address,
                tls=tls,
                wanted=_wanted(party, orders),
                heard=orders.publish,
                reactor=reactor,
                now=now(),
                timeout=orders.timeout,
                endpoint=endpoint,
                warnings=warnings,
            )
        )
    running = [Deferred.fromCoroutine(check.run()) for check in checks]
    try:
        for each in running:
            for finding in await each:
                tell(finding)
        for finding in await _clocks(party, orders, material, checks, reactor, now):
            tell(finding)
    finally:
        for each in running:
            each.addErrback(lambda failure: None)  # it is raised already, or nobody waits
            each.cancel()
        for check in checks:
            if check.client is not None:
                await check.client.stopService()


def _tls(
    party: Party, material: Material, warn: Callable[[str], None]
) -> Callable[[Server], Security] | None:
    if material.authorities is None or material.pair is None:
        return None
    tls = BrokerTLS(
        material.authorities.certificates, material.pair, legacy=party.legacy, warn=warn
    )
    return lambda server: tls(server.tls_name or server.host)


def _wanted(party: Party, orders: Orders) -> Wanted | None:
    if party.kind == "service":
        return service_subjects(party, orders.agents)
    if orders.service is None:
        return None
    return operator_subjects(party, orders.service, new_request_id())


async def _clocks(
    party: Party,
    orders: Orders,
    material: Material,
    checks: Sequence[BrokerCheck],
    reactor: Any,
    now: Callable[[], float],
) -> list[Finding]:
    check = "services.clock"
    if party.kind == "service":
        fix = (
            f"backplane doctor --config CLIENT.CFG --service {party.config.name}"
            if party.config
            else None
        )
        return [skipped(check, "only an operator can ask services for their time", fix)]
    if orders.service is None:
        return [skipped(check, "no service is named", "name one with --service")]
    client = next((one.client for one in checks if one.client and one.client.is_connected), None)
    if client is None:
        return [skipped(check, "there is no connection to a broker")]
    signer: v1.Signer = InsecureSigner() if material.pair is None else SecureSigner(material.pair)
    return await ask_clocks(
        party, client, orders.service, signer, reactor=reactor, now=now, wait=2.0
    )
