"""What a process is doing at this moment: its threads and what its reactor holds.

For the ``threaddump`` action. Everything is named, nothing is shown by value:
no local variables, no arguments, no ``repr`` of an object of the application,
because those hold passwords and customers' data. Source lines are shown as
they stand in the files. Every list and text is bounded, and so is the whole.

It works with any reactor: what one does not have (a ``Clock`` has no readers)
is empty. It must be called in the reactor's thread.
"""

from __future__ import annotations

import functools
import heapq
import json
import linecache
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import LoopingCall

from backplane.pending import pending_deferreds, pending_tasks

__all__ = ["Limits", "thread_dump"]

MAX_TEXT: Final = 200
"""Longest single text (path, function, source line, name), in characters."""

MAX_WALK: Final = 20_000
"""Frames of one stack that are counted; Python's own limit is 1,000 as a rule."""

_THREADS_SHARE: Final = 5 / 8
_CALLS_SHARE: Final = 1 / 8
_PENDING_SHARE: Final = 1 / 8
# The rest is for readers and writers.

_FIXED: Final = 1024
# For keys, counts and the thread pool, which are always there.


@attrs.frozen(kw_only=True)
class Limits:
    """How much a dump may hold.

    :ivar threads: threads shown; the reactor's comes first.
    :ivar frames: frames shown of each, the innermost.
    :ivar calls: delayed calls shown, the next to run.
    :ivar descriptors: readers shown, and writers shown.
    :ivar bytes: size of the whole as JSON. The default leaves room, after three
        layers of quoting, in the 1 MiB that a broker takes.
    """

    threads: int = 100
    frames: int = 60
    calls: int = 200
    descriptors: int = 100
    bytes: int = 256 * 1024


class _Room:
    """The bytes that are left for one part of the dump."""

    def __init__(self, size: float) -> None:
        self._left = int(size)

    def take(self, item: object) -> bool:
        """Say whether the item still fits, and count it when it does."""
        # Escaped to ASCII, which is the longest form that any writer makes.
        size = len(json.dumps(item)) + 2
        if size > self._left:
            self._left = 0
            return False
        self._left -= size
        return True


def thread_dump(reactor: object, *, limits: Limits | None = None) -> dict[str, Any]:
    """Return the stacks of all threads and what the reactor holds.

    :param reactor: any reactor or ``Clock``; what it lacks is left empty.
    :return: JSON-able: ``threads`` (``name``, ``ident``, ``daemon``,
        ``reactor``: whether it is the one that this was called in, ``frames``
        from the outermost to the innermost with ``file``, ``line``,
        ``function``, ``source``; ``omitted``: outer frames left out),
        ``delayed_calls`` (``seconds`` until it runs, ``function``), ``readers``
        and ``writers`` (``class``, ``fileno``, ``description``),
        ``thread_pool`` (``min``, ``max``, ``working``, ``waiting``, ``queued``)
        or ``None``, ``deferreds`` and ``tasks`` (see :mod:`backplane.pending`); beside each
        list its true length (``thread_count``,
        ``delayed_call_count``, ``reader_count``, ``writer_count``, ``deferred_count``,
        ``task_count``); and
        ``truncated``, true when anything was left out.
    """
    limits = limits if limits is not None else Limits()
    size = max(0, limits.bytes - _FIXED)
    threads, thread_count, whole = _threads(limits, _Room(size * _THREADS_SHARE))
    calls, call_count = _delayed_calls(reactor, limits.calls, _Room(size * _CALLS_SHARE))
    room = _Room(size * _PENDING_SHARE)
    found, deferred_count = pending_deferreds()
    deferreds = [each for each in found if room.take(each)]
    found, task_count = pending_tasks(reactor)
    tasks = [each for each in found if room.take(each)]
    seen = sum(each["count"] for each in deferreds)
    room = _Room(size * (1 - _THREADS_SHARE - _CALLS_SHARE - _PENDING_SHARE))
    readers, reader_count = _descriptors(reactor, "getReaders", limits.descriptors, room)
    writers, writer_count = _descriptors(reactor, "getWriters", limits.descriptors, room)
    return {
        "threads": threads,
        "thread_count": thread_count,
        "delayed_calls": calls,
        "delayed_call_count": call_count,
        "readers": readers,
        "reader_count": reader_count,
        "writers": writers,
        "writer_count": writer_count,
        "thread_pool": _thread_pool(reactor),
        "deferreds": deferreds,
        "deferred_count": deferred_count,
        "tasks": tasks,
        "task_count": task_count,
        "truncated": not whole
        or len(threads) < thread_count
        or len(calls) < call_count
        or seen < deferred_count
        or len(tasks) < task_count
        or len(readers) < reader_count
        or len(writers) < writer_count,
    }


def _threads(limits: Limits, room: _Room) -> tuple[list[dict[str, Any]], int, bool]:
    """Return the threads shown, how many there are, and whether all frames are there."""
    frames = sys._current_frames()
    here = threading.get_ident()
    known = {thread.ident: thread for thread in threading.enumerate()}

    def order(ident: int) -> tuple[bool, str, int]:
        thread = known.get(ident)
        return (ident != here, thread.name if thread is not None else "", ident)

    shown: list[dict[str, Any]] = []
    whole = True
    for ident in sorted(frames, key=order)[: limits.threads]:
        thread = known.get(ident)
        entry: dict[str, Any] = {
            # A thread that was not made by Python has no name.
            "name": _text(thread.name) if thread is not None else None,
            "ident": ident,
            "daemon": thread.daemon if thread is not None else None,
            "reactor": ident == here,
            "frames": [],
            "omitted": MAX_WALK,
        }
        if not room.take(entry):
            break
        entry["omitted"] = _add_frames(entry["frames"], frames[ident], limits.frames, room)
        whole = whole and entry["omitted"] == 0
        shown.append(entry)
    return shown, len(frames), whole


def _add_frames(into: list[dict[str, Any]], frame: FrameType, most: int, room: _Room) -> int:
    """Fill ``into`` with the innermost frames; return how many were left out."""
    omitted = 0
    full = False
    for depth, each in enumerate(_walk(frame)):
        if depth >= most or full:
            omitted += 1
            continue
        code = each.f_code
        shown = {
            "file": _text(code.co_filename, keep_end=True),
            "line": each.f_lineno,
            # co_qualname exists from Python 3.11 on.
            "function": _text(getattr(code, "co_qualname", code.co_name)),
            "source": _source(each),
        }
        if room.take(shown):
            into.append(shown)
        else:
            full = True
            omitted += 1
    into.reverse()
    return omitted


def _walk(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(MAX_WALK):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _source(frame: FrameType) -> str:
    try:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_globals)
    except Exception:
        # A module's loader is code of others.
        return ""
    return _text(line.strip())


def _delayed_calls(reactor: object, most: int, room: _Room) -> tuple[list[dict[str, Any]], int]:
    seconds = getattr(reactor, "seconds", None)
    now = float(seconds()) if seconds is not None else 0.0
    calls = [(call.getTime(), call) for call in _held(reactor, "getDelayedCalls") if call.active()]
    shown = []
    for when, call in heapq.nsmallest(most, calls, key=lambda item: item[0]):
        entry = {"seconds": round(when - now, 3), "function": _function_name(call.func)}
        if not room.take(entry):
            break
        shown.append(entry)
    return shown, len(calls)


def _descriptors(
    reactor: object, method: str, most: int, room: _Room
) -> tuple[list[dict[str, Any]], int]:
    held = _held(reactor, method)
    shown = []
    for each in held[:most]:
        entry = {
            "class": _class_name(type(each)),
            "fileno": _fileno(each),
            "description": _description(each),
        }
        if not room.take(entry):
            break
        shown.append(entry)
    return shown, len(held)


def _held(reactor: object, method: str) -> list[Any]:
    ask: Callable[[], Iterable[Any]] | None = getattr(reactor, method, None)
    return list(ask()) if ask is not None else []


def _thread_pool(reactor: object) -> Mapping[str, int] | None:
    # Not getThreadPool(), which would make one.
    pool = getattr(reactor, "threadpool", None)
    if pool is None:
        return None
    try:
        return {
            "min": int(pool.min),
            "max": int(pool.max),
            "working": len(pool.working),
            "waiting": len(pool.waiters),
            "queued": int(pool.q.qsize()),
        }
    except Exception:
        # A host may have put a pool of its own there.
        return None


def _function_name(function: object) -> str:
    """Return the name of a callable, without its arguments and without its ``repr``."""
    if isinstance(function, functools.partial):
        return _text(f"partial({_function_name(function.func)})")
    if isinstance(function, LoopingCall):
        return _text(f"LoopingCall({_function_name(function.f)})")
    module = _plain(function, "__module__")
    name = _plain(function, "__qualname__")
    if name is None:
        return _class_name(type(function))
    return _text(f"{module}.{name}" if module else name)


def _class_name(kind: type) -> str:
    return _text(f"{kind.__module__}.{kind.__qualname__}")


def _attribute(thing: object, name: str) -> object:
    """Return an attribute, or ``None``; objects of others may do anything here."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _plain(thing: object, name: str) -> str | None:
    """Return an attribute that is text, or ``None``."""
    value = _attribute(thing, name)
    return value if type(value) is str else None


def _fileno(thing: object) -> int | None:
    try:
        number = thing.fileno()  # type: ignore[attr-defined]
    except Exception:
        return None
    return number if type(number) is int else None


def _description(thing: object) -> str:
    """Return the ends of a connection and the class that speaks on it."""
    parts = []
    for label, method in (("local", "getHost"), ("remote", "getPeer")):
        address = _address(thing, method)
        if address is not None:
            parts.append(f"{label} {address}")
    for label in ("protocol", "factory"):
        speaker = _attribute(thing, label)
        if speaker is not None:
            parts.append(f"{label} {_class_name(type(speaker))}")
            break
    return _text(", ".join(parts))


def _address(thing: object, method: str) -> str | None:
    try:
        address = getattr(thing, method)()
        if isinstance(address, (IPv4Address, IPv6Address)):
            return f"{address.type} {address.host}:{address.port}"
        if isinstance(address, UNIXAddress):
            name = address.name
            return f"UNIX {name.decode('utf-8', 'replace') if name is not None else '-'}"
    except Exception:
        # No connection yet or any more, or not a transport at all.
        return None
    return None


def _text(text: str, *, keep_end: bool = False) -> str:
    """Return at most :data:`MAX_TEXT` characters that UTF-8 can hold."""
    if len(text) > MAX_TEXT:
        text = f"…{text[-MAX_TEXT + 1 :]}" if keep_end else f"{text[: MAX_TEXT - 1]}…"
    return text.encode("utf-8", "replace").decode("utf-8")
