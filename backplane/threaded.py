"""A management beside a program that is no Twisted program: in a thread of its own.

::

    management = backplane.start_in_thread({"name": "shop", "brokers": [...]}, app)

No call waits for a broker but those that say so. Methods of the application are called
in threads, coroutines are run there by asyncio, unless ``calls`` says otherwise.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import Deferred

from backplane import forks
from backplane.config.settings import ServiceConfig
from backplane.errors import StateError
from backplane.interfaces import DataItem
from backplane.node.invoking import CallMode
from backplane.node.presence import ManagementState
from backplane.reactors.background import BackgroundReactor
from backplane.service import Management
from backplane.stdlog import StandardLog

__all__ = ["ThreadedManagement", "start_in_thread"]

AfterFork = Literal["error", "start"]

STOP_TIMEOUT: Final = 20.0
"""Seconds that a stop may take in all; what it waits for has bounds below that."""

INTERRUPTED: Final = 5.0
"""Seconds that one may take which somebody waits for who has been interrupted."""


def start_in_thread(
    config: object,
    *provided: object,
    calls: CallMode = "thread",
    after_fork: AfterFork = "error",
    **options: Any,
) -> ThreadedManagement:
    """Start a management in a thread of its own; returns at once.

    :param config: as for :class:`~backplane.service.Management`.
    :param provided: applications and agents, as for ``Management.provide``.
    :param calls: how their methods are called.
    :param after_fork: what a child process does that is forked later: ``error`` lets every
        call raise :class:`~backplane.forks.ForkedError`; ``start`` starts one of its own,
        whose identity has the process id appended unless ``${PID}`` stands in it.
    :param options: further ones of :class:`~backplane.service.Management`.
    :raises ConfigError: when the configuration has mistakes, with all of them.
    :raises OSError, AuditError, StateError: when it cannot be started.
    """
    management = ThreadedManagement(
        config, *provided, calls=calls, after_fork=after_fork, **options
    )
    management.start()
    return management


class ThreadedManagement:
    """A management in a thread; each method may be called from any other thread.

    Made by :func:`start_in_thread`.
    """

    def __init__(
        self,
        config: object,
        *provided: object,
        calls: CallMode = "thread",
        after_fork: AfterFork = "error",
        **options: Any,
    ) -> None:
        if after_fork not in ("error", "start"):
            raise ValueError(f"after_fork={after_fork!r} is not one of error, start")
        self._config = config
        self._provided = provided
        self._options = {**options, "calls": calls}
        self._after_fork = after_fork
        self._listeners: list[Callable[[ManagementState], None]] = []
        self._prepare(config)

    def _prepare(self, config: object) -> None:
        """Make everything that belongs to this process."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._started = False
        self._stopping = False
        self._background = BackgroundReactor("backplane")
        try:
            self._management = self._make(config)
        except BaseException:
            self._background.stop()
            raise

    def _make(self, config: object) -> Management:
        management = Management(
            config,
            reactor=self._background.reactor,
            log_to=StandardLog(),
            **self._options,
        )
        for each in self._provided:
            management.provide(each)
        for listener in self._listeners:
            management.on_change(listener)
        return management

    def start(self) -> None:
        """Start; once.

        :raises StateError: when it was started, or is stopped meanwhile.
        """
        forks.check(self._pid)
        with self._lock:
            if self._started:
                raise StateError("the management was started already; make another one")
            self._started = True
        forks.watch(self)
        try:
            self._background.start()
            self._background.call(self._start)
        except BaseException:
            self._end(INTERRUPTED)
            raise
        atexit.register(self._at_exit)

    def _start(self) -> None:
        if self._stopping:
            raise StateError("the management was stopped while it started")
        self._management.startService()

    @property
    def state(self) -> ManagementState:
        """Phase, since when, the broker and the last error."""
        forks.check(self._pid)
        return self._management.state

    def on_change(self, listener: Callable[[ManagementState], None]) -> None:
        """Call ``listener`` with each new state, in the management's thread: it must not block."""
        forks.check(self._pid)
        self._listeners.append(listener)
        self._management.on_change(listener)

    def when_ready(self, timeout: float | None = None) -> None:
        """Wait until operators can reach the service.

        :param timeout: seconds; ``None`` for ever.
        :raises TimeoutError: when that is not enough; it says what is amiss.
        :raises StateError: when the management stops before.
        """
        try:
            self._ask(self._management.when_ready, timeout=timeout)
        except TimeoutError:
            state = self._management.state
            why = f": {state.last_error}" if state.last_error else ""
            raise TimeoutError(
                f"not ready within {timeout:g} s, but {state.phase.value}{why}"
            ) from None

    def publish(self, item: DataItem, timeout: float | None = None) -> None:
        """Publish data, and wait until the broker has it; see :mod:`backplane.node.outbox`.

        :param timeout: seconds; ``None`` for ever. When they are over the item goes on.
        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        :raises OutboxFull, ItemRefused, StateError, TimeoutError: when it is not published.
        """
        self._ask(self._management.publish, item, timeout=timeout)

    def put(self, item: DataItem, timeout: float | None = None) -> None:
        """Hand data over; waits while there is no room for it. Errors as :meth:`publish`."""

        def put() -> Deferred[None]:
            return self._management.data_outbox.put(item)

        self._ask(put, timeout=timeout)

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Stop in order, and end the thread; twice does nothing, at the same time is once.

        :param timeout: seconds that it may take.
        :returns: whether everything has ended within that time.
        :raises StateError: in the management's thread, which would wait for itself.
        """
        forks.check(self._pid)
        if not self._started:
            return True
        if self._background.here:
            raise StateError("stop() waits for the thread that it was called in")
        atexit.unregister(self._at_exit)
        return self._end(timeout)

    def _end(self, timeout: float) -> bool:
        self._stopping = True
        late = time.monotonic() + timeout
        try:
            self._background.call(self._management.stopService, timeout=timeout)
        except (TimeoutError, StateError):  # late, or somebody else has ended it
            pass
        ended = self._background.stop(max(1.0, late - time.monotonic()))
        if ended and self._management.running:  # and will never come to an end by itself
            self._management.abandon()
        return ended

    def __enter__(self) -> ThreadedManagement:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def forked(self) -> None:
        """See :class:`backplane.forks.Embedded`."""
        if self._background.over:
            return
        atexit.unregister(self._at_exit)
        self._background.abandon()
        self._management.abandon()
        if self._after_fork == "error":
            forks.tell(self._pid)
        else:
            self._prepare(_own(self._config, self._management.config))
            self.start()

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.stop(INTERRUPTED)

    def _ask(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
        forks.check(self._pid)
        if not self._started:
            raise StateError("the management is not running")
        return self._background.call(function, *args, timeout=timeout)


def _own(given: object, config: ServiceConfig) -> object:
    """Return a configuration in which this process has an identity of its own."""
    if isinstance(given, Mapping) and any(
        "${PID}" in str(given.get(name)) for name in ("identity", "instance")
    ):
        return given
    tls = config.tls
    if tls is not None:  # the name in the certificate stays what it was
        tls = attrs.evolve(tls, identity=tls.identity or config.identity)
    return attrs.evolve(config, identity=f"{config.identity}-{os.getpid()}", tls=tls)
