"""What this machine is called, for identities that nobody configured."""

from __future__ import annotations

import socket

from backplane.security.names import default_identity

__all__ = ["host_identity"]


def host_identity() -> str:
    """Return the default identity, see :func:`backplane.security.names.default_identity`.

    Asks the operating system, and where the host name has no domain the resolver.
    """
    host = socket.gethostname()
    try:
        return default_identity(host, [lambda: _full_name(host)])
    except ValueError:
        return host


def _full_name(host: str) -> str | None:
    try:
        name = socket.getfqdn(host)
    except OSError:
        return None
    return None if name.startswith("localhost") else name
