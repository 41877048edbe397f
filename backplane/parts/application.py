"""A ready-made application that lets everything be managed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zope.interface import alsoProvides, implementer

from backplane.interfaces import (
    IDrainable,
    IHealthCheckable,
    IInfoSource,
    ILoggerLevels,
    ILogLevelSetable,
    INamedBreakers,
    IStopable,
    LogLevel,
    nonblocking,
)
from backplane.parts.breaker import Breaker
from backplane.parts.breakers import Breakers
from backplane.parts.health import HealthChecks
from backplane.parts.inflight import InFlight
from backplane.parts.levels import LogLevels
from backplane.parts.work import Work

__all__ = ["Application"]


@implementer(IDrainable, INamedBreakers, IHealthCheckable, ILogLevelSetable, IInfoSource)
class Application:
    """Provides every interface; ``IStopable`` where there is a ``shutdown``.

    ::

        app = Application(version="1.0", facts={"dc": "DC1"}, shutdown=stop)
        management = start_in_thread({"name": "shop", "brokers": ["nats1.example.net"]}, app)

    :param version: the program's.
    :param facts: a mapping, or what returns one: a function or coroutine function, which may
        be marked :func:`~backplane.interfaces.blocking`.
    :param shutdown: ends the program; of the same kinds.
    :param breakers: names of breakers for parts of the work, or ``Breakers``.
    :ivar breaker: what work waits on while the application is paused.
    :ivar breakers: what parts of the work wait on, by name.
    :ivar health: the checks of its components.
    :ivar levels: whose level operators set; the root logger's by default.
    :ivar in_flight: work under way; what is counted here is waited for by ``drain``.
    """

    def __init__(
        self,
        *,
        version: str = "unknown",
        facts: Mapping[str, Any] | Callable[[], Any] | None = None,
        shutdown: Callable[[], Any] | None = None,
        breaker: Breaker | None = None,
        breakers: Breakers | Iterable[str] = (),
        health: HealthChecks | None = None,
        levels: LogLevels | None = None,
        in_flight: InFlight | None = None,
    ) -> None:
        self.breaker = Breaker() if breaker is None else breaker
        if isinstance(breakers, str):
            raise TypeError(f"breakers={breakers!r} is one name; a sequence of them is meant")
        self.breakers = breakers if isinstance(breakers, Breakers) else Breakers(*breakers)
        self.health = HealthChecks() if health is None else health
        self.levels = LogLevels() if levels is None else levels
        self.in_flight = InFlight() if in_flight is None else in_flight
        self._version = version
        # Given functions stand here as they are, so that their marks are seen.
        self.fact_data: Callable[[], Any] = _source({} if facts is None else facts)
        if shutdown is not None:
            self.shutdown: Callable[[], Any] = shutdown
            alsoProvides(self, IStopable)
        if type(self).set_log_level is Application.set_log_level:
            # Where it is a subclass's, nothing here knows how to put that back.
            alsoProvides(self, ILoggerLevels)

    def work(self, *names: str) -> Work:
        """Return what work of the application goes on in: ``with app.work("payments"):``.

        It begins while neither the application nor one of the named breakers is paused, and
        is counted in ``in_flight``.

        :param names: as for :meth:`.Breakers.breaker`.
        """
        return Work(self.in_flight, self.breaker, *map(self.breakers.breaker, names))

    def pause(self) -> Any:
        """See :class:`~backplane.interfaces.IDrainable`."""
        self.breaker.pause()

    def resume(self) -> None:
        """See :class:`~backplane.interfaces.IDrainable`."""
        self.breaker.resume()

    def flip(self) -> None:
        """See :class:`~backplane.interfaces.IDrainable`."""
        self.breaker.flip()

    def paused(self) -> bool:
        """See :class:`~backplane.interfaces.IDrainable`."""
        return self.breaker.paused()

    def drain(self) -> Any:
        """See :class:`~backplane.interfaces.IDrainable`; pauses, as that stops no work."""
        return self.pause()

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

    def loggers(self) -> dict[str, tuple[LogLevel | None, LogLevel]]:
        """See :class:`~backplane.interfaces.ILoggerLevels`."""
        return self.levels.loggers()

    def set_logger_level(self, name: str, level: LogLevel | None) -> None:
        """See :class:`~backplane.interfaces.ILoggerLevels`."""
        self.levels.set_logger_level(name, level)

    def restore_log_level(self) -> None:
        """See :class:`~backplane.interfaces.ILoggerLevels`."""
        self.levels.restore_log_level()

    def version(self) -> str:
        """See :class:`~backplane.interfaces.IInfoSource`."""
        return self._version


def _source(facts: Mapping[str, Any] | Callable[[], Any]) -> Callable[[], Any]:
    if callable(facts):
        return facts
    given = facts
    return lambda: dict(given)
