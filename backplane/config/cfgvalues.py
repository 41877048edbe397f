"""Typed values of Choria's settings, and a warning for each that Choria takes for another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from backplane.config.brokers import check_broker
from backplane.config.cfgfile import Line, SettingsReader
from backplane.config.durations import parse_duration
from backplane.config.nodes import Node
from backplane.config.problems import Collector

__all__ = ["SettingValues"]

_N = TypeVar("_N", int, float)

_TRUE: Final = frozenset(("1", "yes", "true", "y", "t"))
_FALSE: Final = frozenset(("0", "no", "false", "n", "f"))
_LEVELS: Final = frozenset(("debug", "info", "warn", "warning", "error", "fatal"))


class SettingValues:
    """Makes typed values of the lines that were read.

    :param env: environment variables.
    :param home: what ``~`` stands for.
    :ivar warnings: one sentence for each value that does not mean what it seems to mean.
    """

    def __init__(self, reader: SettingsReader, env: Mapping[str, str], home: str) -> None:
        self._known = reader.known
        self._env = env
        self._home = home
        self.warnings: list[str] = []

    def _warn(self, line: Line, text: str) -> None:
        self.warnings.append(f"{line.path}:{line.number}: {text}")

    def _last(self, key: str) -> Line | None:
        lines = self._known.get(key)
        return lines[-1] if lines else None

    def text(self, key: str, variable: str | None = None) -> str | None:
        """Return the text; ``variable`` of the environment wins where the option is written."""
        line = self._last(key)
        if variable is not None and self._env.get(variable):
            # As in Choria the variable counts only where the option is written.
            if line is not None:
                return self._env[variable]
            self.warnings.append(f"{variable} has no effect: {key} is not in any file")
        return line.value if line is not None else None

    def flag(self, key: str, default: bool = True) -> bool:
        """Return whether it means yes; ``default`` when nothing is written."""
        line = self._last(key)
        if line is None:
            return default
        word = line.value.lower()
        if word not in _TRUE and word not in _FALSE:
            self._warn(line, f"{key}: found {line.value[:60]!r}, wanted yes or no; it means no")
        return word in _TRUE

    def whole(self, key: str, default: int) -> int:
        """Return a whole number; lines that have none are passed over."""

        def convert(text: str) -> int:
            if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
                raise ValueError("no whole number")
            return int(text)

        return self._converted(key, default, convert, "a whole number of seconds")

    def duration(self, key: str, default: float) -> float:
        """Return seconds; lines that have no duration are passed over."""
        return self._converted(key, default, parse_duration, "a duration such as 10 or 1m30s")

    def _converted(self, key: str, default: _N, convert: Callable[[str], _N], wanted: str) -> _N:
        value = default
        for line in self._known.get(key, ()):
            try:
                value = convert(line.value)
            except ValueError:
                text = f"{key}: found {line.value[:60]!r}, wanted {wanted}; {value:g} stays"
                self._warn(line, text)
                continue
            if value <= 0:
                self._warn(line, f"{key}: found {line.value[:60]!r}, wanted more than nothing")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """Return what stands between commas."""
        line = self._last(key)
        if line is None:
            return ()
        items = [item.strip() for item in line.value.split(",")]
        if "" in items:
            self._warn(line, f"{key}: an empty name in the list is left out")
        return tuple(item for item in items if item)

    def brokers(self, key: str) -> tuple[str, ...]:
        """Return addresses; :raises ConfigError: for those that cannot be used."""
        line = self._last(key)
        if line is None:
            return ()
        problems = Collector(line.path)
        hosts = self.names(key)
        for at, host in enumerate(hosts):
            wrong = check_broker(host)
            if wrong is not None:
                problems.add(f"{key}[{at}]", *wrong, at=Node(line=line.number))
        problems.check()
        return hosts

    def home_path(self, key: str, default: str) -> str:
        """Return a path in which ``~`` is the home directory."""
        line = self._last(key)
        if line is None:
            return default
        if not line.value.startswith("~"):
            return line.value
        if not line.value.startswith("~/") and line.value != "~":
            self._warn(line, f"{key}: ~ is your own home directory, also before a name")
        return self._home + line.value[1:]

    def plain_path(self, key: str, variable: str) -> str | None:
        """Return a path in which ``~`` is itself."""
        value = self.text(key, variable)
        line = self._last(key)
        if value is not None and line is not None and value.startswith("~"):
            self._warn(line, f"{key}: ~ is not expanded in this option")
        return value

    def folders(self, key: str) -> tuple[str, ...]:
        """Return what stands between colons, of all lines."""
        folders = []
        for line in self._known.get(key, ()):
            parts = [part.strip() for part in line.value.split(":")]
            folders += [part for part in parts if part]
            if any(part.startswith("~") for part in parts):
                self._warn(line, f"{key}: ~ is not expanded in this option")
            if "" in parts:
                self._warn(line, f"{key}: an empty name in the list is left out")
        return tuple(folders)

    def level(self, key: str) -> str:
        """Return the level of a log, as it is written."""
        line = self._last(key)
        if line is None:
            return "info"
        if line.value not in _LEVELS:
            levels = "debug, info, warn, error or fatal"
            text = f"{key}: found {line.value[:60]!r}, wanted {levels}; it means warn"
            self._warn(line, text)
        return line.value
