"""What this machine is called, for identities that nobody configured, and the user's home."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import Final

from backplane.security.names import default_identity

__all__ = ["home_folder", "host_identity"]

FACTER_PATH: Final = os.pathsep.join(("/opt/puppetlabs/bin", "/usr/local/bin", "/usr/bin"))
"""Where Puppet's packages put it; looked at after ``PATH``."""

FACTER_TIMEOUT: Final = 5.0
"""Seconds that it may take; it asks much of the system."""


def host_identity() -> str:
    """Return the default identity, see :func:`backplane.security.names.default_identity`.

    Asks the operating system; where the host name has no domain the resolver, and then
    facter, if there is one.
    """
    host = socket.gethostname()
    try:
        return default_identity(host, [lambda: _full_name(host), _facter])
    except ValueError:
        return host


def home_folder() -> str:
    """Return the user's home directory, in each system's own way; empty when there is none.

    In containers users have neither a name nor ``HOME``, and ``~`` stays what it is.
    """
    home = os.path.expanduser("~")
    return "" if home.startswith("~") else home


def _full_name(host: str) -> str | None:
    try:
        name = socket.getfqdn(host)
    except OSError:
        return None
    return None if name.startswith("localhost") else name


def _facter() -> str | None:
    program = shutil.which("facter") or shutil.which("facter", path=FACTER_PATH)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "networking.fqdn"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FACTER_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
