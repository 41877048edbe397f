"""What a process waits for at this moment: Deferreds that have not fired, tasks of asyncio.

For the ``threaddump`` action, as :mod:`backplane.stacks`: names and places, no values. What
cannot be seen is left out: Deferreds are looked for among the objects that Python's garbage
collector knows, tasks in the loop of the reactor, or the one that runs in this thread.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Final

from twisted.internet.defer import Deferred

__all__ = ["MAX_SHOWN", "pending_deferreds", "pending_tasks"]

MAX_SHOWN: Final = 100
"""Kinds of Deferreds, and tasks, that are shown."""

MAX_LOOKED_AT: Final = 20_000
"""Deferreds that are looked at; the rest is counted."""

MAX_TEXT: Final = 200


def pending_deferreds() -> tuple[list[dict[str, Any]], int]:
    """Return what waits for Deferreds that have not fired, and how many of them there are.

    :returns: ``waits`` (the coroutine with its place, or the first callback), ``count``, the
        most frequent first.
    """
    counts: Counter[str] = Counter()
    count = 0
    for each in gc.get_objects():
        if type(each) is Deferred and not each.called:
            count += 1
            if count <= MAX_LOOKED_AT:
                counts[_waits(each)] += 1
    shown = [
        {"waits": waits, "count": number}
        for waits, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return shown[:MAX_SHOWN], count


def pending_tasks(reactor: object) -> tuple[list[dict[str, Any]], int]:
    """Return the tasks that have not ended, and how many there are.

    :returns: ``name``, ``coroutine``, ``place`` (``file:line in function``, or nothing).
    """
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return [], 0
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    shown = []
    for task in sorted(tasks, key=lambda task: task.get_name())[:MAX_SHOWN]:
        stack = task.get_stack(limit=1)
        shown.append(
            {
                "name": _text(task.get_name()),
                "coroutine": _text(_plain(task.get_coro(), "__qualname__") or ""),
                "place": _place(stack[-1]) if stack else "",
            }
        )
    return shown, len(tasks)


def _waits(deferred: Deferred[Any]) -> str:
    # Twisted's name for them has changed, and the one of old warns.
    held = vars(deferred)
    callbacks: Any = held.get("_callbacks", held.get("callbacks"))
    try:
        function, args, _ = callbacks[0][0]
    except (IndexError, TypeError, ValueError):
        # None were added, or, of a reactor in another thread, it fires at this moment.
        return "nothing"
    # What else a callback is given are the application's values, which are not looked at.
    for each in args or ():
        frame = None
        if type(each) is GeneratorType:
            frame = each.gi_frame
        elif type(each) is CoroutineType:
            frame = each.cr_frame
        if frame is not None:
            return _place(frame)
    module, name = _plain(function, "__module__"), _plain(function, "__qualname__")
    if name is None:
        return _text(type(function).__qualname__)
    return _text(f"{module}.{name}" if module is not None else name)


def _plain(thing: object, name: str) -> str | None:
    """Return an attribute that is text, or ``None``; objects of others may do anything here."""
    try:
        value = getattr(thing, name, None)
    except Exception:
        return None
    return value if type(value) is str else None


def _place(frame: FrameType) -> str:
    code = frame.f_code
    name = getattr(code, "co_qualname", code.co_name)
    return _text(f"{code.co_filename}:{frame.f_lineno} in {name}")


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        text = f"…{text[-MAX_TEXT + 1 :]}"
    return text.encode("utf-8", "replace").decode("utf-8")
