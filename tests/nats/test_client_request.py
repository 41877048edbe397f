"""Requests on a clock: what ends when, and what is left then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from backplane.nats.client import Message, NatsClient
from backplane.nats.errors import (
    BufferFull,
    ConnectionClosed,
    NoResponders,
    NotConnected,
    RequestTimeout,
)
from backplane.nats.events import Disconnected
from backplane.nats.jetstream import JetStream
from tests.nats.bench import ClientCase


class RequestCase(ClientCase):
    def responder(self, subject: str) -> list[Message]:
        """Let somebody subscribe who does not answer; return what he is asked."""
        asked: list[Message] = []
        self.start().subscribe(subject, asked.append)
        self.network.flush()
        return asked

    def answer(self, message: Message, payload: bytes) -> None:
        """Answer as somebody else."""
        assert message.reply is not None
        self.broker.publish(message.reply, payload)
        self.network.flush()

    def calls(self, client: NatsClient) -> int:
        """Return how many requests wait."""
        return client._requests.count


class OneTests(RequestCase):
    def test_given_up(self) -> None:
        """What nobody waits for any more is not sent later, and takes no room."""
        self.absent()
        client = self.client()
        client.startService()
        client.publish("before", b"1")
        over = client.request("a", b"x" * 1000, timeout=1)
        cancelled = client.request("a", b"y", timeout=60)
        waits = client.request("a", b"z", timeout=60)
        client.publish("after", b"2")
        self.advance(1.5)
        self.failure(over, RequestTimeout)
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.assertLess(client.statistics().buffered_bytes, 200)
        self.present()
        self.advance(60)
        payloads = [payload for _, payload in self.broker.published]
        self.assertEqual(payloads, [b"1", b"z", b"2"])
        self.failureResultOf(waits)

    def test_timeout(self) -> None:
        """It fails when the time is over, and not before."""
        asked = self.responder("a")
        client = self.start()
        request = client.request("a", b"?", timeout=3)
        self.advance(2.9)
        self.assertNoResult(request)
        self.assertEqual([message.payload for message in asked], [b"?"])
        self.advance(0.2)
        text = self.failure(request, RequestTimeout)
        self.assertEqual(text, "no answer from a within 3 s")
        self.answer(asked[0], b"late")
        self.assertEqual(self.calls(client), 0)

    def test_while_disconnected(self) -> None:
        """It is sent with the next connection, if that is in time; its time runs from the start.

        One that nobody waits for any more is not sent.
        """
        self.absent()
        client = self.client()
        client.startService()
        early = client.request("a", b"early", timeout=5)
        self.advance(6)
        self.failure(early, RequestTimeout)
        kept = client.request("nobody", b"", timeout=60)
        self.advance(5)
        self.assertNoResult(kept)
        self.present()
        self.advance(30)
        self.failure(kept, NoResponders)
        self.assertEqual(list(self.broker.published), [("nobody", b"")])

    def test_buffer(self) -> None:
        """A request that is not taken is raised in the caller, and leaves nothing."""
        client = self.client(buffer_size=10)
        self.assertRaises(BufferFull, client.request, "a", b"x" * 10, timeout=1)
        self.assertRaises(BufferFull, client.request_many, "a", b"x" * 10, timeout=1)
        self.assertEqual(self.calls(client), 0)

    def test_asked_again_when_lost(self) -> None:
        """Who asks again as soon as the loss is known waits for the next connection."""
        self.responder("a")
        client = self.start()
        requests: list[Deferred[Any]] = []

        def again(event: object) -> None:
            if isinstance(event, Disconnected) and not requests:
                requests.append(client.request("nobody", b"", timeout=60))

        client.add_listener(again)
        first = client.request("a", b"", timeout=60)
        self.network.flush()
        self.absent()
        self.failure(first, NotConnected)
        self.assertEqual(self.calls(client), 1)
        self.present()
        self.advance(5)
        self.failure(requests[0], NoResponders)

    def test_move(self) -> None:
        """A request outlives a move: its answer comes over the new connection."""
        asked = self.responder("a")
        client = self.start()
        one = client.request("a", b"1", timeout=60)
        many = client.request_many("a", b"2", timeout=60, most=2)
        self.network.flush()
        client.move()
        self.advance(1)
        self.assertIn("Moved", self.event_names())
        self.answer(asked[0], b"one")
        for _ in range(2):
            self.answer(asked[1], b"many")
        self.assertEqual(self.successResultOf(one).payload, b"one")
        self.assertEqual(len(self.successResultOf(many)), 2)
        self.advance(10)

    def test_stop_while_moving(self) -> None:
        """Nothing is left of a client that is stopped in the middle of everything."""
        self.responder("a")
        client = self.start()
        requests: list[Deferred[Any]] = [
            client.request("a", b"", timeout=60),
            client.request_many("a", b"", timeout=60, stall=1),
        ]
        client.move()
        self.stop(client)
        for request in requests:
            self.failure(request, NotConnected)
        self.assertEqual(self.calls(client), 0)


class ManyTests(RequestCase):
    def test_times(self) -> None:
        """The stall counts from each answer, the total from the request; the earlier ends it."""
        asked = self.responder("a")
        client = self.start()
        stalled = client.request_many("a", b"", timeout=10, stall=2)
        total = client.request_many("a", b"", timeout=5, stall=2)
        silent = client.request_many("a", b"", timeout=10, stall=2)
        self.advance(1.5)
        for _ in range(3):  # at 1.5, 3.0 and 4.5
            for message in asked[:2]:
                self.answer(message, b"x")
            self.advance(1.5)
        self.assertEqual(len(self.successResultOf(total)), 3)  # at 5, though not stalled
        self.assertNoResult(stalled)
        self.advance(0.6)
        self.assertEqual(len(self.successResultOf(stalled)), 3)  # at 6.5
        self.assertNoResult(silent)
        self.advance(4)
        self.assertEqual(self.successResultOf(silent), [])
        self.assertEqual(self.calls(client), 0)

    def test_ended_by_a_callback(self) -> None:
        """Who cancels from inside gets no more."""
        asked = self.responder("a")
        client = self.start()
        seen: list[bytes] = []

        def each(message: Message) -> None:
            seen.append(message.payload)
            many.cancel()

        many = client.request_many("a", b"", timeout=10, most=2, stall=1, each=each)
        many.addErrback(lambda failure: None)
        self.network.flush()
        self.answer(asked[0], b"1")
        self.answer(asked[0], b"2")
        self.assertEqual((seen, self.calls(client)), ([b"1"], 0))

    def test_idle(self) -> None:
        """Somebody who waits until none waits is told, each of them once."""
        asked = self.responder("a")
        client = self.start()
        requests = client._requests
        self.successResultOf(requests.when_idle())
        one = client.request("a", b"", timeout=10)
        many = client.request_many("a", b"", timeout=10, most=1)
        idle = [requests.when_idle(), requests.when_idle()]
        self.network.flush()
        self.answer(asked[0], b"")
        self.assertNoResult(idle[0])
        self.answer(asked[1], b"")
        waiting: list[Deferred[Any]] = [*idle, one, many]
        for deferred in waiting:
            self.successResultOf(deferred)


class StreamTests(RequestCase):
    def test_retries(self) -> None:
        """It waits between tries, and does not begin one that is too late."""
        client = self.start()
        js = JetStream(client)
        kept = js.publish("a", b"1", retries=3, wait=1.0, timeout=60)
        short = js.publish("b", b"2", retries=3, wait=1.0, timeout=1.5)
        self.advance(2.5)
        self.assertEqual(self.broker.published.count(("a", b"1")), 3)
        self.assertEqual(self.broker.published.count(("b", b"2")), 2)
        self.failureResultOf(short)
        self.assertNoResult(kept)
        self.advance(1)
        self.failureResultOf(kept)
        self.assertEqual(self.broker.published.count(("a", b"1")), 4)

    def test_closed(self) -> None:
        """A client that is closed is not asked again: it fails at once."""
        self.responder("a")
        client = self.start()
        stored = JetStream(client).publish("a", b"", message_id="m", timeout=60, wait=1)
        stopped = client.stopService()
        self.failureResultOf(stored, ConnectionClosed)
        self.network.flush()
        self.successResultOf(stopped)
