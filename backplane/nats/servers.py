"""Servers: how people write them, and the pool that is tried in turn."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal
from urllib.parse import unquote

import attrs

__all__ = ["DEFAULT_PORT", "Server", "ServerPool", "parse_server", "parse_servers"]

DEFAULT_PORT: Final = 4222

MAX_DISCOVERED: Final = 256
"""Servers that gossip may add; a larger cluster is not needed to find one that works."""


@attrs.frozen
class Server:
    """One server.

    :ivar host: name or address, without brackets.
    :ivar tls_name: name that its certificate must carry, when not ``host``.
    :ivar discovered: learned from another server.
    """

    host: str
    port: int = DEFAULT_PORT
    scheme: Literal["nats", "tls"] = "nats"
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    tls_name: str | None = None
    discovered: bool = False

    @property
    def address(self) -> str:
        """``host:port``, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without credentials."""
        return f"{self.scheme}://{self.address}"


def parse_server(text: str) -> Server:
    """Read ``host``, ``host:port`` or ``nats://`` and ``tls://`` URLs.

    Blanks around and a trailing ``/`` are tolerated; IPv6 stands in brackets; user
    information is percent-decoded. Only an absent port is the default port.

    :raises ValueError: naming the entry, without its credentials.
    """
    rest = text.strip()
    scheme: Literal["nats", "tls"] = "nats"
    if "://" in rest:
        word, _, rest = rest.partition("://")
        if word.lower() not in ("nats", "tls"):
            raise ValueError(f"broker {_shown(text)!r}: the scheme must be nats:// or tls://")
        scheme = "tls" if word.lower() == "tls" else "nats"
    rest = rest.rstrip("/")
    userinfo, at, place = rest.rpartition("@")
    user = password = token = None
    if at:
        name, colon, secret = userinfo.partition(":")
        if colon:
            user, password = unquote(name), unquote(secret)
        else:
            token = unquote(name) or None
    if place.startswith("["):
        host, bracket, tail = place[1:].partition("]")
        if not bracket or ":" not in host or (tail and not tail.startswith(":")):
            raise ValueError(f"broker {_shown(text)!r}: an IPv6 address is written [::1]:4222")
        port_text = tail[1:] if tail else None
    elif place.count(":") > 1:
        raise ValueError(f"broker {_shown(text)!r}: an IPv6 address is written [::1]:4222")
    else:
        host, colon, digits = place.partition(":")
        port_text = digits if colon else None
    if not host or not all(char.isalnum() or char in "-._:%" for char in host):
        raise ValueError(f"broker {_shown(text)!r}: {host!r} is not a host name or address")
    port = DEFAULT_PORT
    if port_text is not None:
        if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5):
            raise ValueError(f"broker {_shown(text)!r}: {port_text!r} is not a port")
        port = int(port_text)
        if not 1 <= port <= 65535:
            raise ValueError(f"broker {_shown(text)!r}: port {port} is not within 1 to 65535")
    return Server(host, port, scheme, user, password, token)


def parse_servers(servers: str | Sequence[str]) -> list[Server]:
    """Read a comma-separated text or a sequence of servers.

    :raises TypeError: for what is neither.
    :raises ValueError: as :func:`parse_server`, or when there is none.
    """
    if isinstance(servers, str):
        entries: Sequence[str] = servers.split(",")
    elif isinstance(servers, bytes) or not isinstance(servers, Iterable):
        raise TypeError(f"servers are text or a list of texts, not {type(servers).__name__}")
    else:
        entries = list(servers)
    for entry in entries:
        if not isinstance(entry, str):
            raise TypeError(f"a server is text such as nats1:4222, not {type(entry).__name__}")
    parsed = [parse_server(entry) for entry in entries]
    if not parsed:
        raise ValueError("at least one server is needed")
    return parsed


def _shown(text: str) -> str:
    # A password may have "://" and "@", so only what follows the last "@" is safe.
    return text.strip().rpartition("@")[2][:100]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tls_name(host: str, current: Server) -> str | None:
    # Certificates rarely have the bare addresses that gossip tells, so the name of the
    # server that told it is wanted; a host name stands for itself.
    if not _is_address(host):
        return None if current.discovered else current.tls_name
    if current.tls_name is not None or _is_address(current.host):
        return current.tls_name
    return current.host


class ServerPool:
    """Servers in the order in which they are tried, round and round.

    :param rng: shuffles; no shuffling when ``None``.
    """

    def __init__(self, servers: Iterable[Server], rng: random.Random | None) -> None:
        self._rng = rng
        self._configured = list(servers)
        if rng is not None:
            rng.shuffle(self._configured)
        self._servers = list(self._configured)
        self._failures: Counter[tuple[str, int]] = Counter()
        self._next = 0

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def servers(self) -> Sequence[Server]:
        """All servers, in order."""
        return tuple(self._servers)

    def take(self) -> Server:
        """Return the next server to try."""
        server = self._servers[self._next % len(self._servers)]
        self._next = (self._next + 1) % len(self._servers)
        return server

    def works(self, server: Server) -> None:
        """Forget its failures; the one after it is the next to try."""
        self._failures.pop((server.host, server.port), None)
        self._pass(server)

    def failed(self, server: Server, limit: int) -> bool:
        """Count a failed try; return whether it was the last one allowed, and the server is gone.

        :param limit: failed tries in a row after which a server is dropped; never when negative.
        """
        if limit < 0:
            return False
        key = (server.host, server.port)
        self._failures[key] += 1
        if self._failures[key] < limit or server not in self._servers:
            return False
        place = self._servers.index(server)
        del self._servers[place]
        del self._failures[key]
        if self._next > place:
            self._next -= 1
        return True

    def _pass(self, server: Server) -> None:
        if server in self._servers:
            self._next = self._servers.index(server) + 1
        self._next %= len(self._servers)

    def restore(self) -> None:
        """Begin anew: failures are forgotten, and what was configured is there again."""
        self._failures.clear()
        there = {(server.host, server.port) for server in self._servers}
        self._servers += [
            server for server in self._configured if (server.host, server.port) not in there
        ]

    def learn(self, urls: Iterable[Any], current: Server) -> list[Server]:
        """Take ``connect_urls`` of an INFO.

        Unknown ones are appended with the scheme and credentials of ``current``;
        discovered ones that are no longer listed are dropped, except ``current``;
        configured ones stay. An empty list is no news.

        :returns: the new ones.
        """
        listed: dict[tuple[str, int], Server] = {}
        for url in urls:
            try:
                server = parse_server(str(url))
            except ValueError:
                continue
            listed[server.host, server.port] = attrs.evolve(
                server,
                scheme=current.scheme,
                user=current.user,
                password=current.password,
                token=current.token,
                tls_name=_tls_name(server.host, current),
                discovered=True,
            )
        if not listed:
            return []
        kept = [
            server
            for server in self._servers
            if not server.discovered
            or (server.host, server.port) in listed
            or (server.host, server.port) == (current.host, current.port)
        ]
        known = {(server.host, server.port) for server in kept}
        new = [server for key, server in listed.items() if key not in known]
        if self._rng is not None:
            self._rng.shuffle(new)
        new = new[: max(0, MAX_DISCOVERED - len(kept))]
        self._servers = kept + new
        self._pass(current)
        return new
