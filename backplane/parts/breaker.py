"""A circuit breaker that code waits on: closed, work goes on; paused, it waits."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from backplane.errors import StateError
from backplane.interfaces import IPausable
from backplane.parts.places import kind_of
from backplane.parts.waiting import Watched

__all__ = ["Breaker", "Paused"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Listener = TypeVar("_Listener", bound=Callable[[bool], object])


class Paused(StateError):
    """The breaker is paused, and the caller did not want to wait."""


@implementer(IPausable)
class Breaker:
    """Work waits while it is paused.

    ::

        with breaker:                  # in a thread
        async with breaker:            # in asyncio, or a coroutine of Twisted's
        @breaker.guard                 # a function of any kind

    Every method may be called in any thread. What has begun is not interrupted by a pause.

    :param paused: whether it begins so.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self._paused = Watched(
            paused, lambda value: not value, "await when_closed(), or use when_closed_deferred()"
        )

    @property
    def closed(self) -> bool:
        """Whether work goes on."""
        return not self._paused.value

    def paused(self) -> bool:
        """See :class:`~backplane.interfaces.IPausable`."""
        return self._paused.value

    def pause(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`; twice is as good as once."""
        self._paused.change(lambda paused: True)

    def resume(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`; lets everybody go who waits."""
        self._paused.change(lambda paused: False)

    def flip(self) -> None:
        """See :class:`~backplane.interfaces.IPausable`."""
        self._paused.change(lambda paused: not paused)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until the breaker is closed.

        :param timeout: seconds; ``None`` for ever.
        :returns: whether it is closed.
        :raises StateError: when that would block an event loop.
        """
        return self._paused.wait(timeout)

    async def when_closed(self) -> None:
        """Wait until the breaker is closed; in asyncio, and in coroutines of Twisted's."""
        await self._paused.when()

    def when_closed_deferred(self, reactor: Any = None) -> Deferred[None]:
        """Return a Deferred that fires when the breaker is closed; it may be cancelled.

        :param reactor: by way of which it fires when another thread closes the breaker;
            by default that of the program.
        """
        return self._paused.when_deferred(reactor)

    def on_change(self, listener: _Listener) -> _Listener:
        """Call ``listener(paused)`` at each change, in the thread that makes it.

        :returns: the listener, so that this is a decorator.
        """
        self._paused.on_change(listener)
        return listener

    def forget(self, listener: Callable[[bool], object]) -> None:
        """Do not call ``listener`` any more."""
        self._paused.forget(listener)

    def check(self) -> None:
        """Do nothing when the breaker is closed.

        :raises Paused: when it is paused.
        """
        if self.paused():
            raise Paused("paused")

    @overload
    def guard(self, function: _Function) -> _Function: ...

    @overload
    def guard(
        self, *, wait: bool = True, deferred: bool | None = None
    ) -> Callable[[_Function], _Function]: ...

    def guard(
        self, function: Any = None, *, wait: bool = True, deferred: bool | None = None
    ) -> Any:
        """Let calls of a function wait until the breaker is closed; a decorator.

        A coroutine waits in its loop, a plain function in its thread. One that returns a
        Deferred, which is known by its annotation or by ``inlineCallbacks``, is called later.

        :param wait: ``False`` refuses calls instead, with :class:`Paused`.
        :param deferred: says that the function returns a Deferred, or that it does not.
        :raises TypeError: for a generator function.
        """
        if function is None:
            return functools.partial(self._guarded, wait=wait, deferred=deferred)
        return self._guarded(function, wait=wait, deferred=deferred)

    def _guarded(self, function: Any, *, wait: bool, deferred: bool | None) -> Any:
        kind = kind_of(function, deferred)
        if kind == "coroutine" or inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kw: Any) -> Any:
                if not wait:
                    self.check()
                await self.when_closed()
                return await function(*args, **kw)

            return coroutine

        @functools.wraps(function)
        def called(*args: Any, **kw: Any) -> Any:
            if kind == "deferred" and self.paused():
                if not wait:
                    return fail(Paused("paused"))
                return self.when_closed_deferred().addCallback(lambda _: function(*args, **kw))
            if not wait:
                self.check()
            self.wait()
            return function(*args, **kw)

        return called

    def __enter__(self) -> Breaker:
        self.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def __aenter__(self) -> Breaker:
        await self.when_closed()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def __repr__(self) -> str:
        return f"<Breaker {'paused' if self.paused() else 'closed'}>"
