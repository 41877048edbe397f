"""A reactor in a thread of its own, which can be started and stopped any number of times.

The global reactor is neither used nor installed, no signal handler is touched, and
the thread is a daemon: it never keeps a process from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from backplane.errors import StateError
from backplane.reactors.copies import close_copies
from backplane.reactors.names import ImpatientResolver

__all__ = ["BackgroundReactor"]

SUSPENDED: Final = 0.2
"""Seconds after which a thread that wakes the reactor up is taken for suspended."""


class BackgroundReactor:
    """A reactor that runs from :meth:`start` to :meth:`stop`, once.

    :param name: of the thread.
    :ivar reactor: provides time, TCP and name resolution.
    """

    def __init__(self, name: str) -> None:
        self.reactor: Any = _make()
        self.reactor.installNameResolver(ImpatientResolver(self.reactor))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._home: int | None = None  # while it runs: later threads may get the same ident
        self._up: Future[None] = Future()
        # No lock guards these: a signal handler may stop what its own thread is asking something.
        self._waiting: set[Future[Any]] = set()
        self._ending = False
        self._over = False

    @property
    def here(self) -> bool:
        """Whether the caller is in the reactor's thread."""
        return threading.get_ident() == self._home

    @property
    def over(self) -> bool:
        """Whether it has ended, and everything is released."""
        return self._over

    def start(self) -> None:
        """Run; returns when it does.

        :raises RuntimeError: when there is no thread to be had, or it ran before.
        """
        try:
            self._thread.start()
        except BaseException:
            self.stop()
            raise
        self._up.result()

    def begin(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in the reactor's thread; return what gets its result.

        The function may return a Deferred. The future fails with :class:`StateError` when
        the reactor ends before.
        """
        future: Future[Any] = Future()

        def settle(result: Any) -> None:
            self._waiting.discard(future)
            if future.done():  # as the reactor has ended
                return
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        self._waiting.add(future)
        if self._over:  # else the end finds it among those who wait
            self._waiting.discard(future)
            _refuse(future)
            return future
        self.reactor.callFromThread(lambda: maybeDeferred(function, *args).addBoth(settle))
        return future

    def call(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
        """Call a function in the reactor's thread, and wait for its result.

        :param timeout: seconds; ``None`` for ever.
        :raises TimeoutError: when that is not enough; what was called goes on.
        :raises StateError: in the reactor's thread, which would wait for itself, and when the
            reactor ends before there is a result.
        """
        if self.here:
            raise StateError("this would block the thread that it waits for")
        future = self.begin(function, *args)
        try:
            return future.result(timeout)
        except (TimeoutError, FutureTimeoutError):
            if future.done():  # the function's own
                raise
            raise TimeoutError(f"no answer within {timeout:g} s") from None

    def stop(self, timeout: float | None = None) -> bool:
        """End the reactor and release everything that it has; any number of times.

        :param timeout: seconds to wait for the thread.
        :returns: whether it has ended.
        """
        if self._thread.ident is None:
            self._close()
        elif self._thread.is_alive():
            self.reactor.callFromThread(self._stop)
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Let go of what a child has got by a fork; the parent's is not touched."""
        reactor = self.reactor
        close_copies({*reactor.getReaders(), *reactor.getWriters(), *_internal(reactor)})
        poller = getattr(reactor, "_poller", None)
        if poller is not None:
            poller.close()

    def _stop(self) -> None:
        if not self._ending:
            self._ending = True
            self.reactor.stop()

    def _run(self) -> None:
        self._home = threading.get_ident()
        try:
            self._go()
        finally:
            self._home = None

    def _go(self) -> None:
        reactor = self.reactor
        thread = threadable.ioThread
        try:
            reactor.startRunning(installSignalHandlers=False)
        except BaseException as error:
            self._close()
            self._up.set_exception(error)
            return
        finally:
            threadable.ioThread = thread
        reactor.callLater(0, self._up.set_result, None)
        try:
            reactor.mainLoop()
        finally:
            self._close()

    def _close(self) -> None:
        """Release what is open, and let nobody wait for what will not come."""
        if self._over:
            return
        self._over = True
        _release(self.reactor)
        for future in list(self._waiting):
            _refuse(future)
        self._waiting.clear()


def _refuse(future: Future[Any]) -> None:
    try:
        future.set_exception(StateError("the management is not running"))
    except InvalidStateError:  # somebody else has told it
        pass


class _Waking:
    """For a reactor that ends while threads hand something over to it: none of them writes to
    the waker's descriptor once it is closed, and perhaps a file of the host's."""

    waker: Any

    def __init__(self) -> None:
        self.waking = threading.RLock()
        super().__init__()

    def wakeUp(self) -> None:
        """See ``IReactorCore``."""
        with self.waking:
            if self.waker is not None:
                self.waker.wakeUp()


def _make() -> Any:
    base: Any
    try:
        from twisted.internet.epollreactor import EPollReactor as base
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor as base
    kind: Any = type("BackgroundReactor", (_Waking, base), {})
    return kind()


def _internal(reactor: Any) -> set[Any]:
    return set(getattr(reactor, "_internalReaders", ()))


def _release(reactor: Any) -> None:
    """Close what is open, so that nothing is left when the reactor is forgotten."""
    waker, reactor.waker = reactor.waker, None
    if reactor.waking.acquire(timeout=SUSPENDED):
        reactor.waking.release()
        in_use = None
    else:  # a signal handler that waits for us has interrupted who writes to it
        in_use = waker
    for selectable in reactor.removeAll():
        selectable.connectionLost(Failure(ConnectionError("the reactor has ended")))
    for call in reactor.getDelayedCalls():
        call.cancel()
    for reader in _internal(reactor):
        reactor._internalReaders.discard(reader)
        reactor.removeReader(reader)
        if reader is not in_use:
            reader.connectionLost(Failure(ConnectionError("the reactor has ended")))
    poller = getattr(reactor, "_poller", None)
    if poller is not None:
        poller.close()
