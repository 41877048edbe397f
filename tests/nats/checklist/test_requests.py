"""Q: requests, on real servers; what servers do not do is said by a scripted one."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from backplane.nats.answers import is_empty
from backplane.nats.client import Message, NatsClient
from backplane.nats.errors import (
    BadSubject,
    ConnectionClosed,
    NoResponders,
    NotConnected,
    PermissionDenied,
    RequestTimeout,
)
from backplane.nats.events import Disconnected, ServerError
from tests.nats.checklist.scripted import F, ScriptedCase
from tests.nats.checklist.servers import RPERM


def waiting(client: NatsClient) -> int:
    """Return how many requests a client waits for."""
    return client._requests.count


def timers() -> int:
    """Return how many delayed calls there are."""
    clock: Any = reactor
    return len(clock.getDelayedCalls())


class RequestCase(ScriptedCase):
    """A test with a responder."""

    async def fails(self, deferred: Deferred[Any], *kinds: type[BaseException]) -> Any:
        """Wait for a failure, and return it."""
        return await self.assertFailure(deferred, *kinds)

    async def responder(self, server: Any, subject: str, *answers: bytes) -> NatsClient:
        """Return a client that answers each request with each of these, at once."""
        client = await self.connected(server)

        def answer(message: Message) -> None:
            assert message.reply is not None
            for payload in answers:
                client.publish(message.reply, payload)

        client.subscribe(subject, answer)
        await client.flush()
        return client


class AnswerTests(RequestCase):
    """Q1 to Q3: answers, and nobody to answer."""

    async def test_Q1_answers(self) -> None:
        """The first one wins; others and late ones are ignored; nothing is kept."""
        server = await self.server()
        await self.responder(server, "one", b"1")
        await self.responder(server, "two", b"1", b"2")
        client = await self.connected(server)
        answer = await client.request("one", b"?", timeout=5)
        self.assertEqual((answer.payload, answer.reply, waiting(client)), (b"1", None, 0))
        for _ in range(3):
            self.assertEqual((await client.request("two", b"", timeout=5)).payload, b"1")
            self.assertEqual(waiting(client), 0)
        inbox = client._requests.inbox
        assert inbox is not None
        await client.flush()
        self.assertEqual(inbox.delivered, 7)  # the second ones came too
        self.assertEqual(self.lines(), [line for line in self.lines() if "failed" not in line])

    async def test_Q1_late(self) -> None:
        """What comes after the timeout is nobody's."""
        server = await self.server()
        asked: list[Message] = []
        other = await self.connected(server)
        other.subscribe("slow", asked.append)
        await other.flush()
        client = await self.connected(server)
        before = timers()
        error = await self.fails(client.request("slow", b"", timeout=0.05), RequestTimeout)
        self.assertIn("no answer from slow within 0.05 s", str(error))
        self.assertEqual((waiting(client), timers()), (0, before))
        assert asked[0].reply is not None
        other.publish(asked[0].reply, b"late")
        await other.flush()
        await client.flush()
        inbox = client._requests.inbox
        assert inbox is not None
        self.assertEqual((inbox.delivered, waiting(client)), (1, 0))

    async def test_Q2_many_at_once(self) -> None:
        """Each of 1,000 gets its own answer, on one subscription."""
        server = await self.server()
        asked: list[Message] = []
        other = await self.connected(server)
        other.subscribe("echo", asked.append)
        await other.flush()
        client = await self.connected(server)
        before = timers()
        results = [
            client.request("echo", str(number).encode(), timeout=30) for number in range(1000)
        ]
        self.assertEqual(waiting(client), 1000)
        await self.until(lambda: len(asked) == 1000)
        random.Random(2).shuffle(asked)
        for message in asked:
            assert message.reply is not None
            other.publish(message.reply, b"re " + message.payload)
        answers = await gatherResults(results)
        self.assertEqual(
            [answer.payload for answer in answers], [b"re %d" % number for number in range(1000)]
        )
        self.assertEqual(len({message.reply for message in asked}), 1000)
        self.assertEqual((waiting(client), timers()), (0, before))
        self.assertEqual(len(client._subscriptions._by_sid), 1)

    async def test_Q2_wire(self) -> None:
        """One SUB is sent, whatever is asked, and again after a reconnect."""
        server = await self.scripted()
        client = await self.connected(server.url)
        asked = [client.request("a", b"", timeout=30) for _ in range(20)]
        await client.flush()
        self.assertEqual(server.end.received.count(b"SUB _INBOX."), 1)
        self.assertEqual(server.end.received.count(b"PUB a _INBOX."), 20)
        server.end.hang_up()
        for request in asked:
            await self.fails(request, NotConnected)
        await client.when_connected()
        last = client.request("a", b"", timeout=30)
        await client.flush()
        self.assertEqual(len(server.ends), 2)
        self.assertEqual(server.end.received.count(b"SUB _INBOX."), 1)
        sid = server.end.received.partition(b".* ")[2].partition(b"\r")[0]
        reply = server.end.received.partition(b"PUB a ")[2].partition(b" ")[0]
        server.end.send(b"MSG %b %b 2\r\nok\r\n" % (reply, sid))
        self.assertEqual((await last).payload, b"ok")

    async def test_Q3_nobody(self) -> None:
        """It fails at once, and not by the timeout."""
        server = await self.server()
        client = await self.connected(server)
        before = timers()
        error = await self.fails(client.request("nobody", b"?", timeout=600), NoResponders)
        self.assertEqual(str(error), "nobody listens on nobody")
        error = await self.fails(client.request_many("nobody", b"?", timeout=600), NoResponders)
        self.assertEqual((waiting(client), timers()), (0, before))

    async def test_Q3_without_headers(self) -> None:
        """A server without headers cannot say so: the timeout it is."""
        server = await self.server("no_header_support: true")
        client = await self.connected(server)
        await self.fails(client.request("nobody", b"?", timeout=0.1), RequestTimeout)
        self.assertEqual(await client.request_many("nobody", b"?", timeout=0.1), [])
        await self.responder(server, "some", b"1")
        self.assertEqual((await client.request("some", b"", timeout=5)).payload, b"1")

    async def test_Q3_older_servers(self) -> None:
        """A notice without the name of the subject; an empty answer is none."""
        server = await self.scripted()
        client = await self.connected(server.url)

        def notice(end: F, line: bytes) -> None:
            if line.startswith(b"PUB "):
                _, subject, reply, _ = line.split()
                block = b"NATS/1.0 503\r\n\r\n" if subject == b"nobody" else b"NATS/1.0\r\n\r\n"
                end.send(b"HMSG %b 1 %d %d\r\n%b\r\n" % (reply, len(block), len(block), block))

        server.heard = notice  # type: ignore[method-assign]
        await self.fails(client.request("nobody", b"", timeout=600), NoResponders)
        self.assertEqual((await client.request("some", b"", timeout=600)).payload, b"")


class EndTests(RequestCase):
    """Q4, A10: what ends a request before its answer."""

    async def silent(self, server: Any) -> NatsClient:
        """Return a client with somebody beside who does not answer."""
        other = await self.connected(server)
        other.subscribe("slow", lambda message: None)
        await other.flush()
        return await self.connected(server)

    async def test_Q4_disconnect(self) -> None:
        """All that wait fail at once; those made afterwards are answered after the reconnect."""
        server = await self.server()
        client = await self.silent(server)
        one = client.request("slow", b"", timeout=600)
        many = client.request_many("slow", b"", timeout=600)
        again: list[Deferred[Message]] = []
        one.addErrback(lambda failure: again.append(client.request("up", b"", timeout=600)))
        await client.flush()
        server.stop()
        await self.fails(many, NotConnected)
        await one
        await self.turn()
        self.assertTrue(self.of(Disconnected))
        self.assertEqual(waiting(client), 1)
        server.start()
        await server.when_ready(reactor)
        await self.fails(again[0], NoResponders)  # sent once there was a connection
        self.assertEqual(waiting(client), 0)

    async def test_Q4_asked_while_down(self) -> None:
        """A request that waits for a connection has its timeout all the same."""
        client = self.client(f"nats://127.0.0.1:{(await self.scripted()).port}")
        await self.fails(client.request("a", b"", timeout=0.05), RequestTimeout)
        self.assertEqual(waiting(client), 0)

    async def test_Q4_close(self) -> None:
        """Those that wait fail, later ones are refused."""
        client = await self.silent(await self.server())
        before = timers()
        one = client.request("slow", b"", timeout=600)
        many = client.request_many("slow", b"", timeout=600)
        stopped = client.stopService()
        await self.fails(one, ConnectionClosed)
        await self.fails(many, ConnectionClosed)
        await stopped
        self.assertEqual(waiting(client), 0)
        self.assertTrue(timers() < before)  # its keep-alive has ended, too
        with self.assertRaises(ConnectionClosed):
            client.request("slow", b"", timeout=600)
        with self.assertRaises(ConnectionClosed):
            client.request_many("slow", b"", timeout=600)
        self.assertEqual(waiting(client), 0)

    async def test_Q4_cancel(self) -> None:
        """A request that is cancelled leaves nothing."""
        client = await self.silent(await self.server())
        before = timers()
        one = client.request("slow", b"", timeout=600)
        many = client.request_many("slow", b"", timeout=600, stall=1)
        self.assertEqual(waiting(client), 2)
        one.cancel()
        many.cancel()
        await self.fails(one, CancelledError)
        await self.fails(many, CancelledError)
        self.assertEqual((waiting(client), timers()), (0, before))
        self.assertEqual(len(client._subscriptions._by_sid), 1)

    async def test_A10_forbidden(self) -> None:
        """A request to a forbidden subject fails at once, and only that one."""
        server = await self.server(RPERM)
        login = {"user": "u", "password": "p"}
        client = await self.connected(server, **login)
        other = await self.connected(server, **login)
        other.subscribe("ok.slow", lambda message: None)
        await other.flush()
        allowed = client.request("ok.slow", b"", timeout=600)
        error = await self.fails(client.request("no.way", b"", timeout=600), PermissionDenied)
        self.assertEqual(error.subject, "no.way")
        self.assertIn('Permissions Violation for Publish to "no.way"', str(error))
        error = await self.fails(client.request_many("no.way", b"", timeout=9), PermissionDenied)
        self.assertEqual(error.subject, "no.way")
        self.assertFalse(allowed.called)
        await self.turn()
        self.assertEqual([event.subject for event in self.of(ServerError)], ["no.way"] * 2)
        self.assertEqual(waiting(client), 1)
        allowed.cancel()
        await self.fails(allowed, CancelledError)

    async def test_A10_forbidden_inbox(self) -> None:
        """Where the inbox is forbidden no request can be answered: it fails at once."""
        server = await self.server(RPERM)
        client = await self.connected(server, user="u", password="p", inbox_prefix="mine")
        for _ in range(2):
            error = await self.fails(client.request("ok.a", b"", timeout=600), PermissionDenied)
            self.assertTrue(error.subject.startswith("mine."), error.subject)
        error = await self.fails(client.request_many("ok.a", b"", timeout=600), PermissionDenied)
        self.assertTrue(error.subject.startswith("mine."), error.subject)
        self.assertEqual(waiting(client), 0)
        server.reload(RPERM.replace('"_INBOX.>"', '"mine.>"'))
        await self.until(lambda: "Reloaded server configuration" in server.log())
        client.force_reconnect()
        await client.when_connected()
        await self.fails(client.request("ok.a", b"", timeout=600), NoResponders)

    async def test_A10_forbidden_reply(self) -> None:
        """A server that takes no such reply subject says so of that request, and not of others."""
        client = await self.connected(await self.server(), inbox_prefix="_R_")
        client.subscribe("a", lambda message: None)
        for ask in (
            client.request("a", b"", timeout=600),
            client.request_many("a", b"", timeout=600),
        ):
            error = await self.fails(ask, PermissionDenied)
            self.assertIn("Publish with Reply", str(error))
            self.assertTrue(error.subject.startswith("_R_."), error.subject)
        self.assertEqual(waiting(client), 0)


class PrefixTests(RequestCase):
    """Q5: what inboxes begin with."""

    async def test_Q5_custom(self) -> None:
        """It is used for all kinds."""
        server = await self.server()
        client = await self.connected(server, inbox_prefix="acme.reply.here")
        asked: list[Message] = []
        client.subscribe("a", asked.append)
        await self.fails(client.request("a", b"", timeout=0.05), RequestTimeout)
        self.assertEqual(await client.request_many("a", b"", timeout=0.05), [])
        replies = [message.reply or "" for message in asked]
        for reply in [*replies, client.new_inbox()]:
            self.assertTrue(reply.startswith("acme.reply.here."), reply)
        self.assertEqual([len(reply.split(".")) for reply in replies], [5, 4])
        self.assertEqual(len({client.new_inbox() for _ in range(1000)}), 1000)

    async def test_Q5_refused(self) -> None:
        """What cannot be is a mistake of the configuration."""
        for prefix in ("a.*", "a.>", ">", "*", "a*", "a>b", "a b", "a.", ".a", "a..b", "", "a\r\n"):
            with self.assertRaises(BadSubject, msg=prefix):
                self.client("127.0.0.1", inbox_prefix=prefix)
        for wrong in ("x" * 3490, None, b"a"):
            with self.assertRaises(BadSubject):
                self.client("127.0.0.1", inbox_prefix=wrong)


class ManyTests(RequestCase):
    """Q6: what ends a request for many answers."""

    async def asking(self, *answers: bytes) -> NatsClient:
        """Return a client, and let somebody answer on ``many``."""
        server = await self.server()
        await self.responder(server, "many", *answers)
        return await self.connected(server)

    async def nothing_left(self, client: NatsClient) -> None:
        """Check that nobody waits, and that the server has no subscription of ours."""
        await client.flush()
        self.assertEqual((waiting(client), client._subscriptions._by_sid), (0, {}))

    async def test_Q6_total(self) -> None:
        """Whatever came in the time, none included."""
        client = await self.asking(b"1", b"2")
        got = await client.request_many("many", b"", timeout=0.2)
        self.assertEqual([answer.payload for answer in got], [b"1", b"2"])
        client.subscribe("silent", lambda message: None)
        self.assertEqual(await client.request_many("silent", b"", timeout=0.05), [])
        self.assertEqual((waiting(client), len(client._subscriptions._by_sid)), (0, 1))

    async def test_Q6_stall(self) -> None:
        """Nothing more for a while after an answer; not before the first."""
        server = await self.server()
        other = await self.connected(server)

        async def late(message: Message) -> None:
            assert message.reply is not None
            await deferLater(reactor, 0.3)
            other.publish(message.reply, b"1")
            other.publish(message.reply, b"2")

        other.subscribe("many", late)
        await other.flush()
        client = await self.connected(server)
        got = await client.request_many("many", b"", timeout=600, stall=0.1)
        self.assertEqual([answer.payload for answer in got], [b"1", b"2"])
        await self.nothing_left(client)

    async def test_Q6_most(self) -> None:
        """As many as were asked for, and no more."""
        client = await self.asking(b"1", b"2", b"3", b"4")
        seen: list[bytes] = []
        got = await client.request_many(
            "many", b"", timeout=600, most=3, each=lambda answer: seen.append(answer.payload)
        )
        self.assertEqual([answer.payload for answer in got], [b"1", b"2", b"3"])
        self.assertEqual(seen, [b"1", b"2", b"3"])
        await self.nothing_left(client)

    async def test_Q6_sentinel(self) -> None:
        """A message that says that it is the end is no answer."""
        client = await self.asking(b"1", b"2", b"", b"3")
        got = await client.request_many("many", b"", timeout=600, sentinel=is_empty)
        self.assertEqual([answer.payload for answer in got], [b"1", b"2"])
        await self.nothing_left(client)

    async def test_Q6_failing(self) -> None:
        """What the caller's functions raise is how it ends."""
        client = await self.asking(b"1", b"2")

        def broken(message: Message) -> bool:
            raise ValueError("broken")

        await self.fails(client.request_many("many", b"", timeout=9, each=broken), ValueError)
        await self.fails(client.request_many("many", b"", timeout=9, sentinel=broken), ValueError)
        await self.nothing_left(client)

    async def test_Q6_nobody(self) -> None:
        """Nobody listens: at once."""
        client = await self.connected(await self.server())
        await self.fails(client.request_many("many", b"", timeout=600, stall=60), NoResponders)
        await self.nothing_left(client)

    async def test_Q6_nobody_after_answers(self) -> None:
        """A notice that comes in place of a further answer ends it, with what came."""
        server = await self.scripted()
        client = await self.connected(server.url)

        def answer(end: F, line: bytes) -> None:
            if line.startswith(b"PUB "):
                reply = line.split()[2]
                block = b"NATS/1.0 503\r\n\r\n"
                end.send(b"MSG %b 1 1\r\n1\r\nHMSG %b 1 16 16\r\n%b\r\n" % (reply, reply, block))

        server.heard = answer  # type: ignore[method-assign]
        got = await client.request_many("many", b"", timeout=600)
        self.assertEqual([answer.payload for answer in got], [b"1"])
        await client.flush()
        self.assertIn(b"UNSUB 1\r\n", server.end.received)

    async def test_Q6_refused(self) -> None:
        """Numbers that cannot be."""
        client = await self.connected(await self.server())
        wrong: list[dict[str, Any]] = [
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": float("nan")},
            {"timeout": 1, "stall": 0},
            {"timeout": 1, "most": 0},
        ]
        for options in wrong:
            with self.assertRaises(ValueError, msg=str(options)):
                client.request_many("many", b"", **options)
        others: list[Any] = [None, "1", True]
        for timeout in others:
            with self.assertRaises(TypeError):
                client.request("many", b"", timeout=timeout)
            with self.assertRaises(TypeError):
                client.request_many("many", b"", timeout=timeout)
        with self.assertRaises(ValueError):
            client.request("many", b"", timeout=0)
        for subject in ("a b", "a.*", ""):
            with self.assertRaises(BadSubject):
                client.request(subject, b"", timeout=1)
            with self.assertRaises(BadSubject):
                client.request_many(subject, b"", timeout=1)
        self.assertEqual(waiting(client), 0)
