"""What was asked once acts once, also when the service is killed in between; and ``--strict``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from backplane.choria import rpc, subjects, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request, new_request_id
from backplane.nats.client import Message, NatsClient
from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.signing import SecureSigner
from backplane.security.tls import BrokerTLS
from tests.integration.fleet import Fleet
from tests.integration.test_secure import BROKER, PKI

NAME = "app1.example.net"
REPLY_TO = "app_backplane.reply.test.1"


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return path.stat().st_mode & 0o777


class RestartTests(TestCase):
    """A service as a process, under a real broker, in the secure mode."""

    timeout = 90

    def setUp(self) -> None:
        self.fleet = Fleet(BROKER)
        self.addCleanup(self.fleet.close)
        self.pair = load_key_pair(str(PKI / "sre.choria.pem"), str(PKI / "sre.choria.key"))
        made = BrokerTLS(load_authorities(str(PKI / "ca.pem")).certificates, self.pair)
        self.wire = NatsClient(
            [f"localhost:{self.fleet.server.port}"], reactor, tls=lambda server: made(server.host)
        )
        self.wire.startService()
        self.addCleanup(lambda: maybeDeferred(self.wire.stopService))
        self.waiting: dict[str, Deferred[rpc.RpcReply]] = {}
        self.wire.subscribe(REPLY_TO, self.replied)

    def replied(self, message: Message) -> None:
        """Hand a reply to who waits for it."""
        _, reply = v1.open_reply(message.payload)
        waiter = self.waiting.pop(reply.request_id, None)
        if waiter is not None:
            waiter.callback(rpc.decode_reply(reply.message))

    def request(self, agent: str, action: str) -> tuple[str, bytes]:
        """Return id and document of a request that is made now."""
        request_id = new_request_id()
        request = Request(
            message=rpc.encode_request(agent, action, {}),
            request_id=request_id,
            sender_id="client",
            caller_id="choria=sre.choria",
            collective="app_backplane",
            agent=agent,
            ttl=60,
            time=int(time.time()),
            filter=Filter(),
        )
        sealed = v1.seal_request(request, SecureSigner(self.pair))
        return request_id, v1.encode_transport(sealed, sender="client", reply_to=REPLY_TO)

    async def send(self, agent: str, request: tuple[str, bytes]) -> rpc.RpcReply:
        """Publish a document, and wait for its reply."""
        waiter = self.waiting[request[0]] = Deferred()
        self.wire.publish(subjects.broadcast("app_backplane", agent), request[1])
        return await waiter

    async def ask(self, agent: str, action: str) -> dict[str, Any]:
        """Ask now."""
        return dict((await self.send(agent, self.request(agent, action))).data)

    async def start(self, **management: Any) -> Any:
        """Start the service."""
        settings = {
            "name": "app",
            "identity": NAME,
            "loglevel": "info",
            "auth": {"full": ["sre.choria"]},
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "tls": {
                "scheme": "file",
                "ca": str(PKI / "ca.pem"),
                "cert": str(PKI / f"{NAME}.pem"),
                "key": str(PKI / f"{NAME}.key"),
            },
            **management,
        }
        return await deferToThread(self.fleet.demo, "app", NAME, management=settings)

    async def test_killed(self) -> None:
        """With a state file: a repeat is dropped, and what nobody has seen yet still acts."""
        service = await self.start(state_file="state")
        await self.wire.when_connected()
        await deferToThread(time.sleep, 1)  # changes of its first second wait, or are too old
        pause, read = self.request("backplane", "pause"), self.request("backplane", "info")
        self.assertTrue((await self.send("backplane", pause)).data["paused"])
        await self.send("backplane", read)
        unseen = self.request("backplane", "pause")
        service.process.kill()
        await deferToThread(service.process.wait)
        await self.start(state_file="state")
        for document in (pause, read):
            self.wire.publish(subjects.broadcast("app_backplane", "backplane"), document[1])
        self.assertFalse((await self.ask("backplane", "info"))["paused"])
        dropped = (await self.ask("rpcutil", "daemon_stats"))["dropped"]
        self.assertEqual(dropped, {"repeated": 2})
        self.assertTrue((await self.send("backplane", unseen)).data["paused"])
        self.assertEqual(mode(self.fleet.folder / NAME / "state"), 0o600)

    async def test_killed_without(self) -> None:
        """Without one: a change from before the start is refused, with a reply that says why."""
        service = await self.start()
        await self.wire.when_connected()
        await deferToThread(time.sleep, 1)
        pause = self.request("backplane", "pause")
        self.assertTrue((await self.send("backplane", pause)).data["paused"])
        service.process.kill()
        await deferToThread(service.process.wait)
        await deferToThread(time.sleep, 1)
        await self.start()
        again = await self.send("backplane", pause)
        self.assertFalse(again.ok)
        self.assertIn("made before this service started", again.message)
        self.assertFalse((await self.ask("backplane", "info"))["paused"])

    async def test_second_process(self) -> None:
        """Two services with one state file: the second one does not start."""
        await self.start(state_file="state")
        folder = self.fleet.folder / NAME
        config = folder / "app.yaml"
        (folder / "second.yaml").write_text(
            config.read_text().replace(f'"identity": "{NAME}"', '"identity": "app2.example.net"')
        )
        second = self.fleet.twistd(
            ["-n", "--pidfile=", "backplane", "-c", str(folder / "second.yaml")], folder
        )
        self.assertEqual(await deferToThread(second.process.wait), 1)
        self.assertIn("locked, so another process writes it", second.text())

    async def test_strict(self) -> None:
        """The option refuses what is loose, by name; what is tight starts."""
        await self.start(audit={"logfile": "audit.log"})
        folder = self.fleet.folder / NAME
        text = (folder / "app.yaml").read_text()
        (folder / "loose.yaml").write_text(
            text.replace('"audit": {', '"classes_file": "app.yaml", "audit": {"required": false, ')
        )
        loose = self.fleet.twistd(
            ["-n", "--pidfile=", "backplane", "--strict", "-c", "loose.yaml"], folder
        )
        self.assertEqual(await deferToThread(loose.process.wait), 1)
        for key in ("management.audit.required", "management.classes_file"):
            self.assertIn(key, loose.text())
        self.assertNotIn("management.tls", loose.text())
        for service in self.fleet.services:
            if service.process.poll() is None:
                service.process.terminate()
                await deferToThread(service.process.wait)
        tight = self.fleet.twistd(
            ["-n", "--pidfile=", "backplane", "--strict", "-c", "app.yaml"], folder
        )
        await deferToThread(tight.wait_for, "ready:")
