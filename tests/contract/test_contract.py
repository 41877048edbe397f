"""The cases: how a broker treats a client, in both worlds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from backplane.nats.client import Connected, ConnectFailed, Disconnected
from backplane.nats.errors import ConnectionFailed, NotConnected, PayloadTooLarge
from backplane.nats.headers import decode_headers, encode_headers
from tests.contract.worlds import FakeWorld, RealWorld, World

if TYPE_CHECKING:
    _Base = World
else:
    _Base = object

SIZES = (0, 1, 2, 4096, 65_535, 65_536, 65_537, 300_000, 1024 * 1024)


class ConnectCases(_Base):
    """Getting in."""

    async def test_connect(self) -> None:
        """The client is connected, once, and knows the limit."""
        await self.broker()
        client = self.new(name="me")
        events: list[object] = []
        client.add_listener(events.append)
        await self.result(client.when_connected())
        await self.flush(client)
        self.assertEqual(events, [Connected("nats://broker:4222", True)])
        self.assertEqual(client.max_payload, 1024 * 1024)
        counts = client.counts()
        self.assertEqual((counts["connects"], counts["failed"]), (1, 0))

    async def test_ping(self) -> None:
        """Every PING is answered, and keep-alive ones keep the connection."""
        await self.broker()
        client = await self.client(ping_interval=0.05)
        events: list[object] = []
        client.add_listener(events.append)
        for _ in range(20):
            await self.flush(client)
            await self.pause()
        self.assertEqual(events, [])
        self.assertTrue(client.is_connected)

    async def test_verbose(self) -> None:
        """Acknowledgements disturb nothing."""
        await self.broker()
        client = await self.client(verbose=True)
        got = self.collect(client, "a")
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual([message.payload for message in got], [b"1"])

    async def test_user_and_password(self) -> None:
        """The right ones let in, anything else does not."""
        await self.broker("user")
        await self.client(user="u", password="p")
        for wrong in ({}, {"user": "u", "password": "x"}, {"user": "x", "password": "p"}):
            await self.refused(**wrong)
        await self.refused(token="p")

    async def test_token(self) -> None:
        """The right one lets in."""
        await self.broker("token")
        await self.client(token="t")
        await self.refused(token="x")
        await self.refused()
        await self.refused(user="t", password="t")

    async def refused(self, **options: str) -> None:
        """Check that a client with these is not let in, and told why."""
        client = self.new(retry=False, **options)
        with self.assertRaises(ConnectionFailed) as caught:
            await self.result(client.when_connected())
        self.assertIn("Authorization Violation", str(caught.exception))
        self.assertEqual(caught.exception.phase, "handshake")
        self.assertEqual(client.counts()["error_auth"], 1)

    async def test_nobody_there(self) -> None:
        """A broker that is started later is waited for."""
        await self.broker()
        await self.drop()
        client = self.new()
        events: list[object] = []
        client.add_listener(events.append)
        await self.until(lambda: len(events) >= 2)
        self.assertEqual({type(event) for event in events}, {ConnectFailed})
        await self.back()
        await self.result(client.when_connected())

    async def test_protocol_errors(self) -> None:
        """Who does not speak NATS is told and dropped; the others notice nothing."""
        await self.broker()
        client = await self.client()
        got = self.collect(client, "a")
        for said, answer in (
            (b"POO\r\n", b"-ERR 'Unknown Protocol Operation'\r\n"),
            (b"GET / HTTP/1.1\r\n\r\n", b"-ERR 'Unknown Protocol Operation'\r\n"),
            (b"PUB a 1\r\nxyz\r\n", b"-ERR 'Unknown Protocol Operation'\r\n"),
            (b"PUB a x\r\n", b""),
            (b"SUB a b c d\r\n", b""),
            (b"SUB " + b"x" * 5000, b"-ERR 'maximum control line exceeded'\r\n"),
        ):
            raw = await self.raw()
            raw.send(b'CONNECT {"verbose":false,"pedantic":false}\r\n' + said)
            self.assertEqual(await self.last_words(raw), answer, said[:20])
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual(len(got), 1)
        self.assertEqual(client.counts()["reconnects"], 0)

    async def test_odd_unsubscribes(self) -> None:
        """A broken number in UNSUB is no error: the subscription ends now."""
        await self.broker()
        for number in (b"x", b"-1", b"1.5", b"0", b"9999999999", b"5x"):
            raw = await self.raw()
            raw.send(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
            raw.send(b"SUB a 1\r\nUNSUB 1 " + number + b"\r\nPUB a 0\r\n\r\nPING\r\n")
            await self.settled(raw)
            self.assertEqual((raw.received, raw.lost), (b"PONG\r\n", False), number)


class MessageCases(_Base):
    """Publishing and subscribing."""

    async def test_publish_and_subscribe(self) -> None:
        """A message arrives with subject, payload and reply subject."""
        await self.broker()
        client, other = await self.client(), await self.client()
        got = self.collect(client, "a.b")
        await self.flush(client)
        other.publish("a.b", b"\r\nPING\r\n\x00\xff", "r.1")
        other.publish("a.b", b"")
        other.publish("a.c", b"no")
        await self.flush(other, client)
        self.assertEqual([message.payload for message in got], [b"\r\nPING\r\n\x00\xff", b""])
        self.assertEqual([message.reply for message in got], ["r.1", None])
        self.assertEqual({message.subject for message in got}, {"a.b"})
        self.assertEqual([message.headers for message in got], [None, None])

    async def test_wildcards(self) -> None:
        """``*`` is one token, ``>`` one or more; every subscription gets its copy."""
        await self.broker()
        client = await self.client()
        patterns = ("a.*", "a.>", "*.b", ">", "a.b", "a*.b", "a.*.c", "*", "*.*.>")
        got = {pattern: self.collect(client, pattern) for pattern in patterns}
        for subject in ("a", "a.b", "a.b.c", "c.b", "é.b", "$SYS_X.b", "A.b", "a*.b"):
            client.publish(subject, b"")
        await self.flush(client)
        found = {pattern: [message.subject for message in got[pattern]] for pattern in got}
        everything = ["a", "a.b", "a.b.c", "c.b", "é.b", "$SYS_X.b", "A.b", "a*.b"]
        self.assertEqual(
            found,
            {
                "a.*": ["a.b"],
                "a.>": ["a.b", "a.b.c"],
                "*.b": ["a.b", "c.b", "é.b", "$SYS_X.b", "A.b", "a*.b"],
                ">": everything,
                "a.b": ["a.b"],
                "a*.b": ["a*.b"],
                "a.*.c": ["a.b.c"],
                "*": ["a"],
                "*.*.>": ["a.b.c"],
            },
        )

    async def test_queue_groups(self) -> None:
        """One member of a group gets each message, a plain subscriber gets all."""
        await self.broker()
        clients = [await self.client() for _ in range(3)]
        members = [self.collect(client, "jobs.*", "workers") for client in clients]
        plain = self.collect(clients[0], "jobs.>")
        other = self.collect(clients[1], "jobs.1", "others")
        await self.flush(*clients)
        sender = await self.client()
        for number in range(300):
            sender.publish("jobs.1", str(number).encode())
        await self.flush(sender, *clients)
        shares = [[int(message.payload) for message in member] for member in members]
        self.assertEqual(sorted(itertools.chain(*shares)), list(range(300)))
        self.assertNotIn([], shares)
        for share in shares:
            self.assertEqual(share, sorted(share))
        self.assertEqual((len(plain), len(other)), (300, 300))

    async def test_groups_lose_members(self) -> None:
        """A group goes on with those that are left."""
        await self.broker()
        clients = [await self.client() for _ in range(2)]
        members = [self.collect(client, "jobs", "workers") for client in clients]
        await self.flush(*clients)
        await self.result(clients[0].stopService())
        for _ in range(20):
            clients[1].publish("jobs", b"")
        await self.flush(clients[1])
        self.assertEqual([len(member) for member in members], [0, 20])

    async def test_unsubscribe(self) -> None:
        """After the end nothing comes; the other subscriptions go on."""
        await self.broker()
        client = await self.client()
        got = self.collect(client, "a")
        ended: list[object] = []
        subscription = client.subscribe("a", ended.append)
        for number in range(6):
            if number == 3:
                await self.flush(client)
                subscription.unsubscribe()
            client.publish("a", b"")
        await self.flush(client)
        self.assertEqual((len(got), len(ended)), (6, 3))

    async def test_unsubscribe_after_a_number(self) -> None:
        """It counts from the start, and over a reconnect."""
        await self.broker()
        client = await self.client()
        for delivered, limit, expected in ((0, 5, 5), (3, 5, 5), (3, 3, 3), (3, 2, 3)):
            got: list[object] = []
            subscription = client.subscribe("a", got.append)
            for _ in range(delivered):
                client.publish("a", b"")
            await self.flush(client)
            subscription.unsubscribe(limit)
            for _ in range(10):
                client.publish("a", b"")
            await self.flush(client)
            self.assertEqual(len(got), expected, (delivered, limit))
        got = []
        subscription = client.subscribe("a", got.append)
        for part in (4, 20):
            for _ in range(part):
                client.publish("a", b"")
            await self.flush(client)
            subscription.unsubscribe(10)
            client.force_reconnect()
            await self.until(lambda: client.is_connected)
        self.assertEqual(len(got), 10)

    async def test_headers(self) -> None:
        """They arrive as they were sent, with and without payload."""
        await self.broker()
        client = await self.client()
        got = self.collect(client, "a")
        block = encode_headers({"Key": ["1", "2"], "key": "é", "Empty": ""})
        client.publish("a", b"payload", "r", block)
        client.publish("a", b"", None, encode_headers({}))
        client.publish("a", b"plain")
        await self.flush(client)
        first, second, third = got
        self.assertEqual((first.payload, first.reply, first.headers), (b"payload", "r", block))
        self.assertEqual((second.payload, second.headers), (b"", b"NATS/1.0\r\n\r\n"))
        self.assertEqual((third.payload, third.headers), (b"plain", None))

    async def test_reply(self) -> None:
        """A service answers to the reply subject."""
        await self.broker()
        service, caller = await self.client(), await self.client()
        service.subscribe("echo", lambda m: service.publish(m.reply or "", m.payload + b"!"))
        got = self.collect(caller, "_INBOX.x.*")
        await self.flush(service, caller)
        for number in range(5):
            caller.publish("echo", str(number).encode(), f"_INBOX.x.{number}")
        await self.until(lambda: len(got) == 5)
        self.assertEqual(
            [(message.subject, message.payload) for message in got],
            [(f"_INBOX.x.{number}", f"{number}!".encode()) for number in range(5)],
        )

    async def test_no_responders(self) -> None:
        """Whoever asks where nobody listens is told, if the reply subject is his own."""
        await self.broker()
        client, other = await self.client(), await self.client()
        mine, foreign = self.collect(client, "r.*"), self.collect(other, "s.*")
        await self.flush(client, other)
        client.publish("nobody", b"x", "r.1")
        client.publish("nobody", b"x", "s.1")
        client.publish("nobody", b"x")
        client.publish("s.x", b"x", "r.2")
        await self.flush(client, other)
        (notice,) = mine
        self.assertEqual((notice.subject, notice.payload, notice.reply), ("r.1", b"", None))
        headers = decode_headers(notice.headers or b"")
        self.assertEqual((headers.status, headers.get("Nats-Subject")), (503, "nobody"))
        self.assertEqual([message.subject for message in foreign], ["s.x"])

    async def test_large_payloads(self) -> None:
        """Every size up to the limit arrives intact."""
        await self.broker()
        client, other = await self.client(), await self.client()
        got = self.collect(client, "big")
        await self.flush(client)
        payloads = [bytes(range(256)) * (size // 256) + b"x" * (size % 256) for size in SIZES]
        for payload in payloads:
            other.publish("big", payload)
        await self.flush(other, client)
        self.assertEqual([len(message.payload) for message in got], list(SIZES))
        self.assertTrue(all(m.payload == p for m, p in zip(got, payloads, strict=True)))

    async def test_longest_line(self) -> None:
        """The longest subjects that the client takes fit into a line of the broker."""
        await self.broker()
        client = await self.client()
        subject, reply = "s" * 100, "r" * 3400
        got = self.collect(client, subject, "q" * 3400)
        client.publish(subject, b"x", reply, encode_headers({"K": "v" * 99_999}))
        client.publish(subject, b"x" * 99_999, reply)
        await self.flush(client)
        self.assertEqual([message.reply for message in got], [reply, reply])
        self.assertEqual(client.counts()["reconnects"], 0)

    async def test_order(self) -> None:
        """What one client publishes arrives in order, whatever the sizes."""
        await self.broker()
        client, other = await self.client(), await self.client()
        got = self.collect(client, "n.>")
        await self.flush(client)
        for number in range(5000):
            other.publish(f"n.{number % 7}", b"%d " % number + b"x" * (number % 400))
        await self.flush(other, client)
        numbers = [int(message.payload.split()[0]) for message in got]
        self.assertEqual(numbers, list(range(5000)))


class RefusalCases(_Base):
    """What a broker does not do."""

    async def test_permissions(self) -> None:
        """Each refusal is told with its subject; the connection and the rest live on."""
        await self.broker("rights")
        client = await self.client()
        complaints = self.complaints(client)
        got = self.collect(client, "ok.>")
        queued = client.subscribe("q", lambda message: None, "work")
        refused = [
            client.subscribe(subject, lambda message: None, queue)
            for subject, queue in (("no", None), ("no.*", "work"), ("q", None), (">", None))
        ]
        client.publish("no", b"")
        client.publish("ok.1", b"1")
        await self.flush(client)
        self.assertEqual([message.payload for message in got], [b"1"])
        self.assertEqual(
            [(error.kind, error.subject, error.queue) for error in complaints],
            [
                ("subscribe", "no", None),
                ("subscribe", "no.*", "work"),
                ("subscribe", "q", None),
                ("subscribe", ">", None),
                ("publish", "no", None),
            ],
        )
        self.assertIsNone(queued.denied)
        self.assertNotIn(None, [one.denied for one in refused])
        self.assertEqual(client.counts()["reconnects"], 0)

    async def test_permissions_after_a_reconnect(self) -> None:
        """They are refused again, and the rest works again."""
        await self.broker("rights")
        client = await self.client()
        got = self.collect(client, "ok.1")
        client.subscribe("no", lambda message: None)
        await self.flush(client)
        complaints = self.complaints(client)
        client.force_reconnect()
        await self.result(client.when_connected())
        client.publish("ok.1", b"1")
        await self.flush(client)
        self.assertEqual([error.subject for error in complaints], ["no"])
        self.assertEqual(len(got), 1)

    async def test_line_too_long(self) -> None:
        """A line beyond a limit that cannot be known ends the connection; the client comes back."""
        await self.broker("short")
        client = await self.client()
        events: list[object] = []
        client.add_listener(events.append)
        got = self.collect(client, "a")
        client.publish("s" * 600, b"")
        await self.until(lambda: client.counts()["reconnects"] == 1)
        (lost,) = [event for event in events if isinstance(event, Disconnected)]
        self.assertEqual(str(lost.reason), "maximum control line exceeded")
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual(len(got), 1)

    async def test_too_many_subscriptions(self) -> None:
        """What does not fit is told; what fitted works, and the connection stays."""
        await self.broker("few")
        client = await self.client()
        complaints = self.complaints(client)
        got = [self.collect(client, subject) for subject in "abcd"]
        for subject in "abcd":
            client.publish(subject, b"")
        await self.flush(client)
        self.assertEqual([len(one) for one in got], [1, 1, 0, 0])
        self.assertEqual(
            [(error.kind, error.text, error.subject) for error in complaints],
            [
                ("subscribe", "maximum subscriptions exceeded", "d"),
                ("subscribe", "maximum subscriptions exceeded", "c"),
            ],
        )
        self.assertEqual(client.counts()["reconnects"], 0)

    async def test_payload_too_large(self) -> None:
        """The client knows the limit, and raises; nothing is sent."""
        await self.broker("small")
        client = await self.client()
        self.assertEqual(client.max_payload, 64)
        got = self.collect(client, "a")
        client.publish("a", b"x" * 64)
        self.assertRaises(PayloadTooLarge, client.publish, "a", b"x" * 65)
        await self.flush(client)
        self.assertEqual(len(got), 1)
        self.assertEqual(client.counts()["reconnects"], 0)

    async def test_payload_violation(self) -> None:
        """Who sends more all the same is told and dropped; headers count."""
        await self.broker("small")
        for said in (
            b"PUB a 65\r\n" + b"x" * 65 + b"\r\n",
            b"HPUB a 12 65\r\nNATS/1.0\r\n\r\n" + b"x" * 53 + b"\r\n",
        ):
            raw = await self.raw()
            raw.send(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n' + said)
            words = await self.last_words(raw)
            self.assertEqual(words, b"-ERR 'Maximum Payload Violation'\r\n")

    async def test_kept_payload_too_large(self) -> None:
        """What was published before the limit was known does not end the connection."""
        await self.broker("small")
        client = self.new()
        got = self.collect(client, "a")
        for payload in (b"1", b"x" * 65, b"2"):
            client.publish("a", payload)
        await self.result(client.when_connected())
        await self.flush(client)
        self.assertEqual([message.payload for message in got], [b"1", b"2"])
        self.assertEqual(client.counts()["reconnects"], 0)


class ReturnCases(_Base):
    """A broker that goes and comes."""

    async def test_reconnect(self) -> None:
        """Subscriptions, groups and limits are there again; what was kept arrives in order."""
        await self.broker()
        client = await self.client()
        events: list[object] = []
        client.add_listener(events.append)
        plain, grouped = self.collect(client, "n.*"), self.collect(client, "n.>", "g")
        limited: list[object] = []
        client.subscribe("n.1", limited.append).unsubscribe(3)
        client.publish("n.1", b"0")
        await self.flush(client)
        await self.drop()
        await self.until(lambda: not client.is_connected)
        for number in range(1, 50):
            client.publish("n.1", str(number).encode())
        await self.back()
        await self.result(client.when_connected())
        await self.flush(client)
        payloads = [str(number).encode() for number in range(50)]
        self.assertEqual([message.payload for message in plain], payloads)
        self.assertEqual([message.payload for message in grouped], payloads)
        self.assertEqual(len(limited), 3)
        kinds = [type(event) for event in events if not isinstance(event, ConnectFailed)]
        self.assertEqual(kinds, [Disconnected, Connected])
        self.assertEqual(client.counts()["reconnects"], 1)

    async def test_flush_fails(self) -> None:
        """Who waits for an answer when the connection breaks is told."""
        await self.broker()
        client = await self.client()
        done = client.flush(None)
        client.force_reconnect()
        with self.assertRaises(NotConnected):
            await self.result(done)

    async def test_stop_flushes(self) -> None:
        """What was published before the stop arrives."""
        await self.broker()
        client, other = await self.client(), await self.client()
        got = self.collect(client, "n")
        await self.flush(client)
        for number in range(2000):
            other.publish("n", str(number).encode())
        await self.result(other.stopService())
        await self.flush(client)
        self.assertEqual(len(got), 2000)

    async def test_many_returns(self) -> None:
        """Ten restarts: one reconnect each, and everything works after the last."""
        await self.broker()
        client = await self.client()
        got = self.collect(client, "a")
        for _ in range(10):
            await self.drop()
            await self.until(lambda: not client.is_connected)
            await self.back()
            client.force_reconnect()
            await self.result(client.when_connected())
        client.publish("a", b"1")
        await self.flush(client)
        self.assertEqual(len(got), 1)
        self.assertEqual(client.counts()["reconnects"], 10)


class FakeConnectTests(ConnectCases, FakeWorld):
    """Getting in, in memory."""


class FakeMessageTests(MessageCases, FakeWorld):
    """Messages, in memory."""


class FakeRefusalTests(RefusalCases, FakeWorld):
    """Refusals, in memory."""


class FakeReturnTests(ReturnCases, FakeWorld):
    """Returns, in memory."""


class RealConnectTests(ConnectCases, RealWorld):
    """Getting in, for real."""


class RealMessageTests(MessageCases, RealWorld):
    """Messages, for real."""


class RealRefusalTests(RefusalCases, RealWorld):
    """Refusals, for real."""


class RealReturnTests(ReturnCases, RealWorld):
    """Returns, for real."""
