"""``-ERR`` in all its forms: what it is about, and what follows."""

from __future__ import annotations

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.client import Disconnected, ServerError
from backplane.nats.events import read_error
from tests.nats.bench import ClientCase

PERMISSION = "Permissions Violation for "


class ReadTests(SynchronousTestCase):
    """What the words say."""

    def test_permissions(self) -> None:
        """Subject, queue group and sid are found, whatever they contain."""
        for words, kind, about in (
            ('Publish to "a.b"', "publish", ("a.b", None, None)),
            ('Publish to "a"b"', "publish", ('a"b', None, None)),
            ('Publish to "grüße"', "publish", ("grüße", None, None)),
            ('Subscription to "a.>"', "subscribe", ("a.>", None, None)),
            ('Subscription to "a" using queue "q"', "subscribe", ("a", "q", None)),
            ('Subscription to "a" (sid "7")', "subscribe", ("a", None, "7")),
            ('Subscription to "a" using queue "q" (sid "7")', "subscribe", ("a", "q", "7")),
            ('Subscription to "a.b.c", too many tokens', "subscribe", ("a.b.c", None, None)),
            ('Subscription to "a)" (sid "x)")', "subscribe", ("a)", None, "x)")),
            ('Publish with Reply of "r"', "publish", ("r", None, None)),
            ("Publish to", "other", (None, None, None)),
            ("Publish to ", "publish", (None, None, None)),
            ('Publish to "', "publish", (None, None, None)),
        ):
            for text in (PERMISSION + words, PERMISSION.lower() + words):
                error = read_error(text)
                self.assertEqual((error.kind, error.text), (kind, text), text)
                self.assertEqual((error.subject, error.queue, error.sid), about, text)

    def test_others(self) -> None:
        """Credentials are an error of their own; limits of subscriptions are about one."""
        for text, kind in (
            ("Authorization Violation", "auth"),
            ("authorization violation", "auth"),
            ("User Authentication Expired", "auth"),
            ("User Authentication Revoked", "auth"),
            ("Account Authentication Expired", "auth"),
            ("maximum subscriptions exceeded", "subscribe"),
            ("Authentication Timeout", "other"),
            ("Stale Connection", "other"),
            ("maximum connections exceeded", "other"),
            ("Invalid Subject", "other"),
            ("", "other"),
        ):
            self.assertEqual(read_error(text), ServerError(kind, text))


class PermissionTests(ClientCase):
    """A8: one event each; connection and other subscriptions live on."""

    def complaints(self) -> list[tuple[str, str | None, str | None]]:
        """Return kind, subject and group of the complaints."""
        return [
            (event.kind, event.subject, event.queue)
            for event in self.events
            if isinstance(event, ServerError)
        ]

    def test_publish(self) -> None:
        """The event names the subject."""
        self.broker.deny_publish.append("no.>")
        client = self.start()
        got = self.collect(client, ">")
        for subject in ("no.1", "yes"):
            client.publish(subject, subject.encode())
        self.result(client.flush())
        self.assertEqual(self.complaints(), [("publish", "no.1", None)])
        self.assertEqual(got, [b"yes"])
        self.assertTrue(client.is_connected)
        self.assertEqual(client.counts()["error_publish"], 1)

    def test_subscribe(self) -> None:
        """The subscription that is meant is marked, and no other."""
        self.broker.may_subscribe = lambda client, subject, queue: (
            (subject, queue)
            not in (
                ("s", None),
                ("q", "g"),
            )
        )
        client = self.start()
        wanted = [("s", None), ("s", "g"), ("q", None), ("q", "g"), ("q", "h"), ("t", None)]
        made = [client.subscribe(subject, lambda message: None, queue) for subject, queue in wanted]
        self.result(client.flush())
        denied = [(one.subject, one.queue) for one in made if one.denied is not None]
        self.assertEqual(denied, [("s", None), ("q", "g")])
        self.assertEqual(self.complaints(), [("subscribe", "s", None), ("subscribe", "q", "g")])
        self.assertEqual(made[0].denied, 'Permissions Violation for Subscription to "s"')
        self.assertEqual(self.event_names().count("Disconnected"), 0)

    def test_taken_away(self) -> None:
        """A9: a right that is lost later is told with the sid; it is asked for again."""
        client = self.start()
        first = client.subscribe("s", lambda message: None)
        second = client.subscribe("s", lambda message: None)
        self.network.flush()
        text = f'{PERMISSION}Subscription to "s" (sid "{second.sid}")'
        self.broker.clients[0].fail(text, close=False)
        self.network.flush()
        self.assertEqual((first.denied, second.denied), (None, text))
        client.force_reconnect()
        self.result(client.when_connected())
        self.assertIs(second.denied, None)

    def test_too_many(self) -> None:
        """S9: the subscriptions that do not fit are the newest, each told with its subject."""
        client = self.start()
        made = [client.subscribe(subject, lambda message: None) for subject in "abcd"]
        self.network.flush()
        for _ in range(5):
            self.broker.clients[0].fail("maximum subscriptions exceeded", close=False)
        self.network.flush()
        self.assertEqual(
            self.complaints()[:3],
            [("subscribe", "d", None), ("subscribe", "c", None), ("subscribe", "b", None)],
        )
        self.assertTrue(all(one.denied for one in made))
        self.assertEqual(self.complaints()[4:], [("subscribe", None, None)])
        self.assertTrue(client.is_connected)


class FatalTests(ClientCase):
    """R14: nothing that a server says makes the client give up."""

    def test_each(self) -> None:
        """The words are an event and the reason of the loss; the client comes back."""
        client = self.start()
        for text, waits in (
            ("Stale Connection", False),
            ("Maximum Payload Violation", True),
            ("maximum control line exceeded", True),
            ("Unknown Protocol Operation", True),
            ("invalid client protocol", True),
            ("no responders requires headers support", True),
            ("Failed Account Registration", True),
            ("maximum account active connections exceeded", True),
            ("Connection throttling is active. Please try again later.", True),
            ("Secure Connection - TLS Required", True),
            ("Authentication Timeout", True),
            ("No such words 'exist'", False),
        ):
            self.advance(6)
            self.events.clear()
            self.broker.clients[0].fail(text)
            self.advance(0.4)
            self.assertEqual(client.is_connected, not waits, text)
            self.advance(0.2)
            self.assertEqual(self.event_names(), ["ServerError", "Disconnected", "Connected"], text)
            self.assertEqual(self.events[0], ServerError("other", text))
            self.assertEqual(str(self.events[1].reason), text)
        self.assertTrue(client.is_connected)
        ours = [line for line in self.lines(LogLevel.error) if "our fault" in line]
        self.assertEqual(len(ours), 7)

    def test_credentials(self) -> None:
        """A4, A7: wrong or expired credentials are retried slowly."""
        client = self.start()
        for text in (
            "Authorization Violation",
            "User Authentication Expired",
            "User Authentication Revoked",
            "Account Authentication Expired",
        ):
            self.advance(6)
            self.broker.clients[0].fail(text)
            self.network.flush()
            self.assertTrue(client.is_connected)  # with credentials that may be new
            self.events.clear()
            self.broker.clients[0].fail(text)
            self.advance(19.8)
            self.assertEqual(self.event_names(), ["ServerError", "Disconnected"])
            self.advance(0.4)
            self.assertTrue(client.is_connected)
        self.assertEqual(client.counts()["error_auth"], 8)

    def test_open(self) -> None:
        """What leaves the connection open is an event; it does not explain a later loss."""
        client = self.start()
        for text in ("Invalid Subject", "Invalid Publish Subject", f'{PERMISSION}Publish to "a"'):
            self.broker.clients[0].fail(text, close=False)
        self.network.flush()
        self.assertTrue(client.is_connected)
        self.assertEqual(self.event_names(), ["Connected"] + ["ServerError"] * 3)
        self.broker.drop_all()
        self.network.flush()
        (lost,) = [event for event in self.events if isinstance(event, Disconnected)]
        self.assertEqual(str(lost.reason), "closed by the server")

    def test_unknown_and_open(self) -> None:
        """An unknown complaint ends nothing by itself."""
        client = self.start()
        self.broker.clients[0].fail("Something new", close=False)
        self.advance(60)
        self.assertTrue(client.is_connected)
        self.assertEqual(client.counts()["error_other"], 1)
        self.assertEqual(self.broker.connections, 1)
