"""Whom a node believes and what it lets them do: made of the configuration's files.

Everything here is read before the node starts, so that mistakes are found then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from backplane.choria import v1
from backplane.choria.facts import parse_fact
from backplane.choria.masking import mask
from backplane.config.settings import ServiceConfig, TLSConfig
from backplane.errors import ConfigError, Problem
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.audit import AuditLog
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair, mode_warning
from backplane.security.policy import Policy, parse_groups, parse_policy
from backplane.security.providers import TLSFiles, puppet_files, puppet_ssl_dir
from backplane.security.signing import (
    InsecureSigner,
    InsecureVerifier,
    SecureSigner,
    SecureVerifier,
    Verifier,
)
from backplane.security.tls import BrokerTLS

__all__ = ["Trust", "load_trust", "make_audit"]

TLS: Final = "management.tls"

INSECURE: Final = (
    "the insecure mode: there is no tls section, so nobody has verified the names of callers"
)

AGENT: Final = "backplane"
"""Whose actions the configured policy is about."""


@attrs.frozen(kw_only=True)
class Trust:
    """Whom a node believes, and as whom it speaks; by default, everybody and as nobody.

    :ivar certname: name in its certificate; ``None`` without one.
    :ivar tls: makes the security of a connection to a host; ``None`` for none.
    :ivar policies: action policies beside the lists of roles, by agent.
    :ivar warnings: what is lawful and hardly meant.
    """

    verifier: Verifier = attrs.field(factory=InsecureVerifier)
    signer: v1.Signer = attrs.field(factory=InsecureSigner)
    certname: str | None = None
    tls: BrokerTLS | None = None
    policies: Mapping[str, Policy] = MappingProxyType({})
    warnings: tuple[str, ...] = ()


def load_trust(config: ServiceConfig, warn: Callable[[str], None]) -> Trust:
    """Read the files that a configuration names.

    :param warn: told of what is found out about brokers later.
    :raises ConfigError: with the mistakes in them.
    """
    policy = _policy(config)
    policies = {} if policy is None else {AGENT: policy}
    warnings = [str(problem) for each in policies.values() for problem in each.warnings]
    if config.tls is None:
        return Trust(policies=policies, warnings=(*warnings, INSECURE))
    tls = config.tls
    certname = tls.identity or config.identity
    files = _files(tls, certname)
    authorities = load_authorities(
        files.ca, tls.crl, ca_setting=f"{TLS}.ca", crl_setting=f"{TLS}.crl"
    )
    pair = load_key_pair(
        files.cert, files.key, certificate_setting=f"{TLS}.cert", key_setting=f"{TLS}.key"
    )
    allow = AllowList(DEFAULT_ALLOWED if tls.allow is None else tls.allow, setting=f"{TLS}.allow")
    privileged = AllowList(
        DEFAULT_PRIVILEGED if tls.privileged is None else tls.privileged,
        setting=f"{TLS}.privileged",
    )
    mode = mode_warning(files.key)
    return Trust(
        verifier=SecureVerifier(authorities, allow, privileged, delegation=tls.delegation),
        signer=SecureSigner(pair),
        certname=certname,
        tls=BrokerTLS(
            authorities.certificates,
            pair,
            legacy=tls.support_legacy_certificates or tls.scheme == "puppet",
            warn=warn,
        ),
        policies=policies,
        warnings=(*warnings, *allow.warnings, *privileged.warnings, *([mode] if mode else ())),
    )


def _files(tls: TLSConfig, certname: str) -> TLSFiles:
    if tls.scheme == "puppet":
        uid = os.geteuid() if hasattr(os, "geteuid") else None
        found = puppet_files(tls.ssl_dir or puppet_ssl_dir(uid, os.path.expanduser("~")), certname)
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


def _policy(config: ServiceConfig) -> Policy | None:
    auth = config.auth
    if auth.policy is None:
        if auth.groups is not None:
            wanted = "no groups without a policy that names them"
            raise ConfigError([Problem("management.auth.groups", repr(auth.groups), wanted)])
        return None
    groups = {} if auth.groups is None else parse_groups(_read(auth.groups), path=auth.groups)
    return parse_policy(_read(auth.policy), path=auth.policy, groups=groups, check_fact=_check_fact)


def _check_fact(text: str) -> str | None:
    try:
        parse_fact(text)
    except ValueError:
        return "a fact such as dc=DC1"
    return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Problem("", f"{path!r}, {why}", "a file that can be read")]) from None
