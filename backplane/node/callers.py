"""From where something is called: the reactor's thread, another thread, an asyncio task.

What has a form for each of them refuses the wrong one, and names the right one.
"""

from __future__ import annotations

import asyncio
import threading

from backplane.errors import StateError

__all__ = ["Callers"]


class Callers:
    """Tells callers apart, once it is bound to the reactor's thread.

    ``name`` is the method for the reactor; ``NAME_from_thread`` and ``NAME_future``
    are the others.
    """

    def __init__(self) -> None:
        self._thread: int | None = None

    def bind(self) -> None:
        """Take the calling thread for the reactor's."""
        self._thread = threading.get_ident()

    def check_reactor(self, name: str) -> None:
        """Let the reactor's own calls pass; before :meth:`bind` any.

        :raises StateError: in another thread, and in an asyncio task.
        """
        if self._thread is None:
            return
        if threading.get_ident() != self._thread:
            raise StateError(f"{name}() is for the reactor's thread; here use {name}_from_thread()")
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return
        if task is not None:
            raise StateError(f"{name}() returns a Deferred; in an asyncio task use {name}_future()")

    def check_thread(self, name: str) -> None:
        """Let calls of other threads pass.

        :raises StateError: in the reactor's thread, and before :meth:`bind`.
        """
        if self._thread is None:
            raise StateError(f"{name}_from_thread() needs a started management")
        if threading.get_ident() == self._thread:
            raise StateError(f"{name}_from_thread() would block the reactor; here use {name}()")

    def loop(self, name: str) -> asyncio.AbstractEventLoop:
        """Return the running loop of an asyncio task in the reactor's thread.

        :raises StateError: in another thread, and where no loop is running.
        """
        if self._thread is not None and threading.get_ident() != self._thread:
            raise StateError(
                f"{name}_future() is for the reactor's loop; in another thread use "
                f"{name}_from_thread()"
            )
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            raise StateError(
                f"{name}_future() needs a running asyncio loop; here use {name}()"
            ) from None
