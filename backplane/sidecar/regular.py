"""Reading files that somebody else writes: bounded, and without waiting."""

from __future__ import annotations

import errno
import os

from backplane.security.regular import open_regular
from backplane.sidecar.errors import SidecarError

__all__ = ["read_regular"]


def read_regular(path: str, limit: int, *, links: bool = True) -> tuple[bytes, os.stat_result]:
    """Return content and status of a regular file.

    :param limit: bytes that it may have.
    :param links: whether it may be a symbolic link, through which whoever owns the folder
        could pass off a file of somebody else as his.
    :raises SidecarError: when it cannot be read, is no regular file (a pipe would make
        us wait) or is larger.
    """
    try:
        with open_regular(path, links=links) as file:
            status = os.fstat(file.fileno())
            data = file.read(limit + 1)
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise SidecarError(f"{path} is a symbolic link") from None
        if error.errno in (errno.EINVAL, errno.EISDIR):
            raise SidecarError(f"{path} is no regular file") from None
        raise SidecarError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise SidecarError(f"{path} has more than {limit} bytes")
    return data, status
