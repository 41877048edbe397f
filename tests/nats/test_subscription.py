"""The table of subscriptions, without any connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.counts import Counts
from backplane.nats.events import ServerError
from backplane.nats.parser import Msg
from backplane.nats.subscription import Message, Subscription, Subscriptions

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), st.just(0)),
        st.tuples(st.just("message"), st.integers(0, 4)),
        st.tuples(st.just("unsubscribe"), st.integers(0, 4)),
        st.tuples(st.sampled_from(["limit 1", "limit 2", "limit 5"]), st.integers(0, 4)),
        st.tuples(st.just("reconnect"), st.just(0)),
    ),
    max_size=60,
)


class Table(SynchronousTestCase):
    """A table, what it sends, and what it logs."""

    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.counts = Counts()
        self.log_events: list[LogEvent] = []
        log = Logger("test", observer=self.log_events.append)  # type: ignore[arg-type]
        self.table = Subscriptions(self.sent.append, self.counts, log)

    def add(
        self,
        subject: str = "a",
        callback: Callable[[Message], Any] = lambda message: None,
        queue: str | None = None,
    ) -> Subscription:
        """Subscribe."""
        return self.table.add(subject, callback, queue)

    def deliver(self, sid: str, payload: bytes = b"") -> None:
        """Let a message come."""
        self.table.deliver(Msg("s", payload, "r", b"h", sid=sid))


class SubscriptionsTests(Table):
    """What is sent, delivered, marked."""

    def test_lines(self) -> None:
        """Each change is one line; a new connection gets all that still holds."""
        first = self.add("a.*")
        second = self.add("b", queue="g")
        third = self.add("é")
        second.unsubscribe(3)
        third.unsubscribe()
        self.assertEqual(
            self.sent,
            [
                b"SUB a.* 1\r\n",
                b"SUB b g 2\r\n",
                "SUB é 3\r\n".encode(),
                b"UNSUB 2 3\r\n",
                b"UNSUB 3\r\n",
            ],
        )
        self.deliver("2")
        self.assertEqual(self.table.lines(), b"SUB a.* 1\r\nSUB b g 2\r\nUNSUB 2 2\r\n")
        self.assertEqual(self.table.lines(), b"SUB a.* 1\r\nSUB b g 2\r\nUNSUB 2 2\r\n")
        second.unsubscribe(5)
        self.assertEqual(self.sent[-1], b"UNSUB 2 4\r\n")
        first.unsubscribe()
        second.unsubscribe()
        self.assertEqual(self.table.lines(), b"")

    def test_deliver(self) -> None:
        """By sid only; what has no subscriber is dropped and not counted."""
        got: list[Message] = []
        self.add(callback=got.append)
        self.deliver("1", b"xy")
        self.deliver("2", b"xy")
        self.deliver("", b"xy")
        self.assertEqual(got, [Message("s", b"xy", "r", b"h", "1")])
        self.assertEqual((self.counts.in_msgs, self.counts.in_bytes), (1, 2))

    def test_last_message(self) -> None:
        """The subscription is over before its last message is handed out."""
        states: list[bool] = []
        subscription = self.add(callback=lambda message: states.append(subscription.active))
        subscription.unsubscribe(2)
        sent = len(self.sent)
        for _ in range(3):
            self.deliver("1")
        self.assertEqual(states, [True, False])
        subscription.unsubscribe()
        self.assertEqual(len(self.sent), sent)

    def test_deny(self) -> None:
        """By sid if there is one, else by subject and group; a reconnect clears it."""
        ones = [self.add("a"), self.add("a"), self.add("a", queue="q"), self.add("b")]
        error = ServerError("subscribe", "no", "a")
        self.assertIs(self.table.deny(error), error)
        self.assertEqual([one.denied for one in ones], ["no", "no", None, None])
        self.table.forget_denials()
        self.table.deny(ServerError("subscribe", "no", "a", None, "2"))
        self.assertEqual([one.denied for one in ones], [None, "no", None, None])
        self.table.deny(ServerError("subscribe", "no", "a", "q", "2"))
        self.assertEqual([one.denied for one in ones], [None, "no", None, None])

    def test_too_many(self) -> None:
        """Without a subject it is the newest that is not marked yet."""
        self.add("a")
        self.add("b", queue="q")
        for wanted in (("b", "q", "2"), ("a", None, "1"), (None, None, None)):
            told = self.table.deny(ServerError("subscribe", "too many"))
            self.assertEqual((told.subject, told.queue, told.sid), wanted)

    def test_failures(self) -> None:
        """Errors are logged with the subject, whatever the callback returns."""

        async def coroutine(message: Message) -> None:
            raise RuntimeError("later")

        def plain(message: Message) -> None:
            raise RuntimeError("now")

        later: Deferred[None] = Deferred()
        self.add("x", plain)
        self.add("y", coroutine)
        self.add("z", lambda message: later)
        for sid in "123":
            self.deliver(sid)
        later.errback(RuntimeError("much later"))
        self.assertEqual(
            [(event["subject"], str(event["log_failure"].value)) for event in self.log_events],
            [("x", "now"), ("y", "later"), ("z", "much later")],
        )

    def test_repr(self) -> None:
        """It shows what it is, not who is called."""
        self.assertNotIn("lambda", repr(self.add()))


class ModelTests(Table):
    """Any sequence of steps, against a server that does what servers do."""

    @given(STEPS)
    def test_steps(self, steps: list[tuple[str, int]]) -> None:
        """Nobody gets more than he wants, and the server keeps nothing that nobody wants."""
        Table.setUp(self)
        server: dict[str, tuple[int, int | None]] = {}  # delivered here, limit
        made: list[Subscription] = []

        def take(lines: bytes) -> None:
            for line in lines.split(b"\r\n")[:-1]:
                words = line.decode().split()
                if words[0] == "SUB":
                    server[words[-1]] = (0, None)
                elif words[1] in server:
                    delivered = server[words[1]][0]
                    limit = int(words[2]) if len(words) == 3 else 0
                    if delivered >= limit:
                        del server[words[1]]
                    else:
                        server[words[1]] = (delivered, limit)

        self.table._send = take
        for step, index in steps:
            if step == "subscribe":
                made.append(self.add())
            elif step == "reconnect":
                server.clear()
                take(self.table.lines())
            elif index < len(made):
                one = made[index]
                if step == "message" and one.sid in server:
                    delivered, limit = server[one.sid]
                    if limit is not None and delivered + 1 >= limit:
                        del server[one.sid]
                    else:
                        server[one.sid] = (delivered + 1, limit)
                    before = one.delivered
                    self.deliver(one.sid)
                    self.assertEqual(one.delivered, before + 1)
                elif step == "unsubscribe":
                    one.unsubscribe()
                elif step.startswith("limit"):
                    one.unsubscribe(int(step[-1]))
            self.assertEqual(set(server), {one.sid for one in made if one.active})
        for one in made:
            if one.limit is not None:
                self.assertLessEqual(one.delivered, one.limit)
