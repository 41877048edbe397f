"""What can go wrong with an outside process."""

from __future__ import annotations

from backplane.errors import LocalError

__all__ = ["CommandError", "ProcessError", "SidecarError"]


class SidecarError(LocalError):
    """Something about the outside process; the text is for operators."""


class CommandError(SidecarError):
    """A command could not be run, did not end in time, or did not say that it succeeded."""


class ProcessError(SidecarError):
    """There is no process to be signalled, or none that is certainly the right one."""
