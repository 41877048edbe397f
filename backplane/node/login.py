"""How a node logs in to brokers: made of the keys of ``management.nats``.

Files are read once before the start, so that mistakes are found then, at every connect,
and when they have changed, see :mod:`backplane.node.renewal`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, Problem
from backplane.nats.credentials import (
    Credentials,
    CredsFile,
    JWTFile,
    NKey,
    SeedFile,
    TextFile,
    Token,
    UserJWT,
    UserPassword,
)
from backplane.nats.errors import BadCredentials
from backplane.security.watch import Watched

__all__ = ["load_login", "login_files", "make_login", "watch_login"]

_NATS: Final = "management.nats"


def login_files(config: ServiceConfig) -> dict[str, str]:
    """Return the files that logging in needs, by setting."""
    names = ("password_file", "token_file", "nkey_file", "jwt_file", "credentials")
    found = {f"{_NATS}.{name}": getattr(config, name) for name in names}
    return {setting: path for setting, path in found.items() if path is not None}


def make_login(config: ServiceConfig) -> Credentials | None:
    """Return what is sent to brokers; ``None`` for nothing but what their addresses have."""
    if config.credentials is not None:
        return CredsFile(config.credentials)
    if config.nkey_file is not None:
        seed = SeedFile(config.nkey_file)
        return NKey(seed) if config.jwt_file is None else UserJWT(JWTFile(config.jwt_file), seed)
    if config.token_file is not None:
        return Token(TextFile(config.token_file))
    if config.token:
        return Token(config.token)
    if config.user:
        file = config.password_file
        return UserPassword(config.user, config.password or "" if file is None else TextFile(file))
    return None


def load_login(config: ServiceConfig) -> Credentials | None:
    """Do the same, and read its files.

    :raises ConfigError: when one of them cannot be used.
    """
    made = make_login(config)
    if made is not None:
        try:
            made.check()
        except BadCredentials as error:
            settings = {path: setting for setting, path in login_files(config).items()}
            setting = settings.get(error.path or "", _NATS)
            found, wanted = error.found, error.wanted
            raise ConfigError([Problem(setting, found, wanted, error.path)]) from None
    return made


def watch_login(
    config: ServiceConfig, report: Callable[[str], None]
) -> Watched[Credentials | None]:
    """Make it, and say when its files have changed; see :func:`load_login`.

    :param report: told why changed files are of no use.
    """
    return Watched([*login_files(config).values()], lambda: load_login(config), report)
