"""A reactor in a thread of its own, which can be started and stopped any number of times.

The global reactor is neither used nor installed, no signal handler is touched, and
the thread is a daemon: it never keeps a process from ending.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from twisted.internet.defer import maybeDeferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.python import threadable
from twisted.python.failure import Failure

from backplane.errors import StateError
from backplane.reactors.names import ImpatientResolver

__all__ = ["BackgroundReactor"]

_T = TypeVar("_T")


class BackgroundReactor:
    """A reactor that runs from :meth:`start` to :meth:`stop`, once.

    :param name: of the thread.
    :ivar reactor: provides time, TCP and name resolution.
    """

    def __init__(self, name: str) -> None:
        self.reactor: Any = _make()
        self.reactor.installNameResolver(ImpatientResolver(self.reactor))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._up: Future[None] = Future()

    @property
    def here(self) -> bool:
        """Whether the caller is in the reactor's thread."""
        return threading.get_ident() == self._thread.ident

    def start(self) -> None:
        """Run; returns when it does."""
        self._thread.start()
        self._up.result()

    def begin(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in the reactor's thread; return what gets its result.

        The function may return a Deferred. Cancelling the future cancels that.
        """
        future: Future[Any] = Future()

        def settle(result: Any) -> None:
            if future.cancelled():
                return
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            maybeDeferred(function, *args).addBoth(settle)

        self.reactor.callFromThread(work)
        return future

    def call(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
        """Call a function in the reactor's thread, and wait for its result.

        :param timeout: seconds; ``None`` for ever.
        :raises TimeoutError: when that is not enough; what was called goes on.
        :raises StateError: in the reactor's thread, which would wait for itself.
        """
        if self.here:
            raise StateError("this would block the thread that it waits for")
        future = self.begin(function, *args)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the function's own
                raise
            raise TimeoutError(f"no answer within {timeout:g} s") from None

    def stop(self, timeout: float | None = None) -> bool:
        """End the reactor and release everything that it has.

        :param timeout: seconds to wait for the thread.
        :returns: whether it has ended.
        """
        if self._thread.is_alive():
            self.reactor.callFromThread(self.reactor.stop)
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Let go of what a child has got by a fork; the parent's is not touched."""
        reactor = self.reactor
        for selectable in {*reactor.getReaders(), *reactor.getWriters(), *_internal(reactor)}:
            for name in ("socket", "i", "o"):
                _close_copy(getattr(selectable, name, None))
        poller = getattr(reactor, "_poller", None)
        if poller is not None:
            poller.close()

    def _run(self) -> None:
        reactor = self.reactor
        thread = threadable.ioThread
        try:
            reactor.startRunning(installSignalHandlers=False)
        finally:
            threadable.ioThread = thread
        reactor.callLater(0, self._up.set_result, None)
        try:
            reactor.mainLoop()
        finally:
            _release(reactor)


def _make() -> Any:
    try:
        from twisted.internet.epollreactor import EPollReactor

        return EPollReactor()
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()


def _internal(reactor: Any) -> set[Any]:
    return set(getattr(reactor, "_internalReaders", ()))


def _release(reactor: PosixReactorBase) -> None:
    """Close what is open, so that nothing is left when the reactor is forgotten."""
    for selectable in reactor.removeAll():
        selectable.connectionLost(Failure(ConnectionError("the reactor has ended")))
    for call in reactor.getDelayedCalls():
        call.cancel()
    for reader in _internal(reactor):
        reactor._internalReaders.discard(reader)
        reactor.removeReader(reader)
        reader.connectionLost(Failure(ConnectionError("the reactor has ended")))
    reactor.waker = None
    poller = getattr(reactor, "_poller", None)
    if poller is not None:
        poller.close()


def _close_copy(held: Any) -> None:
    """Close a descriptor without telling the other side, who belongs to the parent."""
    try:
        if isinstance(held, int):
            os.close(held)
        elif held is not None:
            os.close(held.detach())
    except (OSError, AttributeError):
        pass
