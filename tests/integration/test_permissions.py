"""The permissions that the security page shows, in a real broker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from backplane.choria import subjects
from backplane.choria.changed import change_subject
from backplane.client import Client
from backplane.client.credentials import Credentials
from backplane.client.lifecycle import EVENTS
from backplane.interfaces import DataItem
from backplane.nats.client import NatsClient, ServerError
from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.signing import SecureSigner
from backplane.security.tls import BrokerTLS
from backplane.service import Management
from backplane.testing import PKI, NatsServer, RecordingApplication
from backplane.testing.pki import Issued

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.rst"

NAME = "shop1.example.net"


def permissions() -> str:
    """Return what is shown."""
    found = re.search(r":name: permissions\.conf\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    assert found is not None
    return re.sub(r"(?m)^    ", "", found[1])


class PermissionTests(TestCase):
    """Certificates are users, and each may do its part."""

    timeout = 60

    def setUp(self) -> None:
        self.pki = PKI(Path(self.mktemp()).absolute(), reuse_keys=True)

    async def start(self) -> None:
        """Start the broker."""
        config = self.pki.nats_config(self.pki.server("localhost"))
        config = config.replace("verify: true", "verify: true\n  verify_and_map: true")
        self.server = NatsServer(config=config + permissions())
        self.addCleanup(self.server.close)
        self.server.start()
        await self.server.when_ready(reactor)

    def credentials(self, issued: Issued) -> Credentials:
        """Return what somebody speaks with."""
        pair = load_key_pair(issued.cert, issued.key)
        tls = BrokerTLS(load_authorities(self.pki.ca).certificates, pair)

        def security(server: Server) -> Security:
            return tls(server.host)

        return Credentials(
            caller_id=f"choria={issued.name}", signer=SecureSigner(pair), tls=security
        )

    async def wire(self, name: str) -> tuple[NatsClient, list[str]]:
        """Connect as somebody; return the connection and what the broker forbids on it."""
        client = NatsClient(
            [f"localhost:{self.server.port}"],
            reactor,
            tls=self.credentials(self.pki.client(name)).tls,
        )
        denied: list[str] = []

        def heard(event: object) -> None:
            if isinstance(event, ServerError):
                denied.append(event.kind)

        client.add_listener(heard)
        client.startService()
        self.addCleanup(client.stopService)
        await client.when_connected()
        return client, denied

    async def test_shown(self) -> None:
        """Service and operator do their part, and neither may do the other's."""
        await self.start()
        issued = self.pki.client(NAME)
        management = Management(
            {
                "name": "shop",
                "identity": NAME,
                "brokers": [f"localhost:{self.server.port}"],
                "tls": {
                    "scheme": "file",
                    "ca": self.pki.ca,
                    "cert": issued.cert,
                    "key": issued.key,
                },
                "auth": {"full": ["sre.choria"]},
            },
            pausable=RecordingApplication(),
        )
        self.addCleanup(management.stopService)
        management.startService()
        await management.when_ready()
        await management.publish(DataItem("x"))
        node: Any = management._node
        self.assertEqual(node.client.counts().get("error_subscribe", 0), 0)
        self.assertEqual(node.client.counts().get("error_publish", 0), 0)
        credentials = self.credentials(self.pki.client("sre.choria"))
        operator = Client([f"localhost:{self.server.port}"], credentials=credentials)
        operator.startService()
        self.addCleanup(operator.stopService)
        sre, refused = await self.wire("sre.choria")
        told: list[str] = []
        for subject in (change_subject("shop"), EVENTS):
            sre.subscribe(subject, lambda message: told.append(message.subject))
        await sre.flush()
        outcome = await operator.request("shop", "pause", nodes=[NAME])
        self.assertEqual([answer.good for answer in outcome.answers], [True])
        await node.client.flush()
        await sre.flush()
        self.assertEqual((told, refused), ([change_subject("shop")], []))
        self.assertEqual(node.client.counts().get("error_publish", 0), 0)
        service, denied = await self.wire(NAME)
        service.publish(subjects.broadcast("shop_backplane", "backplane"), b"x")
        service.subscribe("shop_backplane.reply.>", print)
        await service.flush()
        await service.flush()
        self.assertEqual(sorted(denied), ["publish", "subscribe"])
        sre, denied = await self.wire("sre.choria")
        sre.publish("shop_backplane.reply.abc.1", b"forged")
        sre.subscribe(subjects.broadcast("shop_backplane", "backplane"), print)
        await sre.flush()
        await sre.flush()
        self.assertEqual(sorted(denied), ["publish", "subscribe"])
