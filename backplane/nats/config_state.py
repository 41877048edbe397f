"""What a ``NatsProtocol`` knows: its server, itself, its subscriptions.

Names, fields and order are txnats's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from backplane.nats.validators import check_queue, is_subject, is_subject_id

__all__ = ["ClientInfo", "ServerInfo", "SubscriptionArgs", "read_server_info"]


def is_queue_group(instance: Any, attribute: Any, value: Any) -> None:
    """Check an attribute that holds a queue group or ``None``; :raises BadSubject: otherwise."""
    if value is not None:
        check_queue(value)


def sid_text(sid: Any) -> Any:
    """Return a number as text; anything else is left for the validator."""
    return str(sid) if isinstance(sid, int) and not isinstance(sid, bool) else sid


def text_keys(table: dict[Any, Any] | None) -> dict[str, Any]:
    """Return a table of sids, the same one, with text for numbers; an empty one for ``None``."""
    if table is None:
        return {}
    for key in [key for key in table if not isinstance(key, str)]:
        table[sid_text(key)] = table.pop(key)
    return table


@attrs.define
class SubscriptionArgs:
    """The arguments of one subscription, kept for the next connection.

    :ivar on_msg: its message handler, or ``None`` for the protocol's.
    """

    subject: str = attrs.field(validator=is_subject)
    sid: str = attrs.field(validator=is_subject_id, converter=sid_text)
    queue_group: str | None = attrs.field(default=None, validator=is_queue_group)
    on_msg: Callable[..., Any] | None = None


@attrs.frozen
class ServerInfo:
    """What a server says of itself; ``None`` where it does not.

    :ivar max_payload: bytes.
    """

    server_id: str | None = None
    version: str | None = None
    go: str | None = None
    host: str | None = None
    port: int | None = None
    auth_required: bool | None = None
    ssl_required: bool | None = None
    tls_required: bool | None = None
    tls_verify: bool | None = None
    max_payload: int | None = None


_KINDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("server_id", "version", "go", "host"), str),
    **dict.fromkeys(("port", "max_payload"), int),
    **dict.fromkeys(("auth_required", "ssl_required", "tls_required", "tls_verify"), bool),
}


def read_server_info(
    fields: Mapping[str, Any], before: ServerInfo | None = None
) -> tuple[ServerInfo, list[str]]:
    """Read the fields of an ``INFO``.

    :param before: what an earlier one said; it holds for fields that are absent now.
    :returns: what is known now, and the names of fields that have a wrong type.
        Fields without a place in :class:`ServerInfo` are no mistake.
    """
    good: dict[str, Any] = {}
    bad = []
    for name, kind in _KINDS.items():
        value = fields.get(name)
        if value is None:
            continue
        if type(value) is kind:
            good[name] = value
        else:
            bad.append(name)
    return attrs.evolve(before if before is not None else ServerInfo(), **good), bad


@attrs.frozen
class ClientInfo:
    """What a client says of itself in ``CONNECT``; secrets are not in its ``repr``."""

    verbose: bool = attrs.field(validator=attrs.validators.instance_of(bool))
    pedantic: bool = attrs.field(validator=attrs.validators.instance_of(bool))
    ssl_required: bool = attrs.field(validator=attrs.validators.instance_of(bool))
    auth_token: str | None = attrs.field(default=None, repr=False)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    name: str = "txnats"
    lang: str = "py.twisted"
    version: str = ""

    def asdict_for_connect(self) -> dict[str, Any]:
        """Return the fields of ``CONNECT``: the password is called ``pass`` there."""
        fields = attrs.asdict(self)
        fields["pass"] = fields.pop("password")
        return fields
