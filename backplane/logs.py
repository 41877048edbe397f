"""The backplane's own log: its level and its file, one for each management.

Every part of a management logs through loggers made by :class:`ManagementLog`.
Events below the configured level are dropped. The others go to the
management's file as JSON lines, or, without a file, to Twisted's global log
publisher, where the host's observers are. Nothing here adds an observer to
the host's log or touches its signal handlers.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from io import FileIO
from typing import Any, Final

import attrs
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    formatEvent,
    globalLogPublisher,
)
from twisted.logger import LogLevel as TwistedLevel
from zope.interface import implementer

__all__ = ["LEVELS", "LogFile", "ManagementLog", "printable"]

LEVELS: Final[dict[str, Any]] = {
    "debug": TwistedLevel.debug,
    "info": TwistedLevel.info,
    "warn": TwistedLevel.warn,
    "warning": TwistedLevel.warn,
    "error": TwistedLevel.error,
    "critical": TwistedLevel.critical,
    "fatal": TwistedLevel.critical,
}
"""Configured word to Twisted's level."""

MAX_LINE: Final = 8192
"""Longest message text in one log line, in characters; remote text can be long."""


def printable(text: str, limit: int = 200) -> str:
    """Return ``text`` on one line, without control or bidirectional characters.

    What strangers send must neither forge log lines nor drive a terminal. A
    text beyond ``limit`` characters is cut with a mark.
    """
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in cut
        )
    return cut if len(text) <= limit else f"{cut}… ({len(text)} characters)"


class LogFile:
    """A file that lines are appended to, found again after it was rotated.

    The path is looked at before each line: when it names another file, or
    none, a new one is opened there, so rotation by rename, by deletion and by
    copy and truncate all work without a signal. A line is one ``write`` in
    append mode; where the disk refuses it, the line goes to ``fallback``.

    :param path: absolute path.
    :param fallback: told the error once per cause.
    """

    def __init__(self, path: str, fallback: Callable[[OSError], None] | None = None) -> None:
        self.path = path
        self._fallback = fallback
        self._file: FileIO | None = None
        self._identity: tuple[int, int] | None = None
        self._failing: str | None = None

    def open(self) -> None:
        """Open the file now.

        :raises OSError: when that cannot be done.
        """
        self.close()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)

    def write(self, line: str) -> bool:
        """Append ``line`` and a line end; say whether that worked. Never raises."""
        try:
            if self._file is None or not self._current():
                self.open()
            assert self._file is not None
            data = (line + "\n").encode("utf-8", "backslashreplace")
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "the line was cut short")
        except OSError as error:
            if str(error) != self._failing and self._fallback is not None:
                self._failing = str(error)
                self._fallback(error)
            return False
        self._failing = None
        return True

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError:
                pass  # nothing is kept back that could be lost

    def _current(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity


@implementer(ILogObserver)
class ManagementLog:
    """The log of one management.

    :param level: a key of :data:`LEVELS`.
    :param path: absolute path of the log file, or ``None``.
    :param host: where events go without a file; Twisted's global publisher by default.
    """

    def __init__(
        self,
        level: str = "warn",
        path: str | None = None,
        host: ILogObserver = globalLogPublisher,
    ) -> None:
        self.level = LEVELS[level]
        self._host = host
        self._file = None if path is None else LogFile(path, self._file_failed)

    def logger(self, namespace: str) -> Logger:
        """Return a logger whose events end here."""
        return Logger(namespace=namespace, observer=self)

    def output(self, namespace: str) -> Logger:
        """Return a logger for what is not the backplane's own: no level holds it back."""
        return Logger(namespace=namespace, observer=_Unfiltered(self.write))

    def open(self) -> None:
        """Open the log file, if there is one.

        :raises OSError: when that cannot be done.
        """
        if self._file is not None:
            self._file.open()

    def close(self) -> None:
        """Close the log file."""
        if self._file is not None:
            self._file.close()

    def __call__(self, event: LogEvent) -> None:
        """Take an event (:class:`twisted.logger.ILogObserver`)."""
        if event["log_level"] >= self.level:
            self.write(event)

    def write(self, event: LogEvent) -> None:
        """Take an event of whatever level."""
        if self._file is None or not self._file.write(json_line(event)):
            self._host(event)

    def _file_failed(self, error: OSError) -> None:
        Logger(namespace="backplane.logs", observer=self._host).error(
            "cannot write the log file: {error}; lines go to the host's log", error=error
        )


@implementer(ILogObserver)
@attrs.frozen
class _Unfiltered:
    write: Callable[[LogEvent], None]

    def __call__(self, event: LogEvent) -> None:
        self.write(event)


def json_line(event: LogEvent) -> str:
    """Return the event as one line of JSON: time, level, namespace, message, traceback."""
    text = formatEvent(event)
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], timezone.utc).isoformat(
            timespec="milliseconds"
        ),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace", ""),
        "message": text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…",
    }
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line)
