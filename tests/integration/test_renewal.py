"""Files are renewed, and connections move, under services that are asked all the time."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from backplane.choria import rpc, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request, new_request_id
from backplane.client import Client
from backplane.client.credentials import Credentials
from backplane.interfaces import DataItem
from backplane.nats.client import NatsClient
from backplane.nats.layer import Security
from backplane.nats.servers import Server
from backplane.node import renewal
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.signing import InsecureSigner, SecureSigner
from backplane.security.tls import BrokerTLS
from backplane.service import Management
from backplane.testing import PKI, NatsServer, RecordingApplication
from backplane.testing.pki import Issued
from tests.node.messages import Lines

NAMES = ("app1.example.net", "app2.example.net", "app3.example.net")


async def sleep(seconds: float) -> None:
    """Let the reactor run for so long."""
    await deferLater(reactor, seconds, lambda: None)


class RenewalTests(TestCase):
    """A broker that wants certificates, three services, and operators."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.pki = PKI(self.folder / "ca", reuse_keys=True)
        self.next = PKI(self.folder / "next", "Next CA", reuse_keys=True)
        self.trusted = self.bundle("trusted.pem", self.pki.ca)
        self.apps: dict[str, RecordingApplication] = {}
        self.services: dict[str, Management] = {}
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.patch(renewal, "INTERVAL", 0.1)

    def bundle(self, name: str, *files: str) -> str:
        """Write certificates one after the other into a file."""
        path = self.folder / name
        path.write_text("".join(Path(file).read_text() for file in files))
        return str(path)

    async def broker(self, secure: bool = True) -> None:
        """Start the broker, which takes both authorities."""
        config = ""
        if secure:
            both = self.bundle("both.pem", self.pki.ca, self.next.ca)
            issued = self.pki.server("localhost", "127.0.0.1")
            config = self.pki.nats_config(issued).replace(self.pki.ca, both)
        self.server = NatsServer(config=config)
        self.addCleanup(self.server.close)
        self.server.start()
        await self.server.when_ready(reactor)

    async def service(self, name: str, **settings: Any) -> Management:
        """Start a service and wait until it is ready."""
        app = self.apps[name] = RecordingApplication()
        config = {
            "name": "app",
            "identity": name,
            "brokers": [f"localhost:{self.server.port}"],
            "loglevel": "info",
            "auth": {"full": ["sre.choria"]},
            **settings,
        }
        service = self.services[name] = Management(
            config, pausable=app, info_source=app, health_check=app
        )
        self.addCleanup(service.stopService)
        service.startService()
        await service.when_ready()
        return service

    def issue(self, name: str, pki: PKI | None = None) -> dict[str, str]:
        """Put a certificate where a service has its own; return its ``tls`` section."""
        issued = (pki or self.pki).client(name)
        places = {"cert": self.folder / f"{name}.pem", "key": self.folder / f"{name}.key"}
        for key, place in places.items():
            shutil.copyfile(getattr(issued, key), place)
        return {
            "scheme": "file",
            "ca": self.trusted,
            **{key: str(place) for key, place in places.items()},
        }

    def credentials(self, issued: Issued) -> Credentials:
        """Return what an operator speaks with."""
        pair = load_key_pair(issued.cert, issued.key)
        tls = BrokerTLS(load_authorities(self.pki.ca).certificates, pair)

        def security(server: Server) -> Security:
            return tls(server.host)

        return Credentials(
            caller_id=f"choria={issued.name}", signer=SecureSigner(pair), tls=security
        )

    async def operator(self, pki: PKI) -> Client:
        """Return a connected operator, ``sre.choria``, with a certificate of an authority."""
        client = Client(
            [f"localhost:{self.server.port}"],
            credentials=self.credentials(pki.client("sre.choria")),
        )
        client.startService()
        self.addCleanup(client.stopService)
        await client.when_connected()
        return client

    def moves(self) -> list[int]:
        """Return how often the connection of each service moved."""
        return [service._node.client.counts()["moves"] for service in self.services.values()]  # type: ignore[union-attr]

    def said(self) -> str:
        """Return what was logged so far."""
        return "\n".join(self.log.texts())

    async def until(self, condition: Any) -> None:
        """Wait for something that is about to happen."""
        while not condition():
            await sleep(0.05)

    async def test_renewed(self) -> None:
        """Certificates, the authority, then certificates of a new one: no ping is missed."""
        await self.broker()
        for name in NAMES:
            await self.service(name, tls=self.issue(name))
        operator = await self.operator(self.pki)
        asked: list[Deferred[Any]] = []

        def ping() -> None:
            asked.append(
                operator.request("app", "ping", nodes=list(NAMES), discovery_timeout=20, timeout=40)
            )

        pinging = LoopingCall(ping)
        pinging.start(0.1)
        for name in NAMES:
            self.issue(name)
        await self.until(lambda: self.moves() == [1, 1, 1])
        self.bundle("trusted.pem", self.pki.ca, self.next.ca)
        await self.until(lambda: self.moves() == [2, 2, 2])
        for name in NAMES:
            self.issue(name, self.next)
        await self.until(lambda: self.moves() == [3, 3, 3])
        newcomer = await self.operator(self.next)
        outcome = await newcomer.request("app", "ping", nodes=list(NAMES))
        self.assertEqual(sorted(reply.sender for reply in outcome.answers), list(NAMES))
        await self.until(lambda: len(asked) >= 20)
        pinging.stop()
        results = await DeferredList(asked, fireOnOneErrback=True)
        for _, outcome in results:
            self.assertEqual(
                sorted(reply.sender for reply in outcome.answers if reply.good), list(NAMES)
            )
        for service in self.services.values():
            counts = service._node.client.counts()  # type: ignore[union-attr]
            self.assertEqual((counts["connects"], counts["reconnects"]), (1, 0))
        said = self.said().count("certificates were renewed: moved to a new connection")
        self.assertEqual(said, 9)

    async def test_authority_gone(self) -> None:
        """An authority that is taken out of the file is believed no more."""
        await self.broker()
        name = NAMES[0]
        self.trusted = self.bundle("trusted.pem", self.pki.ca, self.next.ca)
        await self.service(name, tls=self.issue(name))
        operator = await self.operator(self.next)
        self.assertEqual(len((await operator.request("app", "ping", nodes=[name])).answers), 1)
        self.bundle("trusted.pem", self.pki.ca)
        await self.until(lambda: self.moves() == [1])
        outcome = await operator.request("app", "ping", nodes=[name], timeout=0.5)
        self.assertEqual(len(outcome.answers), 0)

    async def test_revoked(self) -> None:
        """A caller who is put on the revocation list is refused, and nothing moves."""
        await self.broker()
        name = NAMES[0]
        crl = self.folder / "crl.pem"
        shutil.copyfile(self.pki.revoke(), crl)
        tls = {**self.issue(name), "crl": str(crl)}
        service = await self.service(name, tls=tls)
        issued = self.pki.client("sre.choria")
        operator = Client([f"localhost:{self.server.port}"], credentials=self.credentials(issued))
        operator.startService()
        self.addCleanup(operator.stopService)
        self.assertEqual(len((await operator.request("app", "ping", nodes=[name])).answers), 1)
        shutil.copyfile(self.pki.revoke(issued), crl)
        await self.until(lambda: "revocation lists were renewed" in self.said())
        outcome = await operator.request("app", "ping", nodes=[name], timeout=0.5)
        self.assertEqual(len(outcome.answers), 0)
        self.assertEqual(service._node.admission.counters.dropped["revoked"], 1)  # type: ignore[union-attr]
        self.assertEqual(self.moves(), [0])

    async def test_mismatched(self) -> None:
        """A key that is not the certificate's: the old pair works on, and that is said once."""
        await self.broker()
        name = NAMES[0]
        tls = self.issue(name)
        await self.service(name, tls=tls)
        operator = await self.operator(self.pki)
        other = self.pki.client("other.example.net")
        shutil.copyfile(other.key, tls["key"])
        await self.until(lambda: "renewed files are not used, the old ones stay" in self.said())
        await sleep(0.5)
        self.assertEqual(self.said().count("renewed files are not used"), 1)
        self.assertIn("management.tls.key", self.said())
        self.assertEqual(len((await operator.request("app", "ping", nodes=[name])).answers), 1)
        self.assertEqual(self.moves(), [0])
        self.issue(name)
        await self.until(lambda: self.moves() == [1])

    async def test_worse(self) -> None:
        """A certificate of another name, or one whose time is over: the old pair works on."""
        await self.broker()
        name = NAMES[0]
        tls = self.issue(name)
        await self.service(name, tls=tls)
        for bad, words in (
            (self.pki.client("sre.choria"), f"wanted one of {name}"),
            (self.pki.defective_client("expired", name), "found an expired one"),
        ):
            shutil.copyfile(bad.key, tls["key"])
            shutil.copyfile(bad.cert, tls["cert"])
            await self.until(lambda words=words: words in self.said())
        self.assertEqual(self.moves(), [0])
        self.issue(name)
        await self.until(lambda: "not used" in self.said())
        operator = await self.operator(self.pki)
        self.assertEqual(len((await operator.request("app", "ping", nodes=[name])).answers), 1)

    async def test_policy(self) -> None:
        """A policy that is written anew applies to the next request; a broken one does not."""
        await self.broker()
        name = NAMES[0]
        policy = self.folder / "policy"
        policy.write_text("allow\tchoria=other.choria\t*\t*\t*\n")
        await self.service(
            name, tls=self.issue(name), auth={"policy": str(policy), "read_only": ["sre.choria"]}
        )
        operator = await self.operator(self.pki)
        (denied,) = (await operator.request("app", "pause", nodes=[name])).answers
        self.assertFalse(denied.good)
        policy.write_text("allow\tchoria=sre.choria\tpause\t*\t*\n")
        await self.until(lambda: "the action policy was renewed" in self.said())
        (allowed,) = (await operator.request("app", "pause", nodes=[name])).answers
        self.assertTrue(allowed.good)
        policy.write_text("perhaps\n")
        await self.until(lambda: "renewed files are not used" in self.said())
        (still,) = (await operator.request("app", "pause", nodes=[name])).answers
        self.assertTrue(still.good)

    async def test_published(self) -> None:
        """Data that is published while the connection moves arrives once and in order."""
        await self.broker()
        name = NAMES[0]
        service = await self.service(name, tls=self.issue(name))
        credentials = self.credentials(self.pki.client("sre.choria"))
        wire = NatsClient([f"localhost:{self.server.port}"], reactor, tls=credentials.tls)
        wire.startService()
        self.addCleanup(wire.stopService)
        got: list[int] = []

        def take(message: Any) -> None:
            secure = v1.decode_secure_request(v1.decode_transport(message.payload).data)
            got.append(int(v1.decode_request(secure.message).message))

        wire.subscribe("acme.iot", take)
        await wire.when_connected()
        await wire.flush()
        node: Any = service._node
        published = []
        for number in range(500):
            item = DataItem(str(number), destination="acme.iot")
            published.append(service.publish(item))
            if number % 50 == 0:
                node.client.move("a test")
            if number % 5 == 0:
                await sleep(0)
        await DeferredList(published, fireOnOneErrback=True)
        await self.until(lambda: len(got) >= 500)
        await sleep(0.1)
        self.assertEqual(got, list(range(500)))
        self.assertGreaterEqual(self.moves()[0], 1)

    async def flips(self, secure: bool) -> None:
        """Flip 200 times, by broadcast, while the connection moves 20 times."""
        await self.broker(secure)
        name = NAMES[0]
        settings: dict[str, Any] = {"tls": self.issue(name)} if secure else {}
        service = await self.service(name, **settings)
        issued = self.pki.client("sre.choria")
        signer = self.credentials(issued).signer if secure else InsecureSigner()
        wire = NatsClient(
            [f"localhost:{self.server.port}"],
            reactor,
            tls=self.credentials(issued).tls if secure else None,
        )
        wire.startService()
        self.addCleanup(wire.stopService)
        await wire.when_connected()
        replies: list[bytes] = []
        waiting: list[Deferred[None]] = []

        def reply(message: Any) -> None:
            replies.append(message.payload)
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(None)

        reply_to = "app_backplane.reply.test.1"
        wire.subscribe(reply_to, reply)
        await wire.flush()
        node = service._node
        assert node is not None
        for number in range(200):
            request = Request(
                message=rpc.encode_request("backplane", "flip", {}),
                request_id=new_request_id(),
                sender_id="client",
                caller_id="choria=sre.choria",
                collective="app_backplane",
                agent="backplane",
                ttl=60,
                time=int(time.time()),
                filter=Filter(),
            )
            payload = v1.encode_transport(
                v1.seal_request(request, signer), sender="client", reply_to=reply_to
            )
            if number % 10 == 0:
                moved = number // 10  # one that is under way would begin anew
                await self.until(lambda moved=moved: self.moves() == [moved])
                node.client.move("a test")
            waiting[:] = [Deferred()]
            wire.publish("app_backplane.broadcast.agent.backplane", payload)
            await waiting[0]
        await self.until(lambda: self.moves() == [20])
        await self.until(lambda: not node.client._dialer.connections[1:])
        await wire.flush()
        await sleep(0.2)
        self.assertEqual(self.apps[name].calls.count("flip"), 200)
        self.assertEqual(len(replies), 200)
        self.assertEqual(self.moves(), [20])
        self.assertNotIn("message dropped, repeated", self.said())
        counters = node.admission.counters
        self.assertEqual(set(counters.dropped) - {"repeated"}, set())

    async def test_flips(self) -> None:
        """In the secure mode each flip acts once."""
        await self.flips(secure=True)

    async def test_insecure_flips(self) -> None:
        """In the insecure mode too."""
        await self.flips(secure=False)
