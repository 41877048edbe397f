"""Durable items and the outbox's file in a whole management, on a network in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane import DataItem, ItemRefused, Management, SpoolError, StateError
from backplane.testing import FakeStream, Harness


class DurableCase(SynchronousTestCase):
    """A harness with a stream."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.stream = FakeStream(self.harness.broker, "acme.>", name="ACME")

    def item(self, data: str, to: str = "acme.iot") -> DataItem:
        return DataItem(data, to, durable=True)


class StreamTests(DurableCase):
    """What a stream does, and what becomes of items then."""

    def setUp(self) -> None:
        super().setUp()
        self.management = self.harness.manage()

    def count(self, name: str) -> int:
        found: int = getattr(self.management.data_outbox.statistics, name)
        return found

    def test_stored(self) -> None:
        """Thousands of items are stored, in order, each once."""
        done = [self.management.publish(self.item(str(n))) for n in range(3000)]
        for each in done:
            self.harness.result_of(each)
        self.assertEqual(self.stream.data, [str(n) for n in range(3000)])
        self.assertEqual((self.stream.duplicates, self.count("confirmed")), (0, 3000))

    def test_answer_lost(self) -> None:
        """An item whose answer was lost is sent again and stored once."""
        self.stream.silent = True
        done = self.management.publish(self.item("x"))
        self.harness.advance(1)
        self.stream.silent = False
        self.harness.broker.drop_all()
        self.harness.result_of(done)
        self.assertEqual((self.stream.data, self.stream.duplicates), (["x"], 1))
        self.assertEqual(self.count("repeated"), 1)

    def test_no_answer(self) -> None:
        """A stream that takes its time is asked again, on the same connection."""
        self.stream.lost = True
        done = self.management.publish(self.item("x"))
        self.harness.advance(6)
        self.assertEqual(self.count("held"), 1)
        self.stream.lost = False
        self.harness.result_of(done)
        self.assertEqual(self.harness.broker.connections, 1)

    def test_no_stream(self) -> None:
        """Without a stream it waits until there is one; plain items are not kept by that."""
        done = self.management.publish(self.item("x", "orders.new"))
        self.harness.result_of(self.management.publish(DataItem("y", "orders.new")))
        self.harness.advance(60)
        self.assertNoResult(done)
        self.assertEqual(self.count("held"), 1)
        stream = FakeStream(self.harness.broker, "orders.*")
        self.harness.result_of(done)
        self.assertEqual(stream.data, ["x"])

    def test_refused(self) -> None:
        """What the stream, the broker or its permissions never take is dropped."""
        self.stream.error = (400, 10054, "message size exceeds maximum allowed")
        error = self.assertRaises(
            ItemRefused, self.harness.result_of, self.management.publish(self.item("x"))
        )
        self.assertIn("message size exceeds", str(error))
        self.harness.broker.deny_publish.append("secret.>")
        for item in (self.item("x", "secret.data"), self.item("x" * 1024 * 1024)):
            self.assertRaises(ItemRefused, self.harness.result_of, self.management.publish(item))
        self.assertEqual((self.count("dropped"), self.count("items")), (3, 0))

    def test_full_stream(self) -> None:
        """A stream that is full now is waited for."""
        self.stream.error = (503, 10077, "maximum messages exceeded")
        done = self.management.publish(self.item("x"))
        self.harness.advance(10)
        self.assertNoResult(done)
        self.stream.error = None
        self.harness.result_of(done)

    def test_mixed(self) -> None:
        """Plain and durable items in an outage: all arrive, each kind in its order."""
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(2)
        done = [
            self.management.publish(DataItem(str(n), "acme.iot", durable=n % 2 == 0))
            for n in range(100)
        ]
        self.harness.broker.refuse = False
        for each in done:
            self.harness.result_of(each)
        # A stream stores plain items of its subjects, too.
        self.assertEqual(self.stream.data, [str(n) for n in range(100)])

    def test_fake_stream_ends(self) -> None:
        """A stream that is removed takes nothing more."""
        self.stream.remove()
        self.harness.result_of(self.management.data_outbox.put(self.item("x")))
        self.harness.advance(5)
        self.assertEqual((self.count("held"), self.stream.messages), (1, []))


class FileTests(DurableCase):
    """The outbox's file."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).absolute()

    def manage(self, **more: Any) -> Management:
        return self.harness.manage(outbox={"file": str(self.path), **more})

    def test_next_run(self) -> None:
        """What a stop has left goes out with the next start, the same document."""
        management = self.manage()
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(1)
        done = management.publish(self.item("a"))
        self.harness.result_of(management.data_outbox.put(DataItem("b", "acme.iot")))
        self.harness.result_of(management.stopService())
        self.failureResultOf(done, StateError)
        self.harness.broker.refuse = False
        again = self.manage()
        self.harness.result_of(again.publish(DataItem("c", "acme.iot")))
        self.harness.advance(1)
        self.assertEqual(self.stream.data, ["a", "b", "c"])
        statistics = again.data_outbox.statistics
        self.assertEqual((statistics.restored, statistics.confirmed), (2, 3))

    def test_restart(self) -> None:
        """One management is started, stopped and started again on its file."""
        management = self.manage()
        self.harness.result_of(management.publish(self.item("a")))
        self.harness.result_of(management.stopService())
        self.harness.start(management)
        self.harness.result_of(management.publish(self.item("b")))
        self.assertEqual(self.stream.data, ["a", "b"])

    def test_second_service(self) -> None:
        """Two services on one file: the second does not start, the first is not disturbed."""
        first = self.manage()
        other = self.harness.make(identity="other", outbox={"file": str(self.path)})
        error = self.assertRaises(SpoolError, other.startService)
        self.assertIn("management.outbox.file", str(error))
        self.assertIn("needs a file of its own", str(error))
        self.harness.result_of(first.publish(self.item("a")))
        # It can be started once the first has ended.
        self.harness.result_of(first.stopService())
        self.harness.start(other)
        self.harness.result_of(other.publish(self.item("b")))
        self.assertEqual(self.stream.data, ["a", "b"])

    def test_damaged(self) -> None:
        """A start with a file that is none fails, and leaves everything as it was."""
        self.path.write_text("nothing of ours\n" * 100)
        management = self.harness.make(outbox={"file": str(self.path)})
        error = self.assertRaises(SpoolError, management.startService)
        self.assertIn("not a database; name another path", str(error))
        self.path.unlink()
        self.harness.start(management)

    def test_not_used(self) -> None:
        """Without a publisher the file is left alone."""
        self.harness.start(
            self.harness.make(outbox={"file": str(self.path)}, options={"data_publisher": False})
        )
        self.assertFalse(self.path.exists())

    def test_drop_oldest(self) -> None:
        """The policy of the configuration is the outbox's."""
        management = self.manage(max_items=3, full="drop_oldest")
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(1)
        for n in range(10):
            self.harness.result_of(management.data_outbox.put(self.item(str(n))))
        self.harness.broker.refuse = False
        self.harness.advance(60)
        self.assertEqual(self.stream.data, ["7", "8", "9"])
