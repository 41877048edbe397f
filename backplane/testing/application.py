"""An application that writes down how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from backplane.interfaces import (
    IHealthCheckable,
    IInfoSource,
    ILogLevelSetable,
    IPausable,
    IStopable,
    LogLevel,
)

__all__ = ["RecordingApplication"]


@implementer(IPausable, IHealthCheckable, IStopable, ILogLevelSetable, IInfoSource)
class RecordingApplication:
    """Provides every interface.

    :ivar calls: names of the methods called, in order.
    :ivar facts: what ``fact_data()`` returns.
    :ivar health: what ``health_check()`` returns.
    :ivar raises: errors to raise, by method.
    """

    def __init__(self, facts: Mapping[str, Any] | None = None, version: str = "1.2.3") -> None:
        self.calls: list[str] = []
        self.facts: Any = dict(facts or {})
        self.health: Any = ({"configured": True}, True)
        self.level: Any = LogLevel.INFO
        self.raises: dict[str, Exception] = {}
        self._version = version
        self._paused = False

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

    def health_check(self) -> Any:
        """See :class:`IHealthCheckable`."""
        self._called("health_check")
        return self.health

    def shutdown(self) -> None:
        """See :class:`IStopable`."""
        self._called("shutdown")

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`ILogLevelSetable`."""
        self._called("set_log_level")
        self.level = level

    def get_log_level(self) -> Any:
        """See :class:`ILogLevelSetable`."""
        self._called("get_log_level")
        return self.level

    def fact_data(self) -> Any:
        """See :class:`IInfoSource`."""
        self._called("fact_data")
        return self.facts

    def version(self) -> str:
        """See :class:`IInfoSource`."""
        self._called("version")
        return self._version
