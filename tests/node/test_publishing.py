"""Published data on the network, from threads and from asyncio tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import v1
from backplane.errors import StateError
from backplane.interfaces import DataItem
from backplane.node.outbox import ItemRefused, Outbox, OutboxFull, Sealed
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import Lines
from tests.node.outboxes import Acker
from tests.node.threads import QueueReactor


class OnTheNetworkTests(SynchronousTestCase):
    """What the broker gets."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)

    def documents(self, subject: str) -> list[tuple[v1.Transport, Any]]:
        self.harness.network.flush()
        found = []
        for to, payload in self.harness.broker.published:
            if to == subject:
                transport = v1.decode_transport(payload)
                secure = v1.decode_secure_request(transport.data)
                self.assertEqual((secure.signature, secure.pubcert), ("insecure", "insecure"))
                found.append((transport, v1.decode_request(secure.message)))
        return found

    def test_document(self) -> None:
        """An item is a request with the fields that data adapters read."""
        management = self.harness.manage(name="shop")
        self.harness.result_of(management.publish(DataItem('{"temp":21.5}', "acme.iot")))
        ((transport, request),) = self.documents("acme.iot")
        self.assertEqual((transport.reply_to, transport.sender), ("dev.null", "shop1.example.net"))
        self.assertEqual(
            (
                request.message,
                request.agent,
                request.collective,
                request.caller_id,
                request.sender_id,
                request.ttl,
                request.time,
            ),
            (
                '{"temp":21.5}',
                "registration",
                "shop_backplane",
                "choria=shop1.example.net",
                "shop1.example.net",
                60,
                int(self.harness.clock.seconds()),
            ),
        )

    def test_default_destination(self) -> None:
        """Without a destination it goes where registration data goes."""
        management = self.harness.manage(name="shop")
        self.harness.result_of(management.publish(DataItem(b"x")))
        self.assertEqual(len(self.documents("shop_backplane.broadcast.agent.registration")), 1)

    def test_unfit(self) -> None:
        """Data that protocol 1 cannot carry, and destinations that cannot be, are ValueErrors."""
        management = self.harness.manage()
        for item in (
            DataItem(b""),
            DataItem(""),
            DataItem(b"\xff\xfe"),
            DataItem("\ud800"),
            DataItem("x", "a..b"),
            DataItem("x", "a.*"),
            DataItem("x", "a b"),
            DataItem("x", "a\r\nPUB x 0"),
        ):
            self.assertRaises(ValueError, management.publish, item)
            self.assertRaises(ValueError, management.data_outbox.put, item)
        for thing in ("x", None, DataItem(5), DataItem(None), DataItem([1])):  # type: ignore[arg-type]
            self.assertRaises(TypeError, management.publish, thing)
            self.assertRaises(TypeError, management.data_outbox.put, thing)
        self.assertEqual(management.data_outbox.statistics.accepted, 0)

    def test_large_loop(self) -> None:
        """Ten thousand items in one reactor call meet back-pressure and arrive whole, in order."""
        management = self.harness.manage(outbox={"max_items": 500})
        outbox = management.data_outbox
        told = [outbox.put(DataItem(str(number), "acme.iot")) for number in range(10_000)]
        self.assertLessEqual(outbox.statistics.items, 500)
        refused = 0
        for number, each in enumerate(told):
            failures: list[Any] = []
            each.addErrback(failures.append)
            if failures:
                refused += 1
                self.assertGreaterEqual(number, 1500)
                self.assertTrue(failures[0].check(OutboxFull))
        self.harness.advance(5)
        count = 10_000 - refused
        self.assertEqual(
            self.harness.published("acme.iot"), [str(number) for number in range(count)]
        )
        statistics = outbox.statistics
        self.assertEqual(
            (statistics.accepted, statistics.confirmed, statistics.refused, statistics.items),
            (count, count, refused, 0),
        )

    def test_outage(self) -> None:
        """What is accepted while the broker is away arrives when it is back, in order."""
        management = self.harness.manage()
        outbox = management.data_outbox
        self.harness.result_of(management.publish(DataItem("0", "acme.iot")))
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(5)
        done = [management.publish(DataItem(str(number), "acme.iot")) for number in range(1, 50)]
        self.harness.advance(60)
        self.assertEqual(outbox.statistics.items, 49)
        self.harness.broker.refuse = False
        for each in done:
            self.harness.result_of(each)
        self.assertEqual(self.harness.published("acme.iot"), [str(n) for n in range(50)])

    def test_unconfirmed_comes_again(self) -> None:
        """Data whose PONG never came is sent again: the same document, with the same id."""
        management = self.harness.manage()
        self.harness.broker.silent_ping = True
        done = management.publish(DataItem("x", "acme.iot"))
        self.harness.network.flush()
        self.harness.broker.silent_ping = False
        self.harness.broker.drop_all()
        self.harness.result_of(done)
        first, second = self.documents("acme.iot")
        self.assertEqual(first, second)
        self.assertEqual(management.data_outbox.statistics.repeated, 1)

    def test_never_taken(self) -> None:
        """Too large and forbidden items are told, and those around them arrive."""
        self.harness.broker.deny_publish.append("secret.>")
        management = self.harness.manage()
        good = [management.publish(DataItem("a", "acme.iot"))]
        large = management.publish(DataItem("x" * 1024 * 1024, "acme.iot"))
        forbidden = management.publish(DataItem("x", "secret.data"))
        good.append(management.publish(DataItem("b", "acme.iot")))
        for each in good:
            self.harness.result_of(each)
        error = self.assertRaises(ItemRefused, self.harness.result_of, large)
        self.assertIn("the server takes at most", str(error))
        error = self.assertRaises(ItemRefused, self.harness.result_of, forbidden)
        self.assertIn("Permissions Violation", str(error))
        self.assertEqual(self.harness.published("acme.iot"), ["a", "b"])
        self.assertEqual(management.data_outbox.statistics.dropped, 2)
        self.assertTrue(management.state.ready)

    def test_stop_flushes(self) -> None:
        """Stopping hands over what was accepted, before the connection is closed."""
        management = self.harness.manage()
        for number in range(2000):
            management.data_outbox.put(DataItem(str(number), "acme.iot"))
        self.harness.result_of(management.stopService())
        self.assertEqual(len(self.harness.published("acme.iot")), 2000)

    def test_stop_is_bounded(self) -> None:
        """A broker that confirms nothing holds up the stop for no longer than configured."""
        management = self.harness.manage(stop_timeout=3)
        self.harness.broker.silent_ping = True
        done = management.publish(DataItem("x", "acme.iot"))
        began = self.harness.clock.seconds()
        self.harness.result_of(management.stopService())
        self.assertLess(self.harness.clock.seconds() - began, 10)
        self.failureResultOf(done, StateError)

    def test_stop_without_broker(self) -> None:
        """Without a connection the stop does not wait for one."""
        management = self.harness.manage()
        self.harness.broker.refuse = True
        self.harness.broker.drop_all()
        self.harness.advance(1)
        done = management.publish(DataItem("x", "acme.iot"))
        began = self.harness.clock.seconds()
        self.harness.result_of(management.stopService())
        self.assertLess(self.harness.clock.seconds() - began, 1)
        self.failureResultOf(done, StateError)

    def test_not_available(self) -> None:
        """Before the start, after the stop and without the publisher, it says so."""
        management = self.harness.make()
        self.failureResultOf(management.publish(DataItem("x")), StateError)
        self.harness.start(management)
        self.harness.result_of(management.stopService())
        self.failureResultOf(management.publish(DataItem("x")), StateError)
        without = self.harness.make(options={"data_publisher": False})
        error = self.failureResultOf(without.publish(DataItem("x")), StateError).value
        self.assertIn("data_publisher=False", str(error))

    def test_application_keeps_working(self) -> None:
        """Publishing does not hold up what operators ask."""
        management = self.harness.manage(RecordingApplication())
        for number in range(3000):
            management.data_outbox.put(DataItem(str(number), "acme.iot"))
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})


class AtOnce:
    """A link whose broker answers each PING at once."""

    is_connected = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    def publish(self, subject: str, payload: bytes) -> None:
        self.sent.append(payload.decode())

    def flush(self, timeout: float | None = None) -> Deferred[Any]:
        return succeed(None)


class OtherCallersTests(SynchronousTestCase):
    """Threads and asyncio tasks have forms of their own; the wrong one names the right one."""

    def setUp(self) -> None:
        self.link = AtOnce()
        self.reactor = QueueReactor()
        self.outbox = Outbox(
            self.seal,
            self.link,
            Acker(),
            self.reactor,
            permanent=(),
            log=Lines().logger(),
            max_items=100,
            max_bytes=10_000,
        )
        self.outbox.start()

    def seal(self, item: DataItem) -> Sealed:
        assert isinstance(item.data, str)
        if not item.data:
            raise ValueError("there is no data in the item")
        return Sealed("x", item.data.encode())

    def in_threads(self, *functions: Callable[[], object]) -> list[Any]:
        """Run functions in threads; return their results or errors."""
        results: dict[int, Any] = {}

        def work(number: int, function: Callable[[], object]) -> None:
            try:
                results[number] = function()
            except Exception as error:
                results[number] = error

        threads = [
            threading.Thread(target=work, args=(number, function), daemon=True)
            for number, function in enumerate(functions)
        ]
        for thread in threads:
            thread.start()
        self.reactor.run_while(threads)
        return [results[number] for number in range(len(functions))]

    def test_threads(self) -> None:
        """Eight threads with a thousand items each: all arrive, whole, in order per thread."""

        def producer(name: int) -> Callable[[], None]:
            def produce() -> None:
                for number in range(1000):
                    self.outbox.put_from_thread(DataItem(f"{name} {number}"))

            return produce

        self.assertEqual(self.in_threads(*(producer(name) for name in range(8))), [None] * 8)
        self.assertEqual(len(self.link.sent), 8000)
        for name in range(8):
            mine = [text for text in self.link.sent if text.startswith(f"{name} ")]
            self.assertEqual(mine, [f"{name} {number}" for number in range(1000)])

    def test_publish_from_thread(self) -> None:
        """It returns when the broker has the item, and raises what goes wrong in the thread."""
        results = self.in_threads(
            lambda: self.outbox.publish_from_thread(DataItem("x")),
            lambda: self.outbox.publish_from_thread(DataItem("")),
        )
        self.assertIsNone(results[0])
        self.assertIsInstance(results[1], ValueError)
        self.assertEqual(self.outbox.statistics.confirmed, 1)

    def test_wrong_form_in_a_thread(self) -> None:
        """The reactor's forms, and asyncio's, raise in another thread and name the right one."""
        for name in ("put", "publish"):
            for wrong in (name, f"{name}_future"):
                (error,) = self.in_threads(
                    lambda wrong=wrong: getattr(self.outbox, wrong)(DataItem("x"))  # type: ignore[misc]
                )
                self.assertIsInstance(error, StateError)
                self.assertIn(f"use {name}_from_thread()", str(error))
        self.assertEqual(self.link.sent, [])

    def test_wrong_form_in_the_reactor(self) -> None:
        """The threads' forms would block the reactor: they raise there and name the right one."""
        for name in ("put", "publish"):
            wrong = getattr(self.outbox, f"{name}_from_thread")
            error = self.assertRaises(StateError, wrong, DataItem("x"))
            self.assertIn(f"here use {name}()", str(error))
            future = getattr(self.outbox, f"{name}_future")
            error = self.assertRaises(StateError, future, DataItem("x"))
            self.assertIn(f"here use {name}()", str(error))
        self.assertEqual(self.link.sent, [])

    def test_asyncio(self) -> None:
        """In a task the future forms are awaited; the Deferred forms raise and name them."""

        async def main() -> list[str]:
            await self.outbox.put_future(DataItem("a"))
            await self.outbox.publish_future(DataItem("b"))
            said = []
            for name in ("put", "publish"):
                try:
                    getattr(self.outbox, name)(DataItem("never"))
                except StateError as error:
                    said.append(str(error))
            try:
                await self.outbox.put_future(DataItem(""))
            except ValueError as error:
                said.append(str(error))
            return said

        said = asyncio.run(main())
        self.assertIn("use put_future()", said[0])
        self.assertIn("use publish_future()", said[1])
        self.assertIn("no data", said[2])
        self.assertEqual(self.link.sent, ["a", "b"])

    def test_many_tasks(self) -> None:
        """A hundred tasks at once: all items arrive, in order per task."""

        async def produce(name: int) -> None:
            for number in range(10):
                await self.outbox.publish_future(DataItem(f"{name} {number}"))

        async def main() -> None:
            await asyncio.gather(*(produce(name) for name in range(100)))

        asyncio.run(main())
        self.assertEqual(len(self.link.sent), 1000)
        for name in range(100):
            mine = [text for text in self.link.sent if text.startswith(f"{name} ")]
            self.assertEqual(mine, [f"{name} {number}" for number in range(10)])

    def test_not_started(self) -> None:
        """Before the start there is no reactor to hand anything to."""
        outbox = Outbox(
            self.seal,
            self.link,
            Acker(),
            self.reactor,
            permanent=(),
            log=Lines().logger(),
            max_items=1,
            max_bytes=1,
        )
        self.assertRaises(StateError, outbox.put_from_thread, DataItem("x"))
