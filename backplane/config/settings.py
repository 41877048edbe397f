"""What a management is configured with, as values."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Literal

import attrs
from zope.interface import implementer

from backplane.config.brokers import brokers_shown
from backplane.errors import ConfigError, Problem
from backplane.interfaces import IConfigProvider

__all__ = [
    "AuditConfig",
    "AuthConfig",
    "FactsConfig",
    "FullPolicy",
    "OutboxConfig",
    "ServiceConfig",
    "StandardConfiguration",
    "TLSConfig",
]


FullPolicy = Literal["wait", "drop_oldest", "drop_newest"]
"""What becomes of an item for which the outbox has no room: its producer waits, the oldest
items make room for it, or it is dropped itself."""


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)):
        # Text is iterable too; letter by letter it would allow people called "s".
        raise ConfigError([Problem("", "one text", "a list of texts")])
    return tuple(values)


@attrs.frozen
class TLSConfig:
    """Where keys and certificates lie.

    :ivar scheme: ``file``, ``manual`` (another word for it) or ``puppet``.
    :ivar ca: file; ``cert`` and ``key`` likewise; ``cache`` and ``ssl_dir`` are directories.
    :ivar identity: name in the certificate, when it is not the service's identity.
    :ivar support_legacy_certificates: accept certificates without alternative names.
    :ivar crl: file with revocation lists.
    :ivar allow: regular expressions of callers who are taken; Choria's two by default.
    :ivar privileged: the same of certificates that may speak for others.
    :ivar delegation: whether any may.
    :ivar handshake_first: the brokers want TLS before they say anything.
    """

    scheme: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    cache: str | None = None
    ssl_dir: str | None = None
    identity: str | None = None
    support_legacy_certificates: bool = False
    crl: str | None = None
    allow: tuple[str, ...] | None = None
    privileged: tuple[str, ...] | None = None
    delegation: bool = True
    handshake_first: bool = False


@attrs.frozen
class AuthConfig:
    """Who may do what; without any entry nobody may do anything.

    :ivar insecure: everybody may do everything.
    :ivar full: patterns of callers who may do everything.
    :ivar read_only: patterns of callers who may look.
    :ivar hidden: callers without a role do not discover the service.
    :ivar policy: file of an action policy for the ``backplane`` agent.
    :ivar groups: file of the groups that it names.
    """

    insecure: bool = False
    full: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    read_only: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    hidden: bool = False
    policy: str | None = None
    groups: str | None = None


@attrs.frozen
class AuditConfig:
    """The audit log.

    :ivar logfile: where it is.
    :ivar required: what changes something is refused when it cannot be written down.
    """

    logfile: str
    required: bool = False


@attrs.frozen
class FactsConfig:
    """The application's facts.

    :ivar interval: seconds between two looks at them.
    :ivar secrets: names of further keys, or paths with dots, whose values are masked.
    :ivar exempt: keys, or paths with dots, that are never masked.
    """

    interval: float = 600.0
    secrets: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    exempt: tuple[str, ...] = attrs.field(default=(), converter=_texts)


@attrs.frozen
class OutboxConfig:
    """What waits to be published.

    :ivar max_items: most items.
    :ivar max_bytes: the same in bytes.
    :ivar file: keeps them over the end of the process; ``None`` for memory only.
    :ivar full: what happens when there is no room: ``wait``, ``drop_oldest``, ``drop_newest``.
    """

    max_items: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    file: str | None = None
    full: FullPolicy = "wait"


@implementer(IConfigProvider)
@attrs.frozen(kw_only=True)
class ServiceConfig:
    """The configuration of one management.

    Made directly it is not checked; see :mod:`backplane.config.service`.

    :ivar name: the application's name, ``^[a-z0-9]+$``.
    :ivar brokers: addresses, as they were written.
    :ivar logfile: file of the ``backplane`` log namespaces, or ``None``.
    :ivar loglevel: level of the same: ``debug``, ``info``, ``warn``, ``error``, ``critical``.
    :ivar tls: ``None`` for the insecure mode.
    :ivar audit: ``None`` for none.
    :ivar identity: this service's name on the network, with the instance appended.
    :ivar user: for the broker, with ``password`` or ``password_file``; or one of what follows.
    :ivar token: or ``token_file``.
    :ivar nkey_file: with a seed of NATS; with ``jwt_file``, of the JWT's user.
    :ivar credentials: file with JWT and seed, as NATS's tools write it.
    :ivar classes_file: file with one class of the node a line.
    :ivar max_stop_delay: longest delay of a requested shutdown, in seconds.
    :ivar stop_timeout: seconds that stopping may take.
    :ivar reply_to: further subjects that callers may be answered on; ``*`` and ``>`` allowed.
    :ivar ping_interval: seconds between two PINGs to the broker.
    :ivar state_file: what a restart must not forget; ``None`` for nothing.
    :ivar loglevel_lease: seconds after which the application's level ``debug`` is taken back
        when nobody says when; ``None`` for never.
    :ivar stall_watch: whether the reactor is watched for calls that block it; ``None`` for
        under ``twistd backplane`` only.
    :ivar strict: whether everything that may be loose is refused.
    """

    name: str
    brokers: tuple[str, ...] = attrs.field(converter=_texts, repr=brokers_shown)
    logfile: str | None = None
    loglevel: str = "warn"
    tls: TLSConfig | None = None
    auth: AuthConfig = AuthConfig()
    audit: AuditConfig | None = None
    identity: str = attrs.Factory(platform.node)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    password_file: str | None = None
    token_file: str | None = None
    nkey_file: str | None = None
    jwt_file: str | None = None
    credentials: str | None = None
    classes_file: str | None = None
    facts: FactsConfig = FactsConfig()
    outbox: OutboxConfig = OutboxConfig()
    max_stop_delay: float = 10.0
    stop_timeout: float = 10.0
    reply_to: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    ping_interval: float = 30.0
    state_file: str | None = None
    loglevel_lease: float | None = None
    stall_watch: bool | None = None
    strict: bool = False

    @property
    def collective(self) -> str:
        """The sub-collective that all instances of the application share."""
        return f"{self.name}_backplane"

    @property
    def secure(self) -> bool:
        """Whether TLS and signatures are used."""
        return self.tls is not None


StandardConfiguration = ServiceConfig
"""The name that the Go backplane has for it."""
