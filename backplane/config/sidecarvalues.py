"""What a sidecar is configured with, as values."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["CommandConfig", "HttpConfig", "LevelConfig", "ProcessConfig", "SidecarConfig"]


@attrs.frozen
class CommandConfig:
    """A program and its arguments, and the seconds that it may take."""

    argv: tuple[str, ...]
    timeout: float = 5.0


@attrs.frozen
class HttpConfig:
    """An address that is asked for the health, and the seconds that it may take."""

    url: str
    timeout: float = 5.0


@attrs.frozen
class LevelConfig:
    """The log level.

    :ivar change: sets it; ``{level}`` stands for the level's word.
    :ivar get: prints it; ``None`` when only what was set is known.
    :ivar words: the process's own words, by ours.
    """

    change: CommandConfig
    get: CommandConfig | None = None
    words: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ProcessConfig:
    """The process: one that a pid file names, or one that is started as a child.

    :ivar pidfile: absolute; ``None`` for a child.
    :ivar run: program and arguments of the child.
    :ivar restart: whether a child that ends is started again.
    :ivar signal: ends the child when the sidecar stops.
    :ivar patience: seconds after which it is killed.
    """

    pidfile: str | None = None
    run: tuple[str, ...] = ()
    restart: bool = False
    signal: str = "TERM"
    patience: float = 10.0


@attrs.frozen(kw_only=True)
class SidecarConfig:
    """An outside process as a provider of the management interfaces; ``None``: no such part.

    :ivar folder: where commands and child run.
    :ivar environment: what is added to theirs.
    :ivar version: text, or a command that prints it.
    :ivar facts: file.
    :ivar paused: a command that says whether it is paused.
    :ivar shutdown: a signal's name, or a command.
    """

    folder: str
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    version: str | CommandConfig | None = None
    facts: str | None = None
    health: CommandConfig | HttpConfig | None = None
    pause: CommandConfig | None = None
    resume: CommandConfig | None = None
    paused: CommandConfig | None = None
    loglevel: LevelConfig | None = None
    shutdown: str | CommandConfig | None = None
    process: ProcessConfig | None = None
