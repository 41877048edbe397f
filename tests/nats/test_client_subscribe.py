"""Subscribing: what is delivered to whom, and what a subscriber may do."""

from __future__ import annotations

import itertools

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel

from backplane.nats.client import Message, NatsClient, Subscription
from backplane.nats.errors import BadSubject, ConnectionClosed
from tests.nats.bench import ClientCase, Script, numbers


class DeliveryTests(ClientCase):
    """S1, S2: copies and groups."""

    def send(self, subject: str, payloads: list[bytes]) -> None:
        """Publish as somebody else."""
        self.network.flush()
        for payload in payloads:
            self.broker.publish(subject, payload)
        self.network.flush()

    def test_copies(self) -> None:
        """Every subscription gets its copy, also of one subject twice."""
        client = self.start()
        patterns = ("a.b", "a.b", "a.*", "a.>", ">", "a.c", "*.b.c")
        got = [self.collect(client, pattern) for pattern in patterns]
        self.send("a.b", [b"1"])
        self.assertEqual([len(one) for one in got], [1, 1, 1, 1, 1, 0, 0])

    def test_groups(self) -> None:
        """One member of a group gets each message; plain subscribers get all."""
        members = [self.collect(self.start(), "jobs", "workers") for _ in range(3)]
        client = self.start()
        plain, other = self.collect(client, "jobs"), self.collect(client, "jobs", "others")
        self.send("jobs", numbers(300))
        self.assertEqual(sorted(itertools.chain(*members)), sorted(numbers(300)))
        self.assertNotIn([], members)
        self.assertEqual((plain, other), (numbers(300), numbers(300)))

    def test_what_is_delivered(self) -> None:
        """Subject, payload, reply and header block, as they came."""
        client = self.start()
        got: list[Message] = []
        client.subscribe("a.>", got.append)
        self.network.flush()
        block = b"NATS/1.0 404 No Messages\r\nK: v\r\n\r\n"
        self.broker.publish("a.é", b"\xff\r\n", "r", block)
        self.broker.publish("a.b", b"")
        self.network.flush()
        self.assertEqual(
            got, [Message("a.é", b"\xff\r\n", "r", block, "1"), Message("a.b", b"", sid="1")]
        )

    def test_bad_subjects(self) -> None:
        """S7: raised in the caller; no sid is used up, nothing is sent."""
        client = self.start()
        for subject, queue in (
            *((bad, None) for bad in ("", "a b", "a..b", ".a", "a.", "a\tb", "a\r\nb", "a.>.b")),
            *(("a", bad) for bad in ("", "a b", "grp\t1", "a\nb", "a\rb")),
            ("x" * 3501, None),
            ("x" * 3000, "q" * 501),
        ):
            self.assertRaises(BadSubject, client.subscribe, subject, print, queue)
        self.assertRaises(TypeError, client.subscribe, "a", None)
        self.assertRaises(TypeError, client.add_listener, "print")
        self.result(client.flush())
        self.assertEqual(self.broker.clients[0].subscriptions, {})
        self.assertEqual(client.subscribe("a", print).sid, "1")
        self.assertTrue(client.is_connected)

    def test_closed(self) -> None:
        """D5: after the stop there is nothing to subscribe to."""
        client = self.start()
        kept = client.subscribe("a", lambda message: None)
        self.stop(client)
        self.assertRaises(ConnectionClosed, client.subscribe, "a", print)
        kept.unsubscribe()

    def test_no_echo_of_the_dead(self) -> None:
        """A message for a sid that is not known is dropped, and not counted."""
        script = Script()
        self.network.listen("f", 4222, script)
        client = self.start("f")
        script.ends[0].send(b"PONG\r\nMSG a 99 1\r\nx\r\nMSG a x 1\r\nx\r\n")
        self.network.flush()
        self.assertTrue(client.is_connected)
        self.assertEqual(client.counts()["in_msgs"], 0)


class UnsubscribeTests(ClientCase):
    """S3, S4: the end of a subscription."""

    def subscribed(self) -> tuple[NatsClient, Subscription, list[bytes]]:
        """Return a client with one subscription to ``a``, and what it gets."""
        client = self.start()
        got: list[bytes] = []
        subscription = client.subscribe("a", lambda message: got.append(message.payload))
        self.network.flush()
        return client, subscription, got

    def publish(self, client: NatsClient, count: int) -> None:
        """Publish numbers, and wait until they are back."""
        for payload in numbers(count):
            client.publish("a", payload)
        self.result(client.flush())

    def test_now(self) -> None:
        """Nothing is delivered afterwards, not even what is under way; twice does nothing."""
        client, subscription, got = self.subscribed()
        self.publish(client, 2)
        self.broker.publish("a", b"under way")
        subscription.unsubscribe()
        subscription.unsubscribe()
        subscription.unsubscribe(5)
        self.publish(client, 2)
        self.assertEqual(got, numbers(2))
        self.assertFalse(subscription.active)
        self.assertEqual(self.broker.clients[0].subscriptions, {})

    def test_number(self) -> None:
        """It counts from the start of the subscription."""
        client, subscription, got = self.subscribed()
        self.publish(client, 3)
        subscription.unsubscribe(5)
        self.assertEqual((subscription.limit, subscription.left), (5, 2))
        self.publish(client, 10)
        self.assertEqual(len(got), 5)
        self.assertEqual((subscription.active, subscription.delivered), (False, 5))
        self.assertEqual(self.broker.clients[0].subscriptions, {})

    def test_number_reached(self) -> None:
        """One that is reached already is the end now."""
        for limit in (3, 2, 0, -1):
            client, subscription, got = self.subscribed()
            self.publish(client, 3)
            subscription.unsubscribe(limit)
            self.assertFalse(subscription.active)
            self.publish(client, 3)
            self.assertEqual(len(got), 3)

    def test_changed_number(self) -> None:
        """The last one said counts."""
        client, subscription, got = self.subscribed()
        subscription.unsubscribe(2)
        subscription.unsubscribe(4)
        self.publish(client, 10)
        self.assertEqual(len(got), 4)

    def ends_itself(self, limit: int | None) -> list[bytes]:
        """Return what a callback gets that unsubscribes with each message."""
        client = self.start()
        got: list[bytes] = []

        def callback(message: Message) -> None:
            got.append(message.payload)
            mine.unsubscribe(limit)

        mine = client.subscribe("a", callback)
        other = self.collect(client, "a")
        self.publish(client, 10)
        self.assertEqual(other, numbers(10))
        self.stop(client)
        return got

    def test_inside(self) -> None:
        """From inside the callback it is exact too."""
        self.assertEqual(self.ends_itself(None), numbers(1))
        self.assertEqual(self.ends_itself(1), numbers(1))
        self.assertEqual(self.ends_itself(3), numbers(3))

    def test_new_sids(self) -> None:
        """A sid is never used again, so no late message finds the wrong subscriber."""
        client = self.start()
        sids = []
        for _ in range(5):
            one = client.subscribe("a", lambda message: None)
            one.unsubscribe()
            sids.append(one.sid)
        self.assertEqual(len(set(sids)), 5)


class CallbackTests(ClientCase):
    """P9: what a callback does harms nobody."""

    def test_raises(self) -> None:
        """It is logged with its traceback, and the next message is delivered."""
        client = self.start()
        got: list[bytes] = []

        def callback(message: Message) -> None:
            got.append(message.payload)
            raise RuntimeError(f"no {message.payload!r}")

        client.subscribe("a.*", callback)
        for payload in numbers(2):
            client.publish("a.b", payload)
        self.result(client.flush())
        self.assertEqual(got, numbers(2))
        failures = [event for event in self.log_events if "log_failure" in event]
        self.assertEqual(
            [event["log_failure"].getErrorMessage() for event in failures], ["no b'0'", "no b'1'"]
        )
        self.assertIn("the subscriber of a.* failed", self.lines(LogLevel.critical))
        self.assertTrue(client.is_connected)

    def test_deferred(self) -> None:
        """A Deferred or coroutine may fail later; that is logged too."""
        client = self.start()
        later: Deferred[None] = Deferred()

        async def coroutine(message: Message) -> None:
            await later
            raise RuntimeError("of a coroutine")

        client.subscribe("a", lambda message: fail(RuntimeError("at once")))
        client.subscribe("a", lambda message: later)
        client.subscribe("a", coroutine)
        client.publish("a", b"")
        self.result(client.flush())

        def failures() -> list[str]:
            return [
                event["log_failure"].getErrorMessage()
                for event in self.log_events
                if "log_failure" in event
            ]

        self.assertEqual(failures(), ["at once"])
        later.callback(None)
        self.assertEqual(failures(), ["at once", "of a coroutine"])

    def test_acts(self) -> None:
        """It may publish, subscribe, flush and stop the client."""
        client = self.start()
        got = self.collect(client, "b")

        def callback(message: Message) -> None:
            client.publish("b", message.payload)
            self.collect(client, "c")
            client.flush().addErrback(lambda failure: None)
            if message.payload == b"3":
                client.stopService()

        client.subscribe("a", callback)
        self.network.flush()
        self.broker.send_raw(b"".join(b"MSG a 2 1\r\n%b\r\n" % payload for payload in numbers(4)))
        self.network.flush()
        self.assertEqual(got, numbers(4))
        self.assertFalse(client.is_connected)

    def test_listeners(self) -> None:
        """O2: one that raises is logged; one that is removed hears nothing more."""
        client = self.client()
        heard: list[object] = []

        def broken(event: object) -> None:
            heard.append(event)
            client.remove_listener(broken)
            raise RuntimeError

        client.add_listener(broken)
        client.add_listener(heard.append)
        client.remove_listener(print)
        client.startService()
        self.network.flush()
        self.broker.drop_all()
        self.network.flush()
        self.assertEqual(heard, [self.events[0], *self.events])
        self.assertIn("a listener failed", self.lines(LogLevel.critical))
        self.assertTrue(client.is_connected)
