"""The services of an application, asked for their clocks: what only an operator can do.

A reply says when it was made. A broker does not tell its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import deferLater

from backplane.choria import subjects, v1
from backplane.cli.doctor.findings import Finding, failed, ok, skipped, warning
from backplane.cli.doctor.fixes import grant
from backplane.cli.doctor.party import Party, counted
from backplane.client.accounting import ExitCode
from backplane.client.asking import DISCOVERY_BODY
from backplane.client.jobs import make_job
from backplane.client.run import Operator
from backplane.errors import DecodeError
from backplane.nats.client import Message, NatsClient, ServerError

__all__ = ["ask_clocks", "compare"]

CLOSE: Final = 5.0
"""Seconds that two clocks may differ; replies have whole seconds, and take some time."""

MAX_REPLIES: Final = 10_000


async def ask_clocks(
    party: Party,
    client: NatsClient,
    service: str,
    signer: v1.Signer,
    *,
    reactor: Any,
    now: Callable[[], float],
    wait: float,
) -> list[Finding]:
    """Discover services, and compare their clocks with this one.

    :param client: connected.
    :param now: wall-clock time.
    :param wait: seconds for replies.
    """
    operator = Operator(
        client,
        reactor,
        caller_id=party.caller_id,
        identity=party.identity,
        now=now,
        signer=signer,
    )
    job = make_job(service, "ping")
    request = operator.document(job, "discovery", DISCOVERY_BODY, job.filter)
    apart: dict[str, float] = {}

    def heard(message: Message) -> None:
        try:
            _, reply = v1.open_reply(message.payload)
        except DecodeError:
            return
        if reply.request_id == request.request_id and len(apart) < MAX_REPLIES:
            apart.setdefault(reply.sender_id, reply.time - int(now()))

    refused: list[ServerError] = []

    def event(told: object) -> None:
        if isinstance(told, ServerError) and told.kind in ("publish", "subscribe"):
            refused.append(told)

    subject = subjects.broadcast(job.collective, "discovery")
    client.add_listener(event)
    subscription = client.subscribe(operator.reply_to(request), heard)
    client.publish(subject, operator.sealed(request))
    try:
        await deferLater(reactor, wait)
    finally:
        client.remove_listener(event)
        subscription.unsubscribe()
    if not refused:
        return compare(service, apart)
    found = [skipped("services.clock", "the broker does not let us ask")]
    for each in refused:
        if each.kind == "publish":  # that of replies was tried before
            text = f"{client.connected_url}: {' '.join(each.text.split())}"
            fix = grant(subject, "publish")
            found.insert(0, failed("broker.publish", text, fix, ExitCode.CREDENTIALS))
    return found


def compare(service: str, apart: dict[str, float]) -> list[Finding]:
    """Return what the differences say.

    :param apart: seconds that the clock of each service is ahead of this one.
    """
    check = "services.clock"
    if not apart:
        return [
            warning(
                check,
                f"no service of {service} answered: there is none, or it drops our requests",
                "look into a service's log for the reason: a clock that is a minute off, the "
                "allow list, or the certificate",
            )
        ]
    found = []
    for identity, seconds in sorted(apart.items()):
        if abs(seconds) > CLOSE:
            side = "ahead of" if seconds > 0 else "behind"
            text = f"{identity} is {abs(seconds):.0f} s {side} this clock"
            found.append(failed(check, text, "set both clocks by NTP"))
    good = len(apart) - len(found)
    if good:
        count = counted(good, "service")
        found.append(ok(check, f"{count} of {service} within {CLOSE:.0f} s of this clock"))
    return found
