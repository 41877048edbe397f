"""A NATS client for Twisted. Imports nothing else of the backplane.

:class:`NatsClient` stays connected by itself. Beside it there are the names of txnats
0.7.5, for programs that were written for that: ``from backplane import nats as txnats``.
Names are imported when they are first used.
"""

import importlib as _importlib
import typing as _typing

from backplane._version import __version__

if _typing.TYPE_CHECKING:
    from backplane.nats import (
        actions,
        backoff,
        config_state,
        errors,
        events,
        protocol,
        resilient,
        validators,
    )
    from backplane.nats import protocol as io
    from backplane.nats.answers import is_empty
    from backplane.nats.backoff import Backoff
    from backplane.nats.client import NatsClient
    from backplane.nats.counts import Statistics
    from backplane.nats.credentials import CredsFile, NKey, Token, UserJWT, UserPassword
    from backplane.nats.headers import Headers
    from backplane.nats.jetstream import JetStream, PubAck
    from backplane.nats.message import Message
    from backplane.nats.protocol import NatsProtocol
    from backplane.nats.state import State
    from backplane.nats.subscription import Subscription

__all__ = [
    "Backoff",
    "CredsFile",
    "Headers",
    "JetStream",
    "Message",
    "NKey",
    "NatsClient",
    "NatsProtocol",
    "PubAck",
    "State",
    "Statistics",
    "Subscription",
    "Token",
    "UserJWT",
    "UserPassword",
    "__version__",
    "__version_info__",
    "actions",
    "backoff",
    "config_state",
    "errors",
    "events",
    "io",
    "is_empty",
    "protocol",
    "resilient",
    "validators",
]

__version_info__ = tuple(int(part) for part in __version__.split("+")[0].split(".")[:3])

_HOMES: _typing.Final = {
    "answers": ("is_empty",),
    "backoff": ("Backoff",),
    "client": ("NatsClient",),
    "counts": ("Statistics",),
    "credentials": ("CredsFile", "NKey", "Token", "UserJWT", "UserPassword"),
    "headers": ("Headers",),
    "jetstream": ("JetStream", "PubAck"),
    "message": ("Message",),
    "protocol": ("NatsProtocol",),
    "state": ("State",),
    "subscription": ("Subscription",),
}
"""Where each name comes from; the imports above say the same to type checkers."""

_HOME_OF: _typing.Final = {
    name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names
}

_MODULES: _typing.Final = {
    "io": "protocol",
    **{
        name: name
        for name in (
            *("actions", "backoff", "config_state", "errors", "events", "protocol"),
            *("resilient", "validators"),
        )
    },
}
"""Modules that are to be had as attributes, as those of txnats are."""


if not _typing.TYPE_CHECKING:  # which knows the names from the imports above, and no others

    def __getattr__(name: str) -> object:
        """Import what a name stands for (PEP 562)."""
        if name in _MODULES:
            found = _importlib.import_module(f"{__name__}.{_MODULES[name]}")
        elif name in _HOME_OF:
            found = getattr(_importlib.import_module(_HOME_OF[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
