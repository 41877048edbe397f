"""Texts that are secrets: given, asked for, or read from a file each time they are needed.

Nothing of them is kept, and nothing of them is in an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from backplane.nats.creds import MAX_FILE, read_jwt, read_seed
from backplane.nats.errors import BadCredentials

__all__ = [
    "FileSource",
    "JWTFile",
    "SeedFile",
    "Source",
    "TextFile",
    "ask",
    "check_source",
    "known",
    "read_file",
]

Source = str | Callable[[], str]
"""A text, or what returns it at each connect."""

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# A pipe would make us wait for its writer.


class FileSource:
    """A text in a file, which is read anew each time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def __call__(self) -> str:
        try:
            return self._read(read_file(self.path))
        except BadCredentials as error:
            raise BadCredentials(error.found, error.wanted, self.path) from None

    def _read(self, data: bytes) -> str:
        raise NotImplementedError


class TextFile(FileSource):
    """A password or token: the only line of a file."""

    def _read(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise BadCredentials("bytes that are not UTF-8", "one line of text") from None
        if not text or "\n" in text:
            found = f"{text.count(chr(10)) + 1} lines" if text else "no lines"
            raise BadCredentials(found, "one line of text")
        return text


class SeedFile(FileSource):
    """The seed in a file, see :func:`backplane.nats.creds.read_seed`."""

    def _read(self, data: bytes) -> str:
        return read_seed(data)


class JWTFile(FileSource):
    """The JWT in a file, see :func:`backplane.nats.creds.read_jwt`."""

    def _read(self, data: bytes) -> str:
        return read_jwt(data)


def read_file(path: str) -> bytes:
    """Return the content of a file; :raises BadCredentials: when it cannot be read."""
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS)) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE + 1) if regular else b""
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "a path that cannot be"
        raise BadCredentials(why, "a file that can be read", path) from None
    if not regular:
        raise BadCredentials("something else than a file", "a file", path)
    if len(data) > MAX_FILE:
        raise BadCredentials(f"more than {MAX_FILE} bytes", "a smaller file", path)
    return data


def ask(source: Source, what: str, *, empty: bool = False) -> str:
    """Return the text of a source.

    :param what: it is, for errors.
    :param empty: it may be.
    :raises BadCredentials: when there is none.
    """
    if isinstance(source, str):
        found: object = source
    else:
        try:
            found = source()
        except BadCredentials:
            raise
        except Exception as error:
            # Its words may have the secret in them.
            kind = f"a {type(error).__name__} when asking for it"
            raise BadCredentials(kind, what) from error
    if not isinstance(found, str):
        raise BadCredentials(f"an object of type {type(found).__name__}", what)
    if not found and not empty:
        path = source.path if isinstance(source, FileSource) else None
        raise BadCredentials("nothing", what, path)
    return found


def check_source(source: Source, what: str, *, empty: bool = False) -> None:
    """Check what can be checked without asking a callable.

    :raises BadCredentials: for what is neither text nor a callable, and for no text.
    """
    if isinstance(source, str) or not callable(source):
        ask(source if isinstance(source, str) else lambda: source, what, empty=empty)


def known(source: Source, what: str) -> str | None:
    """Return the text of a source that is no callable of somebody's; ``None`` for others."""
    return ask(source, what) if isinstance(source, str | FileSource) else None
