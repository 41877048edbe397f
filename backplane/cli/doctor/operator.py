"""Reading an operator's configuration, where Choria's clients have it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from backplane.cli.doctor.findings import Finding, failed, ok, problems, warning
from backplane.cli.doctor.party import CHECK, Party, counted, exposed
from backplane.client.accounting import ExitCode
from backplane.client.credentials import client_certname
from backplane.client.login import CREDENTIALS, make_login
from backplane.config.brokers import check_broker
from backplane.config.client import CONTEXT, ClientConfig, find_config, load_client_config
from backplane.errors import ConfigError, Problem
from backplane.host import home_folder
from backplane.security.keys import find_puppet_files
from backplane.security.names import caller_id_for, default_certname, valid_identity
from backplane.security.providers import TLSFiles

__all__ = ["read_operator"]

_FILE = "plugin.security.file."
_SETTINGS = TLSFiles(ca=f"{_FILE}ca", cert=f"{_FILE}certificate", key=f"{_FILE}key")


def read_operator(
    path: str | None,
    identity: str | None,
    environ: Mapping[str, str],
    hostname: str,
    insecure: bool,
) -> tuple[Party | None, list[Finding]]:
    """Read an operator's file, or the first that there is in the usual places.

    :param identity: instead of the configured one.
    :param hostname: the default identity.
    """
    config, found = _load(path, environ)
    if config is None:
        return None, found
    brokers, missing = _brokers(config, environ)
    provider = config.raw.get("plugin.security.provider", "puppet")
    if provider not in ("file", "puppet") and not insecure:
        wrong = Problem("plugin.security.provider", repr(provider), "file or puppet", config.path)
        missing += problems(CHECK, ConfigError([wrong]), ExitCode.CREDENTIALS)
    name = identity or config.identity or hostname
    if not valid_identity(name):
        missing.append(
            failed(CHECK, f"{name[:60]!r} is not an identity", "identity = NAME", ExitCode.USAGE)
        )
    try:
        certname = (
            default_certname(name, environ=environ, uid=_uid())
            if insecure
            else client_certname(config, name, environ)
        )
        caller_id = caller_id_for(certname)
    except ValueError as error:
        fix = "set MCOLLECTIVE_CERTNAME to the name in your certificate"
        missing.append(failed("certificate.name", str(error), fix, ExitCode.CREDENTIALS))
    try:
        make_login(config)
    except ConfigError as error:
        missing += problems(CHECK, error, ExitCode.USAGE)
    if missing:
        return None, [*found, *missing]
    found.insert(0, ok(CHECK, f"{_source(config)}: {counted(len(brokers), 'broker')}"))
    found += exposed(config.files, brokers, config.password)
    files, settings, missing = None, _SETTINGS, []
    if not insecure:
        files, settings, missing = _files(config, provider, certname)
    legacy = config.raw.get("plugin.security.support_legacy_certificates", "").lower()
    party = Party(
        kind="operator",
        title=f"operator {caller_id}, {_source(config)}",
        identity=name,
        certname=certname,
        caller_id=caller_id,
        brokers=brokers,
        secure=not insecure,
        files=files,
        settings=settings,
        legacy=provider == "puppet" or legacy in ("1", "yes", "true", "y", "t"),
        tls_first=config.handshake_first,
        user=config.user,
        password=config.password,
        login=None if config.credentials is None else make_login(config),
        login_files={} if config.credentials is None else {CREDENTIALS: config.credentials},
        sources=config.files,
    )
    return party, [*found, *missing]


def _source(config: ClientConfig) -> str:
    return ", ".join(config.files) or "BROKER of the environment"


def _load(
    path: str | None, environ: Mapping[str, str]
) -> tuple[ClientConfig | None, list[Finding]]:
    home = home_folder()
    searched: list[str] = []
    path = path if path is not None else environ.get(CONTEXT) or None
    if path is None:
        path, searched = find_config(home, os.path.exists)
        if path is None and environ.get("BROKER"):
            return ClientConfig(), []
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = "/"
    try:
        config = load_client_config(path, home=home, cwd=cwd, env=environ, searched=searched)
    except ConfigError as error:
        return None, problems(CHECK, error, ExitCode.USAGE)
    return config, [warning(CHECK, text) for text in config.warnings]


def _brokers(
    config: ClientConfig, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], list[Finding]]:
    key = "plugin.choria.middleware_hosts"
    if config.middleware_hosts:
        return config.middleware_hosts, []
    given = [each.strip() for each in environ.get("BROKER", "").split(",") if each.strip()]
    if not given:
        fix = f"{key} = broker1.example.net:4222"
        return (), [failed(CHECK, f"{config.path}: {key} is not set", fix, ExitCode.USAGE)]
    wrong = [Problem("BROKER", *told) for each in given if (told := check_broker(each)) is not None]
    return tuple(given), problems(CHECK, ConfigError(wrong), ExitCode.USAGE)


def _files(
    config: ClientConfig, provider: str, certname: str
) -> tuple[TLSFiles | None, TLSFiles, list[Finding]]:
    if provider == "puppet":
        folder, files = find_puppet_files(config.raw.get("plugin.choria.ssldir"), certname)
        where = f"the certificate directory {folder}"
        return files, TLSFiles(ca=where, cert=where, key=where), []
    names = (_SETTINGS.ca, _SETTINGS.cert, _SETTINGS.key)
    missing = [Problem(name, "nothing", "a path") for name in names if name not in config.raw]
    if missing:
        return None, _SETTINGS, problems(CHECK, ConfigError(missing), ExitCode.CREDENTIALS)
    ca, cert, key = (os.path.expanduser(config.raw[name]) for name in names)
    return TLSFiles(ca=ca, cert=cert, key=key), _SETTINGS, []


def _uid() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None
