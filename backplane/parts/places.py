"""Where code runs: on an asyncio loop, on a Twisted reactor, or in a thread that may wait.

The global reactor is never imported here; it is used where the program has.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred
from twisted.python import threadable

__all__ = ["Kind", "OnLoop", "OnReactor", "Place", "here", "host_reactor", "in_task", "kind_of"]

Kind = Literal["plain", "coroutine", "deferred"]
"""What a function is: it may block; it is a coroutine; it belongs to Twisted."""


class Place(Protocol):
    """A thread that must not be blocked, because a loop or a reactor runs in it."""

    @property
    def threads(self) -> bool:
        """Whether other threads can hand something over to it."""

    def post(self, function: Callable[[], object]) -> None:
        """Call a function there soon; from any thread."""

    def later(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Call a function there after some time; return what prevents it."""


class OnLoop:
    """An asyncio loop's thread."""

    threads = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def post(self, function: Callable[[], object]) -> None:
        """See :class:`Place`; a loop that is closed has nobody left who waits."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass

    def later(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """See :class:`Place`."""
        return self.loop.call_later(max(0.0, seconds), function).cancel


class OnReactor:
    """A reactor's thread. A ``Clock`` does for tests: what it is handed it does at once."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.threads = hasattr(reactor, "callFromThread")

    def post(self, function: Callable[[], object]) -> None:
        """See :class:`Place`."""
        if self.threads:
            self._reactor.callFromThread(function)
        else:
            function()

    def later(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """See :class:`Place`."""
        call = self._reactor.callLater(max(0.0, seconds), function)

        def cancel() -> None:
            if call.active():
                call.cancel()

        return cancel


def here() -> OnLoop | OnReactor | None:
    """Return the place that the caller must not block, or ``None`` in any other thread."""
    try:
        return OnLoop(asyncio.get_running_loop())
    except RuntimeError:
        reactor = host_reactor()
        if reactor is not None and reactor.running and threadable.isInIOThread():
            return OnReactor(reactor)
        return None


def host_reactor() -> Any:
    """Return the reactor that the program has installed, or ``None``."""
    return sys.modules.get("twisted.internet.reactor")


def in_task() -> bool:
    """Say whether the caller is in a task of asyncio's, which cannot await a Deferred."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def kind_of(function: Callable[..., Any], deferred: bool | None = None) -> Kind:
    """Say what a function is.

    One that returns a Deferred is known by its annotation, or by ``inlineCallbacks``.

    :param deferred: says so where that is not enough; ``False`` says the contrary.
    :raises TypeError: for a generator, which does nothing yet when it is called.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{_name(function)} is a generator: use a with statement inside of it")
    if deferred:
        return "deferred"
    if any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
        return "coroutine"
    return "deferred" if deferred is None and _says_deferred(function) else "plain"


def _says_deferred(function: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(function)
    if inner is not function and inspect.isgeneratorfunction(inner):
        return True
    try:
        returned = inner.__annotations__.get("return")
    except (AttributeError, NameError):  # missing, or of names that are not there at run time
        return False
    if returned is Deferred:
        return True
    text = returned if isinstance(returned, str) else str(returned)
    return text.strip("'\" ").partition("[")[0].rpartition(".")[2] == "Deferred"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
