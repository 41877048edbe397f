"""Whom a node believes and what it lets them do: made of the configuration's files.

Everything here is read before the node starts, so that mistakes are found then, and
again when the files change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from io import TextIOWrapper
from types import MappingProxyType
from typing import Final

import attrs

from backplane.choria import v1
from backplane.choria.facts import parse_fact
from backplane.choria.masking import mask
from backplane.config.settings import ServiceConfig, TLSConfig
from backplane.errors import ConfigError, Problem
from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.audit import AuditLog
from backplane.security.certificates import describe, names_of
from backplane.security.keys import Keys, find_puppet_files, load_keys
from backplane.security.policy import Policy, parse_groups, parse_policy
from backplane.security.providers import TLSFiles
from backplane.security.regular import open_regular
from backplane.security.signing import (
    InsecureSigner,
    InsecureVerifier,
    SecureSigner,
    SecureVerifier,
    Verifier,
)
from backplane.security.watch import Watched

__all__ = ["Trust", "load_policies", "load_trust", "make_audit", "watch_policies", "watch_trust"]

TLS: Final = "management.tls"

SETTINGS: Final = TLSFiles(ca=f"{TLS}.ca", cert=f"{TLS}.cert", key=f"{TLS}.key")

INSECURE: Final = (
    "the insecure mode: there is no tls section, so nobody has verified the names of callers"
)

AGENT: Final = "backplane"
"""Whose actions the configured policy is about."""


@attrs.frozen(kw_only=True)
class Trust:
    """Whom a node believes, and as whom it speaks; by default, everybody and as nobody.

    :ivar certname: name in its certificate; ``None`` without one.
    :ivar keys: what was read from files; ``None`` in the insecure mode.
    :ivar warnings: what is lawful and hardly meant.
    """

    verifier: Verifier = attrs.field(factory=InsecureVerifier)
    signer: v1.Signer = attrs.field(factory=InsecureSigner)
    certname: str | None = None
    keys: Keys | None = None
    warnings: tuple[str, ...] = ()

    def security(self, server: Server) -> Security | None:
        """Return the security of a connection to a broker; ``None`` for none."""
        return None if self.keys is None else self.keys.tls(server.tls_name or server.host)


def load_trust(config: ServiceConfig, warn: Callable[[str], None]) -> Trust:
    """Read the certificates and keys that a configuration names.

    :param warn: told of what is found out about brokers later.
    :raises ConfigError: with the mistakes in them.
    """
    if config.tls is None:
        return Trust(warnings=(INSECURE,))
    tls = config.tls
    certname = tls.identity or config.identity
    keys = load_keys(
        _files(tls, certname),
        SETTINGS,
        crl=tls.crl,
        crl_setting=f"{TLS}.crl",
        legacy=tls.support_legacy_certificates or tls.scheme == "puppet",
        warn=warn,
    )
    allow = AllowList(DEFAULT_ALLOWED if tls.allow is None else tls.allow, setting=f"{TLS}.allow")
    privileged = AllowList(
        DEFAULT_PRIVILEGED if tls.privileged is None else tls.privileged,
        setting=f"{TLS}.privileged",
    )
    return Trust(
        verifier=SecureVerifier(keys.authorities, allow, privileged, delegation=tls.delegation),
        signer=SecureSigner(keys.pair),
        certname=certname,
        keys=keys,
        warnings=(*allow.warnings, *privileged.warnings, *keys.warnings),
    )


def watch_trust(
    config: ServiceConfig,
    warn: Callable[[str], None],
    report: Callable[[str], None],
    now: Callable[[], float] = time.time,
) -> Watched[Trust]:
    """Read them, and say when they have changed; see :func:`load_trust`.

    :param report: told why changed files are not used.
    :param now: wall-clock time.
    """
    paths: list[str] = []
    if config.tls is not None:
        files = _files(config.tls, config.tls.identity or config.identity)
        paths = [files.ca, files.cert, files.key]
        if config.tls.crl is not None:
            paths.append(config.tls.crl)
    used: Trust | None = None

    def load() -> Trust:
        nonlocal used
        found = load_trust(config, warn)
        if used is not None:
            _check_renewed(used, found, now())
        used = found
        return found

    return Watched(paths, load, report)


def _check_renewed(old: Trust, new: Trust, now: float) -> None:
    """Refuse a certificate that would do less than the one in use.

    :raises ConfigError: for one of another name, or one whose time is not now.
    """
    if old.keys is None or new.keys is None:
        return
    before, after = old.keys.pair.chain[0], new.keys.pair.chain[0]
    if old.certname in names_of(before) and new.certname not in names_of(after):
        found = f"certificate {describe(after)}"
        raise ConfigError([Problem(SETTINGS.cert, found, f"one of {new.certname}")])
    at = datetime.fromtimestamp(now, timezone.utc)
    for wrong, found in (
        (after.not_valid_after_utc <= at, "an expired one"),
        (after.not_valid_before_utc > at, "one that is not valid yet"),
    ):
        if wrong and before.not_valid_before_utc <= at < before.not_valid_after_utc:
            raise ConfigError([Problem(SETTINGS.cert, found, "a certificate that is valid now")])


def _files(tls: TLSConfig, certname: str) -> TLSFiles:
    if tls.scheme == "puppet":
        _, found = find_puppet_files(tls.ssl_dir, certname)
        return TLSFiles(
            ca=tls.ca or found.ca, cert=tls.cert or found.cert, key=tls.key or found.key
        )
    given = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    missing = [name for name, path in given.items() if path is None]
    if missing:
        raise ConfigError([Problem(f"{TLS}.{name}", "nothing", "a path") for name in missing])
    return TLSFiles(**{name: path for name, path in given.items() if path is not None})


def make_audit(config: ServiceConfig, report: Callable[[str], None]) -> AuditLog | None:
    """Return the audit log, not yet open; ``None`` where none is configured."""
    if config.audit is None:
        return None
    return AuditLog(config.audit.logfile, config.audit.required, mask=mask, report=report)


def load_policies(config: ServiceConfig) -> Mapping[str, Policy]:
    """Read the action policies that a configuration names; they are by agent.

    :raises ConfigError: with the mistakes in them.
    """
    auth = config.auth
    if auth.policy is None:
        if auth.groups is not None:
            wanted = "no groups without a policy that names them"
            raise ConfigError([Problem("management.auth.groups", repr(auth.groups), wanted)])
        return MappingProxyType({})
    groups = {} if auth.groups is None else parse_groups(_read(auth.groups), path=auth.groups)
    policy = parse_policy(
        _read(auth.policy), path=auth.policy, groups=groups, check_fact=_check_fact
    )
    return MappingProxyType({AGENT: policy})


def watch_policies(
    config: ServiceConfig, report: Callable[[str], None]
) -> Watched[Mapping[str, Policy]]:
    """Read them, and say when they have changed; see :func:`load_policies`.

    :param report: told why changed files are not used.
    """
    paths = [path for path in (config.auth.policy, config.auth.groups) if path is not None]
    return Watched(paths, lambda: load_policies(config), report)


def _check_fact(text: str) -> str | None:
    try:
        parse_fact(text)
    except ValueError:
        return "a fact such as dc=DC1"
    return None


def _read(path: str) -> str:
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Problem("", f"{path!r}, {why}", "a file that can be read")]) from None
