"""Every altered form of a signed request, sent to one running service.

The broker is a real one that wants certificates; the service goes by a clock that
stands at the time of the capture, so that the captured request itself is sent.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from backplane import Management
from backplane.choria import rpc, v1
from backplane.nats.client import Message, NatsClient
from backplane.node import processor, statefile
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerTLS
from backplane.testing import NatsServer, RecordingApplication
from tests.altered import REPEATS, ROWS
from tests.altered_row import Row, fitting
from tests.altering import CALLER, CAPTURED, COLLECTIVE, IDENTITY, SUBJECT, TIME, altered
from tests.node.messages import Lines
from tests.secured import PKI, tls_section

BROKER = f"""max_payload: 32MB
tls {{
    cert_file: "{PKI / "broker.example.net.pem"}"
    key_file: "{PKI / "broker.example.net.key"}"
    ca_file: "{PKI / "ca.pem"}"
    verify: true
    timeout: 10
}}
"""


class RunningCase(TestCase):
    """One broker, one service, one operator with a certificate."""

    timeout = 60
    secure = True

    def setUp(self) -> None:
        # Each drop is to have its line, not one a minute for each reason.
        self.patch(processor, "QUIET", 0.0)
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.server = NatsServer(config=BROKER if self.secure else "")
        self.server.start()
        self.addCleanup(self.server.close)
        self.server.wait_ready()
        self.app = RecordingApplication({"dc": "DC1"})
        self.replies: list[tuple[str, rpc.RpcReply]] = []
        self.waiting: Deferred[rpc.RpcReply] | None = None
        self.asked = 0
        self.operator = self.client()

    def client(self) -> NatsClient:
        """Start a client with the caller's certificate."""
        from twisted.internet import reactor

        pair = load_key_pair(str(PKI / f"{CALLER}.pem"), str(PKI / f"{CALLER}.key"))
        tls = BrokerTLS(load_authorities(str(PKI / "ca.pem")).certificates, pair)
        client = NatsClient(
            [f"localhost:{self.server.port}"],
            reactor,
            name=CALLER,
            tls=(lambda server: tls(server.tls_name or server.host)) if self.secure else None,
        )
        client.subscribe(f"{COLLECTIVE}.reply.*.*", self.replied)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    def replied(self, message: Message) -> None:
        """Take a reply; the one to the question about statistics ends the waiting."""
        if message.subject.endswith(".presence"):
            return
        _, reply = v1.open_reply(message.payload)
        found = rpc.decode_reply(reply.message)
        if reply.agent == "rpcutil" and found.action == "daemon_stats":
            waiting, self.waiting = self.waiting, None
            assert waiting is not None
            waiting.callback(found)
        else:
            self.replies.append((message.subject, found))

    async def manage(self, now: float, **more: Any) -> Management:
        """Start a service at a time, and wait until it is ready."""
        began = time.monotonic()
        settings: dict[str, Any] = {"tls": tls_section(IDENTITY)} if self.secure else {}
        management = Management(
            {
                "name": "demo",
                "identity": IDENTITY,
                "loglevel": "debug",
                "brokers": [f"localhost:{self.server.port}"],
                "auth": {"full": ["rip.mcollective", "sre.choria"]},
                **settings,
                **more,
            },
            pausable=self.app,
            info_source=self.app,
            now=lambda: now + time.monotonic() - began,
        )
        management.startService()
        self.addCleanup(management.stopService)
        await management.when_ready()
        await self.operator.when_connected()
        return management

    async def statistics(self) -> dict[str, Any]:
        """Return what the service counts; what was sent before has been handled by then."""
        self.waiting = Deferred()
        self.asked += 1
        self.operator.publish(
            SUBJECT,
            altered(
                envelope={"agent": "rpcutil", "requestid": f"{self.asked:032}"},
                body='{"agent":"rpcutil","action":"daemon_stats","data":{}}',
            ),
        )
        reply = await self.waiting
        self.assertEqual(reply.status, 0, reply.message)
        return dict(reply.data)

    async def sent(self, payload: bytes, subject: str = SUBJECT) -> dict[str, Any]:
        """Publish as a client, and return the statistics after it."""
        self.app.calls.clear()
        self.log.events.clear()
        self.replies.clear()
        self.operator.publish(subject, payload)
        return await self.statistics()

    def called(self) -> list[str]:
        """Return which of the application's methods were called, but for its facts."""
        return [name for name in self.app.calls if name not in ("fact_data", "version")]

    async def refused(self, row: Row, counts: Counter[str]) -> None:
        """Send a row; it must be counted and logged for its reason, and nothing be done."""
        dropped = (await self.sent(row.make(), row.subject))["dropped"]
        self.assertEqual(self.called(), [], row.name)
        if row.status is not None:
            ((_, reply),) = self.replies
            self.assertEqual(reply.status, row.status, row.name)
            self.assertTrue(reply.message.startswith(row.words), f"{row.name}: {reply.message}")
        else:
            counts[row.reason] += 1
            self.assertEqual(self.replies, [], row.name)
            lines = self.log.texts()
            self.assertTrue(any(fitting(line, row) for line in lines), f"{row.name}: {lines}")
        self.assertEqual(dropped, counts, row.name)


class TableTests(RunningCase):
    """The table."""

    async def test_table(self) -> None:
        """Each is refused for its own reason; the captured request is acted upon, once."""
        await self.manage(TIME - 0.5)
        counts: Counter[str] = Counter()
        for row in ROWS:
            await self.refused(row, counts)
        await self.sent(CAPTURED.encode())
        self.assertEqual(self.called(), ["paused", "pause", "paused"])
        ((_, reply),) = self.replies
        self.assertEqual((reply.status, reply.data), (0, {"paused": True}))
        for row in REPEATS:
            await self.refused(row, counts)
        self.assertGreater(len(counts), 20)
        self.assertEqual(self.flushLoggedErrors(), [])


class RestartTests(RunningCase):
    """A service that was stopped and started again while a request was still good."""

    def setUp(self) -> None:
        super().setUp()
        # Systems that do not name their boots are as after a power failure.
        self.patch(statefile, "_boot_id", lambda: "a boot")
        self.state = os.path.abspath(self.mktemp())

    async def test_made_before_the_start(self) -> None:
        """A change that was carried out before the start is refused with a reply."""
        first = await self.manage(TIME - 0.5)
        await self.sent(CAPTURED.encode())
        self.assertEqual(self.called(), ["paused", "pause", "paused"])
        await first.stopService()
        await self.manage(TIME + 10.0)
        for payload in (
            CAPTURED.encode(),
            altered(headers={"reply-to": f"{COLLECTIVE}.reply.elsewhere.1"}),
            altered(data=lambda text: f"{text[:60]}\r\n{text[60:]}"),
        ):
            found = await self.sent(payload)
            self.assertEqual(self.called(), [])
            ((_, reply),) = self.replies
            self.assertEqual((reply.status, reply.data), (1, {}))
            self.assertIn("made before this service started", reply.message)
        self.assertEqual((found["refused"], found["dropped"]), ({"before_start": 3}, {}))

    async def test_with_a_state_file(self) -> None:
        """With its memory in a file, each repeat of what was carried out is known as one."""
        first = await self.manage(TIME - 0.5, state_file=self.state)
        await self.sent(CAPTURED.encode())
        self.assertEqual(self.called(), ["paused", "pause", "paused"])
        await first.stopService()
        await self.manage(TIME + 10.0, state_file=self.state)
        counts: Counter[str] = Counter()
        for row in REPEATS:
            await self.refused(row, counts)


class InsecureTests(RunningCase):
    """A service without certificates."""

    secure = False

    async def test_signed(self) -> None:
        """It takes a signed request for what it says, as Choria's do (captured), and once."""
        await self.manage(TIME - 0.5)
        await self.sent(CAPTURED.encode())
        self.assertEqual(self.called(), ["paused", "pause", "paused"])
        found = await self.sent(CAPTURED.encode())
        self.assertEqual(self.called(), [])
        self.assertEqual(found["dropped"], {"repeated": 1})
