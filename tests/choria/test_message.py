"""Requests and replies as values."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.filter import Filter
from backplane.choria.message import Reply, Request, new_request_id


class MessageTests(SynchronousTestCase):
    """Ids and values."""

    def test_request_ids(self) -> None:
        """An id is a version 4 UUID without dashes, and each is another."""
        ids = {new_request_id() for _ in range(100)}
        self.assertEqual(len(ids), 100)
        for name in ids:
            self.assertEqual(len(name), 32)
            self.assertEqual(uuid.UUID(hex=name).hex, name)
            self.assertEqual(uuid.UUID(hex=name).version, 4)

    def test_request(self) -> None:
        """A request is frozen, compared by value, and for everybody unless it has a filter."""
        fields: dict[str, Any] = {
            "message": "{}",
            "request_id": "0" * 32,
            "sender_id": "client1.example.net",
            "caller_id": "choria=sre.choria",
            "collective": "app_backplane",
            "agent": "backplane",
        }
        request = Request(ttl=60, time=1700000000, **fields)
        self.assertEqual(request.filter, Filter())
        self.assertEqual(request, Request(ttl=60, time=1700000000, **fields))
        self.assertNotEqual(request, attrs.evolve(request, ttl=61))
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, request, "ttl", 1)

    def test_reply(self) -> None:
        """A reply is frozen, too, and takes its fields by name only."""
        reply = Reply(message="pong", request_id="0" * 32, sender_id="a", agent="discovery", time=1)
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, reply, "time", 2)
        self.assertRaises(TypeError, Reply, "pong", "0" * 32, "a", "discovery", 1)
