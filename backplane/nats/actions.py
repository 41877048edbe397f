"""Events of a :class:`~backplane.nats.protocol.NatsProtocol`, given to its event subscribers.

Names, fields and order are txnats's, :class:`ServerErr` apart. They are
compared by value. A wrong ``protocol``, ``subject`` or ``sid`` raises
``ValueError``, another wrong type ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.failure import Failure

from backplane.nats.config_state import ClientInfo, ServerInfo, is_queue_group, sid_text
from backplane.nats.errors import BadSubject
from backplane.nats.validators import (
    is_instance_of_nats_protocol,
    is_subject,
    is_subject_id,
)

if TYPE_CHECKING:
    from backplane.nats.protocol import NatsProtocol

__all__ = [
    "ConnectionLost",
    "Disconnected",
    "ReceivedInfo",
    "ReceivedMsg",
    "ReceivedPing",
    "ReceivedPong",
    "SendConnect",
    "SendPing",
    "SendPong",
    "SendPub",
    "SendSub",
    "SendUnsub",
    "ServerErr",
    "UnhandledCommand",
    "UnsubMaxReached",
]


def _is_received(instance: Any, attribute: Any, value: Any) -> None:
    # Others may publish to subjects that we would not, such as one with a literal "a*".
    if not isinstance(value, str) or not value:
        raise BadSubject(f"{attribute.name} must be text, not {value!r}")


_a = attrs.validators.instance_of


@attrs.define
class SendPing:
    """A PING was sent."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    outstanding_pings: int = attrs.field(validator=_a(int))


@attrs.define
class ReceivedPing:
    """A PING came; a PONG follows."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)


@attrs.define
class SendPong:
    """A PONG was sent."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)


@attrs.define
class ReceivedPong:
    """A PONG came."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    outstanding_pings: int = attrs.field(validator=_a(int))


@attrs.define
class ReceivedMsg:
    """A message came, and its handler was called."""

    sid: str = attrs.field(validator=is_subject_id, converter=sid_text)
    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    subject: str = attrs.field(validator=_is_received)
    payload: bytes = attrs.field(validator=_a(bytes))
    reply_to: str | None = attrs.field(validator=attrs.validators.optional(_is_received))


@attrs.define
class ReceivedInfo:
    """An INFO came."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    server_info: ServerInfo = attrs.field(validator=_a(ServerInfo))


@attrs.define
class UnsubMaxReached:
    """A subscription had as many messages as it was limited to, and is gone."""

    sid: str = attrs.field(validator=is_subject_id, converter=sid_text)
    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)


@attrs.define
class SendUnsub:
    """An UNSUB was sent; ``max_msgs`` counts from the start of the subscription."""

    sid: str = attrs.field(validator=is_subject_id, converter=sid_text)
    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    max_msgs: int | None = attrs.field(default=None, validator=attrs.validators.optional(_a(int)))


@attrs.define
class SendSub:
    """A SUB is about to be sent."""

    sid: str = attrs.field(validator=is_subject_id, converter=sid_text)
    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    subject: str = attrs.field(validator=is_subject)
    queue_group: str | None = attrs.field(default=None, validator=is_queue_group)
    on_msg: Callable[..., Any] | None = None


@attrs.define
class SendPub:
    """A message was sent."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    subject: str = attrs.field(validator=is_subject)
    payload: bytes = attrs.field(validator=_a(bytes))
    reply_to: str | None = attrs.field(validator=attrs.validators.optional(is_subject))


@attrs.define
class UnhandledCommand:
    """The server sent something that is not NATS; the connection is dropped.

    :ivar command: the first four bytes of it, where they are known.
    """

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    command: bytes | None = None


@attrs.define
class ServerErr:
    """The server complained with ``-ERR``; it may or may not close the connection.

    :ivar text: its words, without quotes.
    """

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    text: str = attrs.field(validator=_a(str))


@attrs.define
class ConnectionLost:
    """The connection broke: it was reset, or we dropped it."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    reason: Failure | None = None


@attrs.define
class Disconnected:
    """The connection ended in any other way: either side closed it, a server that stops too."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    reason: Failure | None = None


@attrs.define
class SendConnect:
    """A CONNECT was sent: subscriptions may follow."""

    protocol: NatsProtocol = attrs.field(validator=is_instance_of_nats_protocol)
    client_info: ClientInfo | None = None
