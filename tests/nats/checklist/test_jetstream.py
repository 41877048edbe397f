"""JetStream: publishing with acknowledgement, on a real server with streams."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from backplane.nats.client import Message, NatsClient
from backplane.nats.errors import (
    BadSubject,
    ConnectionClosed,
    JetStreamError,
    NoStream,
    NotConnected,
    RequestTimeout,
)
from backplane.nats.headers import HeadersError
from backplane.nats.jetstream import JetStream, PubAck
from backplane.testing.natsserver import NatsServer
from tests.nats.checklist.scripted import F, ScriptedCase
from tests.nats.checklist.servers import JETSTREAM


class StreamCase(ScriptedCase):
    """A test with a stream ``EVENTS`` of the subjects ``events.>``."""

    async def fails(self, deferred: Deferred[Any], *kinds: type[BaseException]) -> Any:
        """Wait for a failure, and return it."""
        return await self.assertFailure(deferred, *kinds)

    async def stream(self, js: JetStream, **settings: Any) -> None:
        """Make the stream."""
        document = {"name": "EVENTS", "subjects": ["events.>"], "storage": "file", **settings}
        made = await js.ask(f"STREAM.CREATE.{document['name']}", document)
        self.assertEqual(made["config"]["name"], document["name"])

    async def started(self, **settings: Any) -> tuple[NatsServer, NatsClient, JetStream]:
        """Return a server, a client and JetStream, with the stream."""
        server = await self.server(JETSTREAM)
        client = await self.connected(server)
        js = JetStream(client)
        await self.stream(js, **settings)
        return server, client, js

    async def stored(self, js: JetStream) -> int:
        """Return how many messages the stream has."""
        found: int = (await js.ask("STREAM.INFO.EVENTS"))["state"]["messages"]
        return found


class PublishTests(StreamCase):
    """What becomes of a message."""

    async def test_J1_acknowledged(self) -> None:
        """The stream says its name and number; the message is there with its headers."""
        _, client, js = await self.started(allow_direct=True)
        self.assertEqual(await js.publish("events.a", b"1"), PubAck("EVENTS", 1))
        ack = await js.publish("events.a", b"2", headers={"K": ["v", "w"]}, message_id="m")
        self.assertEqual(ack, PubAck("EVENTS", 2, duplicate=False))
        found = await js.ask("STREAM.MSG.GET.EVENTS", {"seq": 2})
        self.assertEqual(found["message"]["subject"], "events.a")
        raw = await client.request("$JS.API.DIRECT.GET.EVENTS", b'{"seq":2}', timeout=5)
        self.assertEqual(raw.header("Nats-Msg-Id"), "m")
        self.assertEqual(raw.all_headers.get_all("K"), ["v", "w"])
        self.assertEqual((raw.payload, raw.header("Nats-Sequence")), (b"2", "2"))
        self.assertEqual(client._requests.count, 0)

    async def test_J2_once(self) -> None:
        """A second message of an id is not stored, whatever it says; it is acknowledged."""
        _, _, js = await self.started()
        first = await js.publish("events.a", b"1", message_id="same")
        again = await js.publish("events.b", b"other", message_id="same")
        self.assertEqual(first, PubAck("EVENTS", 1))
        self.assertEqual(again, PubAck("EVENTS", 1, duplicate=True))
        acks = await gatherResults(
            [js.publish("events.a", b"", message_id=str(number // 2)) for number in range(20)]
        )
        self.assertEqual([ack.duplicate for ack in acks], [False, True] * 10)
        self.assertEqual(await self.stored(js), 11)
        # It may be given as a header, and the argument wins.
        headers = {"Nats-Msg-Id": "same"}
        self.assertTrue((await js.publish("events.a", b"", headers=headers)).duplicate)
        ack = await js.publish("events.a", b"", headers=headers, message_id="new")
        self.assertFalse(ack.duplicate)

    async def test_J3_expected_stream(self) -> None:
        """Another stream than the expected one refuses."""
        _, _, js = await self.started()
        error = await self.fails(
            js.publish("events.a", b"", expected_stream="OTHER"), JetStreamError
        )
        self.assertEqual((error.code, error.err_code), (400, 10060))
        self.assertIn("expected stream does not match", str(error))
        ack = await js.publish("events.a", b"", expected_stream="EVENTS")
        self.assertEqual(ack.sequence, 1)

    async def test_J4_expected_last_sequence(self) -> None:
        """Nobody else may have published in between."""
        _, _, js = await self.started()
        await js.publish("events.a", b"", expected_last_sequence=0)
        await js.publish("events.a", b"", expected_last_sequence=1)
        error = await self.fails(
            js.publish("events.a", b"", expected_last_sequence=1), JetStreamError
        )
        self.assertEqual((error.code, error.err_code), (400, 10071))
        self.assertEqual(error.description, "wrong last sequence: 2")
        # Of a message that is repeated the sequence is looked at, and not the id.
        await js.publish("events.a", b"", message_id="m", expected_last_sequence=2)
        error = await self.fails(
            js.publish("events.a", b"", message_id="m", expected_last_sequence=2), JetStreamError
        )
        self.assertEqual(error.err_code, 10071)
        self.assertEqual(await self.stored(js), 3)

    async def test_J5_full(self) -> None:
        """A stream that takes no more says so."""
        _, _, js = await self.started(max_msgs=1, discard="new")
        await js.publish("events.a", b"1")
        error = await self.fails(js.publish("events.a", b"2"), JetStreamError)
        self.assertEqual(error.description, "maximum messages exceeded")

    async def test_J6_no_stream(self) -> None:
        """Repeated, and given up; without JetStream too."""
        _, client, js = await self.started()
        sent = client.counts()["out_msgs"]
        error = await self.fails(js.publish("elsewhere", b"", wait=0.01), NoStream)
        self.assertEqual(str(error), "no stream listens on elsewhere")
        self.assertEqual(client.counts()["out_msgs"] - sent, 3)
        await self.fails(js.publish("elsewhere", b"", retries=0), NoStream)
        self.assertEqual(client.counts()["out_msgs"] - sent, 4)
        # No more repeats than there is time for.
        await self.fails(js.publish("elsewhere", b"", timeout=0.2, wait=600), NoStream)
        self.assertEqual(client.counts()["out_msgs"] - sent, 5)
        plain = JetStream(await self.connected(await self.server()))
        await self.fails(plain.publish("events.a", b"", wait=0.01), NoStream)
        error = await self.fails(plain.ask("INFO"), NoStream)
        self.assertEqual(str(error), "no JetStream listens on $JS.API.INFO")
        await self.fails(JetStream(client, domain="hub").ask("INFO"), NoStream)

    async def test_J7_stream_appears(self) -> None:
        """A stream that is there at the last try has the message."""
        server = await self.server(JETSTREAM)
        client = await self.connected(server)
        js = JetStream(client)
        waits = js.publish("events.a", b"1", message_id="m", retries=100, wait=0.05, timeout=30)
        await client.flush()
        self.assertFalse(waits.called)
        await self.stream(js)
        self.assertEqual(await waits, PubAck("EVENTS", 1))

    async def test_J8_reconnect(self) -> None:
        """With an id it is repeated after the reconnect; without one that is the caller's."""
        server, _, js = await self.started()
        server.pause()
        # It has it, and cannot say so.
        safe = js.publish("events.a", b"1", message_id="m", timeout=30, retries=3, wait=0.0)
        unsafe = js.publish("events.a", b"2", timeout=30)
        unclear = js.publish("events.a", b"3", message_id="n", expected_last_sequence=9)
        await self.turn(0.05)
        server.kill()
        await self.fails(unsafe, NotConnected)
        await self.fails(unclear, NotConnected)
        server.start()
        await server.when_ready(reactor)
        ack = await safe
        self.assertEqual(ack.stream, "EVENTS")
        again = await js.publish("events.a", b"1", message_id="m")
        self.assertEqual(again, PubAck("EVENTS", ack.sequence, duplicate=True))

    async def test_J9_ended(self) -> None:
        """Timeout, cancel and close; nothing is left of them."""
        server, client, js = await self.started()
        server.pause()
        await self.fails(js.publish("events.a", b"", timeout=0.05), RequestTimeout)
        cancelled = js.publish("events.a", b"")
        cancelled.cancel()
        await self.fails(cancelled, CancelledError)
        closed = js.publish("events.a", b"", message_id="m")
        server.resume()
        stopped = client.stopService()
        await self.fails(closed, ConnectionClosed)
        await stopped
        await self.fails(js.publish("events.a", b""), ConnectionClosed)
        waits = JetStream(await self.connected(server)).publish("no", b"", wait=600, timeout=9999)
        await self.turn(0.05)
        waits.cancel()
        await self.fails(waits, CancelledError)

    async def test_J10_domain(self) -> None:
        """A domain is in the acknowledgement, and its API has a prefix of its own."""
        server = await self.server(JETSTREAM.replace("{", "{ domain: hub,"))
        client = await self.connected(server)
        js = JetStream(client, domain="hub")
        self.assertEqual(js.prefix, "$JS.hub.API")
        await self.stream(js)
        self.assertEqual(await js.publish("events.a", b""), PubAck("EVENTS", 1, domain="hub"))

    async def test_J11_wrong_use(self) -> None:
        """Mistakes of the caller."""
        _, client, js = await self.started()
        await self.fails(js.publish("a b", b""), BadSubject)
        await self.fails(js.publish("events.a", b"", timeout=0), ValueError)
        await self.fails(js.publish("events.a", b"", message_id="a\r\nb"), HeadersError)
        for prefix in ("", "a.", "a b", "a.*"):
            self.assertRaises(BadSubject, JetStream, client, prefix=prefix)
        self.assertRaises(BadSubject, JetStream, client, domain="a.>")
        self.assertRaises(ValueError, JetStream, client, prefix="a", domain="b")
        error = await self.fails(js.ask("STREAM.INFO.NONE"), JetStreamError)
        self.assertEqual((error.code, error.description), (404, "stream not found"))


class StrangerTests(StreamCase):
    """Somebody else answers."""

    async def test_J12_no_jetstream(self) -> None:
        """Whatever is said, it is an acknowledgement or an error."""
        server = await self.scripted()
        client = await self.connected(server.url)
        js = JetStream(client)
        said: list[bytes] = []

        def answer(end: F, line: bytes) -> None:
            if line.startswith(b"PUB "):
                body = said[-1]
                end.send(b"MSG %b 1 %d\r\n%b\r\n" % (line.split()[2], len(body), body))

        server.heard = answer  # type: ignore[method-assign]
        good = {"stream": "S", "seq": 7}
        documents: list[Any] = [
            {}, [], 1, None, "x", {**good, "seq": "7"}, {**good, "stream": ""}, {"seq": 1},
            {"stream": "S"}, {**good, "seq": True},
        ]  # fmt: skip
        for body in [b"", b"+ACK", b"\xff", b"[" * 100000, *map(_json, documents)]:
            said.append(body)
            await self.fails(js.publish("a", b""), NoStream)
        errors: list[Any] = [
            {"error": {}},
            {"error": 1},
            {"error": {"code": "x", "err_code": None}},
        ]
        for error in errors:
            said.append(_json(error))
            told = await self.fails(js.publish("a", b""), JetStreamError)
            self.assertEqual((told.code, told.err_code), (0, 0))
        said.append(_json({**good, "duplicate": 1, "domain": 5, "more": {}}))
        self.assertEqual(await js.publish("a", b""), PubAck("S", 7))

    async def test_J13_subscriber_beside(self) -> None:
        """A plain subscriber that hears the same subject does not count as a stream."""
        client = await self.connected(await self.server())
        heard: list[Message] = []
        client.subscribe("events.a", heard.append)
        await self.fails(JetStream(client).publish("events.a", b"", timeout=0.1), RequestTimeout)
        self.assertEqual(len(heard), 1)


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()
