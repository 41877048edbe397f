"""What an application may provide to be managed. Every part may be left out.

A method may be plain, return a Deferred, or be a coroutine. A plain method
that blocks the reactor should be marked :func:`blocking`; it is then called in
a thread.
"""

# zope interfaces declare methods without self.
# mypy: disable-error-code="misc,no-untyped-def,empty-body"

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from zope.interface import Attribute, Interface

__all__ = [
    "DataItem",
    "IConfigProvider",
    "IDrainable",
    "IHealthCheckable",
    "IInfoSource",
    "ILogLevelSetable",
    "ILoggerLevels",
    "INamedBreakers",
    "IPausable",
    "IStopCheckable",
    "IStopable",
    "LogLevel",
    "blocking",
    "nonblocking",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class LogLevel(enum.IntEnum):
    """The four levels that a backplane knows; numbers as in the Go backplane."""

    DEBUG = 1
    INFO = 2
    WARN = 3
    CRITICAL = 4


@attrs.frozen
class DataItem:
    """Data for Choria's data adapters.

    :ivar data: UTF-8 text, as ``bytes`` or ``str``, at least one character.
        Binary data must be encoded by the application, for example in base64.
    :ivar destination: NATS subject; by default the registration subject of the
        service's collective.
    :ivar durable: whether a JetStream stream must acknowledge it. It is kept and sent again
        until one does, and a stream stores it once within its window.
    """

    data: bytes | str
    destination: str | None = None
    durable: bool = False


class IPausable(Interface):
    """A circuit breaker. Enables ``pause``, ``resume`` and ``flip``."""

    def pause():
        """Stop taking work."""

    def resume():
        """Take work again."""

    def flip():
        """Pause if running, resume if paused."""

    def paused():
        """Return ``True`` while paused."""


class IDrainable(IPausable):
    """An ``IPausable`` that knows how much work is under way. Enables ``drain``."""

    def drain():
        """Stop taking work and let what is under way end; may be the same as ``pause()``.

        Called on what runs or is paused; ``resume()`` ends it.
        """

    def in_flight():
        """Return how much work is under way, an integer."""


class INamedBreakers(Interface):
    """Circuit breakers of parts of the application, beside the one of the whole.

    Each is changed alone: neither does pausing one pause the whole, nor the other way round.
    """

    def breakers():
        """Return a mapping of names, ``[a-z0-9_.-]{1,64}``, to objects with the methods of
        :class:`IPausable`. It is asked for again and again, and may have grown meanwhile.
        """


class IHealthCheckable(Interface):
    """Enables ``health``."""

    def health_check():
        """Return ``(result, ok)``: anything that JSON can hold, and a bool."""


class IStopable(Interface):
    """Enables ``shutdown``."""

    def shutdown():
        """End the application. Called some seconds after the request."""


class IStopCheckable(IStopable):
    """An ``IStopable`` that may know beforehand that it cannot be ended."""

    def check_shutdown():
        """Raise what is in the way; called before a shutdown is promised to the caller."""


class ILogLevelSetable(Interface):
    """Enables ``debuglvl``, ``infolvl``, ``warnlvl`` and ``critlvl``."""

    def set_log_level(level):
        """Set the application's level to a :class:`LogLevel`."""

    def get_log_level():
        """Return the present :class:`LogLevel`."""


class ILoggerLevels(ILogLevelSetable):
    """An ``ILogLevelSetable`` whose loggers have levels of their own."""

    def loggers():
        """Return a mapping of names to ``(own, effective)``: the level that the logger was
        given, or None, and the one in force, each a :class:`LogLevel`.
        """

    def set_logger_level(name, level):
        """Set one logger to a :class:`LogLevel`; None puts back exactly what the program had."""

    def restore_log_level():
        """Put the level of the whole back to exactly what the program had."""


class IInfoSource(Interface):
    """The application's facts and version, for ``info`` and for filters."""

    def fact_data():
        """Return a mapping, or anything with ``attrs``, dataclass or ``__dict__`` fields."""

    def version():
        """Return the application's version as text."""


class IConfigProvider(Interface):
    """Configuration of a management; ``StandardConfiguration`` is the one we provide."""

    name = Attribute("Application name, ``^[a-z0-9]+$``.")
    brokers = Attribute("Sequence of broker addresses, ``host:port`` or URL.")
    logfile = Attribute("File for the backplane's own log, or None.")
    loglevel = Attribute("``debug``, ``info``, ``warn``, ``error`` or ``critical``.")
    tls = Attribute("TLS settings, or None for the insecure mode.")
    auth = Attribute("Who may do what.")


def blocking(method: _Function) -> _Function:
    """Mark a method as one that blocks, so that it is called in a thread."""
    return _marked(method, True)


def nonblocking(method: _Function) -> _Function:
    """Mark a ``health_check`` as one that returns at once, perhaps something to be awaited.

    Where the application's methods are called on an asyncio loop a plain one is taken for
    one that waits, and called in a thread.
    """
    return _marked(method, False)


def _marked(method: _Function, blocks: bool) -> _Function:
    method.__backplane_blocking__ = blocks  # type: ignore[attr-defined]
    return method
