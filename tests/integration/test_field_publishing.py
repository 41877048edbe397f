"""What people ran into with published data: loops without end, and brokers that are away."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from backplane import DataItem, Management, OutboxFull
from backplane.testing import RecordingApplication
from tests.managing import ManagementCase

KIB = 1024


class Producer:
    """Puts numbered items, and knows at once what becomes of each."""

    def __init__(self, management: Management, size: int = 0) -> None:
        self._management = management
        self._filler = "x" * size
        self.next = 0
        self.accepted: list[int] = []
        self.refused: list[str] = []

    def put(self) -> bool:
        """Put the next one; return whether it is settled already."""
        number = self.next
        self.next += 1
        item = DataItem(f"{number} {self._filler}", destination="data")
        settled: Deferred[Any] = self._management.data_outbox.put(item)
        settled.addCallbacks(lambda _: self.accepted.append(number), self._refused)
        return bool(settled.called)

    def _refused(self, failure: Any) -> None:
        failure.trap(OutboxFull)
        self.refused.append(failure.getErrorMessage())


class BoundTests(ManagementCase):
    """Bounded in items and bytes, told at that moment, counted, and in order."""

    def manage(self, **settings: Any) -> Management:
        return self.harness.manage(RecordingApplication(), **settings)

    def away(self) -> None:
        self.harness.network.fail_dns("broker.example.net")
        self.harness.broker.drop_all()
        self.harness.network.flush()

    def back(self, management: Management) -> None:
        self.harness.network.fail_dns("broker.example.net", failing=False)
        self.harness.result_of(management.when_ready())
        self.harness.advance(2)

    def arrived(self) -> list[int]:
        return [int(text.split()[0]) for text in self.harness.published("data")]

    def check(self, management: Management, producer: Producer) -> None:
        """What was accepted is there, in order; the counts say what became of the rest."""
        counts = management.data_outbox.statistics
        self.assertEqual(list(dict.fromkeys(self.arrived())), producer.accepted)
        self.assertEqual(counts.accepted, len(producer.accepted))
        self.assertEqual(counts.confirmed, counts.accepted)
        self.assertEqual(counts.refused, len(producer.refused))
        self.assertEqual(counts.accepted + counts.refused, producer.next)
        self.assertEqual((counts.dropped, counts.lost, counts.waiting, counts.items), (0, 0, 0, 0))

    def test_large_items(self) -> None:
        """Thousands of 10 KiB while the broker is away: memory has a bound, waiters included."""
        bound = 1024 * KIB
        management = self.manage(outbox={"max_bytes": bound})
        producer = Producer(management, 10 * KIB)
        self.away()
        largest = 0
        for _ in range(1500):
            producer.put()
            counts = management.data_outbox.statistics
            largest = max(largest, counts.bytes)
        self.assertLessEqual(largest, bound)
        self.assertGreater(largest, bound - 20 * KIB)
        # Those that wait are no more than would fit once again.
        self.assertLessEqual(counts.waiting, counts.items + 1)
        self.assertGreater(counts.waiting, 0)
        self.assertEqual(len(producer.accepted), counts.items)
        self.assertEqual(producer.next - counts.items - counts.waiting, len(producer.refused))
        self.assertIn("the item was not accepted", producer.refused[0])
        self.assertTrue(producer.put(), "the producer is told at that moment")
        self.back(management)
        self.check(management, producer)

    def test_an_hour(self) -> None:
        """An hour of outage, with an item each second; the log has a handful of lines."""
        management = self.manage(loglevel="info", outbox={"max_items": 1000})
        producer = Producer(management)
        self.away()
        self.log.events.clear()
        for _ in range(3600):
            producer.put()
            self.harness.clock.advance(1)
            self.harness.network.flush()
            counts = management.data_outbox.statistics
            self.assertLessEqual(counts.items, 1000)
            self.assertLessEqual(counts.waiting, 1000)
        self.assertEqual(len(producer.refused), 1600)
        self.assertLess(len(self.log.events), 10)
        self.back(management)
        self.assertEqual(len(producer.accepted), 2000)
        self.check(management, producer)

    def test_loop(self) -> None:
        """Thousands in one call: the outbox takes some, some wait, and the rest is refused."""
        management = self.manage(outbox={"max_items": 3000})
        producer = Producer(management)
        settled = sum(producer.put() for _ in range(12_000))
        counts = management.data_outbox.statistics
        self.assertEqual((counts.items, counts.waiting), (3000, 1000))
        self.assertEqual(settled, 11_000)
        self.assertEqual(len(producer.refused), 8000)
        self.harness.advance(5)
        self.check(management, producer)

    def test_given_up(self) -> None:
        """Producers that give up make room for others."""
        management = self.manage(outbox={"max_items": 1, "max_bytes": 20_000})
        self.away()
        self.assertTrue(management.data_outbox.put(DataItem("first", destination="data")).called)
        waiting = []
        while True:
            put = management.data_outbox.put(DataItem("x" * 2000, destination="data"))
            if put.called:
                self.failureResultOf(put, OutboxFull)
                break
            waiting.append(put)
        self.assertIn(len(waiting), range(2, 10))
        for put in waiting:
            put.cancel()
            put.addErrback(lambda failure: None)
        again = management.data_outbox.put(DataItem("y" * 2000, destination="data"))
        self.assertNoResult(again)
        self.back(management)
        self.successResultOf(again)
        self.assertEqual([text[:1] for text in self.harness.published("data")], ["f", "y"])
