"""The client on asyncio loops, against a real broker."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from backplane import Management
from backplane.client import AsyncClient, ExitCode, Progress
from backplane.client.accounting import Answer
from backplane.errors import StateError
from backplane.nats.errors import ConnectionFailed, NatsError
from backplane.reactors.hosted import HostedReactor
from backplane.testing import NatsServer, RecordingApplication

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run in a loop of its own, which complains of what is left."""
    troubles: list[str] = []

    async def main() -> _T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(str(context)))
        result = await asyncio.wait_for(work, 60)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others
        return result

    result = asyncio.run(main())
    gc.collect()
    assert not troubles, troubles
    return result


class AsyncClientTests(SynchronousTestCase):
    """One broker, and services on the loop of each test."""

    def setUp(self) -> None:
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.wait_ready()
        self.address = f"127.0.0.1:{self.server.port}"

    def client(self, **options: Any) -> AsyncClient:
        options = {"insecure": True, "certname": "sre.choria", "identity": "here", **options}
        return AsyncClient(self.address, **options)

    @asynccontextmanager
    async def services(self, *identities: str) -> AsyncIterator[list[RecordingApplication]]:
        """Services on the loop that runs."""
        loop = asyncio.get_running_loop()
        reactor = HostedReactor(loop)
        reactor.open()
        managements, applications = [], []
        for identity in identities:
            app = RecordingApplication({"dc": identity})
            management = Management(
                {
                    "name": "app",
                    "identity": identity,
                    "loglevel": "critical",
                    "auth": {"insecure": True},
                    "brokers": [self.address],
                },
                reactor=reactor,
            )
            management.provide(app)
            management.startService()
            managements.append(management)
            applications.append(app)
        try:
            for management in managements:
                await management.when_ready().asFuture(loop)
            yield applications
        finally:
            for management in managements:
                stopping: Deferred[Any] = management.stopService()
                await stopping.asFuture(loop)
            await reactor.close()

    def test_discover_and_request(self) -> None:
        """Discover, request, results; progress comes with each answer."""
        seen: list[str] = []

        class Seen(Progress):
            def replied(self, answer: Answer) -> None:
                seen.append(answer.sender)

        async def work() -> None:
            async with self.services("one", "two") as (one, two), self.client() as client:
                await client.when_connected()
                self.assertTrue(client.is_connected)
                self.assertEqual(await client.discover("app", expect=2), {"one": 1, "two": 1})
                found = await client.discover("app", facts=["dc=one"], identities=["one"])
                self.assertEqual(found, {"one": 1})
                outcome = await client.request("app", "pause", expect=2, progress=Seen())
                self.assertEqual(outcome.exit_code, ExitCode.OK)
                self.assertEqual(
                    {answer.sender: answer.reply.data for answer in outcome.answers},
                    {"one": {"paused": True}, "two": {"paused": True}},
                )
                self.assertTrue(one.paused() and two.paused())
                ghost = await client.request("app", "ping", identities=["ghost"], timeout=0.5)
                self.assertEqual(ghost.count, 0)

        run(work())
        self.assertEqual(sorted(seen), ["one", "two"])

    def test_several(self) -> None:
        """Several at once, each with its own answers, again and again."""

        async def work() -> None:
            async with self.services("one", "two"):
                for _ in range(3):
                    clients = [self.client(certname=f"c{number}") for number in range(4)]
                    for client in clients:
                        await client.start()
                    outcomes = await asyncio.gather(
                        *(client.request("app", "ping", expect=2) for client in clients)
                    )
                    self.assertEqual([len(each.good) for each in outcomes], [2] * 4)
                    for client in clients:
                        await client.close()

        run(work())

    def test_nothing_left(self) -> None:
        """The same client in loop after loop: no thread, socket, signal handler is left."""
        before = self.state()
        for client in (self.client(), self.client(identity="x.example.net")):
            for _ in range(3):

                async def work(client: AsyncClient = client) -> None:
                    async with client:
                        outcome = await client.request("app", "ping", discovery_timeout=0.1)
                        self.assertEqual(outcome.exit_code, ExitCode.NOTHING_MATCHED)

                run(work())
        self.assertEqual(self.state(), before)

    def state(self) -> list[object]:
        gc.collect()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)]
        files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        return [threading.active_count(), files, handlers, threadable.ioThread]

    def test_loop_goes_on(self) -> None:
        """Closing stops neither the loop nor a second client on it."""

        async def work() -> None:
            async with self.services("one"):
                first, second = self.client(), self.client()
                await first.start()
                await second.start()
                await first.request("app", "ping", expect=1)
                await first.close()
                await first.close()
                self.assertEqual(len((await second.request("app", "ping", expect=1)).good), 1)
                await second.close()

        run(work())

    def test_cancelled(self) -> None:
        """Cancelling the task ends the run; the client goes on."""

        async def work() -> None:
            async with self.services("one"), self.client() as client:
                task = asyncio.ensure_future(client.request("app", "ping", identities=["ghost"]))
                await client.when_connected()
                await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(len((await client.request("app", "ping", expect=1)).good), 1)

        run(work())

    def test_broker_away(self) -> None:
        """Without a broker: an error with ``retry=False``, patience without."""
        self.server.stop()

        async def work() -> None:
            async with self.client(retry=False) as client:
                with self.assertRaises(ConnectionFailed):
                    await client.request("app", "ping")
            async with self.client() as client:
                waiting = asyncio.ensure_future(
                    client.request("app", "ping", discovery_timeout=0.1)
                )
                await asyncio.sleep(0)
                self.server.start()
                self.assertEqual((await waiting).exit_code, ExitCode.NOTHING_MATCHED)

        run(work())

    def test_broker_lost(self) -> None:
        """A broker that is lost during a run ends it at once, and says so."""

        async def work() -> None:
            async with self.client() as client:
                await client.when_connected()
                waiting = asyncio.ensure_future(
                    client.request("app", "ping", window=50, discovery_timeout=50)
                )
                searching = asyncio.ensure_future(
                    client.discover("app", window=50, discovery_timeout=50)
                )
                await asyncio.sleep(0)
                self.server.stop()
                self.assertEqual((await waiting).exit_code, ExitCode.UNREACHABLE)
                with self.assertRaises(NatsError):
                    await searching

        run(work())

    def test_names_resolve(self) -> None:
        """Names are resolved; one that is unknown is an error."""
        port = self.server.port

        async def work() -> None:
            async with AsyncClient(f"localhost:{port}", insecure=True, certname="a") as client:
                await client.when_connected()
            wrong = AsyncClient("no.such.invalid:4222", insecure=True, certname="a", retry=False)
            async with wrong:
                with self.assertRaises(ConnectionFailed):
                    await wrong.when_connected()

        run(work())

    def test_closed_while_resolving(self) -> None:
        """A name server that never answers does not hold up the end."""
        answer = threading.Event()
        self.addCleanup(answer.set)

        def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
            answer.wait()
            return []

        self.patch(socket, "getaddrinfo", getaddrinfo)

        async def work() -> None:
            for retry in (False, True):
                async with AsyncClient("b.example:1", insecure=True, retry=retry) as client:
                    waiting = asyncio.ensure_future(client.request("app", "ping"))
                    await asyncio.sleep(0)
                with self.assertRaises(NatsError):
                    await waiting

        run(work())

    def test_wrong_use(self) -> None:
        """Not started, started twice, from another loop, without saying that it is insecure."""
        client = self.client()

        async def unstarted() -> None:
            with self.assertRaises(StateError):
                await client.request("app", "ping")

        run(unstarted())

        async def twice() -> None:
            async with client:
                with self.assertRaises(StateError):
                    await client.start()
                await asyncio.to_thread(other)

        def other() -> None:
            async def elsewhere() -> None:
                with self.assertRaises(StateError):
                    await client.discover("app")

            asyncio.run(elsewhere())

        run(twice())

        async def secure() -> None:
            unsafe = AsyncClient(self.address)
            with self.assertRaisesRegex(ValueError, "insecure=True"):
                await unsafe.start()
            await unsafe.close()

        run(secure())

    def test_config(self) -> None:
        """Brokers come from Choria's configuration file."""
        path = self.mktemp()
        with open(path, "w") as stream:
            stream.write(f"plugin.choria.middleware_hosts = {self.address}\nidentity = here\n")

        async def work() -> None:
            client = AsyncClient.from_config(path, insecure=True, certname="sre.choria")
            async with self.services("one"), client:
                self.assertEqual(await client.discover("app", expect=1), {"one": 1})

        run(work())
