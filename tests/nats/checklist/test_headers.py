"""P8: headers over real servers; blocks that no real one sends come from a scripted one."""

from __future__ import annotations

from typing import Any

from backplane.nats.client import Message
from backplane.nats.errors import HeadersUnsupported, PayloadTooLarge
from backplane.nats.events import BadHeaders, Disconnected
from backplane.nats.headers import Headers, HeadersError, encode_headers
from tests.nats.checklist.scripted import ScriptedCase
from tests.nats.checklist.servers import rlim


class HeaderTests(ScriptedCase):
    async def test_P8_sent(self) -> None:
        """What is given as a mapping, as headers or as a block arrives: repeats, case, blanks."""
        client = await self.connected(await self.server())
        got: list[Message] = []
        client.subscribe("a", got.append)
        given: dict[str, Any] = {"Key": ["1", "2"], "key": "x:y", "Empty": "", "B": "  é "}
        client.publish("a", b"1", headers=given)
        client.publish("a", b"2", headers=encode_headers(given))
        client.publish("a", b"3", "r", Headers((("K", "v"),), 404, "No Messages"))
        client.publish("a", b"", headers={})
        client.publish("a", b"5")
        await client.flush()
        for message in got[:2]:
            self.assertEqual(
                list(message.all_headers),
                [("Key", "1"), ("Key", "2"), ("key", "x:y"), ("Empty", ""), ("B", "é")],
            )
            self.assertEqual((message.header("KEY"), message.header("Empty")), (None, ""))
        self.assertEqual((got[2].status, got[2].all_headers.description), (404, "No Messages"))
        self.assertEqual((got[2].reply, got[2].header("K")), ("r", "v"))
        self.assertEqual((got[3].headers, got[3].status), (b"NATS/1.0\r\n\r\n", None))
        self.assertEqual([message.payload for message in got], [b"1", b"2", b"3", b"", b"5"])
        self.assertIs(got[4].headers, None)
        self.assertEqual(self.of(BadHeaders), [])

    async def test_P8_refused(self) -> None:
        """Nothing that would be another header, or no header, leaves us."""
        server = await self.scripted()
        client = await self.connected(server.url)
        wrong: list[Any] = [
            {"a b": "v"}, {"a:": "v"}, {"": "v"}, {"é": "v"}, {"K": "a\rb"}, {"K": "a\r\nX: y"},
            {"K": ["ok", "a\nb"]}, {"K": "\ud800"}, Headers((), 99999), Headers((), 1, "\r\n"),
        ]  # fmt: skip
        for headers in wrong:
            with self.assertRaises(HeadersError, msg=repr(headers)):
                client.publish("a", b"", headers=headers)
            with self.assertRaises(HeadersError, msg=repr(headers)):
                client.request("a", b"", timeout=1, headers=headers)
        others: list[Any] = ["K: v", 1, {"K": 1}, {"K": [1]}, {1: "v"}, [("K", "v")], {"K": b"v"}]
        for headers in others:
            with self.assertRaises(TypeError, msg=repr(headers)):
                client.publish("a", b"", headers=headers)
        await client.flush()
        self.assertNotIn(b"PUB", server.end.received.replace(b"SUB _INBOX", b""))
        self.assertEqual(client.counts()["out_msgs"], 0)

    async def test_P8_received(self) -> None:
        """Status forms; bytes that are not UTF-8; a block that is none is left out, and told."""
        server = await self.scripted()
        client = await self.connected(server.url)
        got: list[Message] = []
        client.subscribe("a", got.append)
        await client.flush()
        good = (
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0  404   No Messages\r\n\r\n",
            b"NATS/1.0 100 Idle Heartbeat\r\nK:v\r\nK:  w \r\nE:\r\n\r\n",
            b"NATS/1.0\r\nL: caf\xe9\r\n\r\n",
        )
        bad = (
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nK: v\r\n",
            b"NATS/1.0\r\nK: v",
            b"K: v\r\n\r\n",
            b"NATS/2.0\r\n\r\n",
            b"NATS/1.0 5x3\r\n\r\n",
            b"\r\n\r\n",
            b"",
        )
        for block in (*good, *bad):
            body = block + b"payload"
            server.end.send(b"HMSG a 1 %d %d\r\n%b\r\n" % (len(block), len(body), body))
        await client.flush()
        self.assertEqual({message.payload for message in got}, {b"payload"})
        self.assertEqual([message.status for message in got[:4]], [503, 404, 100, None])
        self.assertEqual(got[1].all_headers.description, "No Messages")
        self.assertEqual(list(got[2].all_headers), [("K", "v"), ("K", "w"), ("E", "")])
        self.assertEqual(got[3].header("L"), "caf\ufffd")
        self.assertEqual([message.headers for message in got[4:]], [None] * len(bad))
        await self.turn()
        told = self.of(BadHeaders)
        self.assertEqual([(event.subject, event.sid) for event in told], [("a", "1")] * len(bad))
        self.assertTrue(all(isinstance(event.reason, HeadersError) for event in told))
        self.assertTrue(client.is_connected)

    async def test_P8_unsupported(self) -> None:
        """A server without headers would close the connection: they are refused here."""
        server = await self.server("no_header_support: true")
        early = self.client(server)
        heard = self.collect(early, "a")
        early.publish("a", b"lost", headers={"K": "v"})
        early.publish("a", b"kept")
        early.startService()
        await early.when_connected()
        with self.assertRaises(HeadersUnsupported):
            early.publish("a", b"", headers={"K": "v"})
        with self.assertRaises(HeadersUnsupported):
            early.request("a", b"", timeout=1, headers={"K": "v"})
        await early.flush()
        self.assertEqual(heard, [b"kept"])
        self.assertEqual(early.counts()["lost"], 1)
        self.assertIn("the server takes no headers", " ".join(self.lines()))
        self.assertEqual((self.of(Disconnected), early._requests.count), ([], 0))

    async def test_S8_headers_count(self) -> None:
        """Headers are part of what ``max_payload`` bounds."""
        client = await self.connected(await self.server(rlim(max_payload=64)))
        heard = self.collect(client, "a")
        size = len(encode_headers({"K": "v"}))
        client.publish("a", b"x" * (64 - size), headers={"K": "v"})
        with self.assertRaises(PayloadTooLarge):
            client.publish("a", b"x" * (65 - size), headers={"K": "v"})
        await client.flush()
        self.assertEqual((len(heard), self.of(Disconnected)), (1, []))
