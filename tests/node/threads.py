"""A reactor of which there is only what threads need."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["QueueReactor"]

SAFETY = 60
"""Seconds after which a thread that never comes back is given up."""


class QueueReactor:
    """What threads hand over is run by the test."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, function: Callable[..., object], *args: Any, **kw: Any) -> None:
        """Take a call from a thread."""
        self.calls.put(lambda: function(*args, **kw))

    def run_one(self) -> None:
        """Wait for one call and run it."""
        self.calls.get(timeout=SAFETY)()

    def run_while(self, threads: list[threading.Thread]) -> None:
        """Run what the threads hand over until they have ended."""
        ended = threading.Event()

        def close() -> None:
            for thread in threads:
                thread.join(SAFETY)
            self.calls.put(ended.set)

        closer = threading.Thread(target=close)
        closer.start()
        while not ended.is_set():
            self.run_one()
        closer.join()
