"""What the reactor is stuck in."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane import stalls
from backplane.reactors.background import BackgroundReactor
from backplane.stalls import MAX_KEPT, Stall, StallMemory, StallWatch, find_place, stalls_of
from tests.node.messages import Lines


class StallTests(SynchronousTestCase):
    """A reactor in a thread, that is held up."""

    def setUp(self) -> None:
        self.log = Lines()
        self.background = BackgroundReactor("watched")
        self.background.start()
        self.told: list[dict[str, Any]] = []
        self.addCleanup(self.background.stop)
        self.watch = StallWatch(self.background.reactor, self.log.logger(), threshold=0.05)
        self.background.call(self.watch.start)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.background.call(self.watch.stop)

    def seen(self) -> None:
        """Keep what is told of the reactor at the moment."""
        self.told.append(stalls_of(self.background.reactor))

    def hold(self) -> None:
        """Block the reactor until the log names the place, in which ``blocked`` waits."""
        named = threading.Event()
        log: Any = self.watch._log
        self.patch(self.watch, "_log", Telling(log, named, self.seen))

        def blocked() -> None:
            named.wait(60)  # the line that is named

        self.background.call(blocked)

    def test_named(self) -> None:
        """File, line, function and source of what blocks; then how long it was."""
        self.hold()
        self.stop()
        (stuck,) = self.log.texts("error")
        self.assertIn("the reactor is stuck", stuck)
        self.assertIn("test_stalls.py:", stuck)
        self.assertIn("in blocked: named.wait(60)  # the line that is named", stuck)

    def test_remembered(self) -> None:
        """What the log says is remembered: while it lasts without an end, and then with one."""
        self.hold()
        while self.log.texts("warn") == []:
            self.background.call(lambda: None)
        self.seen()
        during, after = self.told[0], self.told[-1]
        self.assertIs(during["watching"], True)
        (stuck,), (over,) = during["stalls"], after["stalls"]
        self.assertIsNone(stuck["seconds"])
        self.assertGreaterEqual(over["seconds"], 0.05)
        self.assertEqual(over["longest"], over["seconds"])
        for each in (stuck, over):
            self.assertEqual(each["source"], "named.wait(60)  # the line that is named")
            self.assertRegex(each["place"], r"test_stalls\.py:\d+ in blocked$")
            self.assertEqual((each["count"], each["at"]), (1, stuck["at"]))
        self.stop()
        self.assertEqual(stalls_of(self.background.reactor), {"stalls": [], "watching": False})

    def test_turning(self) -> None:
        """A reactor that turns is not mentioned."""
        self.stop()
        self.watch = StallWatch(self.background.reactor, self.log.logger(), threshold=60)
        self.background.call(self.watch.start)
        for _ in range(50):
            self.background.call(lambda: None)
        self.stop()
        self.assertEqual(self.log.texts(), [])

    def test_idle(self) -> None:
        """A reactor that waits is not woken, though the watch looks again and again."""
        self.stop()
        asked: list[object] = []
        found: list[bool] = []
        idle = threading.Event()
        reactor: Any = self.background.reactor
        waits = stalls._waits

        def asks(beat: Any) -> None:
            asked.append(beat)
            beat()

        def looked(frame: Any) -> bool:
            found.append(waits(frame))
            if found.count(True) > 4:
                idle.set()
            return found[-1]

        watch = StallWatch(reactor, self.log.logger(), threshold=0.02)
        watch._watched = self.background._thread.ident or 0
        self.patch(reactor, "callFromThread", asks)
        self.patch(stalls, "_waits", looked)
        thread = threading.Thread(target=watch._run)
        thread.start()
        self.assertTrue(idle.wait(60))
        watch.stop()
        thread.join(60)
        self.assertEqual(len(asked), found.count(False))
        self.assertEqual(self.log.texts(), [])

    def test_stop(self) -> None:
        """Nothing is left: neither thread nor call."""
        self.stop()
        names = [thread.name for thread in threading.enumerate()]
        self.assertNotIn("backplane-stalls", names)
        calls = self.background.call(self.background.reactor.getDelayedCalls)
        self.assertEqual(calls, [])


class MemoryTests(SynchronousTestCase):
    """The last places."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.memory = StallMemory(lambda: self.now)

    def test_again(self) -> None:
        """One place is one entry, with how often, the last time, and the longest."""
        for seconds in (5.0, 2.0):
            self.memory.begun(Stall("a.py:1 in f", "sleep()"), 1.0)
            self.memory.ended(Stall("a.py:1 in f", "sleep()"), seconds)
            self.now += 100
        (told,) = self.memory.told()
        self.assertEqual(
            told,
            {
                "at": 1099.0,
                "seconds": 2.0,
                "longest": 5.0,
                "place": "a.py:1 in f",
                "source": "sleep()",
                "count": 2,
            },
        )

    def test_bounded(self) -> None:
        """So many places, the last ones; what was forgotten may still end."""
        first = Stall("first", "")
        self.memory.begun(first, 1.0)
        for number in range(MAX_KEPT):
            self.memory.begun(Stall(f"place {number}", ""), 1.0)
        self.memory.ended(first, 9.0)
        places = [each["place"] for each in self.memory.told()]
        self.assertEqual(places, [f"place {number}" for number in range(MAX_KEPT)])
        self.memory.begun(Stall("place 0", ""), 1.0)
        self.assertEqual(self.memory.told()[-1]["place"], "place 0")
        self.assertEqual(len(self.memory.told()), MAX_KEPT)


class WaitingTests(SynchronousTestCase):
    """Whether a stack is that of a reactor that waits."""

    def waiting(self, run: Callable[[], object]) -> bool:
        """Run something in a thread until it selects; say what is thought of that."""
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 60)
        while True:
            frame = sys._current_frames()[thread.ident or 0]
            if stalls._where(frame) == stalls._SELECT:
                return stalls._waits(frame)

    def loop(self, ends: list[Callable[[], object]], nested: bool) -> None:
        loop = asyncio.new_event_loop()
        ends.append(lambda: loop.call_soon_threadsafe(loop.stop))
        if not nested:
            loop.run_forever()
        else:
            reactor = SelectReactor()
            reactor.callLater(0, loop.run_forever)
            reactor.callLater(0, reactor.stop)
            reactor.run(installSignalHandlers=False)
        loop.close()

    def test_loop(self) -> None:
        """A loop of asyncio waits; one that a reactor has called keeps that from turning."""
        for nested in (False, True):
            ends: list[Callable[[], object]] = []
            run = partial(self.loop, ends, nested)
            self.assertEqual(self.waiting(run), not nested)
            ends[0]()

    def test_application(self) -> None:
        """What an application waits for itself, such as the output of a process, is its work."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)

        def wait() -> None:
            with selectors.DefaultSelector() as selector:
                selector.register(theirs, selectors.EVENT_READ)
                selector.select()
            theirs.close()

        self.assertFalse(self.waiting(wait))
        ours.send(b"!")


class Telling:
    """A logger that also tells of the first line."""

    def __init__(self, log: Any, named: threading.Event, seen: Callable[[], None]) -> None:
        self._log = log
        self._named = named
        self._seen = seen

    def error(self, *args: Any, **values: Any) -> None:
        self._log.error(*args, **values)
        self._seen()
        self._named.set()

    def warn(self, *args: Any, **values: Any) -> None:
        self._log.warn(*args, **values)


class PlaceTests(SynchronousTestCase):
    """Where a stack is."""

    def test_nothing(self) -> None:
        """A thread that has gone."""
        self.assertEqual(find_place(None).place, "an unknown place")

    def test_foreign(self) -> None:
        """Frames of Python and Twisted are passed over."""
        found: list[Any] = []
        clock = Clock()

        class Here:
            def __call__(self) -> None:
                import sys

                found.append(find_place(sys._getframe().f_back))

        clock.callLater(1, Here())
        clock.advance(1)
        self.assertIn("test_stalls.py", found[0].place)
        self.assertIn("in test_foreign", found[0].place)
        self.assertEqual(found[0].source, "clock.advance(1)")
