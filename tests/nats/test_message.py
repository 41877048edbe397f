"""P8: the headers of a message, read when somebody asks."""

from __future__ import annotations

from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats import message as module
from backplane.nats.headers import Headers, decode_headers
from backplane.nats.message import Message


class MessageTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Most messages have none."""
        message = Message("a", b"")
        self.assertEqual((message.header("K"), message.header("K", "x")), (None, "x"))
        self.assertEqual((message.all_headers, message.status), (Headers(), None))

    def test_read(self) -> None:
        """By name, all of them, and the status."""
        message = Message("a", b"", None, b"NATS/1.0 404 No Messages\r\nK: v\r\nK: w\r\nk:\r\n\r\n")
        self.assertEqual((message.header("K"), message.header("k"), message.status), ("v", "", 404))
        self.assertEqual(message.header("none", "x"), "x")
        self.assertEqual(message.all_headers.get_all("K"), ["v", "w"])
        self.assertEqual(message.all_headers.description, "No Messages")

    def test_once(self) -> None:
        """Read at the first time and not before; equal messages stay equal."""
        block = b"NATS/1.0\r\nK: v\r\n\r\n"
        with mock.patch.object(module, "decode_headers", wraps=decode_headers) as reads:
            message = Message("a", b"", None, block)
            self.assertEqual(reads.call_count, 0)
            self.assertIs(message.all_headers, message.all_headers)
            self.assertEqual((message.header("K"), message.status), ("v", None))
            self.assertEqual(reads.call_count, 1)
        self.assertEqual(message, Message("a", b"", None, block))
        self.assertEqual(hash(message), hash(Message("a", b"", None, block)))
        self.assertEqual(attrs.evolve(message, headers=None).header("K"), None)
        self.assertNotIn("_read", repr(message))

    def test_unreadable(self) -> None:
        """A block that is none says nothing."""
        message = Message("a", b"", None, b"K: v")
        self.assertEqual(
            (message.header("K"), message.status, len(list(message.all_headers))), (None, None, 0)
        )
