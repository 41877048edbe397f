"""One writer for each file: a lock that ends with the process that has it."""

from __future__ import annotations

import os

from backplane.errors import LocalError

__all__ = ["Locked", "take_lock"]


class Locked(LocalError):
    """Another process has the lock, or the platform has none."""


def take_lock(path: str) -> int:
    """Open and lock a file, made if it is not there; the lock ends with the descriptor.

    :raises Locked: when somebody has it, or the platform has no such locks.
    :raises OSError: when the file cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        raise Locked("files cannot be locked here, which needs a Unix") from None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Locked(
            f"{path} is locked, so another process writes it; each service needs a file of its own"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
