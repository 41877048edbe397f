"""One thread for work that blocks and must be done one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["OneThread"]

_Job = tuple[Callable[[], object], "Deferred[Any]"]


class OneThread:
    """A :data:`~backplane.node.invoking.ThreadRunner` with a single daemon thread.

    The thread is there from the first call to :meth:`end`.

    :param reactor: provides ``callFromThread``.
    :param name: of the thread.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[[], object]) -> Deferred[Any]:
        """Call a function in the thread; return what gets its result."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[Any] = Deferred()
        self._jobs.put((function, done))
        return done

    def end(self) -> None:
        """Let the thread end after what it was given; returns at once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, done = job
            try:
                result: object = function()
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)
            del job, function, done, result
