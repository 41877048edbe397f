"""The configuration of Choria's clients: where it lies and how it is read.

The files and their grammar are Choria's (protocol 9.1 and 13), so that one file
serves both. What Choria passes over in silence is reported here: each line that
has no effect, or another than it seems to have, gives a warning. A broker's
address that cannot be used is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import attrs

from backplane.config.problems import Collector, Node
from backplane.config.service import brokers_shown, check_broker
from backplane.errors import ConfigError, Problem

__all__ = ["ClientConfig", "find_config", "load_client_config", "parse_duration"]

MAX_LINE: Final = 64 * 1024 - 1
"""Longest line, in bytes; at a longer one Choria stops reading the file."""

PLACES: Final = (
    "~/.choriarc",
    "~/.mcollective",
    "/etc/choria/client.conf",
    "/etc/choria/client.cfg",
    "/usr/local/etc/choria/client.conf",
    "/etc/puppetlabs/mcollective/client.cfg",
)
"""Where the file is looked for. The fourth is not Choria's own, but the Go
backplane's documentation tells people to use it."""

_N = TypeVar("_N", int, float)

_TRUE: Final = frozenset(("1", "yes", "true", "y", "t"))
_FALSE: Final = frozenset(("0", "no", "false", "n", "f"))
_LEVELS: Final = frozenset(("debug", "info", "warn", "warning", "error", "fatal"))


@attrs.frozen(kw_only=True)
class ClientConfig:
    """What a client needs to know.

    :ivar path: the file that was given, or ``None`` without one.
    :ivar identity: ``None`` when not configured.
    :ivar collectives: those that this client may address.
    :ivar main_collective: the first of them unless configured.
    :ivar middleware_hosts: brokers, as they were written.
    :ivar use_srv: look brokers up in DNS when there are none here.
    :ivar credentials: file with NATS credentials.
    :ivar ttl: seconds that a request is good for.
    :ivar discovery_timeout: seconds; ``connect_timeout`` likewise.
    :ivar libdirs: where agents' descriptions lie.
    :ivar loglevel: as written; unknown words mean ``warn``.
    :ivar raw: every option as text.
    :ivar warnings: one sentence for each line that does not do what it seems to do.
    :ivar files: the files that were read, in order; later ones win.
    """

    path: str | None = None
    identity: str | None = None
    collectives: tuple[str, ...] = ("mcollective",)
    main_collective: str | None = "mcollective"
    middleware_hosts: tuple[str, ...] = attrs.field(default=(), repr=brokers_shown)
    use_srv: bool = True
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    credentials: str | None = None
    ttl: int = 60
    discovery_timeout: float = 2.0
    connect_timeout: float = 2.0
    libdirs: tuple[str, ...] = ()
    color: bool = True
    logfile: str = "stdout"
    loglevel: str = "info"
    raw: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}), repr=False)
    warnings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def find_config(home: str, exists: Callable[[str], bool]) -> tuple[str | None, list[str]]:
    """Return the client's configuration file and the places that were searched.

    :param home: the user's home directory; empty when unknown.
    :param exists: whether a path exists.
    :returns: the first place that exists or ``None``, and all places up to it.
    """
    searched = []
    for place in PLACES:
        if place.startswith("~") and not home:
            continue
        path = home.rstrip("/") + place[1:] if place.startswith("~") else place
        searched.append(path)
        if exists(path):
            return path, searched
    return None, searched


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def load_client_config(
    path: str | None,
    *,
    home: str,
    cwd: str,
    env: Mapping[str, str],
    read: Callable[[str], bytes] = _read,
    listdir: Callable[[str], Iterable[str]] = os.listdir,
    searched: Iterable[str] = (),
) -> ClientConfig:
    """Read a client's configuration and what belongs to it.

    After the file come ``plugin.d`` beside it, unless it lies in the home
    directory, and ``choria.conf`` in each directory from ``/`` to ``cwd``.

    :param path: the file; ``None`` when :func:`find_config` found none.
    :param read: returns a file's content, or raises :exc:`OSError`.
    :param listdir: returns a directory's names, or raises :exc:`OSError`.
    :param searched: the places that were searched, for the message.
    :raises ConfigError: when the file cannot be read, or for a broker's address
        that cannot be used.
    """
    places = ", ".join(searched) or ", ".join(find_config(home, lambda _: False)[1])
    if path is None:
        wanted = f"a configuration file in one of these places: {places}"
        raise ConfigError([Problem("", "no configuration file", wanted)])
    reader = _Reader(home, read)
    try:
        reader.main(path)
    except (OSError, ValueError) as error:
        found = f"an unreadable file ({getattr(error, 'strerror', None) or error})"
        wanted = f"a readable file there, or one in these places: {places}"
        raise ConfigError([Problem("", found, wanted, path)]) from None
    folder = os.path.dirname(os.path.abspath(os.path.join(cwd, path)))
    if not _below(os.path.join(folder, os.path.basename(path)), home):
        reader.plugins(os.path.join(folder, "plugin.d"), listdir)
    reader.projects(cwd)
    return _Settings(reader, env, home).config(path)


def _below(path: str, home: str) -> bool:
    folder = home.rstrip("/")
    # A home of "/", as services have, would take every file in.
    return bool(folder) and path.startswith(folder + "/")


@attrs.frozen
class _Line:
    """One setting: where it stands and its text."""

    value: str
    path: str
    number: int


class _Reader:
    """Reads files into settings; ``known`` are those that set something, ``raw`` all."""

    def __init__(self, home: str, read: Callable[[str], bytes]) -> None:
        self._home = home
        self._read = read
        self.known: dict[str, list[_Line]] = {}
        self.raw: dict[str, str] = {}
        self.warnings: list[str] = []
        self.files: list[str] = []

    def main(self, path: str) -> None:
        """Read the file itself; :raises OSError: when that fails."""
        self._lines(path, "", True)

    def plugins(self, folder: str, listdir: Callable[[str], Iterable[str]]) -> None:
        """Read the ``.cfg`` files of ``plugin.d``."""
        try:
            names = sorted(listdir(folder))
        except (OSError, ValueError):
            return
        for name in names:
            path = os.path.join(folder, name)
            stem, extension = os.path.splitext(name)
            if extension == ".conf":
                self._warn(path, None, "is not read; in plugin.d only .cfg files are")
            elif extension == ".cfg":
                known = stem == "choria"
                if self._optional(path, f"plugin.{stem}.", known) and not known:
                    self._warn(path, None, "sets no known option; only plugin.d/choria.cfg does")

    def projects(self, cwd: str) -> None:
        """Read ``choria.conf`` from the root down to ``cwd``."""
        folders = [os.path.abspath(cwd)]
        while folders[-1] != os.path.dirname(folders[-1]):
            folders.append(os.path.dirname(folders[-1]))
        for folder in reversed(folders):
            self._optional(os.path.join(folder, "choria.conf"), "", True)

    def _optional(self, path: str, prefix: str, known: bool) -> bool:
        try:
            return self._lines(path, prefix, known)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._warn(path, None, f"cannot be read ({reason})")
            return False

    def _lines(self, path: str, prefix: str, known: bool) -> bool:
        """Read a file and say whether it has a setting that Choria knows."""
        data = self._read(path)
        self.files.append(path)
        found = False
        for number, raw_line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if len(raw_line) > MAX_LINE:
                self._warn(path, number, "is longer than 64 KiB; the rest of the file is not read")
                break
            line = raw_line.decode("utf-8", "replace").strip()
            if not line or line.startswith("#"):
                continue
            # A key has at least one character, which may be "=".
            split = line.find("=", 1)
            key, value = line[:split].strip(), line[split + 1 :].strip()
            if split < 0 or not key:
                self._warn(path, number, "has no effect: it is not of the form key = value")
                continue
            if not value:
                self._warn(path, number, f"has no effect: {key[:60]} has no value")
                continue
            if " #" in value or "\t#" in value:
                self._warn(path, number, "has no comment: what follows # belongs to the value")
            if "\ufffd" in line:
                self._warn(path, number, "is not UTF-8; what is not was replaced")
            key = prefix + key
            self.raw[key] = value
            found = found or key in _KNOWN
            if known:
                self.known.setdefault(key, []).append(_Line(value, path, number))
        return found

    def _warn(self, path: str, number: int | None, text: str) -> None:
        place = path if number is None else f"{path}:{number}"
        self.warnings.append(f"{place}: {text}")


_KNOWN: Final = frozenset(
    (
        "identity",
        "collectives",
        "main_collective",
        "plugin.choria.middleware_hosts",
        "plugin.choria.use_srv",
        "plugin.nats.user",
        "plugin.nats.pass",
        "plugin.nats.credentials",
        "ttl",
        "discovery_timeout",
        "plugin.choria.network.connect_timeout",
        "libdir",
        "color",
        "logfile",
        "loglevel",
        "plugin.security.provider",
    )
)
"""Options that :class:`ClientConfig` has, and one that decides about them."""


class _Settings:
    """Makes typed values of lines."""

    def __init__(self, reader: _Reader, env: Mapping[str, str], home: str) -> None:
        self._reader = reader
        self._env = env
        self._home = home
        self._warnings = list(reader.warnings)

    def config(self, path: str) -> ClientConfig:
        provider = self._text("plugin.security.provider") or "puppet"
        default = "choria" if provider == "choria" else "mcollective"
        collectives = self._names("collectives") or (default,)
        hosts = self._brokers()
        return ClientConfig(
            path=path,
            identity=self._text("identity"),
            collectives=collectives,
            main_collective=self._text("main_collective") or collectives[0],
            middleware_hosts=hosts,
            use_srv=self._flag("plugin.choria.use_srv"),
            user=self._text("plugin.nats.user", "MCOLLECTIVE_NATS_USERNAME"),
            password=self._text("plugin.nats.pass", "MCOLLECTIVE_NATS_PASSWORD"),
            credentials=self._plain_path("plugin.nats.credentials", "MCOLLECTIVE_NATS_CREDENTIALS"),
            ttl=self._whole("ttl", 60),
            discovery_timeout=float(self._whole("discovery_timeout", 2)),
            connect_timeout=self._duration("plugin.choria.network.connect_timeout", 2.0),
            libdirs=self._libdirs(),
            color=self._flag("color"),
            logfile=self._home_path("logfile", "stdout"),
            loglevel=self._level(),
            raw=MappingProxyType(dict(self._reader.raw)),
            warnings=tuple(self._warnings),
            files=tuple(self._reader.files),
        )

    def _warn(self, line: _Line, text: str) -> None:
        self._warnings.append(f"{line.path}:{line.number}: {text}")

    def _last(self, key: str) -> _Line | None:
        lines = self._reader.known.get(key)
        return lines[-1] if lines else None

    def _text(self, key: str, variable: str | None = None) -> str | None:
        line = self._last(key)
        if variable is not None and self._env.get(variable):
            # As in Choria the variable counts only where the option is written.
            if line is not None:
                return self._env[variable]
            self._warnings.append(f"{variable} has no effect: {key} is not in any file")
        return line.value if line is not None else None

    def _flag(self, key: str) -> bool:
        line = self._last(key)
        if line is None:
            return True
        word = line.value.lower()
        if word not in _TRUE and word not in _FALSE:
            self._warn(line, f"{key}: found {line.value[:60]!r}, wanted yes or no; it means no")
        return word in _TRUE

    def _whole(self, key: str, default: int) -> int:
        def convert(text: str) -> int:
            if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
                raise ValueError("no whole number")
            return int(text)

        return self._converted(key, default, convert, "a whole number of seconds")

    def _duration(self, key: str, default: float) -> float:
        return self._converted(key, default, parse_duration, "a duration such as 10 or 1m30s")

    def _converted(self, key: str, default: _N, convert: Callable[[str], _N], wanted: str) -> _N:
        value = default
        for line in self._reader.known.get(key, ()):
            try:
                value = convert(line.value)
            except ValueError:
                text = f"{key}: found {line.value[:60]!r}, wanted {wanted}; {value:g} stays"
                self._warn(line, text)
                continue
            if value <= 0:
                self._warn(line, f"{key}: found {line.value[:60]!r}, wanted more than nothing")
        return value

    def _names(self, key: str) -> tuple[str, ...]:
        line = self._last(key)
        if line is None:
            return ()
        items = [item.strip() for item in line.value.split(",")]
        if "" in items:
            self._warn(line, f"{key}: an empty name in the list is left out")
        return tuple(item for item in items if item)

    def _brokers(self) -> tuple[str, ...]:
        key = "plugin.choria.middleware_hosts"
        line = self._last(key)
        if line is None:
            return ()
        problems = Collector(line.path)
        hosts = self._names(key)
        for at, host in enumerate(hosts):
            wrong = check_broker(host)
            if wrong is not None:
                problems.add(f"{key}[{at}]", *wrong, at=Node(line=line.number))
        problems.check()
        return hosts

    def _home_path(self, key: str, default: str) -> str:
        line = self._last(key)
        if line is None:
            return default
        if not line.value.startswith("~"):
            return line.value
        if not line.value.startswith("~/") and line.value != "~":
            self._warn(line, f"{key}: ~ is your own home directory, also before a name")
        return self._home + line.value[1:]

    def _plain_path(self, key: str, variable: str) -> str | None:
        value = self._text(key, variable)
        line = self._last(key)
        if value is not None and line is not None and value.startswith("~"):
            self._warn(line, f"{key}: ~ is not expanded in this option")
        return value

    def _libdirs(self) -> tuple[str, ...]:
        folders = []
        for line in self._reader.known.get("libdir", ()):
            parts = [part.strip() for part in line.value.split(":")]
            folders += [part for part in parts if part]
            if any(part.startswith("~") for part in parts):
                self._warn(line, "libdir: ~ is not expanded in this option")
            if "" in parts:
                self._warn(line, "libdir: an empty name in the list is left out")
        return tuple(folders)

    def _level(self) -> str:
        line = self._last("loglevel")
        if line is None:
            return "info"
        if line.value not in _LEVELS:
            levels = "debug, info, warn, error or fatal"
            text = f"loglevel: found {line.value[:60]!r}, wanted {levels}; it means warn"
            self._warn(line, text)
        return line.value


_NANOSECONDS: Final[Mapping[str, int]] = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_HOURS: Final[Mapping[str, int]] = {
    "d": 24,
    "D": 24,
    "w": 7 * 24,
    "W": 7 * 24,
    "M": 30 * 24,
    "y": 365 * 24,
    "Y": 365 * 24,
}
_DECIMAL: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_LARGEST: Final = 2**63


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in a configuration file.

    Digits are seconds. Go's ``1h30m``, ``1.5s``, ``100ms`` are known, and
    ``d``, ``w``, ``M`` (30 days), ``y`` alone, which are cut to whole hours.
    What exceeds 64 bits of nanoseconds wraps around, as in Choria.

    :raises ValueError: for anything else.
    """
    if re.fullmatch("[0-9]+", text):
        if len(text) > 19 or int(text) >= _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        return _wrapped(int(text) * 10**9)
    stripped = text.strip()
    if not stripped:
        return 0.0
    if stripped[-1] in _HOURS:
        if not _DECIMAL.fullmatch(stripped[:-1]):
            raise ValueError(f"duration {text[:60]!r} is no number before its unit")
        hours = float(stripped[:-1]) * _HOURS[stripped[-1]]
        if not abs(hours) < _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        return _wrapped(int(hours) * _NANOSECONDS["h"])
    if stripped[-1] not in "smh":
        raise ValueError(f"duration {text[:60]!r} has an unknown unit")
    return _go_duration(stripped, text)


def _wrapped(nanoseconds: int) -> float:
    return ((nanoseconds + _LARGEST) % (2 * _LARGEST) - _LARGEST) / 1e9


def _go_duration(stripped: str, text: str) -> float:
    sign = -1 if stripped[0] == "-" else 1
    rest = stripped[1:] if stripped[0] in "+-" else stripped
    total = at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]) or part[3] not in _NANOSECONDS:
            raise ValueError(f"duration {text[:60]!r} is not of the form 1h30m5s")
        unit = _NANOSECONDS[part[3]]
        # No more digits than a nanosecond can show, and none that cost time.
        fraction = (part[2] or "")[:18]
        whole = int(part[1][-40:] or "0")
        total += whole * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        if len(part[1].lstrip("0")) > 19 or total >= _LARGEST:
            raise ValueError(f"duration {text[:60]!r} is too long")
        at = part.end()
    return sign * total / 1e9
