"""An application that writes down how it is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zope.interface import implementer

from backplane.interfaces import (
    IDrainable,
    IHealthCheckable,
    IInfoSource,
    ILoggerLevels,
    INamedBreakers,
    IPausable,
    IStopable,
    LogLevel,
)

__all__ = ["RecordingApplication"]


@implementer(IPausable)
class RecordingBreaker:
    """One of the breakers of a :class:`RecordingApplication`, which writes down its calls."""

    def __init__(self, name: str, application: RecordingApplication) -> None:
        self._name = name
        self._application = application
        self._paused = False

    def _called(self, method: str) -> None:
        self._application._called(f"{self._name}.{method}")

    def pause(self) -> None:
        """See :class:`IPausable`."""
        self._called("pause")
        self._paused = True

    def resume(self) -> None:
        """See :class:`IPausable`."""
        self._called("resume")
        self._paused = False

    def flip(self) -> None:
        """See :class:`IPausable`."""
        self._called("flip")
        self._paused = not self._paused

    def paused(self) -> bool:
        """See :class:`IPausable`."""
        self._called("paused")
        return self._paused


@implementer(IDrainable, INamedBreakers, IHealthCheckable, IStopable, ILoggerLevels, IInfoSource)
class RecordingApplication:
    """Provides every interface.

    :param breakers: names of breakers that it has.
    :ivar calls: names of the methods called, in order; those of a breaker as ``payments.pause``.
    :ivar facts: what ``fact_data()`` returns.
    :ivar health: what ``health_check()`` returns.
    :ivar level: what ``get_log_level()`` returns.
    :ivar working: what ``in_flight()`` returns.
    :ivar logger_levels: loggers that there are, by name, and the level of each or ``None``.
    :ivar raises: errors to raise, by method, named as in ``calls``.
    """

    def __init__(
        self,
        facts: Mapping[str, Any] | None = None,
        version: str = "1.2.3",
        *,
        breakers: Iterable[str] = (),
    ) -> None:
        self.calls: list[str] = []
        self.facts: Any = dict(facts or {})
        self.health: Any = ({"configured": True}, True)
        self.level: Any = LogLevel.INFO
        self.working: Any = 0
        self.logger_levels: dict[str, LogLevel | None] = {}
        self.raises: dict[str, Exception] = {}
        self._version = version
        self._paused = False
        self._breakers = {name: RecordingBreaker(name, self) for name in breakers}
        self._program_level: Any = None
        self._program_levels: dict[str, LogLevel | None] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.raises:
            raise self.raises[name]

    def pause(self) -> None:
        """See :class:`IPausable`."""
        self._called("pause")
        self._paused = True

    def resume(self) -> None:
        """See :class:`IPausable`."""
        self._called("resume")
        self._paused = False

    def flip(self) -> None:
        """See :class:`IPausable`."""
        self._called("flip")
        self._paused = not self._paused

    def paused(self) -> bool:
        """See :class:`IPausable`."""
        self._called("paused")
        return self._paused

    def drain(self) -> None:
        """See :class:`IDrainable`."""
        self._called("drain")
        self._paused = True

    def in_flight(self) -> Any:
        """See :class:`IDrainable`."""
        self._called("in_flight")
        return self.working

    def breakers(self) -> dict[str, RecordingBreaker]:
        """See :class:`INamedBreakers`."""
        self._called("breakers")
        return dict(self._breakers)

    def health_check(self) -> Any:
        """See :class:`IHealthCheckable`."""
        self._called("health_check")
        return self.health

    def shutdown(self) -> None:
        """See :class:`IStopable`."""
        self._called("shutdown")

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`ILoggerLevels`."""
        self._called("set_log_level")
        if self._program_level is None:
            self._program_level = self.level
        self.level = level

    def get_log_level(self) -> Any:
        """See :class:`ILoggerLevels`."""
        self._called("get_log_level")
        return self.level

    def restore_log_level(self) -> None:
        """See :class:`ILoggerLevels`."""
        self._called("restore_log_level")
        if self._program_level is not None:
            self.level, self._program_level = self._program_level, None

    def loggers(self) -> dict[str, tuple[LogLevel | None, LogLevel]]:
        """See :class:`ILoggerLevels`; without a level of its own a logger has that of the whole."""
        self._called("loggers")
        return {
            name: (own, self.level if own is None else own)
            for name, own in self.logger_levels.items()
        }

    def set_logger_level(self, name: str, level: LogLevel | None) -> None:
        """See :class:`ILoggerLevels`."""
        self._called("set_logger_level")
        if level is not None:
            self._program_levels.setdefault(name, self.logger_levels.get(name))
            self.logger_levels[name] = level
        elif name in self._program_levels:
            self.logger_levels[name] = self._program_levels.pop(name)

    def fact_data(self) -> Any:
        """See :class:`IInfoSource`."""
        self._called("fact_data")
        return self.facts

    def version(self) -> str:
        """See :class:`IInfoSource`."""
        self._called("version")
        return self._version
