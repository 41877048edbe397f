"""The configuration in whatever form it is given to a management."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import attrs

from backplane.config.service import make_config, parse
from backplane.config.settings import ServiceConfig
from backplane.errors import ConfigError, Problem

__all__ = ["config_from"]

_FIELDS = ("name", "brokers", "logfile", "loglevel", "tls", "auth", "identity")
"""Those of :class:`backplane.interfaces.IConfigProvider`."""


def config_from(
    given: object, hostname: Callable[[], str], check_files: bool = True
) -> ServiceConfig:
    """Return it, checked.

    :param given: :class:`ServiceConfig`, a mapping of its fields, or any
        :class:`~backplane.interfaces.IConfigProvider`.
    :param hostname: asked where an identity may be missing.
    :param check_files: look whether files in it can be read or written.
    :raises ConfigError: with all mistakes.
    """
    if isinstance(given, Mapping):
        if "management" in given and "name" not in given:
            wanted = "what stands below that key; load_file() reads a whole file"
            raise ConfigError([Problem("management", "a mapping with a key management", wanted)])
        return parse(
            given,
            env=os.environ,
            hostname=hostname(),
            pid=os.getpid(),
            check_files=check_files,
        )
    if isinstance(given, ServiceConfig):
        return make_config(check_files=check_files, **attrs.asdict(given, recurse=False))
    if not (hasattr(given, "name") and hasattr(given, "brokers")):
        wanted = "a mapping, or an object with name and brokers; load_file() reads a file"
        raise ConfigError([Problem("management", type(given).__name__, wanted)])
    fields = {name: getattr(given, name, None) for name in _FIELDS}
    return make_config(hostname=hostname(), check_files=check_files, **fields)
