"""The store on disk: groups of items a commit, failures told, the outbox on top of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from backplane.config.settings import FullPolicy
from backplane.errors import StateError
from backplane.nats.errors import NoStream
from backplane.node import backlog, storing
from backplane.node.outbox import Outbox, OutboxFull
from backplane.node.spool import Spool, SpoolError
from backplane.node.storing import RETRY, DiskStore
from backplane.node.worker import OneThread
from tests.node.outboxes import OutboxCase
from tests.node.threads import QueueReactor


class Hands:
    """Runs what blocks when the test says so.

    :ivar at_once: whether it does so without being told.
    """

    def __init__(self) -> None:
        self.at_once = False
        self.jobs: list[tuple[Callable[[], object], Deferred[Any]]] = []

    def __call__(self, function: Callable[[], object]) -> Deferred[Any]:
        if self.at_once:
            return maybeDeferred(function)
        done: Deferred[Any] = Deferred()
        self.jobs.append((function, done))
        return done

    def run(self) -> None:
        """Do one thing."""
        function, done = self.jobs.pop(0)
        maybeDeferred(function).chainDeferred(done)

    def run_all(self) -> None:
        while self.jobs:
            self.run()


class DiskCase(OutboxCase):
    """An outbox of a thousand items with a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.hands = Hands()
        self.changes: list[tuple[int, int]] = []
        self.broken: str | None = None
        super().setUp()
        self.outbox = self.open()

    def open(self, full: FullPolicy = "wait", max_items: int = 1000, **more: Any) -> Outbox:
        self.spool = Spool(str(self.path))
        self.addCleanup(self.spool.close)
        self.spool.open()
        # What is waited for in earnest is tested elsewhere.
        self.spool._open_here().execute("PRAGMA synchronous = OFF")
        change = self.spool.change

        def counted(added: Any, removed: Any) -> None:
            if self.broken is not None:
                raise SpoolError(self.broken)
            change(added, removed)
            self.changes.append((len(added), len(removed)))

        self.patch(self.spool, "change", counted)
        store = DiskStore(self.spool, self.hands, self.clock, self.log.logger())
        more = {"max_bytes": 10**7, **more}
        outbox = self.make(store=store, full=full, max_items=max_items, **more)
        self.hands.run_all()
        return outbox

    def close(self) -> None:
        closed = self.outbox.close()
        self.hands.run_all()
        self.successResultOf(closed)

    def kill(self) -> None:
        """As the process is gone: nothing is closed, and somebody else opens the file."""
        self.hands.jobs.clear()
        self.spool.close()
        self.link.lose()
        self.link.sent.clear()
        self.stream.asked.clear()


class CommitTests(DiskCase):
    """What acceptance is."""

    def test_accepted(self) -> None:
        """An item is accepted, and sent, once it is committed."""
        done = self.put("a")
        self.assertNoResult(done)
        self.assertEqual(self.link.sent, [])
        self.hands.run()
        self.successResultOf(done)
        self.assertEqual(self.link.sent, ["a"])
        self.link.pong()
        self.hands.run()
        self.assertEqual(self.changes, [(1, 0), (0, 1)])
        self.assertEqual(self.counts("accepted", "confirmed", "items"), (1, 1, 0))

    def test_groups(self) -> None:
        """What comes while a commit is under way shares the next one."""
        done = [self.put(str(n)) for n in range(500)]
        self.hands.run()
        self.assertEqual([each.called for each in done].count(True), 1)
        self.hands.run()
        self.assertEqual(self.changes, [(1, 0), (499, 0)])
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.link.sent, [str(n) for n in range(500)])

    def test_bounded_groups(self) -> None:
        """A commit takes so many bytes; what waits for one is bounded, too."""
        self.patch(storing, "GROUP_BYTES", 100)
        self.patch(storing, "PENDING_BYTES", 300)
        done = [self.put("x" * 50) for _ in range(10)]
        self.assertEqual(self.counts("waiting"), (3,))
        self.hands.run_all()
        for each in done:
            self.successResultOf(each)
        self.assertLessEqual(max(added for added, _ in self.changes), 2)

    def test_gave_up(self) -> None:
        """Who stops waiting for a commit may find that the item goes out all the same."""
        done = self.put("a")
        done.cancel()
        self.failureResultOf(done)
        self.hands.run_all()
        self.assertEqual(self.link.sent, ["a"])
        self.assertEqual(self.counts("accepted", "refused"), (1, 0))


class RestartTests(DiskCase):
    """What an earlier run has left."""

    def test_left(self) -> None:
        """It is sent first, in order, the same document with the same id."""
        self.link.is_connected = False
        for n in range(5):
            self.put(str(n), durable=n % 2 == 0)
        self.hands.run_all()
        self.kill()
        self.outbox = self.open()
        self.assertEqual(self.counts("restored", "items", "accepted"), (5, 5, 0))
        self.put("5")
        self.hands.run_all()
        self.connect()
        self.assertEqual(self.link.sent, ["1", "3", "5"])
        self.assertEqual(
            [asked[1:3] for asked in self.stream.asked],
            [("0", "id-0"), ("2", "id-2"), ("4", "id-4")],
        )

    def test_killed_before_the_removal(self) -> None:
        """What the broker has and the file does not know of comes again."""
        self.put("a")
        self.hands.run()
        self.link.pong()
        self.kill()
        self.outbox = self.open()
        self.assertEqual(self.counts("restored"), (1,))
        self.connect()
        self.assertEqual(self.link.sent, ["a"])

    def test_killed_before_the_commit(self) -> None:
        """What was not accepted is not there."""
        self.assertNoResult(self.put("a"))
        self.kill()
        self.outbox = self.open()
        self.assertEqual(self.counts("restored", "items"), (0, 0))

    def test_close(self) -> None:
        """A stop leaves in the file what was not sent, and says so."""
        self.link.is_connected = False
        published = self.publish("a")
        self.hands.run_all()
        late = self.publish("b")  # is being stored
        self.close()
        for each in (published, late):
            text = str(self.failureResultOf(each, StateError).value)
            self.assertIn("goes out with the next start", text)
        self.assertEqual(self.counts("lost", "items", "accepted"), (0, 0, 2))
        self.assertEqual(self.log.texts("warn"), ["2 published items wait for the next start"])
        self.outbox = self.open()
        self.assertEqual(self.counts("restored"), (2,))

    def test_close_twice(self) -> None:
        """Each of them is told when it is over."""
        ends = [self.outbox.close(), self.outbox.close()]
        self.assertNoResult(ends[0])
        self.hands.run_all()
        for each in (*ends, self.outbox.close()):
            self.successResultOf(each)

    def test_large(self) -> None:
        """Of many items a part is in memory; all go out, in order, the new ones behind them."""
        self.patch(backlog, "HEAD_ITEMS", 20)
        self.hands.at_once = True
        self.link.is_connected = False
        self.outbox._intake._max_items = 10_000
        done = [self.publish(str(n), durable=n % 5 == 0) for n in range(500)]
        self.assertLess(len(self.outbox._backlog._head), 41)
        self.kill_and_keep()
        self.outbox = self.open(max_items=10_000)
        done += [self.publish(str(n)) for n in range(500, 1000)]
        self.connect()
        seen: list[str] = []
        while self.counts("items") != (0,):
            seen += self.link.sent
            self.link.sent.clear()
            if self.link.flushes:
                self.link.pong()
            while self.stream.asked:
                seen.append(self.stream.sent[0])
                self.stream.ack()
        self.assertEqual(sorted(map(int, seen)), list(range(1000)))
        plain = [n for n in map(int, seen) if n % 5 or n >= 500]
        self.assertEqual(plain, sorted(plain))
        self.assertEqual([each.called for each in done[500:]].count(False), 0)
        for each in done[:500]:
            self.failureResultOf(each)
        self.assertEqual(self.spool.read(0, 10, 1000), [])

    def kill_and_keep(self) -> None:
        self.outbox.close()
        self.kill()

    def test_many_without_a_stream(self) -> None:
        """What is set aside is bounded; behind that the file waits, and nothing is lost."""
        self.patch(backlog, "HEAD_ITEMS", 10)
        self.patch(backlog, "ASIDE_ITEMS", 50)
        self.hands.at_once = True
        for n in range(300):
            self.put(str(n), "none", durable=True)
            if n == 0:
                self.stream.refuse_all(lambda: NoStream("none"))
        self.assertLess(self.outbox._backlog.aside, 80)
        self.assertEqual(self.counts("items"), (300,))
        sent = []
        self.clock.advance(1)
        while self.stream.asked:
            sent.append(int(self.stream.sent[0]))
            self.stream.ack()
        self.assertEqual(sent, list(range(300)))
        self.assertEqual(self.counts("items", "held"), (0, 0))

    def test_smaller_bound(self) -> None:
        """A bound that is smaller than what was left drops nothing, and lets nothing in."""
        self.link.is_connected = False
        for n in range(10):
            self.put(str(n))
        self.hands.run_all()
        self.kill()
        self.outbox = self.open(max_items=5)
        late = self.put("late")
        self.connect()
        self.hands.run_all()
        self.assertNoResult(late)
        self.link.pong()
        self.hands.run_all()
        self.successResultOf(late)
        self.assertEqual(self.link.sent, [*map(str, range(10)), "late"])


class FullTests(DiskCase):
    """Bounds with a file."""

    def test_drop_oldest(self) -> None:
        """The oldest leave the file, also those that are in the file only."""
        self.patch(backlog, "HEAD_ITEMS", 10)
        self.close()
        self.outbox = self.open("drop_oldest", max_items=100)
        self.hands.at_once = True
        self.link.is_connected = False
        told = [self.publish(str(n)) for n in range(1000)]
        for each in told[:900]:
            self.failureResultOf(each, OutboxFull)
        self.assertEqual(self.counts("items", "overflowed", "waiting"), (100, 900, 0))
        self.assertEqual(
            [each.sealed.payload for each in self.spool.read(0, 1000, 10**6)],
            [str(n).encode() for n in range(900, 1000)],
        )
        self.connect()
        while self.link.flushes:
            self.link.pong()
        self.assertEqual(self.link.sent, [str(n) for n in range(900, 1000)])

    def test_drop_oldest_slowly(self) -> None:
        """With a disk that takes its time a producer waits until the oldest are known."""
        self.patch(backlog, "HEAD_ITEMS", 4)
        self.close()
        self.outbox = self.open("drop_oldest", max_items=20)
        self.link.is_connected = False
        told = [self.put(str(n)) for n in range(100)]
        self.hands.run_all()
        for each in told:
            self.successResultOf(each)
        self.assertEqual(self.counts("items", "overflowed", "waiting"), (20, 80, 0))
        self.connect()
        while self.link.flushes or self.hands.jobs:
            if self.link.flushes:
                self.link.pong()
            self.hands.run_all()
        self.assertEqual(self.link.sent, [str(n) for n in range(80, 100)])


class FailureTests(DiskCase):
    """A disk that does not take anything."""

    def test_not_accepted(self) -> None:
        """Producers are told, it is logged once; what was accepted goes on; it works again."""
        self.link.is_connected = False
        first = self.publish("a")
        self.hands.run_all()
        self.broken = "management.outbox.file: disk is full"
        told = []
        for n in range(20):
            told.append(self.put(str(n)))
            self.hands.run_all()
        for each in told:
            self.assertIn("disk is full", str(self.failureResultOf(each, SpoolError).value))
        self.assertEqual(self.counts("accepted", "refused", "items"), (1, 20, 1))
        self.assertEqual(
            self.log.texts("error"),
            ["management.outbox.file: disk is full; writing is tried again"],
        )
        self.connect()
        self.link.pong()
        self.successResultOf(first)
        self.broken = None
        done = self.put("b")
        self.hands.run_all()
        self.successResultOf(done)
        self.assertEqual(self.log.texts("warn"), [f"{self.path}: writing works again"])
        self.link.pong()
        self.hands.run_all()
        self.assertEqual(self.link.sent, ["a", "b"])
        self.assertEqual(self.spool.read(0, 10, 1000), [])

    def test_removal_is_tried_again(self) -> None:
        """What could not be removed is, later, with nothing else to do."""
        self.put("a")
        self.hands.run_all()
        self.broken = "disk is full"
        self.link.pong()
        self.hands.run_all()
        self.assertEqual(len(self.spool.read(0, 10, 1000)), 1)
        self.broken = None
        self.clock.advance(RETRY)
        self.hands.run_all()
        self.assertEqual(self.spool.read(0, 10, 1000), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_room_for_removals(self) -> None:
        """Before the disk is full nothing is added any more, and what was sent still goes."""
        self.link.is_connected = False
        kept = [self.publish("a"), self.publish("b")]
        self.hands.run_all()
        full: list[SpoolError | None] = [SpoolError("management.outbox.file: disk is full")]
        self.patch(self.spool, "refuses", lambda: full[0])
        refused = self.put("c")
        self.hands.run_all()
        self.assertIn("disk is full", str(self.failureResultOf(refused, SpoolError).value))
        self.connect()
        self.link.pong()
        refused = self.put("d")
        self.hands.run_all()
        self.failureResultOf(refused, SpoolError)
        for each in kept:
            self.successResultOf(each)
        self.assertEqual(self.link.sent, ["a", "b"])
        self.assertEqual(self.spool.read(0, 10, 1000), [])
        full[0] = None
        done = self.put("e")
        self.hands.run_all()
        self.successResultOf(done)
        self.assertEqual(len(self.log.texts("error")), 1)

    def test_removed_while_used(self) -> None:
        """What goes into a file that nobody will find again is not accepted."""
        self.link.is_connected = False
        kept = self.publish("a")
        self.hands.run_all()
        self.path.rename(self.path.with_suffix(".moved"))
        refused = self.put("b")
        self.hands.run_all()
        told = str(self.failureResultOf(refused, SpoolError).value)
        self.assertIn(f"{self.path}: was removed or replaced under the running service", told)
        self.assertIn("start the service again", told)
        self.connect()
        self.link.pong()
        self.hands.run_all()
        self.successResultOf(kept)
        self.assertEqual(self.link.sent, ["a"])
        self.assertEqual(len(self.log.texts("error")), 1)

    def test_reading_while_full(self) -> None:
        """A full disk does not keep what is in the file from going out."""
        self.patch(backlog, "HEAD_ITEMS", 4)
        self.hands.at_once = True
        self.link.is_connected = False
        for n in range(40):
            self.put(str(n))
        self.broken = "disk is full"
        self.connect()
        while self.link.flushes:
            self.link.pong()
        self.assertEqual(self.link.sent, [str(n) for n in range(40)])

    def test_reading_fails(self) -> None:
        """What cannot be read is tried again; said once."""
        self.patch(backlog, "HEAD_ITEMS", 4)
        self.hands.at_once = True
        self.link.is_connected = False
        for n in range(10):
            self.put(str(n))
        read = self.spool.read

        def fail(*arguments: int) -> list[Any]:
            raise SpoolError("malformed")

        self.patch(self.spool, "read", fail)
        self.connect()
        while self.link.flushes:
            self.link.pong()
        for _ in range(5):
            self.clock.advance(RETRY)
        self.assertEqual(self.log.texts("error"), ["malformed; reading is tried again"])
        self.assertEqual(self.counts("items"), (6,))
        self.patch(self.spool, "read", read)
        self.clock.advance(RETRY)
        while self.link.flushes:
            self.link.pong()
        self.assertEqual(self.link.sent, [str(n) for n in range(10)])

    def test_unexpected(self) -> None:
        """Whatever goes wrong, nobody waits for ever."""

        def change(added: Any, removed: Any) -> None:
            raise MemoryError("none left")

        self.patch(self.spool, "change", change)
        done = self.put("a")
        self.hands.run_all()
        self.assertIn("none left", str(self.failureResultOf(done, SpoolError).value))

    def test_stop_while_full(self) -> None:
        """A stop does not wait for a disk that takes nothing."""
        self.put("a")
        self.hands.run_all()
        self.broken = "disk is full"
        self.link.pong()
        self.hands.run_all()
        self.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_process(self) -> None:
        """In a forked child nothing is accepted."""
        self.patch(self.spool, "_owner", 1)
        done = self.put("a")
        self.assertIn("this process", str(self.failureResultOf(done, SpoolError).value))
        self.assertEqual(self.hands.jobs, [])
        self.patch(self.spool, "_owner", os.getpid())


class ThreadTests(OutboxCase):
    """The thread that waits for the disk."""

    def test_one_thread(self) -> None:
        """All in one thread, in order; results and errors come back; it ends."""
        reactor = QueueReactor()
        worker = OneThread(reactor, "test-worker")
        seen: list[threading.Thread] = []

        def work(number: int) -> int:
            seen.append(threading.current_thread())
            return number // (number % 7)

        results = [worker(lambda n=n: work(n)) for n in range(1, 9)]  # type: ignore[misc]
        for _ in results:
            reactor.run_one()
        self.assertEqual(len(set(seen)), 1)
        self.assertTrue(seen[0].daemon)
        self.failureResultOf(results[6], ZeroDivisionError)
        self.assertEqual(self.successResultOf(results[7]), 8)
        worker.end()
        worker.end()
        seen[0].join(10)
        self.assertFalse(seen[0].is_alive())

    def test_not_used(self) -> None:
        """Without work there is no thread."""
        worker = OneThread(QueueReactor(), "test-worker-unused")
        worker.end()
        self.assertNotIn("test-worker-unused", [each.name for each in threading.enumerate()])
        self.assertIsInstance(self.clock, Clock)
