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
from typing import Any, TypeVar

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


class AsyncManagement:
    """A management on a loop; each method belongs to that loop. Made by :func:`start`."""

    def __init__(
        self, config: object, *provided: object, calls: CallMode = "asyncio", **options: Any
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._reactor: HostedReactor | None = HostedReactor(self._loop)
        self._management = Management(
            config, reactor=self._reactor, log_to=StandardLog(), calls=calls, **options
        )
        for each in provided:
            self._management.provide(each)

    async def start(self) -> None:
        """Start; only for one that was not started yet.

        :raises StateError: when it was.
        """
        reactor = self._here()
        if self._management.running:
            raise StateError("the management was started already")
        reactor.open()
        try:
            self._management.startService()
        except BaseException:
            self._reactor = None
            await reactor.close()
            raise
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
        """Stop in order, and leave nothing behind; twice does nothing."""
        forks.check(self._pid)
        reactor, self._reactor = self._reactor, None
        if reactor is None:
            return
        try:
            await self._awaited(maybeDeferred(self._management.stopService))
        finally:
            await reactor.close()

    def forked(self) -> None:
        """See :class:`backplane.forks.Embedded`."""
        if self._reactor is None:
            return
        self._reactor = None
        self._management.abandon()
        forks.tell(self._pid)

    def _here(self) -> HostedReactor:
        forks.check(self._pid)
        if asyncio.get_running_loop() is not self._loop:
            raise StateError("the management belongs to another event loop")
        if self._reactor is None:
            raise StateError("the management was stopped; start another one")
        return self._reactor

    async def _awaited(self, waiting: Deferred[_T]) -> _T:
        return await waiting.asFuture(self._loop)
