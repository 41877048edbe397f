"""A NATS client for Twisted. Imports nothing else of the backplane.

The names here are those of txnats 0.7.5, for programs that were written for
it: ``from backplane import nats as txnats``. The client that stays connected by
itself is :class:`backplane.nats.client.NatsClient`.
"""

from backplane._version import __version__
from backplane.nats import actions, config_state, errors, resilient, validators
from backplane.nats import protocol as io
from backplane.nats.backoff import Backoff
from backplane.nats.protocol import NatsProtocol

__all__ = [
    "Backoff",
    "NatsProtocol",
    "__version__",
    "__version_info__",
    "actions",
    "config_state",
    "errors",
    "io",
    "resilient",
    "validators",
]

__version_info__ = tuple(int(part) for part in __version__.split("+")[0].split(".")[:3])
