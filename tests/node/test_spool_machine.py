"""The outbox with a file against a model: whatever happens, in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, lists
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from backplane.interfaces import DataItem
from backplane.nats.errors import NoStream, NotConnected
from backplane.node import backlog, sending
from backplane.node.entries import Entry, Sealed
from backplane.node.outbox import Outbox
from backplane.node.spool import Spool, SpoolError
from backplane.node.storing import DiskStore
from tests.node.messages import Lines
from tests.node.outboxes import Acker, Link, seal

BOUNDS = settings(
    deadline=None,
    max_examples=60,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def opened(path: Path) -> Spool:
    spool = Spool(str(path))
    spool.open()
    spool._open_here().execute("PRAGMA synchronous = OFF")
    return spool


class FileMachine(RuleBasedStateMachine):
    """The file alone: what it has is what was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[int, Sealed] = {}
        self.last = 0
        self.spool = opened(self.folder / "spool")

    @rule(sizes=lists(integers(0, 9000), max_size=6), gone=lists(integers(1, 60), max_size=6))
    def change(self, sizes: list[int], gone: list[int]) -> None:
        added = []
        for size in sizes:
            self.last += 1
            sealed = Sealed(f"s{size}", b"x" * size, f"id{self.last}", size % 2 == 0)
            added.append(Entry(self.last, sealed))
        self.spool.change(added, gone)
        self.model |= {entry.number: entry.sealed for entry in added}
        for number in gone:
            self.model.pop(number, None)

    @precondition(lambda self: self.model)
    @rule()
    def refused(self) -> None:
        """One of the numbers is there already: nothing of it is done."""
        there = next(iter(self.model))
        added = [Entry(self.last + 1, Sealed("x", b"x")), Entry(there, Sealed("x", b"x"))]
        try:
            self.spool.change(added, list(self.model))
        except SpoolError:
            return
        raise AssertionError("a number is there twice")

    @rule(after=integers(0, 60), items=integers(1, 10), size=integers(1, 30_000))
    def read(self, after: int, items: int, size: int) -> None:
        found = self.spool.read(after, items, size)
        wanted = [number for number in sorted(self.model) if number > after][:items]
        numbers = [entry.number for entry in found]
        assert numbers == wanted[: len(numbers)]
        if len(numbers) < len(wanted):
            assert sum(entry.size for entry in found) >= size
        assert sum(entry.size for entry in found[:-1]) < size

    @rule()
    def crash(self) -> None:
        """The process is killed: what is on the disk now is what the next one finds."""
        files = {path.name: path.read_bytes() for path in self.folder.glob("spool*")}
        self.spool.close()
        for name, data in files.items():
            if name != "spool-shm":
                (self.folder / name).write_bytes(data)
        self.spool = opened(self.folder / "spool")
        found = self.spool.found
        assert (found.items, found.bytes, found.last) == (
            len(self.model),
            sum(len(sealed.payload) for sealed in self.model.values()),
            max(self.model, default=0),
        )

    @invariant()
    def same(self) -> None:
        found = {entry.number: entry.sealed for entry in self.spool.read(0, 10**6, 10**9)}
        assert found == self.model

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)


class OutboxMachine(RuleBasedStateMachine):
    """The whole outbox: each accepted item arrives, in order; a durable one is stored once."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "spool"
        self.number = 0
        self.accepted: list[str] = []
        self.plain: list[str] = []  # as the broker got them
        self.stored: list[str] = []  # as the stream stored them
        self.begin()

    def begin(self, connected: bool = True) -> None:
        self.clock = Clock()
        self.link = Link()
        self.link.is_connected = False
        self.stream = Acker()
        self.jobs: deque[tuple[Callable[[], object], Deferred[Any]]] = deque()
        self.spool = opened(self.path)
        self.outbox = Outbox(
            seal,
            self.link,
            self.stream,
            self.clock,
            permanent=(),
            log=Lines().logger(),
            max_items=50,
            max_bytes=10_000,
            store=DiskStore(self.spool, self.threads, self.clock, Lines().logger()),
        )
        self.outbox.start()
        if connected:
            self.connect()

    def threads(self, function: Callable[[], object]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((function, done))
        return done

    @rule(kinds=lists(booleans(), min_size=2, max_size=12), publish=booleans(), commit=booleans())
    def produce(self, kinds: list[bool], publish: bool, commit: bool) -> None:
        for durable in kinds:
            number, self.number = self.number, self.number + 1
            name = f"{'d' if durable else 'p'}{number}"
            item = DataItem(name, "sd" if durable else "sp", durable)
            if publish:
                self.outbox.publish(item).addBoth(self.published, name)
            else:
                self.outbox.put(item).addBoth(self.put, name)
        while commit and self.jobs:
            self.work()

    def published(self, result: Any, name: str) -> None:
        if not isinstance(result, Failure):
            assert name in (self.stored if name[0] == "d" else self.plain), name
            self.accepted.append(name)

    def put(self, result: Any, name: str) -> None:
        if not isinstance(result, Failure):
            self.accepted.append(name)

    @precondition(lambda self: self.jobs)
    @rule()
    def work(self) -> None:
        function, done = self.jobs.popleft()
        maybeDeferred(function).chainDeferred(done)

    @precondition(lambda self: not self.link.is_connected)
    @rule()
    def connect(self) -> None:
        self.link.is_connected = True
        self.outbox.connected()

    @precondition(lambda self: self.link.flushes)
    @rule()
    def pong(self) -> None:
        """The broker has handled all that was sent up to now."""
        self.plain += self.link.sent
        self.link.sent.clear()
        self.link.flushes.pop(0).callback(None)

    @precondition(lambda self: self.stream.asked)
    @rule(which=integers(0, 5), answered=booleans())
    def store(self, which: int, answered: bool) -> None:
        """The stream stores one, unless it has it; its answer may get lost."""
        payload = self.stream.sent[which % len(self.stream.asked)]
        if payload not in self.stored:
            self.stored.append(payload)
        if answered:
            self.stream.ack(payload)

    @precondition(lambda self: self.stream.asked)
    @rule()
    def none(self) -> None:
        self.stream.refuse(NoStream("none"))

    @rule(seconds=integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.link.flushes or self.stream.asked)
    @rule(got=integers(0, 5))
    def lose(self, got: int) -> None:
        """The connection breaks; the broker may have got what was sent first."""
        self.link.lose()
        self.plain += self.link.sent[:got]
        self.link.sent.clear()
        self.stream.refuse_all(lambda: NotConnected("lost"))

    @precondition(lambda self: self.number)
    @rule(connected=booleans())
    def kill(self, connected: bool) -> None:
        """The process is gone, and there is the next one."""
        files = {path.name: path.read_bytes() for path in self.folder.glob("spool*")}
        self.spool.close()
        for name, data in files.items():
            if name != "spool-shm":
                (self.folder / name).write_bytes(data)
        self.begin(connected)

    @precondition(lambda self: self.outbox.statistics.items)
    @rule()
    def restart(self) -> None:
        """A stop in order, and the next start."""
        self.lose(0)
        ended = self.outbox.close()
        while self.jobs:
            self.work()
        assert ended.called
        self.begin()

    @invariant()
    def bounded(self) -> None:
        statistics = self.outbox.statistics
        assert 0 <= statistics.held <= statistics.items <= 50
        assert (statistics.items == 0) == (statistics.bytes == 0)

    def teardown(self) -> None:
        """In the end all is well, and everything accepted has arrived."""
        if not self.link.is_connected:
            self.connect()
        for _ in range(500):
            if not (self.outbox.statistics.items or self.jobs):
                break
            while self.jobs:
                self.work()
            while self.link.flushes:
                self.pong()
            while self.stream.asked:
                self.store(0, True)
            self.clock.advance(40)
        statistics = self.outbox.statistics
        assert (statistics.items, statistics.held, statistics.waiting) == (0, 0, 0)
        arrived = {*self.plain, *self.stored}
        assert arrived.issuperset(self.accepted), set(self.accepted) - arrived
        assert len(self.stored) == len(set(self.stored))
        assert self.spool.read(0, 10, 1000) == []
        # Repeats aside, plain items are in the order in which they were accepted.
        firsts = [int(name[1:]) for name in dict.fromkeys(self.plain)]
        assert firsts == sorted(firsts)
        self.spool.close()
        shutil.rmtree(self.folder)


class MachineTests(SynchronousTestCase):
    """Both of them, with bounds that are met within a few steps."""

    def test_file(self) -> None:
        FileMachine.TestCase.settings = BOUNDS
        FileMachine.TestCase("runTest").debug()

    def test_outbox(self) -> None:
        self.patch(sending, "WINDOW_ITEMS", 3)
        self.patch(sending, "FLYING_ITEMS", 3)
        self.patch(backlog, "HEAD_ITEMS", 6)
        self.patch(backlog, "ASIDE_ITEMS", 5)
        OutboxMachine.TestCase.settings = BOUNDS
        OutboxMachine.TestCase("runTest").debug()
