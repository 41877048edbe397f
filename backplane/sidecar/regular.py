"""Reading files that somebody else writes: bounded, and without waiting."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from backplane.sidecar.errors import SidecarError

__all__ = ["read_regular"]

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def read_regular(path: str, limit: int, *, links: bool = True) -> tuple[bytes, os.stat_result]:
    """Return content and status of a regular file.

    :param limit: bytes that it may have.
    :param links: whether it may be a symbolic link, through which whoever owns the folder
        could pass off a file of somebody else as his.
    :raises SidecarError: when it cannot be read, is no regular file (a pipe would make
        us wait) or is larger.
    """
    try:
        # Without waiting for a writer, where it is a pipe.
        descriptor = os.open(path, _FLAGS if links else _FLAGS | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SidecarError(f"{path} is no regular file")
            data = b""
            while len(data) <= limit:
                piece = os.read(descriptor, limit + 1 - len(data))
                if not piece:
                    return data, status
                data += piece
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise SidecarError(f"{path} is a symbolic link") from None
        raise SidecarError(f"{path} cannot be read: {error.strerror}") from None
    raise SidecarError(f"{path} has more than {limit} bytes")
