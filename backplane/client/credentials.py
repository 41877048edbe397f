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
from backplane.security.keys import find_puppet_files, load_keys
from backplane.security.names import caller_id_for, default_certname
from backplane.security.providers import TLSFiles
from backplane.security.signing import InsecureSigner, SecureSigner

__all__ = ["Credentials", "client_certname", "insecure_credentials", "load_credentials"]

FILE: Final = "plugin.security.file."


@attrs.frozen(kw_only=True)
class Credentials:
    """How an operator speaks.

    :ivar tls: makes the security of a connection to a broker; ``None`` for none.
    :ivar tls_first: brokers want TLS before they say anything.
    :ivar warnings: what is lawful and hardly meant.
    """

    caller_id: str
    signer: Signer
    tls: Callable[[Server], Security] | None = None
    tls_first: bool = False
    warnings: tuple[str, ...] = ()


def insecure_credentials(
    identity: str, environ: Mapping[str, str], certname: str | None = None
) -> Credentials:
    """Return those of the insecure mode, where who calls is what he says.

    :raises ValueError: for a name that cannot be.
    """
    name = certname or default_certname(identity, environ=environ, uid=_uid())
    return Credentials(caller_id=caller_id_for(name), signer=InsecureSigner())


def client_certname(config: ClientConfig, identity: str, environ: Mapping[str, str]) -> str:
    """Return the name in the certificate that an operator has, where he does not say.

    ``MCOLLECTIVE_CERTNAME``, or ``USER.mcollective``, or for root the identity. With Puppet's
    files root is ``USER.mcollective`` all the same if he has a certificate of that name.

    :raises ValueError: when there is no way to know.
    """
    uid = _uid()
    provider = config.raw.get("plugin.security.provider", "puppet")
    if provider == "puppet" and uid == 0 and "MCOLLECTIVE_CERTNAME" not in environ:
        user = f"{environ.get('USER', '')}.mcollective"
        _, files = find_puppet_files(config.raw.get("plugin.choria.ssldir"), user)
        return user if os.path.exists(files.cert) else identity
    return default_certname(identity, environ=environ, uid=uid, provider=provider)


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
    name = certname or client_certname(config, identity, environ)
    caller_id = caller_id_for(name)
    files, settings = _puppet(config, name) if provider == "puppet" else _file(config)
    legacy = config.raw.get("plugin.security.support_legacy_certificates", "").lower()
    keys = load_keys(
        files,
        settings,
        legacy=provider == "puppet" or legacy in ("1", "yes", "true", "y", "t"),
        warn=warn,
    )
    return Credentials(
        caller_id=caller_id,
        signer=SecureSigner(keys.pair),
        tls=lambda server: keys.tls(server.tls_name or server.host),
        tls_first=config.handshake_first,
        warnings=keys.warnings,
    )


def _file(config: ClientConfig) -> tuple[TLSFiles, TLSFiles]:
    settings = TLSFiles(ca=f"{FILE}ca", cert=f"{FILE}certificate", key=f"{FILE}key")
    names = (settings.ca, settings.cert, settings.key)
    missing = [Problem(name, "nothing", "a path") for name in names if name not in config.raw]
    if missing:
        raise ConfigError(missing)
    ca, cert, key = (os.path.expanduser(config.raw[name]) for name in names)
    return TLSFiles(ca=ca, cert=cert, key=key), settings


def _puppet(config: ClientConfig, certname: str) -> tuple[TLSFiles, TLSFiles]:
    folder, files = find_puppet_files(config.raw.get("plugin.choria.ssldir"), certname)
    where = f"the certificate directory {folder} (backplane enroll fills it)"
    return files, TLSFiles(ca=where, cert=where, key=where)


def _uid() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None
