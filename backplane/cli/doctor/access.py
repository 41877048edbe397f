"""Who may do what: roles, allow list, delegation, policy, and the insecure mode.

Pure but for reading the policy's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from backplane.cli.doctor.findings import Finding, failed, ok, problems, skipped, warning
from backplane.cli.doctor.party import Party
from backplane.client.accounting import ExitCode
from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, DecodeError
from backplane.node.authorization import Authorization
from backplane.node.trust import load_policies
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.names import certname_of
from backplane.security.policy import Policy
from backplane.security.roles import Role, Roles

__all__ = ["check_access"]

_NAME: Final = re.compile(r"[A-Za-z0-9_\-.]+")
"""An entry of a role that is a name, not a pattern."""

_WHO: Final = {
    Role.FULL: "full: may do everything",
    Role.READ_ONLY: "read_only: may look",
    Role.POLICY: "policy: what the policy's lines allow",
    None: "none: may discover, and do nothing",
}


def check_access(party: Party, callers: Sequence[str]) -> Iterator[Finding]:
    """Look at who is believed and who may do what.

    :param callers: caller ids or names that are asked about.
    """
    yield _insecure(party)
    config = party.config
    if config is None:
        yield _taken(party)
        if callers:
            yield skipped("caller", "roles are a service's: give its file with -c")
        return
    if config.auth.insecure and config.secure:
        yield warning(
            "mode",
            "auth.insecure is on: everybody on the allow list may do everything",
            "management.auth.insecure: false, and names in full and read_only",
        )
    allow, found = _allowed(config)
    yield from found
    yield from _delegation(config)
    policy, found = _policy(config)
    yield from found
    yield from _roles(config, policy, allow, callers)


def _insecure(party: Party) -> Finding:
    check = "mode"
    if party.secure:
        strict = party.config is not None and party.config.strict
        also = "; strict" if strict else ""
        return ok(check, f"the secure mode: TLS, and requests that are signed{also}")
    if party.kind == "operator":
        return warning(
            check,
            "--insecure: requests are not signed, and services in secure mode drop them",
            "leave --insecure out",
        )
    return warning(
        check,
        "there is no tls section: nobody verifies the names of callers, and whoever reaches "
        "the broker is who he says",
        "management.tls with scheme, ca, cert and key",
    )


def _taken(party: Party) -> Finding:
    """Say whether services with the usual allow list take an operator's name."""
    allow = AllowList(DEFAULT_ALLOWED, setting="allow")
    privileged = AllowList(DEFAULT_PRIVILEGED, setting="privileged")
    name = party.certname
    if not party.secure:
        return skipped("allow", "the insecure mode has no allow lists")
    if privileged.matches(name):
        return warning(
            "allow",
            f"{name} is a privileged name: whoever holds its key speaks for everybody",
            "use a name of your own for daily work",
        )
    if allow.matches(name):
        return ok("allow", f"{name} is on the allow list that services have by default")
    return warning(
        "allow",
        f"{name} is not on the allow list that services have by default (names that end in "
        ".mcollective or .choria)",
        "use a certificate with such a name, or name it in management.tls.allow of the services",
    )


def _allowed(config: ServiceConfig) -> tuple[AllowList | None, list[Finding]]:
    tls, check = config.tls, "allow"
    if tls is None:
        return None, [skipped(check, "the insecure mode has no allow list")]
    items = DEFAULT_ALLOWED if tls.allow is None else tls.allow
    try:
        allow = AllowList(items, setting="management.tls.allow")
    except ConfigError as error:
        return None, problems(check, error, ExitCode.USAGE)
    found = [warning(check, text, "correct the item, or take it out") for text in allow.warnings]
    if not items:
        text = "the list is empty: nobody's requests are taken"
        found.append(warning(check, text, "name callers in it"))
    elif not found:
        default = " (Choria's default)" if tls.allow is None else ""
        listed = " or ".join(items)
        found.append(ok(check, f"requests are taken of names that match {listed}{default}"))
    return allow, found


def _delegation(config: ServiceConfig) -> Iterator[Finding]:
    tls, check = config.tls, "delegation"
    if tls is None:
        yield skipped(check, "the insecure mode has none: everybody can claim every name")
        return
    items = DEFAULT_PRIVILEGED if tls.privileged is None else tls.privileged
    if not tls.delegation or not items:
        yield ok(check, "it is off: a certificate speaks for its own names only")
        return
    try:
        privileged = AllowList(items, setting="management.tls.privileged")
    except ConfigError as error:
        yield from problems(check, error, ExitCode.USAGE)
        return
    for text in privileged.warnings:
        yield failed(check, text, "correct the item, or take it out")
    yield warning(
        check,
        f"it is on: certificates with names that match {' or '.join(items)} speak for everybody",
        "management.tls.delegation: false, unless a central signer makes the requests",
    )


def _policy(config: ServiceConfig) -> tuple[Policy | None, list[Finding]]:
    auth, check = config.auth, "policy"
    if auth.policy is None and auth.groups is None:
        return None, [skipped(check, "no policy is configured; roles alone decide")]
    try:
        policies = load_policies(config)
    except ConfigError as error:
        return None, problems(check, error, ExitCode.USAGE)
    policy = next(iter(policies.values()))
    found = []
    for each in policy.warnings:
        where = ":".join(str(part) for part in (each.path, each.line) if part)
        found.append(warning(check, f"{where}: {each.found}", f"wanted {each.wanted}"))
    rest = "allowed" if policy.default else "denied"
    found.append(ok(check, f"{auth.policy}: what no line and no role is about is {rest}"))
    return policy, found


def _roles(
    config: ServiceConfig, policy: Policy | None, allow: AllowList | None, callers: Sequence[str]
) -> Iterator[Finding]:
    auth, check = config.auth, "roles"
    try:
        roles = Roles.compile(insecure=auth.insecure, full=auth.full, read_only=auth.read_only)
    except ValueError as error:
        yield failed(check, str(error), "correct the entry", ExitCode.USAGE)
        return
    if not (auth.insecure or auth.full or auth.read_only or policy is not None):
        yield warning(
            check,
            "nobody may do anything: there is neither full nor read_only nor a policy",
            "management.auth.full: [NAME]",
        )
    else:
        full, looking = ", ".join(auth.full) or "nobody", ", ".join(auth.read_only) or "nobody"
        yield ok(
            check,
            "everybody may do everything"
            if auth.insecure
            else f"full: {full}; read_only: {looking}",
        )
    for key, entries in (("full", auth.full), ("read_only", auth.read_only)):
        for entry in entries:
            if allow is not None and _NAME.fullmatch(entry) and not allow.matches(entry):
                yield warning(
                    check,
                    f"{key}: {entry} is not on the allow list, so requests are dropped",
                    f"name him in management.tls.allow, or take him out of {key}",
                )
    policies = {} if policy is None else {"backplane": policy}
    authorization = Authorization(roles, lambda: policies, facts=dict, classes=tuple)
    for caller in callers:
        yield _caller(caller, authorization, allow)


def _caller(caller: str, authorization: Authorization, allow: AllowList | None) -> Finding:
    caller_id = caller if "=" in caller else f"choria={caller}"
    try:
        name = certname_of(caller_id)
    except DecodeError as error:
        return failed("caller", error.detail, "choria=NAME", ExitCode.USAGE)
    role = authorization.role_of(caller_id)
    told = f"{caller_id}: {_WHO[role]}"
    if allow is None or allow.matches(name):
        return ok("caller", told + ("; on the allow list" if allow is not None else ""))
    told = f"{caller_id}: not on the allow list, so requests are dropped ({_WHO[role]})"
    if role is None:
        return ok("caller", told)
    return warning("caller", told, "name him in management.tls.allow")
