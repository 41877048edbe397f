"""What tests of the parts share: work in threads, and a reactor for what comes from them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["SAFETY", "in_thread", "joined"]

SAFETY = 60
"""Seconds after which a thread that never comes back is given up."""


def in_thread(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Call a function in a thread of its own; return what gets its result."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def joined(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in another thread, and wait for its result."""
    return in_thread(function, *args).result(SAFETY)
