"""What the reactor is stuck in: a thread that looks when it does not turn.

The thread glances at the reactor now and then. One that waits for something to happen is
left alone, so an idle reactor is not woken for this. One that is at work is asked for a
sign of life; when none comes for a while, the thread says where its stack is: file, line
and function of the innermost frame outside Python's and Twisted's own, and the source
line. No values, no arguments.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.logger import Logger

import twisted

__all__ = ["Stall", "StallMemory", "StallService", "StallWatch", "find_place", "stalls_of"]

THRESHOLD: Final = 1.0
"""Seconds without a turn that count as a stall."""

QUIET: Final = 60.0
"""Seconds in which one place is named once."""

MAX_KEPT: Final = 50
"""Places that are remembered, the last ones."""

MAX_SOURCE: Final = 120
"""Characters of a source line that are shown."""

_POLLS: Final = frozenset(
    {("epollreactor", "doPoll"), ("pollreactor", "doPoll"), ("selectreactor", "doSelect")}
)
"""Modules and functions of Twisted's in which a reactor waits, and from which it calls."""

_SELECT: Final = ("selectors", "select")
_TURN: Final = ("base_events", "_run_once")
"""The same of asyncio: the one waits, called by the other. Who else calls it blocks."""

_CALLS: Final = _POLLS | {("base", "runUntilCurrent"), ("events", "_run")}
"""What stands below a call that a reactor or loop has made."""

_FOREIGN: Final = (sysconfig.get_path("stdlib"), os.path.dirname(twisted.__file__))


@attrs.frozen
class Stall:
    """A time in which the reactor did not turn.

    :ivar place: ``file:line in function``.
    :ivar source: the source line, or nothing.
    """

    place: str
    source: str


class StallMemory:
    """The last places in which a reactor was stuck; any thread may use it.

    :param now: wall-clock time.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, Any]] = {}

    def begun(self, stall: Stall, seconds: float) -> None:
        """A stall was found, which has lasted for some seconds."""
        with self._lock:
            known = self._found.pop(stall.place, {"count": 0, "longest": 0.0})
            self._found[stall.place] = {
                "at": self._now() - seconds,
                "seconds": None,
                "longest": known["longest"],
                "place": stall.place,
                "source": stall.source,
                "count": known["count"] + 1,
            }
            while len(self._found) > MAX_KEPT:
                del self._found[next(iter(self._found))]

    def ended(self, stall: Stall, seconds: float) -> None:
        """It is over, and has lasted for so long."""
        with self._lock:
            known = self._found.get(stall.place)
            if known is not None:
                known["seconds"] = round(seconds, 3)
                known["longest"] = max(known["longest"], round(seconds, 3))

    def told(self) -> list[dict[str, Any]]:
        """Return them, the last one last: ``at`` (Unix time at which it began), ``seconds``
        (``None`` while it lasts), ``longest``, ``place``, ``source``, ``count``."""
        with self._lock:
            return [dict(each) for each in self._found.values()]


_watching: weakref.WeakSet[StallWatch] = weakref.WeakSet()
"""Of this process, so that a management finds who watches its reactor."""


def stalls_of(reactor: object) -> dict[str, Any]:
    """Return what is known of a reactor's stalls: ``stalls``, see :meth:`StallMemory.told`,
    and ``watching``: whether anybody looks."""
    watches = [watch for watch in list(_watching) if watch.watches(reactor)]
    found = [stall for watch in watches for stall in watch.memory.told()]
    return {
        "stalls": sorted(found, key=lambda stall: float(stall["at"])),
        "watching": bool(watches),
    }


class StallWatch:
    """Watches one reactor, from the thread of which it is started and stopped.

    :param reactor: provides ``callFromThread``.
    :param seconds: a clock that nobody sets.
    :ivar memory: what it has found.
    """

    def __init__(
        self,
        reactor: Any,
        log: Logger,
        *,
        threshold: float = THRESHOLD,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._threshold = threshold
        self._seconds = seconds
        self._beat = threading.Event()
        self._ended = threading.Event()
        self._watched, self._pid = 0, os.getpid()
        self._named: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self.memory = StallMemory()

    def watches(self, reactor: object) -> bool:
        """Say whether it watches a reactor, now."""
        here = self._pid == os.getpid() and not self._ended.is_set()
        return here and reactor is self._reactor

    def start(self) -> None:
        """Watch from now on."""
        self._watched, self._pid = threading.get_ident(), os.getpid()
        _watching.add(self)
        self._thread = threading.Thread(target=self._run, name="backplane-stalls", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        _watching.discard(self)
        if self._pid != os.getpid():
            # A forked child has no such thread, and its locks may be held for ever.
            return
        self._ended.set()
        self._beat.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended.wait(self._threshold / 2):
            if self._idle():
                continue
            self._beat.clear()
            self._reactor.callFromThread(self._beat.set)
            if not self._beat.wait(self._threshold) and not self._ended.is_set():
                self._stalled()

    def _idle(self) -> bool:
        # A loop that somebody has left without a word to us is not stuck either.
        loop = getattr(self._reactor, "_asyncioEventloop", None)
        if loop is not None and not loop.is_running():
            return True
        return _waits(sys._current_frames().get(self._watched))

    def _stalled(self) -> None:
        """Name the place, and wait for the end."""
        began = self._seconds() - self._threshold
        stall = find_place(sys._current_frames().get(self._watched))
        self.memory.begun(stall, self._threshold)
        quiet = self._seconds() < self._named.get(stall.place, float("-inf"))
        if not quiet:
            if len(self._named) > 100:
                self._named.clear()
            self._named[stall.place] = self._seconds() + QUIET
            self._log.error(
                "the reactor is stuck, nothing is answered: {place}: {source}",
                place=stall.place,
                source=stall.source,
            )
        self._beat.wait()
        if not self._ended.is_set():
            self.memory.ended(stall, self._seconds() - began)
        if not quiet and not self._ended.is_set():
            self._log.warn(
                "the reactor turns again after {seconds:.1f} s: {place}; what blocks belongs "
                "into a thread (@blocking)",
                seconds=self._seconds() - began,
                place=stall.place,
            )


class StallService(Service):
    """A :class:`StallWatch` as a service of a Twisted program::

        StallService().setServiceParent(application)

    ``twistd backplane`` has one, and with ``stall_watch: true`` a management watches by itself.
    What is found goes to the log as ``backplane.stalls``.

    :param reactor: what to watch; the global one by default, asked for at start.
    :param threshold: seconds without a turn that count as a stall.
    """

    def __init__(self, reactor: Any = None, *, threshold: float = THRESHOLD) -> None:
        self._reactor = reactor
        self._threshold = threshold
        self._watch: StallWatch | None = None

    def startService(self) -> None:
        """Watch from now on."""
        super().startService()
        reactor = self._reactor
        if reactor is None:
            from twisted.internet import reactor
        log = Logger(namespace="backplane.stalls")
        self._watch = StallWatch(reactor, log, threshold=self._threshold)
        self._watch.start()

    def stopService(self) -> None:
        """Watch no more."""
        super().stopService()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()


def find_place(frame: FrameType | None) -> Stall:
    """Return where a stack is: its innermost frame that is neither Python's nor Twisted's."""
    innermost = frame
    while frame is not None and _foreign(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame if frame is not None else innermost
    if frame is None:
        return Stall("an unknown place", "")
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()[:MAX_SOURCE]
    return Stall(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}", source)


def _waits(frame: FrameType | None) -> bool:
    """Say whether a reactor with this stack waits for something to happen; if unsure, ``False``.

    An application that waits in the same functions, for a process it has started or in a loop
    of its own, is at work.
    """
    if frame is None:
        return False
    where, frame = _where(frame), frame.f_back
    if where == _SELECT:
        if frame is None or _where(frame) != _TURN:
            return False
    elif where not in _POLLS:
        return False
    while frame is not None:
        if _where(frame) in _CALLS:
            return False
        frame = frame.f_back
    return True


def _where(frame: FrameType) -> tuple[str, str]:
    code = frame.f_code
    return os.path.basename(code.co_filename).removesuffix(".py"), code.co_name


def _foreign(path: str) -> bool:
    ours = os.sep + "site-packages" + os.sep
    if path.startswith((_FOREIGN[1] + os.sep, "<")):
        return True
    return path.startswith(_FOREIGN[0] + os.sep) and ours not in path
