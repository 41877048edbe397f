"""A management on somebody else's asyncio loop.

::

    management = await backplane.aio.start({"name": "shop", "brokers": [...]}, app)

Methods of the application are called on the loop; coroutines become tasks of it. The
loop, its signal handlers and Twisted's global reactor are left alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from backplane import forks
from backplane.errors import StateError
from backplane.interfaces import DataItem
from backplane.node.invoking import CallMode
from backplane.node.presence import ManagementState
from backplane.reactors.hosted import HostedReactor
from backplane.service import Management
from backplane.stdlog import StandardLog

__all__ = ["AsyncManagement", "lifespan", "running", "start"]

_T = TypeVar("_T")

HURRIES: Final = 20
"""How often a stop is told to hurry: more often than it has steps to wait for."""


async def start(
    config: object, *provided: object, calls: CallMode = "asyncio", **options: Any
) -> AsyncManagement:
    """Start a management on the running loop; does not wait for a broker.

    :param config: as for :class:`~backplane.service.Management`.
    :param provided: applications and agents, as for ``Management.provide``.
    :param calls: how their methods are called.
    :param options: further ones of :class:`~backplane.service.Management`.
    :raises ConfigError: when the configuration has mistakes, with all of them.
    :raises OSError, AuditError, StateError: when it cannot be started.
    """
    management = AsyncManagement(config, *provided, calls=calls, **options)
    await management.start()
    return management


@asynccontextmanager
async def running(
    config: object, *provided: object, **options: Any
) -> AsyncIterator[AsyncManagement]:
    """Run a management within ``async with``; see :func:`start`."""
    management = await start(config, *provided, **options)
    try:
        yield management
    finally:
        await management.stop()


def lifespan(
    config: object, *provided: object, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return the ``lifespan`` of an ASGI application, such as FastAPI's; see :func:`start`.

    The management is ``app.state.management`` where the application has a ``state``.
    """

    @asynccontextmanager
    async def context(app: Any) -> AsyncIterator[None]:
        async with running(config, *provided, **options) as management:
            state = getattr(app, "state", None)
            if state is not None:
                state.management = management
            yield

    return context


_running: set[AsyncManagement] = set()
"""Those of this process that were started and not stopped, in whatever loop."""


class AsyncManagement:
    """A management on a loop; each method belongs to that loop. Made by :func:`start`."""

    def __init__(
        self, config: object, *provided: object, calls: CallMode = "asyncio", **options: Any
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._ending: asyncio.Task[None] | None = None
        self._stopping: Deferred[Any] = Deferred()
        reactor = HostedReactor(self._loop)
        self._reactor: HostedReactor | None = reactor
        try:
            self._management = Management(
                config, reactor=reactor, log_to=StandardLog(), calls=calls, **options
            )
            for each in provided:
                self._management.provide(each)
        except BaseException:
            reactor.release()
            raise

    async def start(self) -> None:
        """Start; only for one that was not started yet.

        :raises StateError: when it was.
        """
        reactor = self._here()
        if self._management.running:
            raise StateError("the management was started already")
        _forget_closed()
        reactor.open()
        try:
            self._management.startService()
        except BaseException:
            self._reactor = None
            await reactor.close()
            raise
        _running.add(self)
        forks.watch(self)

    @property
    def state(self) -> ManagementState:
        """Phase, since when, the broker and the last error."""
        return self._management.state

    def on_change(self, listener: Callable[[ManagementState], None]) -> None:
        """Call ``listener`` with each new state."""
        self._management.on_change(listener)

    async def when_ready(self) -> None:
        """Wait until operators can reach the service.

        :raises StateError: when the management stops before.
        """
        self._here()
        await self._awaited(self._management.when_ready())

    async def publish(self, item: DataItem) -> None:
        """Publish data, and wait until the broker has it; see :mod:`backplane.node.outbox`.

        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        :raises OutboxFull, ItemRefused, StateError: when it is not published.
        """
        self._here()
        await self._management.data_outbox.publish_future(item)

    async def put(self, item: DataItem) -> None:
        """Hand data over; waits while there is no room for it. Errors as :meth:`publish`."""
        self._here()
        await self._management.data_outbox.put_future(item)

    async def stop(self) -> None:
        """Stop in order, and leave nothing behind; twice does nothing, at the same time is once.

        Where the task is cancelled meanwhile it stops at once: what was published and not
        sent yet is lost. Once the loop is closed there is nobody left to say goodbye with,
        and what is open is closed.

        :raises StateError: on another loop.
        """
        forks.check(self._pid)
        if self._loop.is_closed():
            self._abandon()
            return
        if asyncio.get_running_loop() is not self._loop:
            raise StateError("the management belongs to another event loop")
        reactor, self._reactor = self._reactor, None
        if reactor is not None:
            self._ending = self._loop.create_task(self._end(reactor))
        ending = self._ending
        if ending is None:
            return
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            if not ending.done():
                await self._hurry()
                await asyncio.wait([ending])
            raise

    async def _end(self, reactor: HostedReactor) -> None:
        self._stopping = maybeDeferred(self._management.stopService)
        try:
            await self._awaited(self._stopping)
        except asyncio.CancelledError:  # of all tasks, at the end of a loop
            await self._hurry()
            raise
        finally:
            _running.discard(self)
            if reactor.running:
                await reactor.close()
            else:
                reactor.release()
            if self._management.running:  # and will never come to an end by itself
                self._management.abandon()

    async def _hurry(self) -> None:
        """Cancel what the stop waits for, one step after the other."""
        for _ in range(HURRIES):
            if not self._management.running:
                break
            self._stopping.cancel()
            await asyncio.sleep(0)

    def forked(self) -> None:
        """See :class:`backplane.forks.Embedded`."""
        if self not in _running:
            return
        self._abandon()
        forks.tell(self._pid)

    def _abandon(self) -> None:
        """Let go of everything without the loop."""
        _running.discard(self)
        reactor, self._reactor = self._reactor, None
        if reactor is not None:
            reactor.abandon()
            self._management.abandon()

    def _here(self) -> HostedReactor:
        forks.check(self._pid)
        if asyncio.get_running_loop() is not self._loop:
            raise StateError("the management belongs to another event loop")
        if self._reactor is None:
            raise StateError("the management was stopped; start another one")
        return self._reactor

    async def _awaited(self, waiting: Deferred[_T]) -> _T:
        return await waiting.asFuture(self._loop)


def _forget_closed() -> None:
    """Give up what was left running on loops that are closed, so that its name is free."""
    for management in list(_running):
        if management._loop.is_closed():
            management._abandon()
