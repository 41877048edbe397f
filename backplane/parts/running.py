"""One run of a function where it belongs: in a thread, on a loop, or on a reactor.

A run ends when its function has really ended, which may be long after somebody lost
patience; until then it can be seen that it goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from backplane.parts.places import Kind, OnLoop, OnReactor, host_reactor

__all__ = ["Run"]


class Run:
    """A run; made first, begun afterwards.

    :param function: takes no arguments.
    :param seconds: a clock.
    :ivar future: is done when the function has ended.
    :ivar started: the clock when the run was made.
    :ivar ended: the clock when it ended, or ``None``.
    """

    def __init__(
        self, function: Callable[[], Any], kind: Kind, name: str, seconds: Callable[[], float]
    ) -> None:
        self._function = function
        self._kind = kind
        self._name = name
        self._seconds = seconds
        self._cancel: Callable[[], object] = lambda: None
        self._unwanted = False
        self._pid = os.getpid()
        self.future: Future[Any] = Future()
        self.started = seconds()
        self.ended: float | None = None

    @property
    def age(self) -> float:
        """Seconds from the start to the end, or until now."""
        return (self._seconds() if self.ended is None else self.ended) - self.started

    @property
    def running(self) -> bool:
        """Whether it goes on; threads and loops of a process do not in one forked from it."""
        return not self.future.done() and self._pid == os.getpid()

    def cancel(self) -> None:
        """End it as far as that can be done: a thread cannot be ended."""
        self._unwanted = True
        if not self.future.done():
            self._cancel()

    def _cancel_by(self, cancel: Callable[[], object]) -> None:
        """Say how it is ended; it may be late already."""
        self._cancel = cancel
        if self._unwanted:
            cancel()

    def begin(
        self,
        place: OnLoop | OnReactor | None,
        loop: asyncio.AbstractEventLoop | None = None,
        reactor: Any = None,
    ) -> None:
        """Begin; does not block. What goes wrong is how the run ends.

        :param place: where the caller is.
        :param loop: where coroutines belong; by default the one that the caller is on.
        :param reactor: where functions that return Deferreds belong; the program's by default.
        """
        try:
            if loop is None and isinstance(place, OnLoop):
                loop = place.loop
            on_twisted = isinstance(place, OnReactor) and loop is None
            if self._kind == "deferred" or (self._kind == "coroutine" and on_twisted):
                self._begin_deferred(place, reactor)
            elif self._kind == "coroutine" and loop is not None:
                self._begin_task(OnLoop(loop))
            elif place is not None and not place.threads:
                self._work()
            else:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _begin_task(self, place: OnLoop) -> None:
        if place.loop.is_closed():
            raise RuntimeError("the event loop is closed")

        def start() -> None:
            task = place.loop.create_task(_complete(self._function()))
            task.add_done_callback(ended)
            self._cancel_by(lambda: place.post(task.cancel))

        def ended(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                self._fail(asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                self._fail(error)
            else:
                self._succeed(task.result())

        place.post(lambda: self._guarded(start))

    def _begin_deferred(self, place: OnLoop | OnReactor | None, reactor: Any) -> None:
        host = host_reactor()
        if place is None and reactor is None and host is not None and host.running:
            reactor = host
        if place is None and reactor is not None:
            place = OnReactor(reactor)
            place.post(lambda: self._start_deferred(place))
        else:
            self._start_deferred(place)

    def _start_deferred(self, place: OnLoop | OnReactor | None) -> None:
        running: Deferred[Any] = maybeDeferred(self._function)
        running.addCallbacks(self._succeed, self._failed)
        self._cancel_by(lambda: place.post(running.cancel) if place else running.cancel())

    def _work(self) -> None:
        """Run in a thread of its own, a coroutine too."""

        def work() -> None:
            result = self._function()
            if isinstance(result, Deferred):
                result.addErrback(lambda failure: None)
                raise TypeError("it returned a Deferred: register it with deferred=True")
            self._succeed(
                asyncio.run(self._own_loop(result)) if inspect.iscoroutine(result) else result
            )

        self._guarded(work)

    async def _own_loop(self, coroutine: Awaitable[Any]) -> Any:
        place, task = OnLoop(asyncio.get_running_loop()), asyncio.current_task()
        assert task is not None
        self._cancel_by(lambda: place.post(task.cancel))
        return await coroutine

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            self._fail(error)

    def _succeed(self, result: object) -> None:
        self.ended = self._seconds()
        self.future.set_result(result)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        self._fail(RuntimeError("no reason") if error is None else error)

    def _fail(self, error: BaseException) -> None:
        self.ended = self._seconds()
        self.future.set_exception(error)


async def _complete(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
