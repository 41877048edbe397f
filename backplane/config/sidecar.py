"""The ``sidecar`` section: an outside process, and what is asked of it by which means.

Every part may be left out, and its feature is then absent.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Final
from urllib.parse import urlsplit

import attrs

from backplane.config.nodes import FAILED, Node
from backplane.config.problems import Collector, describe
from backplane.config.rules import path_rule
from backplane.config.sections import Section, read_text
from backplane.config.sidecarvalues import (
    CommandConfig,
    HttpConfig,
    LevelConfig,
    ProcessConfig,
    SidecarConfig,
)

__all__ = ["LEVELS", "MAX_TIMEOUT", "SIGNALS", "SidecarReader"]

MAX_TIMEOUT: Final = 6.0
"""Longest time limit of a command, in seconds: its caller hears of it before the agent's
own deadline of 8.75 s, with the time that killing may take."""

SIGNALS: Final = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL")

LEVELS: Final = ("debug", "info", "warn", "critical")
"""Words for the level, unless others are given."""

PLACE: Final = "{level}"
"""Stands in an argument for the level's word."""

# Python's `re` is good enough here: the pattern is ours and linear.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class SidecarReader:
    """What each key of ``sidecar`` must be.

    :param folder: of the file; paths are relative to it, and commands run there.
    :param path: directories in which programs without a slash are looked for, as ``PATH``.
    """

    def __init__(
        self, problems: Collector, folder: str, path: str | None, check_files: bool
    ) -> None:
        self._problems = problems
        self._folder = folder
        self._path = path
        self._check_files = check_files

    def sidecar(self, node: Node) -> SidecarConfig | None:
        """Return the section; it is only good when there are no problems."""
        top = Section(node, "sidecar", self._problems)
        if node.entries is None:
            return None
        environment = self._environment(top)
        self._path = environment.get("PATH", self._path)
        config = SidecarConfig(
            folder=self._folder,
            environment=environment,
            version=self._version(top),
            facts=self._file(top, "facts"),
            health=self._health(top),
            pause=self._command(top, "pause"),
            resume=self._command(top, "resume"),
            paused=self._command(top, "paused"),
            loglevel=self._loglevel(top),
            shutdown=self._shutdown(top),
            process=self._process(top),
        )
        top.close()
        self._check_together(top, config)
        return config

    def _check_together(self, top: Section, config: SidecarConfig) -> None:
        for name, other in (("pause", "resume"), ("resume", "pause"), ("paused", "pause")):
            if top.has(name) and not top.has(other):
                wanted = f"{other} as well: both, or neither"
                if name == "paused":
                    wanted = "pause and resume as well"
                self._problems.add(top.path(name), f"no {other}", wanted, top.take(name))
        if isinstance(config.shutdown, str) and not top.has("process"):
            wanted = "a process section, which says what gets the signal"
            self._problems.add(top.path("shutdown"), "a signal", wanted, top.take("shutdown"))
        parts = set(attrs.asdict(config, recurse=False)) - {"folder", "environment"}
        if not any(top.has(part) for part in parts):
            wanted = f"at least one of {', '.join(sorted(parts))}"
            self._problems.add(top.key, "nothing to manage", wanted, top.node)

    def _environment(self, top: Section) -> dict[str, str]:
        section = top.section("environment")
        made: dict[str, str] = {}
        for entry in section.node.entries or () if section is not None else ():
            assert section is not None
            key = section.path(str(entry.name))
            if not isinstance(entry.name, str) or not _VARIABLE.fullmatch(entry.name):
                self._problems.add(key, "no such name", "letters, digits and _", entry)
                continue
            text = self._argument(entry.node, key, secret=True)
            if text is not None:
                made[entry.name] = text
        return made

    def _version(self, top: Section) -> str | CommandConfig | None:
        node = top.take("version")
        if node is None:
            return None
        if node.entries is not None:
            return self._command(top, "version")
        return read_text(node, top.path("version"), self._problems, wanted="text, or a command")

    def _command(self, top: Section, name: str) -> CommandConfig | None:
        section = top.section(name)
        if section is None:
            return None
        argv = self._argv(section, "command")
        made = CommandConfig(argv or (), self._timeout(section))
        section.close()
        return made

    def _health(self, top: Section) -> CommandConfig | HttpConfig | None:
        section = top.section("health")
        if section is None or not self._one_of(section, "command", "http"):
            return None
        if section.has("http"):
            url = section.text("http", rule=_url_rule) or ""
            made: CommandConfig | HttpConfig = HttpConfig(url, self._timeout(section))
        else:
            made = CommandConfig(self._argv(section, "command") or (), self._timeout(section))
        section.close()
        return made

    def _loglevel(self, top: Section) -> LevelConfig | None:
        section = top.section("loglevel")
        if section is None:
            return None
        timeout = self._timeout(section)
        argv = self._argv(section, "command")
        if argv is not None and not any(PLACE in word for word in argv):
            found, wanted = f"no {PLACE} in it", f'an argument with it, such as "{PLACE}"'
            self._problems.add(section.path("command"), found, wanted, section.take("command"))
        get = self._argv(section, "get") if section.has("get") else None
        made = LevelConfig(
            CommandConfig(argv or (), timeout),
            None if get is None else CommandConfig(get, timeout),
            self._levels(section),
        )
        section.take("get")
        section.close()
        return made

    def _levels(self, section: Section) -> dict[str, str]:
        words = section.section("words")
        if words is None:
            return {}
        found = {name: words.text(name, rule=_text_rule) for name in LEVELS}
        words.close()
        return {name: word for name, word in found.items() if word is not None}

    def _shutdown(self, top: Section) -> str | CommandConfig | None:
        section = top.section("shutdown")
        if section is None or not self._one_of(section, "signal", "command"):
            return None
        if not section.has("signal"):
            return self._command(top, "shutdown")
        made = self._signal(section)
        section.close()
        return made

    def _process(self, top: Section) -> ProcessConfig | None:
        section = top.section("process")
        if section is None or not self._one_of(section, "pidfile", "run"):
            return None
        if section.has("pidfile"):
            made = ProcessConfig(pidfile=self._file(section, "pidfile"))
            for name in ("restart", "signal", "patience"):
                if section.has(name):
                    key, node = section.path(name), section.take(name)
                    self._problems.add(key, "it beside pidfile", "it beside run only", node)
        else:
            made = ProcessConfig(
                run=self._argv(section, "run") or (),
                restart=section.flag("restart"),
                signal=self._signal(section),
                patience=section.number("patience", 10.0, 0),
            )
        section.close()
        return made

    def _one_of(self, section: Section, first: str, second: str) -> bool:
        section.take(first)
        section.take(second)
        there = [name for name in (first, second) if section.has(name)]
        if len(there) != 1:
            found = f"{first} and {second}" if there else "neither"
            wanted = f"one of {first}, {second}"
            self._problems.add(section.key, found, wanted, section.node)
            if not there:
                section.close()
        return len(there) == 1

    def _signal(self, section: Section) -> str:
        text = section.text("signal", rule=_signal_rule)
        return _signal_name(text) if text is not None else "TERM"

    def _timeout(self, section: Section) -> float:
        timeout = section.number("timeout", 5.0, 0.1)
        if timeout > MAX_TIMEOUT:
            wanted = f"{MAX_TIMEOUT:g} seconds at most, as operators wait no longer"
            node = section.take("timeout")
            self._problems.add(section.path("timeout"), f"{timeout:g}", wanted, node)
        return timeout

    def _file(self, section: Section, name: str) -> str | None:
        text = section.text(name, wanted="a path", rule=path_rule)
        return None if text is None else os.path.join(self._folder, text)

    def _argument(self, node: Node, key: str, *, secret: bool = False) -> str | None:
        if isinstance(node.value, str) and not node.value:
            return ""  # an argument may be empty
        return read_text(node, key, self._problems, rule=_text_rule, secret=secret)

    def _argv(self, section: Section, name: str) -> tuple[str, ...] | None:
        node, key = section.take(name), section.path(name)
        if node is None or node.value is FAILED:
            if node is None:
                wanted = "a list of a program and its arguments"
                self._problems.add(key, "nothing", wanted, section.node)
            return None
        if not node.items:
            found = "an empty list" if node.items is not None else describe(node)
            wanted = "a list of a program and its arguments, such as [/usr/bin/app, check]"
            self._problems.add(key, found, f"{wanted}; there is no shell", node)
            return None
        words = [self._argument(item, f"{key}[{at}]") for at, item in enumerate(node.items)]
        if None in words:
            return None
        program, *arguments = [word for word in words if word is not None]
        program = self._program(program, f"{key}[0]", node.items[0])
        return (program, *arguments)

    def _program(self, text: str, key: str, node: Node) -> str:
        if not text:
            self._problems.add(key, "''", "a program", node)
            return text
        if "/" in text:
            text = os.path.join(self._folder, text.removeprefix("./"))
            why, wanted = _in_the_way(text), "a program that can be run"
        else:
            there = shutil.which(text, path=self._path or os.defpath)
            why = None if there else "is not on PATH"
            wanted = "a program on PATH, or its path with a slash"
        if why is not None and self._check_files:
            self._problems.add(key, f"{text!r}, which {why}", wanted, node)
        return text


def _in_the_way(path: str) -> str | None:
    """Say why a file cannot be run, if anything is known to be in the way."""
    if not os.path.exists(path):
        return "does not exist"
    if not os.path.isfile(path):
        return "is no file"
    return None if os.access(path, os.X_OK) else "is not executable"


def _text_rule(text: str) -> str | None:
    return None if path_rule(text) is None else "text that a program can be given"


def _signal_name(text: str) -> str:
    return text.upper().removeprefix("SIG")


def _signal_rule(text: str) -> str | None:
    return None if _signal_name(text) in SIGNALS else f"one of {', '.join(SIGNALS)}"


def _url_rule(text: str) -> str | None:
    wanted = 'an address such as "http://127.0.0.1:8080/health"'
    if not text.isascii() or not text.isprintable() or " " in text:
        return wanted
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return wanted
    if parts.scheme == "https":
        return f"{wanted}; for https, a command"
    if parts.scheme != "http" or not parts.hostname or port == 0 or parts.fragment:
        return wanted
    return f"{wanted} without a user" if "@" in parts.netloc else None
