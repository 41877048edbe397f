"""A reactor on somebody else's running asyncio loop.

It is made for one use and gone afterwards; the global reactor is neither used nor
installed. The host's loop, its signal handlers and its idea of the I/O thread stay
as they are, and there are no threads that somebody would have to wait for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.posixbase import PosixReactorBase
from twisted.python import threadable
from twisted.python.failure import Failure

from backplane.reactors.copies import close_copies
from backplane.reactors.names import ImpatientResolver

__all__ = ["HostedReactor"]


class HostedReactor(AsyncioSelectorReactor):
    """A reactor that runs as long as its user wants and leaves the loop alone.

    :param loop: the running loop.
    :raises TypeError: for a loop that cannot watch sockets, such as Windows' Proactor loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended: asyncio.Future[None] = loop.create_future()
        super().__init__(loop)
        self.installNameResolver(ImpatientResolver(self))

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
        self.disconnectAll()
        self.release()

    def release(self) -> None:
        """Release everything at once: of one that never ran, or has ended."""
        for call in self.getDelayedCalls():
            call.cancel()
        if self._timerHandle is not None:
            self._timerHandle.cancel()
        waker, self.waker = self.waker, None
        if waker is not None:
            self._internalReaders.discard(waker)
            self.removeReader(waker)
            waker.connectionLost(Failure(ConnectionError("the reactor has ended")))

    def abandon(self) -> None:
        """Let go of everything without the loop, which is closed, or another process's."""
        close_copies({*self.getReaders(), *self.getWriters(), *self._internalReaders})
        self._readers.clear()
        self._writers.clear()
        self._internalReaders.clear()
        self.waker = None

    def callFromThread(self, *args: Any, **kwargs: Any) -> None:
        """Call a function on the loop; where that is closed, nobody waits for it any more."""
        try:
            super().callFromThread(*args, **kwargs)
        except RuntimeError:
            if not self._asyncioEventloop.is_closed():
                raise

    def crash(self) -> None:
        """End without stopping the loop, which is not ours."""
        PosixReactorBase.crash(self)
        if not self._ended.done():
            self._ended.set_result(None)
