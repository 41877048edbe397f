"""Mistakes of programs: what is given is of the wrong kind, and the error says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats import NatsClient, Token, UserPassword
from backplane.nats.errors import BadCredentials


class _Case(SynchronousTestCase):
    """What is refused, and in what words."""

    def refused(self, kind: type[Exception], words: str, call: Callable[[], object]) -> None:
        """Check that it is, in one line with these words."""
        text = str(self.assertRaises(kind, call))
        self.assertIn(words, text)


class MakingTests(_Case):
    """A client that cannot be."""

    def client(self, servers: Any = "localhost", **other: Any) -> Callable[[], NatsClient]:
        """Return what makes it."""
        return lambda: NatsClient(servers, Clock(), **other)

    def test_servers(self) -> None:
        """Addresses are text."""
        for given in (None, 5, b"localhost:4222"):
            kind = type(given).__name__
            words = f"servers are text or a list of texts, not {kind}"
            self.refused(TypeError, words, self.client(given))
        self.refused(TypeError, "a server is text such as nats1:4222, not int", self.client([5]))
        self.refused(ValueError, "at least one server", self.client([]))

    def test_name(self) -> None:
        """The name goes into JSON."""
        self.refused(TypeError, "'name' must be <class 'str'>", self.client(name=5))

    def test_times(self) -> None:
        """A time is a number above 0; with 0 keep-alives would turn without end."""
        for option in ("ping_interval", "connect_timeout"):
            for wrong in (0, -1, float("nan"), float("inf")):
                self.refused(ValueError, option, self.client(**{option: wrong}))
            self.refused(TypeError, option, self.client(**{option: "1s"}))

    def test_credentials(self) -> None:
        """Who we are is told by something that can."""
        self.refused(BadCredentials, "an object of type str", self.client(credentials="secret"))
        self.refused(BadCredentials, "found nothing, wanted a token", lambda: Token(""))
        self.refused(BadCredentials, "wanted a user name", lambda: UserPassword("", "x"))
        self.refused(BadCredentials, "type int", self.client(user=5))
        wrong: Any = 5
        self.refused(BadCredentials, "type int, wanted a token", lambda: Token(wrong))
        self.assertEqual(UserPassword("u", "").fields({}), {"user": "u", "pass": ""})


class UsingTests(_Case):
    """Calls that cannot be done."""

    def setUp(self) -> None:
        self.client = NatsClient("localhost", Clock())

    def test_payload(self) -> None:
        """A payload is bytes, and nothing guesses an encoding."""
        text: Any = "text"
        nothing: Any = None
        words = "a payload is bytes, not str; encode it first"
        self.refused(TypeError, words, lambda: self.client.publish("a", text))
        words = "a payload is bytes, not NoneType"
        self.refused(TypeError, words, lambda: self.client.publish("a", nothing))

    def test_headers(self) -> None:
        """Their values are text."""
        for value in (5, None, b"x", [5]):
            headers: Any = {"a": value}
            words = "a header is text, not str, "
            self.refused(TypeError, words, partial(self.client.publish, "a", b"", headers=headers))

    def test_unsubscribe(self) -> None:
        """A number of messages is a whole one."""
        subscription = self.client.subscribe("a", lambda message: None)
        for wrong in (1.5, "1"):
            given: Any = wrong
            words = f"max_messages is a whole number, not {type(wrong).__name__}"
            self.refused(TypeError, words, partial(subscription.unsubscribe, given))
        self.assertTrue(subscription.active)
