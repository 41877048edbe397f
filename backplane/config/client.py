"""The configuration of Choria's clients: where it lies and how it is read.

The files and their grammar are Choria's (protocol 9.1 and 13), so that one file
serves both. A line that has no effect, or another than it seems to have, gives
a warning. A broker's address that cannot be used is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from backplane.config.brokers import brokers_shown
from backplane.config.cfgfile import SettingsReader
from backplane.config.cfgvalues import SettingValues
from backplane.config.document import read_file
from backplane.errors import ConfigError, Problem

__all__ = ["CONTEXT", "PLACES", "ClientConfig", "find_config", "load_client_config"]

CONTEXT: Final = "BACKPLANE_CONFIG"
"""The variable that names the file where ``--config`` does not; empty it counts for nothing."""

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


@attrs.frozen(kw_only=True)
class ClientConfig:
    """What a client needs to know.

    :ivar path: the file that was given, or ``None`` without one.
    :ivar identity: ``None`` when not configured.
    :ivar collectives: those that this client may address.
    :ivar main_collective: the first of them unless configured.
    :ivar middleware_hosts: brokers, as they were written.
    :ivar use_srv: look brokers up in DNS when there are none here.
    :ivar user: for the broker, with ``password``; or ``credentials``, a file with JWT and seed.
    :ivar handshake_first: brokers want TLS before they say anything. Our own option.
    :ivar ttl: seconds that a request is good for.
    :ivar discovery_timeout: seconds; ``connect_timeout`` likewise.
    :ivar libdirs: where agents' descriptions lie.
    :ivar loglevel: as written; unknown words mean ``warn``.
    :ivar roster: seconds after it was last seen during which an instance is expected by commands
        for a whole fleet; 0 for nobody. Our own option.
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
    handshake_first: bool = False
    ttl: int = 60
    discovery_timeout: float = 2.0
    connect_timeout: float = 2.0
    libdirs: tuple[str, ...] = ()
    color: bool = True
    logfile: str = "stdout"
    loglevel: str = "info"
    roster: float = 3600.0
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


def load_client_config(
    path: str | None,
    *,
    home: str,
    cwd: str,
    env: Mapping[str, str],
    read: Callable[[str], bytes] = read_file,
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
    reader = SettingsReader(read, _OPTIONS)
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
    return _config(path, reader, env, home)


def _below(path: str, home: str) -> bool:
    folder = home.rstrip("/")
    # A home of "/", as services have, would take every file in.
    return bool(folder) and path.startswith(folder + "/")


_OPTIONS: Final = frozenset(
    (
        "identity",
        "collectives",
        "main_collective",
        "plugin.choria.middleware_hosts",
        "plugin.choria.use_srv",
        "plugin.nats.user",
        "plugin.nats.pass",
        "plugin.nats.credentials",
        "plugin.backplane.handshake_first",
        "plugin.backplane.roster",
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
"""Options that :class:`ClientConfig` has, and one that decides about them; all but
``plugin.backplane`` are Choria's."""


def _config(path: str, reader: SettingsReader, env: Mapping[str, str], home: str) -> ClientConfig:
    values = SettingValues(reader, env, home)
    provider = values.text("plugin.security.provider") or "puppet"
    default = "choria" if provider == "choria" else "mcollective"
    collectives = values.names("collectives") or (default,)
    off = (values.text("plugin.backplane.roster") or "").lower() in ("0", "no", "off", "false")
    return ClientConfig(
        path=path,
        identity=values.text("identity"),
        collectives=collectives,
        main_collective=values.text("main_collective") or collectives[0],
        middleware_hosts=values.brokers("plugin.choria.middleware_hosts"),
        use_srv=values.flag("plugin.choria.use_srv"),
        user=values.text("plugin.nats.user", "MCOLLECTIVE_NATS_USERNAME"),
        password=values.text("plugin.nats.pass", "MCOLLECTIVE_NATS_PASSWORD"),
        credentials=values.plain_path("plugin.nats.credentials", "MCOLLECTIVE_NATS_CREDENTIALS"),
        handshake_first=values.flag("plugin.backplane.handshake_first", default=False),
        ttl=values.whole("ttl", 60),
        discovery_timeout=float(values.whole("discovery_timeout", 2)),
        connect_timeout=values.duration("plugin.choria.network.connect_timeout", 2.0),
        libdirs=values.folders("libdir"),
        color=values.flag("color"),
        logfile=values.home_path("logfile", "stdout"),
        loglevel=values.level("loglevel"),
        roster=0.0 if off else values.duration("plugin.backplane.roster", 3600.0),
        raw=MappingProxyType(dict(reader.raw)),
        warnings=(*reader.warnings, *values.warnings),
        files=tuple(reader.files),
    )
