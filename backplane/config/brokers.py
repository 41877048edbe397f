"""Addresses of brokers, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["brokers_shown", "check_broker"]


def brokers_shown(brokers: Iterable[str]) -> str:
    """Return brokers for a ``repr``: without user names, passwords and tokens."""
    return repr(tuple(broker.rpartition("@")[2] for broker in brokers))


def check_broker(text: str) -> tuple[str, str] | None:
    """Say what is wrong with a broker's address: what was found and what is wanted.

    Good are ``host``, ``host:port``, ``nats://`` and ``tls://`` with either, and
    user information before ``@``, which is never shown. IPv6 stands in brackets.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    place = rest.rstrip("/").rpartition("@")[2]
    # What stands before "://" may be a part of a password.
    shown = repr((scheme + separator if scheme.isalpha() else "") + place[:100])
    if separator and scheme.lower() not in ("nats", "tls"):
        return shown, "an address with nats://, tls:// or neither"
    match = _PLACE.fullmatch(place)
    if match is None or not (match["host"] or ":" in match["ipv6"]):
        wanted = "host, host:port or [IPv6]:port"
        return shown, wanted + (" with a port of 1 to 65535" if ":" in place else "")
    port = match["port"]
    digits = port is None or (port.isascii() and port.isdigit() and len(port) <= 5)
    if not digits or (port is not None and not 1 <= int(port) <= 65535):
        return f"{shown} with the port {port!r}", "a port of 1 to 65535"
    return None


_PLACE: Final = re.compile(r"(?:(?P<host>[\w.\-]+)|\[(?P<ipv6>[\w.:%\-]+)\])(?::(?P<port>[^:]*))?")
