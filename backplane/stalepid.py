"""A pid file that a killed twistd left, whose number is another process's now.

twistd removes a pid file whose process has gone, and refuses to start where a process of that
number runs, whichever it is. In a container that starts again that is often the new twistd
itself, and after a reboot anything.
"""

from __future__ import annotations

import os
from typing import Final

from backplane.sidecar.errors import ProcessError
from backplane.sidecar.table import ProcessTable

__all__ = ["forget_stale"]

SLACK: Final = 2.0
"""Seconds by which a process may seem younger than the file that it wrote: clocks are coarse."""


def forget_stale(path: str, table: ProcessTable | None = None) -> bool:
    """Remove a pid file that certainly names another process than the one that wrote it.

    :returns: whether it was removed; what is not certain is left to twistd.
    """
    try:
        with open(path, "rb") as file:
            written = os.fstat(file.fileno()).st_mtime
            pid = int(file.read(32))
        if pid != os.getpid():
            status = (table or ProcessTable()).status(pid)
            if status.started <= written + SLACK:
                return False
        os.remove(path)
    except (OSError, ValueError, ProcessError, AttributeError):
        return False  # gone, not readable, not Linux
    return True
