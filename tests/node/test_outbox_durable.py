"""Durable items: out of the outbox at their stream's acknowledgement, and not before."""

from __future__ import annotations

from backplane.nats.errors import (
    BadSubject,
    JetStreamError,
    NoStream,
    NotConnected,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
)
from backplane.node import sending
from backplane.node.outbox import ItemRefused
from backplane.node.streams import LONGEST_PAUSE, Verdict, judge
from tests.node.outboxes import OutboxCase


def no_stream() -> NoStream:
    return NoStream("no stream listens")


class DurableTests(OutboxCase):
    """One outbox, one stream."""

    def setUp(self) -> None:
        super().setUp()
        self.outbox = self.make(max_items=5000, max_bytes=10**7)

    def test_acknowledged(self) -> None:
        """It leaves with the acknowledgement; the message id is the document's."""
        done = self.publish("a", "x", durable=True)
        self.assertEqual([asked[:3] for asked in self.stream.asked], [("x", "a", "id-a")])
        self.assertNoResult(done)
        self.assertEqual(self.counts("items", "confirmed"), (1, 0))
        self.stream.ack()
        self.successResultOf(done)
        self.assertEqual(self.counts("items", "confirmed", "bytes"), (0, 1, 0))
        self.assertEqual((self.link.sent, self.link.flushes), ([], []))

    def test_many_at_once(self) -> None:
        """A window of them is under way at once; acknowledgements may come in any order."""
        self.patch(sending, "FLYING_ITEMS", 8)
        done = [self.publish(str(n), durable=True) for n in range(20)]
        self.assertEqual(self.stream.sent, [str(n) for n in range(8)])
        for n in (5, 3, 0, 7):
            self.stream.ack(str(n))
            self.successResultOf(done[n])
        self.assertEqual(
            self.stream.sent, ["1", "2", "4", "6", "8", "9", "10", "11"], "eight again"
        )
        while self.stream.asked:
            self.stream.ack()
        for each in done:
            self.assertEqual(each.called, True)
        self.assertEqual(self.counts("confirmed", "items", "repeated"), (20, 0, 0))

    def test_window_in_bytes(self) -> None:
        """The window is bounded in bytes, too; an item larger than it goes alone."""
        self.patch(sending, "FLYING_BYTES", 100)
        for data in ("a" * 300, "b" * 60, "c" * 60):
            self.put(data, durable=True)
        for letter in "abc":
            self.assertEqual([sent[0] for sent in self.stream.sent], [letter])
            self.stream.ack()

    def test_one_order(self) -> None:
        """Plain and durable ones are sent in the order of acceptance, and wait for nobody."""
        order: list[str] = []
        publish, ask = self.link.publish, self.stream.publish

        def plain(subject: str, payload: bytes) -> None:
            order.append(payload.decode())
            publish(subject, payload)

        def durable(subject: str, payload: bytes, **how: str) -> object:
            order.append(payload.decode())
            return ask(subject, payload)

        self.patch(self.link, "publish", plain)
        self.patch(self.stream, "publish", durable)
        self.link.is_connected = False
        for number in range(10):
            self.put(str(number), durable=number % 3 == 0)
        self.connect()
        self.assertEqual(order, [str(number) for number in range(10)])

    def test_connection_lost(self) -> None:
        """What was not acknowledged is sent again, in order, with the same id."""
        done = [self.publish(str(n), durable=True) for n in range(5)]
        first = [asked[:3] for asked in self.stream.asked]
        self.stream.ack("1")
        self.link.lose()
        self.stream.refuse_all(lambda: NotConnected("the connection was lost"))
        done.append(self.publish("5", durable=True))
        self.assertEqual(self.stream.asked, [])
        self.connect()
        again = [asked[:3] for asked in self.stream.asked]
        self.assertEqual(again[:4], [each for each in first if each[1] != "1"])
        self.assertEqual(again[4][1], "5")
        while self.stream.asked:
            self.stream.ack()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.counts("confirmed", "repeated"), (6, 4))
        self.assertEqual(self.log.texts("error"), [])

    def test_connection_lost_and_there_again(self) -> None:
        """That a connection was lost may be heard after there is a new one."""
        done = self.publish("a", durable=True)
        self.stream.refuse(NotConnected("the connection was lost"))
        self.assertEqual(self.stream.asked, [])
        self.clock.advance(1)
        self.stream.ack("a")
        self.successResultOf(done)

    def test_no_stream(self) -> None:
        """Without a stream an item is kept and tried again, ever more rarely; said once."""
        done = [self.publish(str(n), "orders", durable=True) for n in range(3)]
        tries = 0
        for _ in range(3000):
            if self.stream.asked:
                tries += 1
                self.stream.refuse_all(no_stream)
            self.clock.advance(0.1)
        self.assertEqual(self.counts("items", "held"), (3, 3))
        self.assertGreater(tries, 8)
        self.assertLess(tries, 20)
        self.assertEqual(
            self.log.texts("error"),
            ["durable items for orders are kept and tried again: no stream takes it"],
        )
        self.clock.advance(LONGEST_PAUSE)
        self.assertEqual(self.stream.sent, ["0"], "one is tried for all")
        self.stream.ack()
        self.assertEqual(self.stream.sent, ["1", "2"])
        self.stream.ack()
        self.stream.ack()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.counts("items", "held", "confirmed"), (0, 0, 3))

    def test_others_pass(self) -> None:
        """A subject without a stream holds up neither plain items nor other subjects."""
        self.patch(sending, "FLYING_ITEMS", 4)
        lost = [self.publish(f"a{n}", "a", durable=True) for n in range(20)]
        good = [self.publish(f"b{n}", "b", durable=True) for n in range(3)]
        plain = self.publish("p", "a")
        self.stream.refuse_all(no_stream)
        self.assertEqual(self.stream.sent, ["b0", "b1", "b2"])
        for each in good:
            self.stream.ack()
            self.successResultOf(each)
        self.link.pong()
        self.successResultOf(plain)
        self.assertEqual(self.counts("held", "items"), (20, 20))
        self.clock.advance(1)
        # The order of the subject is kept over all that.
        for n, each in enumerate(lost):
            self.assertEqual(self.stream.sent[0], f"a{n}")
            self.stream.ack()
            self.successResultOf(each)

    def test_acknowledged_while_waited_for(self) -> None:
        """A late acknowledgement shows that there is a stream: the others go on at once."""
        for data in ("a", "b", "c"):
            self.put(data, durable=True)
        self.stream.refuse(RequestTimeout("no answer"), "a")
        self.assertEqual(self.counts("held"), (1,))
        self.stream.ack("c")
        self.assertEqual(self.stream.sent, ["b", "a"])
        self.assertEqual(self.counts("held"), (0,))
        self.clock.advance(60)
        self.assertEqual(self.stream.sent, ["b", "a"])

    def test_reconnect_tries_at_once(self) -> None:
        """A new connection may lead to a broker that has the stream."""
        self.put("a", durable=True)
        for _ in range(10):
            self.stream.refuse_all(no_stream)
            self.clock.advance(LONGEST_PAUSE)
        self.stream.refuse_all(no_stream)
        self.assertEqual(self.stream.asked, [])
        self.connect()
        self.assertEqual(self.stream.sent, ["a"])

    def test_lost_while_tried(self) -> None:
        """A connection that breaks while a subject is tried leaves nothing out."""
        done = [self.publish(data, durable=True) for data in ("a", "b")]
        self.stream.refuse_all(no_stream)
        self.clock.advance(0.3)
        self.link.lose()
        self.stream.refuse_all(lambda: NotConnected("lost"))
        self.clock.advance(100)
        self.assertEqual(self.stream.asked, [])
        self.connect()
        self.stream.ack("a")
        self.stream.ack("b")
        for each in done:
            self.successResultOf(each)

    def test_refused_for_good(self) -> None:
        """What the stream never takes is dropped alone, counted, told and logged once."""
        good, bad = self.publish("a", "x", True), self.publish("b", "x", True)
        self.stream.refuse(JetStreamError(400, 10054, "message size exceeds maximum"), "b")
        error = self.failureResultOf(bad, ItemRefused).value
        self.assertIn("message size exceeds maximum", str(error))
        self.stream.ack("a")
        self.successResultOf(good)
        self.assertEqual(self.counts("dropped", "confirmed", "items"), (1, 1, 0))
        self.assertEqual(
            self.log.texts("error"),
            ["an item for x was dropped: message size exceeds maximum (10054)"],
        )

    def test_refused_while_waited_for(self) -> None:
        """What is tried for a subject may be refused for good; then the next one is tried."""
        for data in ("a", "b"):
            self.put(data, durable=True)
        self.stream.refuse_all(no_stream)
        self.clock.advance(0.3)
        self.stream.refuse(PayloadTooLarge("too large"), "a")
        self.clock.advance(0)
        self.stream.ack("b")
        self.assertEqual(self.counts("dropped", "confirmed", "items"), (1, 1, 0))

    def test_forbidden(self) -> None:
        """A forbidden subject is as bad for durable items as for plain ones."""
        done = self.publish("a", "no", durable=True)
        self.outbox.forbidden("no", 'Permissions Violation for Publish to "no"')
        self.stream.refuse(PermissionDenied("Permissions Violation", "no"))
        self.assertIn("Permissions", str(self.failureResultOf(done, ItemRefused).value))

    def test_publisher_raises(self) -> None:
        """Also what the publisher raises at once is an answer, a thousand times over."""

        def publish(subject: str, payload: bytes, **how: str) -> None:
            raise PayloadTooLarge("too large") if subject == "big" else RuntimeError("broken")

        self.patch(self.stream, "publish", publish)
        self.link.is_connected = False
        for number in range(3000):
            self.put(str(number), "big" if number % 2 else "other", durable=True)
        self.connect()
        self.assertEqual(self.counts("dropped", "held", "items"), (1500, 1500, 1500))

    def test_drain(self) -> None:
        """A stop waits for acknowledgements, not for streams that are not there."""
        self.put("a", "x", durable=True)
        self.put("b", "y", durable=True)
        drained = self.outbox.drain()
        self.stream.refuse(no_stream(), "a")
        self.assertNoResult(drained)
        self.stream.ack("b")
        self.successResultOf(drained)
        self.outbox.close()
        self.assertEqual(self.counts("lost", "held", "items"), (1, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """Answers that come after the end change nothing."""
        done = self.publish("a", durable=True)
        self.outbox.close()
        self.failureResultOf(done)
        self.stream.ack()
        self.assertEqual(self.counts("lost", "confirmed"), (1, 0))


class JudgeTests(OutboxCase):
    """What an error means for an item."""

    def test_judge(self) -> None:
        for error, verdict in (
            (NotConnected("x"), Verdict.DISCONNECTED),
            (NoStream("x"), Verdict.LATER),
            (RequestTimeout("x"), Verdict.LATER),
            (JetStreamError(503, 10077, "maximum messages exceeded"), Verdict.LATER),
            (JetStreamError(500, 10047, "insufficient storage"), Verdict.LATER),
            (JetStreamError(503, 10039, "JetStream not enabled for account"), Verdict.LATER),
            (JetStreamError(408, 0, "timeout"), Verdict.LATER),
            (JetStreamError(429, 10167, "too many requests"), Verdict.LATER),
            (JetStreamError(400, 10054, "message size exceeds maximum"), Verdict.NEVER),
            (JetStreamError(400, 10060, "expected stream does not match"), Verdict.NEVER),
            (JetStreamError(0, 0, "no reason given"), Verdict.LATER),
            (BadSubject("x"), Verdict.NEVER),
            (PayloadTooLarge("x"), Verdict.NEVER),
            (PermissionDenied("x", "orders"), Verdict.NEVER),
            (PermissionDenied("x", "_INBOX.abc.*"), Verdict.LATER),
            (ValueError("x"), Verdict.LATER),
        ):
            self.assertIs(judge(error, "orders"), verdict, repr(error))
