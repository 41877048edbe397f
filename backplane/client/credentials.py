"""Who an operator is to services: the certificate and key that he signs with.

Source: Choria protocol 2.1 to 2.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from backplane.choria.v1 import Signer
from backplane.config.client import ClientConfig
from backplane.errors import ConfigError, Problem
from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.names import caller_id_for, default_certname
from backplane.security.pemfiles import load_key_pair, mode_warning
from backplane.security.providers import TLSFiles, puppet_files, puppet_ssl_dir
from backplane.security.signing import InsecureSigner, SecureSigner
from backplane.security.tls import BrokerTLS

__all__ = ["Credentials", "insecure_credentials", "load_credentials"]

FILE: Final = "plugin.security.file."


@attrs.frozen(kw_only=True)
class Credentials:
    """How an operator speaks.

    :ivar tls: makes the security of a connection to a broker; ``None`` for none.
    :ivar warnings: what is lawful and hardly meant.
    """

    caller_id: str
    signer: Signer
    tls: Callable[[Server], Security] | None = None
    warnings: tuple[str, ...] = ()


def insecure_credentials(
    identity: str, environ: Mapping[str, str], certname: str | None = None
) -> Credentials:
    """Return those of the insecure mode, where who calls is what he says.

    :raises ValueError: for a name that cannot be.
    """
    name = certname or default_certname(identity, environ=environ, uid=_uid())
    return Credentials(caller_id=caller_id_for(name), signer=InsecureSigner())


def load_credentials(
    config: ClientConfig,
    identity: str,
    environ: Mapping[str, str],
    certname: str | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Credentials:
    """Read certificate, key and authorities, where a client's configuration says.

    :param warn: told of brokers whose certificates are taken all the same.
    :raises ConfigError: when they cannot be used, with the setting that names them.
    :raises ValueError: for a name that cannot be.
    """
    provider = config.raw.get("plugin.security.provider", "puppet")
    if provider not in ("file", "puppet"):
        found = repr(provider)
        raise ConfigError([Problem("plugin.security.provider", found, "file or puppet")])
    name = certname or default_certname(identity, environ=environ, uid=_uid(), provider=provider)
    caller_id = caller_id_for(name)
    files, settings = _puppet(config, name) if provider == "puppet" else _file(config)
    authorities = load_authorities(files.ca, ca_setting=settings[0])
    pair = load_key_pair(
        files.cert, files.key, certificate_setting=settings[1], key_setting=settings[2]
    )
    legacy = config.raw.get("plugin.security.support_legacy_certificates", "").lower()
    tls = BrokerTLS(
        authorities.certificates,
        pair,
        legacy=provider == "puppet" or legacy in ("1", "yes", "true", "y", "t"),
        warn=warn,
    )
    mode = mode_warning(files.key)
    return Credentials(
        caller_id=caller_id,
        signer=SecureSigner(pair),
        tls=lambda server: tls(server.tls_name or server.host),
        warnings=(mode,) if mode else (),
    )


def _file(config: ClientConfig) -> tuple[TLSFiles, tuple[str, str, str]]:
    settings = (f"{FILE}ca", f"{FILE}certificate", f"{FILE}key")
    missing = [Problem(name, "nothing", "a path") for name in settings if name not in config.raw]
    if missing:
        raise ConfigError(missing)
    ca, cert, key = (os.path.expanduser(config.raw[name]) for name in settings)
    return TLSFiles(ca=ca, cert=cert, key=key), settings


def _puppet(config: ClientConfig, certname: str) -> tuple[TLSFiles, tuple[str, str, str]]:
    given = config.raw.get("plugin.choria.ssldir")
    home = os.path.expanduser("~")
    ssl_dir = os.path.expanduser(given) if given else puppet_ssl_dir(_uid(), home)
    where = f"the certificate directory {ssl_dir}"
    return puppet_files(ssl_dir, certname), (where, where, where)


def _uid() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None
