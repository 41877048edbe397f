"""A real nats-server is found, started, ended, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from backplane.testing import natsserver
from backplane.testing.natsserver import NatsServer, ServerFailed, ServerMissing, find_server

reactor: Any = _reactor


def greeting(port: int) -> bytes:
    """Return the first bytes of whoever listens there."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        return connection.recv(5)


class FindTests(SynchronousTestCase):
    """Where the binary is looked for."""

    def binary(self, name: str = "nats-server") -> str:
        """Return the path of a new file that can be run."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder.absolute() / name
        path.write_text("#!/bin/sh\n")
        path.chmod(stat.S_IRWXU)
        return str(path)

    def nothing(self) -> None:
        """Let there be no binary anywhere."""
        self.patch(os, "environ", {"PATH": ""})
        self.patch(sys, "executable", "/nowhere/python")
        self.patch(natsserver.importlib.metadata, "files", lambda name: None)  # type: ignore[attr-defined]

    def test_order(self) -> None:
        """The argument wins over the variable, that over what is installed, that over PATH."""
        argument, variable, installed, path = (self.binary() for _ in range(4))
        self.nothing()
        os.environ["PATH"] = os.path.dirname(path)
        self.assertEqual(find_server(), path)
        self.patch(sys, "executable", os.path.join(os.path.dirname(installed), "python"))
        self.assertEqual(find_server(), installed)
        os.environ["BACKPLANE_NATS_SERVER"] = variable
        self.assertEqual(find_server(), variable)
        self.assertEqual(find_server(argument), argument)

    def test_missing(self) -> None:
        """Where there is none the error says what to do; a wrong name is not passed over."""
        self.nothing()
        self.assertIn("BACKPLANE_NATS_SERVER", str(self.assertRaises(ServerMissing, find_server)))
        error = self.assertRaises(ServerMissing, find_server, "/nowhere/nats-server")
        self.assertIn("/nowhere/nats-server", str(error))
        os.environ["BACKPLANE_NATS_SERVER"] = "/nowhere/other"
        self.assertIn("/nowhere/other", str(self.assertRaises(ServerMissing, find_server)))


class ServerTests(SynchronousTestCase):
    """Without a reactor."""

    def server(self, **options: Any) -> NatsServer:
        """Return a server that is closed after the test."""
        server = NatsServer(**options)
        self.addCleanup(server.close)
        return server

    def test_context(self) -> None:
        """In a ``with`` it is ready; afterwards process and folder are gone."""
        with self.server() as server:
            self.assertEqual(greeting(server.port), b"INFO ")
            self.assertEqual(server.url, f"nats://127.0.0.1:{server.port}")
            folder, pid = server.folder, server.pid
            self.assertIn("Server is ready", server.log())
            self.assertTrue(server.running)
        self.assertFalse(folder.exists())
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.assertFalse(server.running)
        self.assertEqual(server.log(), "")
        server.close()

    def test_not_started(self) -> None:
        """Before it is started there is neither port nor process."""
        server = self.server()
        for call in (lambda: server.port, lambda: server.pid, server.pause, server.poll_ready):
            self.assertRaises(RuntimeError, call)
        server.stop()
        server.kill()

    def test_started_twice(self) -> None:
        """One that runs cannot be started."""
        with self.server() as server:
            self.assertRaises(RuntimeError, server.start)

    def test_same_port(self) -> None:
        """Killed, stopped or restarted, it comes back on its port, as another process."""
        with self.server() as server:
            port, pids = server.port, {server.pid}
            server.kill()
            self.assertRaises(ConnectionRefusedError, greeting, port)
            server.start()
            server.wait_ready()
            pids.add(server.pid)
            server.restart()
            server.wait_ready()
            pids.add(server.pid)
            self.assertEqual((server.port, len(pids)), (port, 3))
            self.assertEqual(greeting(port), b"INFO ")

    def test_port_taken(self) -> None:
        """A chosen port that somebody took meanwhile is replaced; a given one is an error."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            free = [natsserver._free_port(), taken]
            self.patch(natsserver, "_free_port", free.pop)
            with self.server() as server:
                self.assertNotEqual(server.port, taken)
                self.assertEqual(greeting(server.port), b"INFO ")
            given = self.server(port=taken)
            given.start()
            self.assertIn("in use", str(self.assertRaises(ServerFailed, given.wait_ready)))

    def test_bad_configuration(self) -> None:
        """The error shows what the server said."""
        server = self.server(config="max_payload: nonsense")
        error = self.assertRaises(ServerFailed, server.__enter__)
        self.assertIn("server.conf:2:1", str(error))

    def test_configuration_and_folder(self) -> None:
        """Configuration is the caller's; a given folder is kept."""
        folder = Path(self.mktemp())
        with self.server(config='server_name: "me"', folder=str(folder)) as server:
            with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
                self.assertIn(b'"server_name":"me"', connection.recv(4096))
        self.assertIn("Server is ready", (folder / "log").read_text())

    def test_paused(self) -> None:
        """A paused server answers nothing, goes on when resumed, and can be stopped."""
        with self.server() as server:
            server.pause()
            server.pause()
            with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
                connection.settimeout(0.05)
                self.assertRaises(TimeoutError, connection.recv, 5)
                server.resume()
                connection.settimeout(5)
                self.assertEqual(connection.recv(5), b"INFO ")
            server.pause()
            server.stop()
            self.assertFalse(server.running)

    def test_never_ready(self) -> None:
        """Waiting is bounded."""
        server = self.server()
        self.patch(server, "poll_ready", lambda: False)
        server.start()
        error = self.assertRaises(ServerFailed, server.wait_ready, 0.02)
        self.assertIn("0.02 s", str(error))

    def test_ports_file_begun(self) -> None:
        """A ports file is made before it is written: without its content nothing is ready."""
        server = self.server()
        server.start()
        server.wait_ready()
        path = server.folder / f"nats-server_{server.pid}.ports"
        whole = path.read_text()
        for text in ("", "{", whole[:-1], "{}", '{"nats": []}', "[]", '"nats"'):
            path.write_text(text)
            self.assertFalse(server.poll_ready(), text)
        path.write_text(whole)
        self.assertTrue(server.poll_ready())


class ReactorTests(TestCase):
    """Beside a reactor."""

    timeout = 20

    async def test_when_ready(self) -> None:
        """The Deferred gives the server, once it listens."""
        server = NatsServer()
        self.addCleanup(server.close)
        server.start()
        self.assertIs(await server.when_ready(reactor), server)
        self.assertEqual(greeting(server.port), b"INFO ")

    async def test_fails(self) -> None:
        """It fails when the server ends, or takes too long."""
        server = NatsServer(config="nonsense: {")
        self.addCleanup(server.close)
        server.start()
        await self.assertFailure(server.when_ready(reactor), ServerFailed)
        self.patch(server, "poll_ready", lambda: False)
        await self.assertFailure(server.when_ready(reactor, 0.02), ServerFailed)

    async def test_cancel(self) -> None:
        """Waiting can be given up."""
        server = NatsServer()
        self.addCleanup(server.close)
        self.patch(server, "poll_ready", lambda: False)
        waiting = server.when_ready(reactor)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)

    async def test_reload_and_lame_duck(self) -> None:
        """It reads a new configuration while it runs, and ends as a lame duck."""
        server = NatsServer()
        self.addCleanup(server.close)
        server.start()
        await server.when_ready(reactor)
        server.reload("max_payload: 64")
        await self.until(lambda: "Reloaded: max_payload = 64" in server.log())
        server.lame_duck()
        await self.until(lambda: not server.running)
        self.assertIn("lame duck", server.log().lower())

    async def until(self, condition: Any) -> None:
        """Look at a condition in every turn of the reactor."""
        while not condition():
            await deferLater(reactor, 0.005)
