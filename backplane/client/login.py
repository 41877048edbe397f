"""How an operator logs in to brokers: as Choria's configuration says."""

from __future__ import annotations

import os

from backplane.config.client import ClientConfig
from backplane.errors import ConfigError, Problem
from backplane.nats.credentials import Credentials, CredsFile, UserPassword
from backplane.nats.errors import BadCredentials

__all__ = ["CREDENTIALS", "load_login", "make_login"]

CREDENTIALS = "plugin.nats.credentials"


def make_login(config: ClientConfig) -> Credentials | None:
    """Return what is sent to brokers; ``None`` for nothing but what their addresses have.

    :raises ConfigError: when both user and file are given.
    """
    if config.credentials is None:
        return UserPassword(config.user, config.password or "") if config.user else None
    if config.user:
        wanted = "one of the two"
        raise ConfigError([Problem(CREDENTIALS, f"{CREDENTIALS} and plugin.nats.user", wanted)])
    return CredsFile(os.path.abspath(config.credentials))


def load_login(config: ClientConfig) -> Credentials | None:
    """Do the same, and read the file.

    :raises ConfigError: when it cannot be used, too.
    """
    made = make_login(config)
    try:
        if made is not None:
            made.check()
    except BadCredentials as error:
        raise ConfigError([Problem(CREDENTIALS, error.found, error.wanted, error.path)]) from None
    return made
