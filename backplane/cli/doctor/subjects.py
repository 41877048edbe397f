"""The subjects that a service or an operator uses, and whether trying one is harmless.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from backplane.choria import subjects
from backplane.cli.doctor.party import Party

__all__ = ["Wanted", "operator_subjects", "service_subjects"]

AGENTS: Final = ("discovery", "backplane", "rpcutil", "choria_util")


@attrs.frozen(kw_only=True)
class Wanted:
    """What the broker must allow.

    :ivar subscribe: subjects that requests or replies come on.
    :ivar optional: the same of what is not needed to work, with what it is for.
    :ivar publish: subjects that an empty message may be sent to without anybody noticing.
    :ivar heard: the same that consumers would notice.
    """

    subscribe: tuple[str, ...]
    optional: tuple[tuple[str, str], ...] = ()
    publish: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()


def service_subjects(party: Party, agents: Sequence[str]) -> Wanted:
    """Return those of a service.

    :param agents: further agents of the application's own.
    """
    assert party.config is not None
    collective = party.config.collective
    names = dict.fromkeys((*AGENTS, *agents))
    meeting = subjects.reply(collective, party.identity, "presence")
    return Wanted(
        subscribe=(
            *(subjects.broadcast(collective, name) for name in names),
            subjects.node(collective, party.identity),
        ),
        optional=((meeting, "services of one identity do not notice each other"),),
        publish=(subjects.reply(collective, party.identity, "doctor"),),
        heard=(
            subjects.event("alive", "backplane"),
            subjects.broadcast(collective, "registration"),
        ),
    )


def operator_subjects(party: Party, service: str, request_id: str) -> Wanted:
    """Return those of an operator who manages a service."""
    collective = f"{service}_backplane"
    return Wanted(
        subscribe=(subjects.reply(collective, party.caller_id, request_id),),
        # Below a node's subject nobody listens; who asks whether anybody is there, tries
        # the broadcast subject.
        publish=(subjects.node(collective, f"{party.identity}.doctor"),),
    )
