"""What a service says when TLS is not right on either side, and that it goes on trying."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from backplane.nats import backoff
from backplane.nats.client import ConnectFailed
from backplane.service import Management
from backplane.testing import PKI, NatsServer, RecordingApplication
from backplane.testing.pki import Issued
from tests.node.messages import Lines

NAME = "app1.example.net"


class FailureTests(TestCase):
    """A service, and a broker with ``verify: true`` or without TLS."""

    timeout = 60

    def setUp(self) -> None:
        self.pki = PKI(Path(self.mktemp()).absolute(), reuse_keys=True)
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.patch(backoff, "FIRST_DELAY", 0.02)
        self.patch(backoff, "LAST_DELAY", 0.02)
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.other = PKI(Path(self.mktemp()).absolute(), "Other CA", reuse_keys=True)
        self.failures: list[str] = []
        self.waiting: list[tuple[int, Deferred[None]]] = []

    async def broker(self, config: str) -> None:
        """Start a broker, or start it anew with another configuration."""
        self.server.config = config
        if self.server.running:
            self.server.restart()
        else:
            self.server.start()
        await self.server.when_ready(reactor)

    def verifying(self) -> str:
        """Return the configuration of a broker that wants certificates."""
        return self.pki.nats_config(self.pki.server("localhost", "127.0.0.1"))

    def service(self, issued: Issued | None, host: str = "localhost", ca: str = "") -> Management:
        """Start a service."""
        tls: dict[str, Any] = {}
        if issued is not None:
            files = {"ca": ca or self.pki.ca, "cert": issued.cert, "key": issued.key}
            tls = {"tls": {"scheme": "file", **files}}
        management = Management(
            {
                "name": "app",
                "identity": NAME,
                "loglevel": "info",
                "brokers": [f"{host}:{self.server.port}"],
                **tls,
            },
            pausable=RecordingApplication(),
        )
        self.addCleanup(management.stopService)
        management.startService()
        assert management._node is not None
        management._node.client.add_listener(self.heard)
        return management

    def heard(self, event: object) -> None:
        """Count the tries that failed."""
        if isinstance(event, ConnectFailed):
            self.failures.append(str(event.reason))
            for count, waiter in list(self.waiting):
                if len(self.failures) >= count and not waiter.called:
                    waiter.callback(None)

    async def tries(self, count: int) -> None:
        """Wait until so many tries have failed."""
        if len(self.failures) < count:
            waiter: Deferred[None] = Deferred()
            self.waiting.append((count, waiter))
            await waiter

    def said(self) -> list[str]:
        """Return the lines of the log about connecting, without ports."""
        return [
            re.sub(r":\d+", "", line) for line in self.log.texts("warn") if "cannot connect" in line
        ]

    async def check(self, *causes: str) -> None:
        """Check that each cause has one line after many tries."""
        await self.tries(len(self.failures) + 8)
        lines = self.said()
        self.assertEqual(len(lines), len(causes), lines)
        for line, cause in zip(lines, causes, strict=True):
            self.assertIn(cause, line)
            self.assertLess(len(line), 300)
            self.assertNotIn("\n", line)
        self.assertIn("trying for ever", lines[0])

    async def test_wrong_ca(self) -> None:
        """The broker's authority is not in our file."""
        await self.broker(self.verifying())
        self.service(self.pki.client(NAME), ca=self.other.ca)
        await self.check("its authority is not in the CA file")

    async def test_wrong_host(self) -> None:
        """The broker's certificate is for another name."""
        server = self.pki.server("elsewhere.example.net")
        await self.broker(self.pki.nats_config(server))
        self.service(self.pki.client(NAME))
        await self.check("is for elsewhere.example.net")

    async def test_expired(self) -> None:
        """Our certificate is too old for the broker; a new one is taken up without a restart."""
        await self.broker(self.verifying())
        issued = self.pki.defective_client("expired", NAME)
        management = self.service(issued)
        await self.check("our certificate has expired")
        expired = [line for line in self.log.texts("warn") if "our certificate" in line]
        self.assertTrue(any("expired on" in line for line in expired), expired)
        good = self.pki.client(NAME)
        shutil.copyfile(good.key, issued.key)
        shutil.copyfile(good.cert, issued.cert)
        await management.when_ready()

    async def test_plain_broker(self) -> None:
        """TLS is configured and the broker has none; then it gets it."""
        await self.broker("")
        management = self.service(self.pki.client(NAME))
        await self.check("the broker does not speak TLS")
        await self.broker(self.verifying())
        await management.when_ready()
        self.assertEqual(len([line for line in self.said() if "speak TLS" in line]), 1)

    async def test_tls_broker(self) -> None:
        """The broker wants TLS and none is configured."""
        await self.broker(self.verifying())
        self.service(None)
        await self.check("the broker wants TLS, and none is configured")

    async def test_causes(self) -> None:
        """Another cause has a line of its own; the first one does not come again."""
        await self.broker("")
        management = self.service(self.pki.client(NAME))
        await self.check("does not speak TLS")
        await self.broker(self.pki.nats_config(self.pki.server("elsewhere.example.net")))
        while len(self.said()) < 2:
            await deferLater(reactor, 0.02, lambda: None)
        await self.tries(len(self.failures) + 8)
        lines = [line for line in self.said() if "refused" not in line]  # while it restarts
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("is for elsewhere.example.net", lines[1])
        await self.broker(self.verifying())
        await management.when_ready()
