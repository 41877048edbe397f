"""Who is examined: a service or an operator, as its files describe it. Pure."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from backplane.cli.doctor.findings import Finding, warning
from backplane.config.settings import ServiceConfig
from backplane.nats.credentials import Credentials
from backplane.security.providers import TLSFiles

__all__ = ["CHECK", "Party", "counted", "exposed"]

CHECK = "configuration"
"""Name of the checks of configuration files."""


@attrs.frozen(kw_only=True)
class Party:
    """What the checks must know.

    :ivar title: for people.
    :ivar certname: name that its certificate must carry.
    :ivar caller_id: as whom it signs.
    :ivar secure: whether TLS and signatures are configured.
    :ivar files: ``None`` in the insecure mode, and when they are not all known.
    :ivar settings: keys of the configuration that name them.
    :ivar legacy: brokers without alternative names are taken.
    :ivar login: how it logs in to brokers, where that needs files.
    :ivar login_files: those, by setting.
    :ivar further: other files that are read, or, where true, written: by setting.
    :ivar sources: the configuration's own files.
    :ivar partial: keys with mistakes were left out.
    :ivar config: of a service.
    """

    kind: Literal["service", "operator"]
    title: str
    identity: str
    certname: str
    caller_id: str
    brokers: tuple[str, ...] = attrs.field(repr=False)
    secure: bool
    files: TLSFiles | None = None
    settings: TLSFiles
    crl: str | None = None
    legacy: bool = False
    tls_first: bool = False
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    login: Credentials | None = attrs.field(default=None, repr=False)
    login_files: Mapping[str, str] = attrs.field(factory=dict)
    further: Mapping[str, tuple[str, bool]] = attrs.field(factory=dict)
    sources: tuple[str, ...] = ()
    partial: bool = False
    config: ServiceConfig | None = None


def counted(count: int, what: str, many: str | None = None) -> str:
    """Return ``1 broker``, ``2 brokers``."""
    return f"1 {what}" if count == 1 else f"{count} {many or what + 's'}"


def exposed(paths: Sequence[str], brokers: Sequence[str], *secrets: str | None) -> list[Finding]:
    """Warn of files with a password in them that others can read.

    :param secrets: those for the broker, where there are any.
    """
    if os.name == "nt" or not (any(secrets) or any("@" in each for each in brokers)):
        return []
    found = []
    for path in paths:
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue
        if mode & stat.S_IROTH:
            text = f"everybody can read {path}, which may hold the broker's password"
            found.append(warning(CHECK, f"{text} (mode {mode:04o})", f"chmod o-r {path}"))
    return found
