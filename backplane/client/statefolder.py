"""What an operator's commands remember: small files of his own.

They lie in ``$XDG_STATE_HOME/backplane``, ``~/.local/state/backplane`` without it, and in
``%LOCALAPPDATA%`` on Windows. Nobody else can read them. A file is replaced as a whole, by
renaming, so that one that is read is whole; who changes one has a lock, so that commands
that run at once lose nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from backplane.security.locking import Locked, take_lock
from backplane.security.regular import open_regular

__all__ = ["locked", "read_json", "state_folder", "write_json"]

MAX_SIZE: Final = 64 * 1024 * 1024
"""Bytes of a file that is read."""

PATIENCE: Final = 2.0
"""Seconds to wait for a lock. Others have it for a moment; after that one goes on without."""


def state_folder(environ: Mapping[str, str], home: str) -> str | None:
    """Return the folder, which need not exist; ``None`` when the user has no place for it.

    :param home: the user's home directory; empty when unknown.
    """
    given = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(given):  # others mean nothing, says the specification
        return os.path.join(given, "backplane")
    local = environ.get("LOCALAPPDATA", "") if os.name == "nt" else ""
    if local:
        return os.path.join(local, "backplane")
    return os.path.join(home, ".local", "state", "backplane") if home else None


def read_json(path: str, missing: Any = None) -> Any:
    """Return what is in a file; ``missing`` when there is no file.

    :raises OSError: when it cannot be read.
    :raises ValueError: when it is not JSON, or far too large.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return missing
    if len(text) > MAX_SIZE:
        raise ValueError(f"more than {MAX_SIZE} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(path: str, value: object) -> None:
    """Replace a file as a whole; folders that are missing are made.

    :raises OSError: when it cannot be written.
    """
    folder, name = os.path.split(path)
    _make(folder)
    # mkstemp lets nobody else read it.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, separators=(",", ":"))
            file.write("\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of a file while it is read and replaced.

    Where files cannot be locked, or somebody has had the lock for long, without.

    :raises OSError: when the folder cannot be written.
    """
    folder, name = os.path.split(path)
    _make(folder)
    end = time.monotonic() + PATIENCE
    lock: int | None = None
    while lock is None and time.monotonic() < end:
        try:
            lock = take_lock(os.path.join(folder, f".{name}.lock"))
        except Locked:
            if os.name == "nt":
                break
            time.sleep(0.01)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _make(folder: str) -> None:
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    os.makedirs(folder, 0o700, exist_ok=True)
