"""Whom a node believes and what it lets them do: made of the configuration's files.

Everything here is read before the node starts, so that mistakes are found then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs
from twisted.logger import Logger

from backplane.choria import v1
from backplane.choria.facts import parse_fact
from backplane.choria.masking import mask
from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, Problem
from backplane.security.audit import AuditLog
from backplane.security.policy import Policy, parse_groups, parse_policy
from backplane.security.signing import InsecureSigner, InsecureVerifier, Verifier

__all__ = ["Trust", "load_trust", "make_audit"]

AGENT: Final = "backplane"
"""Whose actions the configured policy is about."""


@attrs.frozen(kw_only=True)
class Trust:
    """Whom a node believes, and as whom it speaks; by default, everybody and as nobody.

    :ivar certname: name in its certificate; ``None`` without one.
    :ivar policies: action policies beside the lists of roles, by agent.
    """

    verifier: Verifier = attrs.field(factory=InsecureVerifier)
    signer: v1.Signer = attrs.field(factory=InsecureSigner)
    certname: str | None = None
    policies: Mapping[str, Policy] = MappingProxyType({})

    def warn(self, log: Logger) -> None:
        """Log what is lawful and hardly meant."""
        for policy in self.policies.values():
            for problem in policy.warnings:
                log.warn("{problem}", problem=str(problem))


def load_trust(config: ServiceConfig) -> Trust:
    """Read the files that a configuration names.

    :raises ConfigError: with the mistakes in them.
    """
    policy = _policy(config)
    return Trust(policies={} if policy is None else {AGENT: policy})


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
