"""Work under way, counted, so that somebody can wait until there is none."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from backplane.errors import StateError
from backplane.parts.places import kind_of
from backplane.parts.waiting import Watched

__all__ = ["InFlight"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Listener = TypeVar("_Listener", bound=Callable[[int], object])


class InFlight:
    """A counter of work under way.

    ::

        with in_flight:                # in a thread, a callback, a coroutine: it never waits
        async with in_flight:          # the same
        @in_flight.track               # a function of any kind

    Every method may be called in any thread.
    """

    def __init__(self) -> None:
        self._count = Watched(
            0, lambda value: value == 0, "await when_idle(), or use when_idle_deferred()"
        )

    @property
    def count(self) -> int:
        """How much is under way."""
        return self._count.value

    def __call__(self) -> int:
        """Return :attr:`count`, so that this stands for ``in_flight()``.

        See :class:`~backplane.interfaces.IDrainable`.
        """
        return self.count

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._count.reached

    def begin(self) -> None:
        """Count one more; for work that no ``with`` can be put around."""
        self._count.change(lambda count: count + 1)

    def end(self) -> None:
        """Count one less.

        :raises StateError: when nothing is under way.
        """
        self._count.change(_one_less)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until nothing is under way.

        :param timeout: seconds; ``None`` for ever.
        :returns: whether nothing is.
        :raises StateError: when that would block an event loop.
        """
        return self._count.wait(timeout)

    async def when_idle(self) -> None:
        """Wait until nothing is under way; in asyncio, and in coroutines of Twisted's."""
        await self._count.when()

    def when_idle_deferred(self, reactor: Any = None) -> Deferred[None]:
        """Return a Deferred that fires when nothing is under way; it may be cancelled.

        :param reactor: by way of which it fires when another thread ends the last work;
            by default that of the program.
        """
        return self._count.when_deferred(reactor)

    def on_change(self, listener: _Listener) -> _Listener:
        """Call ``listener(count)`` at each change, in the thread that makes it.

        :returns: the listener, so that this is a decorator.
        """
        self._count.on_change(listener)
        return listener

    def forget(self, listener: Callable[[int], object]) -> None:
        """Do not call ``listener`` any more."""
        self._count.forget(listener)

    def track(self, function: _Function) -> _Function:
        """Count calls of a function until they are done; a decorator.

        A call that returns a Deferred, a future or a coroutine is done when that is.

        :raises TypeError: for a generator function.
        """
        wrapper: Any
        if kind_of(function) == "coroutine":

            @functools.wraps(function)
            async def coroutine(*args: Any, **kw: Any) -> Any:
                with self:
                    return await function(*args, **kw)

            wrapper = coroutine
        else:

            @functools.wraps(function)
            def called(*args: Any, **kw: Any) -> Any:
                return self._followed(function, args, kw)

            wrapper = called
        return wrapper  # type: ignore[no-any-return]

    def _followed(
        self, function: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]
    ) -> Any:
        with self:
            result = function(*args, **kw)
            if isinstance(result, Deferred):
                self.begin()
                return result.addBoth(self._ended)
            if asyncio.isfuture(result):
                self.begin()
                result.add_done_callback(self._ended)
        return self._counted(result) if inspect.iscoroutine(result) else result

    def _ended(self, result: Any) -> Any:
        self.end()
        return result

    async def _counted(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self:
            return await coroutine

    def __enter__(self) -> InFlight:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    async def __aenter__(self) -> InFlight:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<InFlight {self.count}>"


def _one_less(count: int) -> int:
    if count == 0:
        raise StateError("more was ended than had begun")
    return count - 1
