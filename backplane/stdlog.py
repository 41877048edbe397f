"""The backplane's log in the host's ``logging``."""

from __future__ import annotations

import logging

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

__all__ = ["StandardLog"]

_LEVELS = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}


@implementer(ILogObserver)
class StandardLog:
    """Hands events to the logger of their namespace, such as ``backplane.presence``."""

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        level = _LEVELS[event["log_level"]]
        logger = logging.getLogger(event.get("log_namespace") or "backplane")
        if not logger.isEnabledFor(level):
            return
        failure = event.get("log_failure")
        trace = None
        if failure is not None:
            trace = (failure.type, failure.value, failure.getTracebackObject())
        # A text from the network may have a "%".
        logger.log(level, "%s", formatEvent(event), exc_info=trace)
