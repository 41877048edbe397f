"""From files and environment to a connected operator."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.logger import globalLogBeginner, textFileLogObserver

from backplane._version import __version__
from backplane.cli.attendance import Attendance, rosters
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.client.credentials import Credentials, insecure_credentials, load_credentials
from backplane.client.login import load_login
from backplane.client.roster import network_of
from backplane.client.run import Operator
from backplane.config.client import CONTEXT, ClientConfig, find_config, load_client_config
from backplane.errors import ConfigError
from backplane.host import home_folder, host_identity
from backplane.nats import credentials as nats
from backplane.nats.client import NatsClient
from backplane.nats.errors import NatsError
from backplane.security.names import valid_identity

__all__ = ["Settings", "attend", "connect", "load", "log_to_stderr", "read_nodes"]

MAX_NODES_FILE: Final = 16 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Settings:
    """Who the operator is, where he connects to, and how he logs in there.

    :ivar attendance: whom he may expect there, of the service that he means.
    """

    config: ClientConfig
    brokers: tuple[str, ...]
    identity: str
    credentials: Credentials
    login: nats.Credentials | None = None
    attendance: Attendance | None = None


def read_config(
    path: str | None, environ: Mapping[str, str]
) -> tuple[ClientConfig, tuple[str, ...]]:
    """Read the client's configuration; return it and the brokers of its network.

    :param path: the file; ``BACKPLANE_CONFIG`` or one of Choria's places by default.
    :raises Fault: when it cannot be used, or names no broker.
    """
    home = home_folder()
    searched: list[str] = []
    path = path if path is not None else environ.get(CONTEXT) or None
    if path is None:
        path, searched = find_config(home, os.path.exists)
    if path is None and not environ.get("BROKER"):
        raise Fault(
            "no configuration file was found; searched " + ", ".join(searched), ExitCode.USAGE
        )
    try:
        config = (
            load_client_config(path, home=home, cwd=_cwd(), env=environ)
            if path is not None
            else ClientConfig()
        )
    except ConfigError as error:
        raise Fault(str(error), ExitCode.USAGE) from None
    given = [host.strip() for host in environ.get("BROKER", "").split(",")]
    brokers = config.middleware_hosts or tuple(filter(None, given))
    if not brokers:
        missing = f"{path}: no brokers: plugin.choria.middleware_hosts is not set"
        raise Fault("\n".join((missing, *config.warnings)), ExitCode.USAGE)
    return config, brokers


def load(path: str | None, insecure: bool, environ: Mapping[str, str]) -> Settings:
    """Read the client's configuration and credentials.

    :raises Fault: when they cannot be used.
    """
    config, brokers = read_config(path, environ)
    try:
        identity = config.identity or host_identity()
        credentials = (
            insecure_credentials(identity, environ)
            if insecure
            else load_credentials(config, identity, environ)
        )
    except ConfigError as error:
        raise Fault(
            f"{error}\n(--insecure is for networks without security)", ExitCode.CREDENTIALS
        ) from None
    except ValueError as error:
        raise Fault(str(error), ExitCode.CREDENTIALS) from None
    try:
        login = load_login(config)
    except ConfigError as error:
        raise Fault(str(error), ExitCode.CREDENTIALS) from None
    return Settings(
        config=config, brokers=brokers, identity=identity, credentials=credentials, login=login
    )


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def connect(
    settings: Settings, reactor: Any, now: Callable[[], float]
) -> tuple[NatsClient, Operator]:
    """Return a client that begins to connect, and the operator that uses it.

    :raises Fault: when the brokers' addresses cannot be used.
    """
    config = settings.config
    try:
        client = NatsClient(
            settings.brokers,
            reactor,
            name=settings.credentials.caller_id,
            credentials=settings.login,
            retry=False,
            connect_timeout=config.connect_timeout,
            buffer_size=64 * 1024 * 1024,
            rng=random.SystemRandom(),
            version=__version__,
            tls=settings.credentials.tls,
            tls_first=settings.credentials.tls_first,
        )
    except (ValueError, NatsError) as error:
        raise Fault(str(error), ExitCode.USAGE) from None
    client.startService()
    operator = Operator(
        client,
        reactor,
        caller_id=settings.credentials.caller_id,
        identity=settings.identity,
        now=now,
        signer=settings.credentials.signer,
    )
    return client, operator


def attend(settings: Settings, service: str, target: str | None, console: Console) -> Settings:
    """Return the settings with the roster of a service."""
    within = settings.config.roster
    if not within:
        return settings
    collective = target if target is not None else f"{service}_backplane"
    network = network_of(settings.brokers)
    found = Attendance(rosters(console), service, network, collective, within=within)
    return attrs.evolve(settings, attendance=found)


def read_nodes(path: str | None, service: str) -> list[str] | None:
    """Read identities, one a line, or ``SERVICE/IDENTITY``; ``-`` is standard input.

    :raises Fault: when the file cannot be read or names what is no identity, or instances of
        another service.
    """
    if path is None:
        return None
    try:
        if path == "-":
            if sys.stdin is None:  # closed by whoever started us
                raise Fault("--nodes -: standard input is closed", ExitCode.USAGE)
            text = sys.stdin.read(MAX_NODES_FILE)
        else:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read(MAX_NODES_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise Fault(f"--nodes {path}: {error}", ExitCode.USAGE) from None
    names = []
    for number, line in enumerate(text.splitlines(), 1):
        other, slash, name = line.strip().rpartition("/")
        if slash and other != service:
            raise Fault(
                f"--nodes {path}:{number}: {line.strip()[:60]!r} is no instance of {service}",
                ExitCode.USAGE,
            )
        names.append(name)
    for number, name in enumerate(names, 1):
        if name and not valid_identity(name):
            raise Fault(
                f"--nodes {path}:{number}: {name[:60]!r} is not an identity", ExitCode.USAGE
            )
    names = [name for name in names if name]
    if not names:
        raise Fault(f"--nodes {path}: there are no identities in it", ExitCode.USAGE)
    return names


def log_to_stderr() -> None:
    """Show all log events on standard error."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
