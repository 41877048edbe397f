"""Reading a service's configuration, also one with mistakes, as far as that is of use."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from backplane.cli.doctor.findings import Finding, failed, ok, problems, skipped
from backplane.cli.doctor.party import CHECK, Party, counted, exposed
from backplane.client.accounting import ExitCode
from backplane.config.document import load_document, read_file
from backplane.config.nodes import to_plain
from backplane.config.service import LoadedConfig, load_file
from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, Problem
from backplane.node.login import login_files, make_login
from backplane.node.trust import SETTINGS
from backplane.security.keys import find_puppet_files
from backplane.security.names import caller_id_for, valid_certname
from backplane.security.providers import TLSFiles

__all__ = ["read_service"]

_NEEDED: Final = ("name", "brokers", "identity", "instance", "tls", "nats", "auth")
"""Keys of ``management`` that other checks depend on: a mistake in one ends them."""


def read_service(
    path: str,
    identity: str | None,
    environ: Mapping[str, str],
    hostname: str,
    strict: bool = False,
) -> tuple[Party | None, list[Finding]]:
    """Read a service's file; the files that it names are not looked at yet.

    :param identity: instead of the configured one.
    :param strict: as if the file had ``strict: true``.
    :param hostname: the default identity.
    """

    def load(read: Callable[[str], bytes] = read_file, strict: bool = strict) -> LoadedConfig:
        return load_file(
            path,
            env=environ,
            hostname=hostname,
            pid=os.getpid(),
            require=True,
            check_files=False,
            strict=strict,
            read=read,
        )

    found: list[Finding] = []
    try:
        loaded = load()
    except ConfigError as error:
        found = problems(CHECK, error, ExitCode.USAGE)
        try:
            loaded = _load_rest(path, error, lambda text: load(lambda _: text, strict=False))
        except ConfigError:
            return None, found
    config = loaded.management
    assert config is not None
    if identity is not None:
        config = attrs.evolve(config, identity=identity)
    if not found:
        brokers = counted(len(config.brokers), "broker")
        found.append(ok(CHECK, f"{loaded.path}: {config.name}, {brokers}"))
        partial = False
    else:
        partial = True
        found.append(skipped(CHECK, "what follows is of the file without this, and not strict"))
    found.append(_application(loaded))
    found += exposed([loaded.path], config.brokers, config.password, config.token)
    files, missing = _files(config)
    return _party(loaded.path, config, files, partial), found + missing


def _load_rest(
    path: str, error: ConfigError, load: Callable[[bytes], LoadedConfig]
) -> LoadedConfig:
    """Return what the file says without ``strict``, or without the keys that have mistakes.

    :raises ConfigError: when others depend on them, or it cannot be read at all.
    """
    root: Any = to_plain(load_document(path))
    try:
        root["management"].pop("strict", None)
        return load(json.dumps(root, default=str).encode())
    except (AttributeError, LookupError, TypeError):
        raise error from None
    except ConfigError as rest:
        return load(_without(root, rest))


def _without(root: Any, error: ConfigError) -> bytes:
    """Return a document as JSON without the keys that have mistakes."""
    for problem in reversed(error.problems):  # items of lists from the last one
        keys = re.findall(r"[^.\[\]]+", problem.key)
        unknown = problem.found == "an unknown key"
        if keys[:1] != ["management"] or len(keys) < 2 or (keys[1] in _NEEDED and not unknown):
            raise error
        place = root
        try:
            for key in keys[:-1]:
                place = place[key]
            del place[int(keys[-1]) if isinstance(place, list) else keys[-1]]
        except (LookupError, TypeError, ValueError):
            raise error from None
    return json.dumps(root, default=str).encode()


def _application(loaded: LoadedConfig) -> Finding:
    """Say whether the module of ``app`` is there; nothing of it is run."""
    check = "application"
    if loaded.app is None:
        return skipped(check, "there is no app: in the file, so twistd runs the management alone")
    top = loaded.app.partition(":")[0].partition(".")[0]
    sys.path.insert(0, loaded.folder)
    try:
        there = importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        there = False
    finally:
        sys.path.remove(loaded.folder)
    if there:
        return ok(check, f"{loaded.app}: the module {top} is there; it was not imported")
    text = f"{loaded.app}: there is no module {top}, neither installed nor in {loaded.folder}"
    fix = f"install it, or put {top}.py beside the configuration"
    return failed(check, text, fix, ExitCode.USAGE)


def _files(config: ServiceConfig) -> tuple[TLSFiles | None, list[Finding]]:
    tls = config.tls
    if tls is None:
        return None, []
    given: dict[str, str | None] = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    if tls.scheme == "puppet":
        _, usual = find_puppet_files(tls.ssl_dir, tls.identity or config.identity)
        given = {name: path or getattr(usual, name) for name, path in given.items()}
    missing = [
        Problem(getattr(SETTINGS, name), "nothing", "a path")
        for name, path in given.items()
        if path is None
    ]
    if missing:
        return None, problems(CHECK, ConfigError(missing), ExitCode.USAGE)
    return TLSFiles(**{name: path for name, path in given.items() if path is not None}), []


def _party(path: str, config: ServiceConfig, files: TLSFiles | None, partial: bool) -> Party:
    tls = config.tls
    certname = (tls.identity if tls is not None else None) or config.identity
    further = {
        "management.logfile": (config.logfile, True),
        "management.state_file": (config.state_file, True),
        "management.classes_file": (config.classes_file, False),
        "management.auth.policy": (config.auth.policy, False),
        "management.auth.groups": (config.auth.groups, False),
    }
    return Party(
        kind="service",
        title=f"service {config.identity} of {config.name}, {path}",
        identity=config.identity,
        certname=certname,
        caller_id=caller_id_for(certname) if valid_certname(certname) else "",
        brokers=config.brokers,
        secure=config.secure,
        files=files,
        settings=SETTINGS,
        crl=tls.crl if tls is not None else None,
        legacy=tls is not None and (tls.support_legacy_certificates or tls.scheme == "puppet"),
        tls_first=tls is not None and tls.handshake_first,
        user=config.user,
        password=config.password,
        token=config.token,
        login=make_login(config) if login_files(config) else None,
        login_files=login_files(config),
        further={key: (where, w) for key, (where, w) in further.items() if where is not None},
        sources=(path,),
        partial=partial,
        config=config,
    )
