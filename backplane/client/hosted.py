"""A reactor on somebody else's running asyncio loop.

It is made for one use and gone afterwards; the global reactor is neither used nor
installed. The host's loop, its signal handlers and its idea of the I/O thread stay
as they are, and names are resolved by the loop itself, so that no threads of ours
are left to wait for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.python import threadable
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HostedReactor"]


class HostedReactor(AsyncioSelectorReactor):
    """A reactor that runs as long as its user wants and leaves the loop alone.

    :param loop: the running loop.
    :raises TypeError: for a loop that cannot watch sockets, such as Windows' Proactor loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended: asyncio.Future[None] = loop.create_future()
        super().__init__(loop)
        self._names = _LoopResolver(loop)
        self.installNameResolver(self._names)

    def open(self) -> None:
        """Begin to run."""
        thread = threadable.ioThread
        try:
            self.startRunning(installSignalHandlers=False)
        finally:
            threadable.ioThread = thread

    async def close(self) -> None:
        """End, close what is open, and release everything."""
        if not self._stopped:
            self.stop()
        await asyncio.shield(self._ended)
        self._names.close()
        self.disconnectAll()
        for call in self.getDelayedCalls():
            call.cancel()
        if self._timerHandle is not None:
            self._timerHandle.cancel()
        waker, self.waker = self.waker, None
        if waker is not None:
            self._internalReaders.discard(waker)
            self.removeReader(waker)
            waker.connectionLost(Failure(ConnectionError("the reactor has ended")))

    def crash(self) -> None:
        """End without stopping the loop, which is not ours."""
        PosixReactorBase.crash(self)
        if not self._ended.done():
            self._ended.set_result(None)


@implementer(IHostResolution)
class _Resolution:
    """One name that is being resolved."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


@implementer(IHostnameResolver)
class _LoopResolver:
    """Names, resolved as the host's loop resolves them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        task = self._loop.create_task(
            self._resolve(resolutionReceiver, hostName, portNumber, addressTypes)
        )
        resolution.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return resolution

    async def _resolve(
        self,
        receiver: IResolutionReceiver,
        name: str,
        port: int,
        wanted: Sequence[type[IAddress]] | None,
    ) -> None:
        try:
            found = await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for family, _, _, _, address in found:
            made = _address(family, address)
            if made is not None and (not wanted or isinstance(made, tuple(wanted))):
                receiver.addressResolved(made)
        receiver.resolutionComplete()

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()


def _address(family: int, address: Any) -> IPv4Address | IPv6Address | None:
    if family == socket.AF_INET:
        return IPv4Address("TCP", *address)
    if family == socket.AF_INET6:
        return IPv6Address("TCP", *address)
    return None
