"""A value that code can wait for, in threads, in asyncio and in Twisted.

All waits are for the value that is wanted *now*: who is let go finds it so at that
moment, even if it changed to and fro meanwhile. Nobody polls.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from backplane.errors import StateError
from backplane.parts.places import OnReactor, here, host_reactor, in_task

__all__ = ["Watched", "awaited"]

_T = TypeVar("_T")

_log = Logger(namespace="backplane.parts")


async def awaited(deferred: Deferred[_T]) -> _T:
    """Wait for a Deferred in a task of asyncio's or in a coroutine of Twisted's."""
    if in_task():
        return await deferred.asFuture(asyncio.get_running_loop())
    return await deferred


class Watched(Generic[_T]):
    """A value, those who wait until it is as wanted, and those who are told of changes.

    Every method may be called in any thread, and in signal handlers.

    :param value: the first one.
    :param wanted: says whether a value is the one to wait for.
    :param instead: for errors: what to wait with where a thread must not be blocked.
    """

    def __init__(self, value: _T, wanted: Callable[[_T], bool], instead: str) -> None:
        self._value = value
        self._wanted = wanted
        self._instead = instead
        # Its lock is reentrant: a signal handler may change what its own thread is changing.
        self._condition = threading.Condition()
        self._waiters: dict[Callable[[], None], None] = {}
        self._listeners: list[Callable[[_T], object]] = []
        self._changes: deque[tuple[_T, tuple[Callable[[_T], object], ...]]] = deque()
        self._announcing = False

    @property
    def value(self) -> _T:
        """The present value."""
        return self._value

    @property
    def reached(self) -> bool:
        """Whether the present value is as wanted."""
        return self._wanted(self._value)

    def change(self, function: Callable[[_T], _T]) -> _T:
        """Replace the value by what ``function`` makes of it; return the new one.

        Who waits is let go, and listeners have been called, here or in the thread that
        is calling them already.
        """
        waiters: list[Callable[[], None]] = []
        with self._condition:
            old = self._value
            new = self._value = function(old)
            if new == old:
                return new
            if self._wanted(new):
                waiters.extend(self._waiters)
                self._waiters.clear()
                self._condition.notify_all()
            if self._listeners:
                self._changes.append((new, tuple(self._listeners)))
        for waiter in waiters:
            waiter()
        self._announce()
        return new

    def on_change(self, listener: Callable[[_T], object]) -> None:
        """Call ``listener`` with each new value, in order, in the thread that changed it."""
        with self._condition:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[_T], object]) -> None:
        """Do not call ``listener`` any more; one that is not known is none."""
        with self._condition:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def wait(self, timeout: float | None = None) -> bool:
        """Block the thread until the value is as wanted.

        :param timeout: seconds; ``None`` for ever.
        :returns: whether it is.
        :raises StateError: where a loop or a reactor runs in this thread: it would stand still,
            and with it perhaps what would change the value.
        """
        if self.reached or (timeout is not None and timeout <= 0):
            return self.reached
        if here() is not None:
            raise StateError(f"this would block the event loop; {self._instead}")
        with self._condition:
            return self._condition.wait_for(lambda: self.reached, timeout)

    async def when(self) -> None:
        """Wait until the value is as wanted; in asyncio, and in coroutines of Twisted's."""
        while not self.reached:
            await awaited(self.when_deferred())

    def when_deferred(self, reactor: Any = None) -> Deferred[None]:
        """Return a Deferred that fires when the value is as wanted. It may be cancelled.

        It fires in the thread that this is called in: at once if that thread makes the
        change, else by way of ``reactor``, the running asyncio loop, or the program's reactor.
        In a program that has none of these it fires in the thread that makes the change.

        :param reactor: provides ``callFromThread``.
        """
        home = threading.get_ident()
        place = here() if reactor is None else OnReactor(reactor)

        def fire() -> None:
            # It may have been cancelled, or the value have changed again, on the way here.
            if not deferred.called and not self._enlist(wake):
                deferred.callback(None)

        def wake() -> None:
            if threading.get_ident() == home:
                fire()
            elif place is not None:
                place.post(fire)
            else:
                OnReactor(host_reactor()).post(fire)

        deferred: Deferred[None] = Deferred(lambda _: self._dismiss(wake))
        fire()
        return deferred

    def _enlist(self, waiter: Callable[[], None]) -> bool:
        with self._condition:
            if self.reached:
                return False
            self._waiters[waiter] = None
            return True

    def _dismiss(self, waiter: Callable[[], None]) -> None:
        with self._condition:
            self._waiters.pop(waiter, None)

    def _announce(self) -> None:
        """Tell the listeners, one change after the other, with no lock held."""
        while True:
            with self._condition:
                if self._announcing or not self._changes:
                    return
                self._announcing = True
                value, listeners = self._changes.popleft()
            try:
                for listener in listeners:
                    try:
                        listener(value)
                    except Exception:  # the listeners of others may do anything
                        _log.failure("a listener failed")
            finally:
                self._announcing = False
