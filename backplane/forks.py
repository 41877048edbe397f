"""What becomes of an embedded management when its process forks.

Threads do not survive a fork, and two processes on one connection break both. The
child's copy is therefore dead: it closes its copies of what the parent uses and every
later call raises :class:`ForkedError`. With ``after_fork="start"`` the child starts a
management of its own.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Final, Protocol

from twisted.logger import Logger

from backplane.errors import StateError
from backplane.stdlog import StandardLog

__all__ = ["Embedded", "ForkedError", "check", "watch"]

_log = Logger(namespace="backplane.forks", observer=StandardLog())

HOOKS: Final = (
    "start it after the fork: in gunicorn's post_worker_init, uWSGI's @postfork, Celery's "
    "worker_process_init, the initializer of a multiprocessing pool; or pass "
    'after_fork="start"'
)


class ForkedError(StateError):
    """The management belongs to the process that this one was forked from."""


class Embedded(Protocol):
    """What is told of forks."""

    def forked(self) -> None:
        """Be dead, in the child; must not touch what the parent uses."""


_live: weakref.WeakSet[Any] = weakref.WeakSet()
_hooked = False


def watch(embedded: Embedded) -> None:
    """Tell ``embedded`` in each child that is forked from now on, as long as it lives."""
    global _hooked
    _live.add(embedded)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_in_child)


def check(pid: int) -> None:
    """Let the process that started a management pass.

    :param pid: of that process.
    :raises ForkedError: in another one.
    """
    if os.getpid() != pid:
        raise ForkedError(f"the management was started in process {pid}, before the fork; {HOOKS}")


def tell(pid: int) -> None:
    """Say in the log that this process has no management, so that nobody has to find out.

    :param pid: of the process that has one.
    """
    _log.warn(
        "process {own} was forked from {pid}, whose management does not manage it; {hooks}",
        own=os.getpid(),
        pid=pid,
        hooks=HOOKS,
    )


def _in_child() -> None:
    # Python ignores what is raised here.
    for embedded in list(_live):
        try:
            embedded.forked()
        except Exception:
            _log.failure("a management could not be given up after a fork")
