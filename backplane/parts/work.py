"""Work that waits on breakers and is counted, so that a drain misses none of it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from twisted.internet.defer import Deferred, fail, maybeDeferred

from backplane.parts.breaker import Breaker, Paused
from backplane.parts.inflight import InFlight
from backplane.parts.places import kind_of

__all__ = ["Work"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Work:
    """Begins only while all of some breakers are closed, and is counted until it ends.

    ::

        with work:                     # in a thread
        async with work:               # in asyncio, or a coroutine of Twisted's
        @work.guard                    # a function of any kind

    Once a breaker is paused and the counter is at zero, nothing is under way and nothing
    begins. A ``with`` for the breaker and one for the counter do not promise that: in
    between a thread has passed the one and is not yet in the other.

    Every method may be called in any thread.

    :param in_flight: what counts.
    :param breakers: what it waits on.
    """

    def __init__(self, in_flight: InFlight, *breakers: Breaker) -> None:
        self._in_flight = in_flight
        self._breakers = breakers

    def try_begin(self) -> bool:
        """Begin if that needs no waiting; return whether it has. It is to be ended then."""
        if self._paused is not None:
            return False
        self._in_flight.begin()
        # Looked at again: whoever pauses from now on counts it, whoever has paused stops it.
        if self._paused is None:
            return True
        self._in_flight.end()
        return False

    def begin(self, timeout: float | None = None) -> bool:
        """Block this thread until it may begin.

        :param timeout: seconds; ``None`` for ever.
        :returns: whether it has begun. It is to be ended then.
        :raises StateError: when that would block an event loop.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.try_begin():
            paused = self._paused
            left = None if until is None else until - time.monotonic()
            if paused is not None and not paused.wait(left):
                return False
        return True

    def end(self) -> None:
        """Say that it has ended.

        :raises StateError: when nothing is under way.
        """
        self._in_flight.end()

    @overload
    def guard(self, function: _Function) -> _Function: ...

    @overload
    def guard(
        self, *, wait: bool = True, deferred: bool | None = None
    ) -> Callable[[_Function], _Function]: ...

    def guard(
        self, function: Any = None, *, wait: bool = True, deferred: bool | None = None
    ) -> Any:
        """Let calls of a function begin as work does; a decorator.

        Arguments and errors are those of :meth:`.Breaker.guard`. A call ends when the
        coroutine or Deferred does.
        """
        if function is None:
            return functools.partial(self._guarded, wait=wait, deferred=deferred)
        return self._guarded(function, wait=wait, deferred=deferred)

    def _guarded(self, function: Any, *, wait: bool, deferred: bool | None) -> Any:
        kind = kind_of(function, deferred)
        if kind == "coroutine":

            @functools.wraps(function)
            async def coroutine(*args: Any, **kw: Any) -> Any:
                if wait:
                    await self.__aenter__()
                elif not self.try_begin():
                    raise Paused("paused")
                try:
                    return await function(*args, **kw)
                finally:
                    self.end()

            return coroutine

        @functools.wraps(function)
        def called(*args: Any, **kw: Any) -> Any:
            call = functools.partial(function, *args, **kw)
            if kind == "deferred":
                return self._begin_later(call) if wait else self._at_once(call)
            if wait:
                self.begin()
            elif not self.try_begin():
                raise Paused("paused")
            try:
                return call()
            finally:
                self.end()

        return called

    @property
    def _paused(self) -> Breaker | None:
        """The first breaker that is in the way."""
        return next((each for each in self._breakers if each.paused()), None)

    def _begin_later(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Call a function that returns a Deferred when it may begin."""
        while not self.try_begin():
            paused = self._paused
            if paused is not None:
                closed = paused.when_closed_deferred()
                return closed.addCallback(lambda _: self._begin_later(call))
        return self._followed(call)

    def _at_once(self, call: Callable[[], Any]) -> Deferred[Any]:
        return self._followed(call) if self.try_begin() else fail(Paused("paused"))

    def _followed(self, call: Callable[[], Any]) -> Deferred[Any]:
        def ended(result: Any) -> Any:
            self.end()
            return result

        return maybeDeferred(call).addBoth(ended)

    def __enter__(self) -> Work:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    async def __aenter__(self) -> Work:
        while not self.try_begin():
            paused = self._paused
            if paused is not None:
                await paused.when_closed()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<Work, {self._in_flight.count} in flight{', paused' if self._paused else ''}>"
