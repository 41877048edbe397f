"""Opening files to read without waiting: a pipe would make us wait for its writer."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

__all__ = ["open_regular"]

# A pipe without a writer must not make us wait, nor a terminal become ours. None is everywhere.
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


def open_regular(path: str, *, links: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    :param links: whether it may be a symbolic link.
    :raises OSError: when it cannot be read, or is anything else.
    :raises ValueError: when no file can have that name.
    """
    descriptor = os.open(path, _FLAGS if links else _FLAGS | getattr(os, "O_NOFOLLOW", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
