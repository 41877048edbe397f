"""The files of one name in Puppet's layout, and how they are written.

A file is there as a whole or not at all, with its mode from the beginning, and a
private key that is there is never written over.

Source: Choria protocol 2.3.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Final

from backplane.errors import ConfigError, Problem
from backplane.security.pemfiles import read_file
from backplane.security.providers import puppet_files

__all__ = ["SSLDir"]

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644

_FOLDERS: Final = {
    "": 0o771,
    "certs": 0o755,
    "certificate_requests": 0o755,
    "public_keys": 0o755,
    "private_keys": 0o750,
}
"""Puppet's, and its modes. Those that are there keep the modes that they have."""


class SSLDir:
    """Where the files of a name are.

    :param path: the directory.
    :param name: the certificate name.
    :ivar ca: certificates of the authority.
    :ivar crl: its revocation lists.
    :ivar cert: our certificate; ``key``, ``public_key`` and ``request`` belong to it.
    """

    def __init__(self, path: str, name: str) -> None:
        files = puppet_files(path, name)
        self.path = path
        self.ca = files.ca
        self.cert = files.cert
        self.key = files.key
        self.crl = os.path.join(path, "crl.pem")
        self.public_key = os.path.join(path, "public_keys", f"{name}.pem")
        self.request = os.path.join(path, "certificate_requests", f"{name}.pem")

    def make(self) -> None:
        """Make the directories that are missing.

        :raises ConfigError: when that cannot be done.
        """
        for folder, mode in _FOLDERS.items():
            path = os.path.join(self.path, folder) if folder else self.path
            try:
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                os.mkdir(path, 0o700)
                os.chmod(path, mode)  # whatever the umask
            except FileExistsError:
                if not os.path.isdir(path):
                    raise _problem(path, "no directory", "a directory") from None
            except (OSError, ValueError) as error:
                raise _failed(path, error, "a directory that can be made") from None

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; ``None`` when it is not there.

        :raises ConfigError: when it is there and cannot be read.
        """
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _failed(path, error, "a readable file") from None
        return read_file(path, "")

    def write(self, path: str, data: bytes) -> None:
        """Write a file that everybody may read, over the old one if there is one.

        :raises ConfigError: when that cannot be done.
        """
        try:
            new = _written(path, data, _PUBLIC)
            try:
                os.replace(new, path)
            except OSError:
                _remove(new)
                raise
        except (OSError, ValueError) as error:
            raise _failed(path, error, "a file that can be written") from None

    def write_key(self, data: bytes) -> bool:
        """Write the private key, for nobody else to read; return whether there was none before.

        :raises ConfigError: when that cannot be done.
        """
        try:
            new = _written(self.key, data, _PRIVATE)
            try:
                os.link(new, self.key)  # unlike a renaming it spares one that is there
            except FileExistsError:
                return False
            finally:
                _remove(new)
        except (OSError, ValueError) as error:
            raise _failed(self.key, error, "a file that can be written") from None
        return True

    def remove_request(self) -> None:
        """Remove the request, which has done its work."""
        _remove(self.request)


def _written(path: str, data: bytes, mode: int) -> str:
    """Write a new file beside a path; return where."""
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            os.chmod(new, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _remove(new)
        raise
    return new


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _failed(path: str, error: Exception, wanted: str) -> ConfigError:
    return _problem(path, getattr(error, "strerror", None) or str(error), wanted)


def _problem(path: str, found: str, wanted: str) -> ConfigError:
    return ConfigError([Problem("", found, wanted, path)])
