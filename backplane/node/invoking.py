"""How a function of the application is called: here, in a thread, or as a task of asyncio's.

Said once for each object that is provided:

``reactor``
    here, on the reactor; it may return a Deferred, or be a coroutine that awaits Deferreds.
``thread``
    in a daemon thread of its own; a coroutine is run there by asyncio.
``asyncio``
    here, on the loop that the reactor lives on; a coroutine becomes a task of that loop. A
    plain method that is likely to wait, see :data:`WAITING`, is called in a thread, as the
    loop is not ours to be held up; what it returns is awaited on the loop.

What is marked :func:`backplane.interfaces.blocking` is called in a thread in any case.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, Final, Literal

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

__all__ = ["WAITING", "CallMode", "ThreadRunner", "in_thread", "invoke", "run_in_thread"]

CallMode = Literal["reactor", "thread", "asyncio"]

ThreadRunner = Callable[[Callable[[], object]], "Deferred[Any]"]

WAITING: Final = frozenset({"health_check"})
"""Methods that ask others, who may be silent."""


def run_in_thread(reactor: Any) -> ThreadRunner:
    """Return a function that runs another one in a daemon thread.

    :param reactor: provides ``callFromThread``.
    """

    def run(function: Callable[[], object]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result: object = function()
            except BaseException:
                result = Failure()
            # What a thread returns may be a Deferred or a coroutine; both belong to the reactor.
            reactor.callFromThread(lambda: maybeDeferred(lambda: result).chainDeferred(done))

        threading.Thread(target=work, name="backplane-call", daemon=True).start()
        return done

    return run


def in_thread(mode: CallMode, function: Callable[..., object], method: str = "") -> bool:
    """Say whether a function is called in a thread.

    :param method: the name by which the application provides it, if it does.
    """
    if mode == "thread":
        return True
    marked = getattr(function, "__backplane_blocking__", None)
    if marked is not None:
        return bool(marked)
    return mode == "asyncio" and method in WAITING and not _is_coroutine(function)


def _is_coroutine(function: Callable[..., object]) -> bool:
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


def invoke(
    mode: CallMode,
    threads: ThreadRunner,
    function: Callable[..., object],
    *args: object,
    method: str = "",
) -> Deferred[Any]:
    """Call a function; return what fires with its result.

    Cancelling it cancels a task or Deferred; a thread goes on.

    :param method: see :func:`in_thread`.
    """
    if in_thread(mode, function, method):
        if mode == "reactor":  # a coroutine that a marked function returns is ours
            return threads(lambda: function(*args))
        if not in_thread(mode, function):  # only its plain part is for a thread
            # In a tuple, as nobody else may begin what it returned.
            return threads(lambda: (function(*args),)).addCallback(lambda one: _task(one[0]))
        return threads(lambda: _complete(function(*args)))
    if mode == "asyncio":
        return maybeDeferred(_scheduled, function, *args)
    return maybeDeferred(function, *args)


def _complete(result: object) -> object:
    """Run a coroutine to its end, in a thread that has no loop."""
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def _scheduled(function: Callable[..., object], *args: object) -> object:
    """Call a function here, on the loop."""
    return _task(function(*args))


def _task(result: object) -> object:
    """Make a task of what is awaitable, on the running loop."""
    if inspect.isawaitable(result) and not isinstance(result, Deferred):
        return Deferred.fromFuture(asyncio.ensure_future(result))
    return result
