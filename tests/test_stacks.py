"""What a thread dump shows, and what it never shows."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock, LoopingCall
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from backplane.stacks import MAX_TEXT, Limits, thread_dump

# Put together so that the value stands in no source line.
SENTINEL = "".join(reversed("eulav-terces-eht"))


class Descriptor:
    """A reader of the application's, whose own text gives things away."""

    protocol: object = None

    def __init__(self, host: object = None) -> None:
        self.host = host
        self.password = SENTINEL

    def __repr__(self) -> str:
        return f"<Descriptor {self.password}>"

    __str__ = __repr__

    def fileno(self) -> int:
        return 7

    def getHost(self) -> object:
        return self.host

    def getPeer(self) -> object:
        raise RuntimeError(SENTINEL)


class FakeReactor(Clock):
    """A ``Clock`` with readers and writers."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []
        self.writers: list[object] = []
        self.threadpool: object = None

    def getReaders(self) -> list[object]:
        return self.readers

    def getWriters(self) -> list[object]:
        return self.writers


class Application:
    def work(self, *args: object) -> None:
        """Never runs."""

    def __call__(self) -> None:
        """Never runs."""

    def __repr__(self) -> str:
        return SENTINEL


class Evil:
    """Raises at every look."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)

    def __call__(self) -> None:
        """Never runs."""


class Waiting:
    """A thread that waits, many calls deep."""

    def __init__(self, case: SynchronousTestCase, name: str, depth: int = 0) -> None:
        self._go = threading.Event()
        self._there = threading.Event()
        self.thread = threading.Thread(target=self.descend, args=(depth, SENTINEL), name=name)
        self.thread.daemon = True
        self.thread.start()
        assert self._there.wait(10)
        case.addCleanup(self.thread.join, 10)
        case.addCleanup(self._go.set)

    def descend(self, depth: int, password: str) -> None:
        secret = [password]
        if depth:
            self.descend(depth - 1, secret[0])
        else:
            self._there.set()
            self._go.wait(30)  # the innermost line


def pending(delay: float, function: Callable[..., object]) -> DelayedCall:
    """Return a delayed call to be put into a clock's list by hand."""
    call = Clock().callLater(delay, function)
    assert isinstance(call, DelayedCall)
    return call


def find(dump: dict[str, Any], name: str) -> dict[str, Any]:
    return next(thread for thread in dump["threads"] if thread["name"] == name)


class ThreadsTests(SynchronousTestCase):
    """The threads of a dump."""

    def test_stack_of_a_waiting_thread(self) -> None:
        """A thread is shown with file, line, function and source of its calls, in order."""
        waiting = Waiting(self, "worker-a")
        thread = find(thread_dump(Clock()), "worker-a")
        self.assertEqual(thread["ident"], waiting.thread.ident)
        self.assertTrue(thread["daemon"])
        self.assertFalse(thread["reactor"])
        ours = [frame for frame in thread["frames"] if frame["file"].endswith("test_stacks.py")]
        self.assertEqual(ours[-1]["source"], "self._go.wait(30)  # the innermost line")
        self.assertTrue(ours[-1]["function"].endswith("descend"))
        self.assertIsInstance(ours[-1]["line"], int)
        # The wait itself is further in, the start of the thread further out.
        names = [frame["function"] for frame in thread["frames"]]
        self.assertTrue(names[0].endswith("_bootstrap"))
        self.assertTrue(names[-1].endswith("wait"))

    def test_reactor_thread_first(self) -> None:
        """The thread that answers is marked and comes first."""
        Waiting(self, "a-name-that-sorts-first")
        dump = thread_dump(Clock())
        self.assertTrue(dump["threads"][0]["reactor"])
        self.assertEqual(sum(thread["reactor"] for thread in dump["threads"]), 1)
        self.assertEqual(dump["threads"][0]["frames"][-1]["function"].split(".")[-1], "_threads")

    def test_no_value_appears(self) -> None:
        """Neither locals nor arguments nor texts of the application's objects are shown."""
        password = SENTINEL
        Waiting(self, "worker", depth=3)
        reactor = FakeReactor()
        reactor.callLater(1, Application().work, password)
        reactor.callLater(2, functools.partial(Application().work, password))
        reactor.callLater(3, Application())
        reactor.callLater(4, lambda text: None, password)
        reactor.readers.append(Descriptor())
        reactor.writers.append(Descriptor(host=Application()))
        dump = thread_dump(reactor)
        self.assertNotIn(SENTINEL, json.dumps(dump))
        self.assertNotIn(SENTINEL, repr(dump))
        self.assertFalse(dump["truncated"])

    def test_deep_stack_is_cut(self) -> None:
        """Of a very deep stack the innermost frames are shown and the rest is counted."""
        Waiting(self, "deep", depth=300)
        dump = thread_dump(Clock(), limits=Limits(frames=10))
        thread = find(dump, "deep")
        self.assertEqual(len(thread["frames"]), 10)
        self.assertGreaterEqual(thread["omitted"], 290)
        self.assertTrue(thread["frames"][-1]["function"].endswith("wait"))
        self.assertTrue(dump["truncated"])

    def test_number_of_threads_is_bounded(self) -> None:
        """Of many threads the first are shown; the count is the true one."""
        for index in range(5):
            Waiting(self, f"worker-{index}")
        dump = thread_dump(Clock(), limits=Limits(threads=3))
        self.assertEqual(len(dump["threads"]), 3)
        self.assertGreaterEqual(dump["thread_count"], 6)
        self.assertTrue(dump["truncated"])

    def test_long_names_are_cut(self) -> None:
        """A thread's name of any length or content ends up short and encodable."""
        Waiting(self, "\ud800" + "n" * 5000)
        dump = thread_dump(Clock())
        names = [thread["name"] for thread in dump["threads"] if thread["name"]]
        self.assertLessEqual(max(map(len, names)), MAX_TEXT)
        json.dumps(dump, ensure_ascii=False).encode("utf-8")


class ReactorTests(SynchronousTestCase):
    """What the reactor holds."""

    def test_delayed_calls(self) -> None:
        """Pending calls are listed by name, the next one first, with the seconds that are left."""
        reactor = FakeReactor()
        loop = LoopingCall(Application().work)
        loop.clock = reactor
        loop.start(30, now=False).addErrback(lambda failure: None)
        reactor.callLater(20, functools.partial(Application().work, 1))
        reactor.callLater(10, Application().work, 1)
        reactor.callLater(5, print).cancel()
        reactor.callLater(40, Application())
        reactor.advance(2.5)
        here = f"{__name__}.Application"
        dump = thread_dump(reactor)
        self.assertEqual(
            dump["delayed_calls"],
            [
                {"seconds": 7.5, "function": f"{here}.work"},
                {"seconds": 17.5, "function": f"partial({here}.work)"},
                {"seconds": 27.5, "function": f"LoopingCall({here}.work)"},
                {"seconds": 37.5, "function": here},
            ],
        )
        self.assertEqual(dump["delayed_call_count"], 4)
        loop.stop()

    def test_many_delayed_calls(self) -> None:
        """Of ten thousand pending calls only the next to run are shown."""
        reactor = Clock()
        # A Clock sorts at each call, so they are put in by hand.
        for delay in range(10_000):
            reactor.calls.append(pending(10_000 - delay, print))
        dump = thread_dump(reactor, limits=Limits(calls=3))
        self.assertEqual([call["seconds"] for call in dump["delayed_calls"]], [1.0, 2.0, 3.0])
        self.assertEqual(dump["delayed_call_count"], 10_000)
        self.assertTrue(dump["truncated"])

    def test_readers_and_writers(self) -> None:
        """Sockets are described by class, number, addresses and protocol class."""
        reactor = FakeReactor()
        reader = Descriptor(IPv4Address("TCP", "127.0.0.1", 4222))
        reader.protocol = Factory()
        reactor.readers = [reader, Descriptor(UNIXAddress(b"/run/\xff.sock"))]
        reactor.writers = [object()]
        dump = thread_dump(reactor)
        kind = f"{__name__}.Descriptor"
        self.assertEqual(
            dump["readers"],
            [
                {
                    "class": kind,
                    "fileno": 7,
                    "description": "local TCP 127.0.0.1:4222, "
                    "protocol twisted.internet.protocol.Factory",
                },
                {"class": kind, "fileno": 7, "description": "local UNIX /run/\ufffd.sock"},
            ],
        )
        self.assertEqual(
            dump["writers"], [{"class": "builtins.object", "fileno": None, "description": ""}]
        )

    def test_objects_that_raise(self) -> None:
        """Objects of the application that raise at every look do not break a dump."""
        reactor = FakeReactor()
        reactor.callLater(1, Evil())
        reactor.readers = [Evil()]
        reactor.threadpool = Evil()
        dump = thread_dump(reactor)
        self.assertEqual(dump["delayed_calls"][0]["function"], f"{__name__}.Evil")
        self.assertEqual(dump["readers"][0]["description"], "")
        self.assertIsNone(dump["thread_pool"])

    def test_thread_pool(self) -> None:
        """The thread pool is shown by its numbers."""
        reactor = FakeReactor()
        pool = ThreadPool(1, 2)
        reactor.threadpool = pool
        pool.start()
        self.addCleanup(pool.stop)
        go = threading.Event()
        self.addCleanup(go.set)
        for _ in range(5):
            pool.callInThread(go.wait, 30)
        shown = thread_dump(reactor)["thread_pool"]
        self.assertEqual(shown["min"], 1)
        self.assertEqual(shown["max"], 2)
        self.assertEqual(shown["working"] + shown["waiting"], 2)
        self.assertEqual(shown["queued"], 5 - shown["working"])

    def test_a_clock_has_nothing(self) -> None:
        """With a plain Clock the reactor's parts are empty."""
        dump = thread_dump(Clock())
        self.assertEqual(dump["delayed_calls"], [])
        self.assertEqual(dump["readers"], [])
        self.assertEqual(dump["writers"], [])
        self.assertIsNone(dump["thread_pool"])

    def test_object_without_anything(self) -> None:
        """Even an object that is no reactor gives the threads."""
        self.assertTrue(thread_dump(object())["threads"])

    def check_real(self, make: Callable[[], Any]) -> None:
        reactor = make()
        call = reactor.callLater(1000, Application().work)
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        try:
            dump = thread_dump(reactor)
        finally:
            call.cancel()
            port.connectionLost(None)
            reactor.removeAll()
            for each in list(reactor._internalReaders):
                each.connectionLost(None)
        self.assertEqual(dump["delayed_calls"][0]["function"], f"{__name__}.Application.work")
        self.assertGreater(dump["delayed_calls"][0]["seconds"], 900)
        ports = [each for each in dump["readers"] if each["class"].endswith("tcp.Port")]
        self.assertIn("local TCP 127.0.0.1:", ports[0]["description"])
        self.assertIn("factory twisted.internet.protocol.Factory", ports[0]["description"])
        json.dumps(dump)

    def test_select_reactor(self) -> None:
        """A real select reactor shows its calls and its port."""
        self.check_real(SelectReactor)

    def test_asyncio_reactor(self) -> None:
        """A reactor on an asyncio loop of its own shows its calls and its port."""
        import asyncio

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.check_real(lambda: AsyncioSelectorReactor(loop))

    def test_epoll_reactor(self) -> None:
        """A real epoll reactor shows its calls and its port."""
        try:
            from twisted.internet.epollreactor import EPollReactor
        except ImportError:
            self.skipTest("this platform has no epoll")
        self.check_real(EPollReactor)


@implementer(IReactorTime)
class WideReactor(FakeReactor):
    """Holds far more, and longer, than any dump shows."""

    def __init__(self) -> None:
        super().__init__()
        name = 'ü\\"' * 1000
        kind = type(name, (Application,), {"__qualname__": name, "__module__": name})
        for _ in range(2000):
            self.calls.append(pending(1, kind()))
            self.readers.append(kind())
            self.writers.append(kind())


class SizeTests(SynchronousTestCase):
    """The size of the whole."""

    def test_whole_is_bounded(self) -> None:
        """However much there is, the dump stays within its size and says that it was cut."""
        for index in range(20):
            Waiting(self, f"{index}" + 'ü\\"' * 1000, depth=100)
        reactor = WideReactor()
        most = Limits(threads=10**6, frames=10**6, calls=10**6, descriptors=10**6)
        dump = thread_dump(reactor, limits=most)
        self.assertLessEqual(len(json.dumps(dump)), most.bytes)
        self.assertTrue(dump["truncated"])
        for key in ("threads", "delayed_calls", "readers"):
            self.assertTrue(dump[key])

    def test_small_bound(self) -> None:
        """A bound that holds nothing gives the counts alone."""
        dump = thread_dump(Clock(), limits=Limits(bytes=1100))
        self.assertLessEqual(len(json.dumps(dump)), 1100)
        self.assertEqual(dump["threads"], [])
        self.assertTrue(dump["truncated"])
