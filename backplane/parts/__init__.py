"""Ready-made parts of an application that is managed; each may be used alone."""

from backplane.parts.application import Application
from backplane.parts.breaker import Breaker, Paused
from backplane.parts.breakers import Breakers
from backplane.parts.health import HealthChecks
from backplane.parts.inflight import InFlight
from backplane.parts.levels import LogLevels
from backplane.parts.work import Work

__all__ = [
    "Application",
    "Breaker",
    "Breakers",
    "HealthChecks",
    "InFlight",
    "LogLevels",
    "Paused",
    "Work",
]
