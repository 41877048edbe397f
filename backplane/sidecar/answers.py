"""What the outside process answers, read: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from backplane.interfaces import LogLevel
from backplane.logs import printable
from backplane.sidecar.errors import CommandError

__all__ = ["level_from", "paused_from", "shown", "value_from", "word_for"]

_PAUSED: Final = frozenset({"paused", "true", "yes", "on", "1"})
_RUNNING: Final = frozenset({"running", "resumed", "false", "no", "off", "0"})

_LEVELS: Final[Mapping[str, LogLevel]] = {
    "trace": LogLevel.DEBUG,
    "debug": LogLevel.DEBUG,
    "info": LogLevel.INFO,
    "notice": LogLevel.INFO,
    "warn": LogLevel.WARN,
    "warning": LogLevel.WARN,
    "error": LogLevel.CRITICAL,
    "crit": LogLevel.CRITICAL,
    "critical": LogLevel.CRITICAL,
    "fatal": LogLevel.CRITICAL,
}


def shown(data: bytes, limit: int = 200) -> str:
    """Return what a program wrote, on one line and bounded, for logs and errors."""
    # Four bytes are one character at most.
    text = data[: 4 * limit + 4].decode("utf-8", "replace")
    return printable(" | ".join(line.strip() for line in text.splitlines() if line.strip()), limit)


def value_from(data: bytes, cut: bool = False) -> Any:
    """Return the JSON that a program or server wrote, else the text, else ``None``.

    :param cut: whether there was more, which is not here.
    """
    text = data.decode("utf-8", "replace").strip()
    if cut:
        return f"{text}…"
    try:
        return json.loads(text, parse_constant=_refuse) if text else None
    except (ValueError, RecursionError):
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def paused_from(code: int, data: bytes) -> bool:
    """Return whether a process is paused, by what ``paused:`` said.

    Its word decides; where it prints nothing, 0 is paused and 1 is running.

    :raises CommandError: when it says neither.
    """
    if code not in (0, 1):
        raise CommandError(f"ended with {code}, which is neither 0 (paused) nor 1 (running)")
    value = value_from(data)
    if isinstance(value, dict):
        value = value.get("paused")
    if value is None and not data.strip():
        return code == 0
    word = str(value).strip().lower()
    if word in _PAUSED:
        return True
    if word in _RUNNING:
        return False
    raise CommandError(f"printed {shown(data, 60)!r}, which is neither paused nor running")


def word_for(level: LogLevel, words: Mapping[str, str]) -> str:
    """Return the process's word for a level."""
    name = level.name.lower()
    return words.get(name, name)


def level_from(data: bytes, words: Mapping[str, str]) -> LogLevel:
    """Return the level whose word a process printed.

    :raises CommandError: when it is none.
    """
    word = data.decode("utf-8", "replace").strip()
    for level in LogLevel:
        if word == words.get(level.name.lower()):
            return level
    if word.lower() not in _LEVELS:
        raise CommandError(f"printed {shown(data, 60)!r}, which is no level")
    return _LEVELS[word.lower()]
