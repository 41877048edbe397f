"""A ready-made application that lets everything be managed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zope.interface import alsoProvides, implementer

from backplane.interfaces import (
    IHealthCheckable,
    IInfoSource,
    ILogLevelSetable,
    IPausable,
    IStopable,
    LogLevel,
    nonblocking,
)
from backplane.parts.breaker import Breaker
from backplane.parts.health import HealthChecks
from backplane.parts.inflight import InFlight
from backplane.parts.levels import LogLevels

__all__ = ["Application"]


@implementer(IPausable, IHealthCheckable, ILogLevelSetable, IInfoSource)
class Application:
    """Provides every interface; ``IStopable`` where there is a ``shutdown``.

    ::

        app = Application(version="1.0", facts={"dc": "DC1"}, shutdown=stop)
        management = start_in_thread({"name": "shop", "brokers": ["nats1.example.net"]}, app)

    :param version: the program's.
    :param facts: a mapping, or what returns one: a function or coroutine function, which may
        be marked :func:`~backplane.interfaces.blocking`.
    :param shutdown: ends the program; of the same kinds.
    :ivar breaker: what work waits on while the application is paused.
    :ivar health: the checks of its components.
    :ivar levels: whose level operators set; the root logger's by default.
    :ivar in_flight: work under way.
    """

    def __init__(
        self,
        *,
        version: str = "unknown",
        facts: Mapping[str, Any] | Callable[[], Any] | None = None,
        shutdown: Callable[[], Any] | None = None,
        breaker: Breaker | None = None,
        health: HealthChecks | None = None,
        levels: LogLevels | None = None,
        in_flight: InFlight | None = None,
    ) -> None:
        self.breaker = Breaker() if breaker is None else breaker
        self.health = HealthChecks() if health is None else health
        self.levels = LogLevels() if levels is None else levels
        self.in_flight = InFlight() if in_flight is None else in_flight
        self._version = version
        # Given functions stand here as they are, so that their marks are seen.
        self.fact_data: Callable[[], Any] = _source({} if facts is None else facts)
        if shutdown is not None:
            self.shutdown: Callable[[], Any] = shutdown
            alsoProvides(self, IStopable)

    def pause(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`."""
        self.breaker.pause()

    def resume(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`."""
        self.breaker.resume()

    def flip(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`."""
        self.breaker.flip()

    def paused(self) -> bool:
        """See :class:`~backplane.interfaces.IPausable`."""
        return self.breaker.paused()

    @nonblocking
    def health_check(self) -> Any:
        """See :class:`~backplane.interfaces.IHealthCheckable`."""
        return self.health.health_check()

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`~backplane.interfaces.ILogLevelSetable`."""
        self.levels.set_log_level(level)

    def get_log_level(self) -> LogLevel:
        """See :class:`~backplane.interfaces.ILogLevelSetable`."""
        return self.levels.get_log_level()

    def version(self) -> str:
        """See :class:`~backplane.interfaces.IInfoSource`."""
        return self._version


def _source(facts: Mapping[str, Any] | Callable[[], Any]) -> Callable[[], Any]:
    if callable(facts):
        return facts
    given = facts
    return lambda: dict(given)
