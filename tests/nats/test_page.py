"""The page of the client: every function that it shows does what it says, on a real server."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet import reactor

from backplane.nats import NatsClient, PubAck, errors, events
from backplane.nats.credentials import CredsFile, NKey, Token, UserPassword
from backplane.nats.errors import BadCredentials, ConnectionFailed
from tests.examples.pages import ROOT, read
from tests.nats.checklist.servers import JETSTREAM, RealCase

PAGE: Final = read(ROOT / "docs" / "nats.rst")
PKI: Final = Path(__file__).parent.parent / "vectors" / "pki"

RESULTS: Final[dict[str, Any]] = {
    "watch": [("orders.new", b"apples"), ("jobs", b"wash"), ("orders.new", b"pears")],
    "publish": (None, "rain", ["north", "west"]),
    "ask": (b"12:00", "nobody"),
    "ask_many": ([b"one", b"two"], [b"one"]),
    "store": (PubAck("SALES", 1), True),
    "end": "closed",
}
"""What the functions return that are given a client."""

OTHERS: Final = {"make_client", "ways", "secured", "watch_connection"}
"""Functions that a test of their own calls."""


def shown() -> dict[str, Any]:
    """Return what the blocks of the page define."""
    space: dict[str, Any] = {"__name__": "shown"}
    for block in PAGE.blocks:
        if block.language == "python" and block.name is None:
            exec(compile(ast.parse(block.text), "nats.rst", "exec"), space)
    return space


def joined(path: str) -> str:
    """Write our certificate and its key into one file; return its path."""
    identity = PKI / "app1.example.net.pem"
    Path(path).write_bytes(identity.read_bytes() + identity.with_suffix(".key").read_bytes())
    return path


class PageTests(RealCase):
    def setUp(self) -> None:
        super().setUp()
        self.shown = shown()

    async def test_functions(self) -> None:
        """Each does what is said, with a client of its own."""
        mine = {
            name
            for name, value in self.shown.items()
            if inspect.isfunction(value) and value.__module__ == "shown"
        }
        self.assertEqual(mine, RESULTS.keys() | OTHERS)
        server = await self.server(JETSTREAM)
        for name, wanted in RESULTS.items():
            client = await self.connected(server)
            function: Callable[[NatsClient], Awaitable[Any]] = self.shown[name]
            found = await function(client)
            if name == "watch":  # of two subscriptions, either may be the first
                found = sorted(found)
                wanted = sorted(wanted)
            self.assertEqual(found, wanted, name)
            await client.stopService()

    async def test_service(self) -> None:
        """Connecting: a service of an application."""
        application = MultiService()
        client = self.shown["make_client"](reactor, application)
        self.assertEqual(list(application), [client])
        self.assertEqual(client.options()["servers"][-1][:6], "nats:/")
        self.assertTrue(client.new_inbox().startswith("shop.reply."))

    async def test_ways(self) -> None:
        """Logging in: what is shown can be made; files that are missing are told by name."""
        ways = self.shown["ways"]()
        kinds = {"password": UserPassword, "token": Token, "nkey": NKey, "creds": CredsFile}
        self.assertEqual({name: type(way) for name, way in ways.items()}, kinds)
        for name in ("password", "nkey", "creds"):
            error = self.assertRaises(BadCredentials, ways[name].check)
            self.assertIn("/nats", str(error))
        self.assertEqual(ways["token"].fields({}), {"auth_token": "asked for at each connect"})

    async def test_secured(self) -> None:
        """TLS: with a certificate of ours and without; another authority is refused."""
        both = joined(self.mktemp())
        for verify, mine in (("false", None), ("true", both)):
            server = await self.server(
                f"""tls {{ cert_file: "{PKI / "broker.example.net.pem"}"
                key_file: "{PKI / "broker.example.net.key"}"
                ca_file: "{PKI / "ca.pem"}"
                verify: {verify} }}"""
            )
            address = f"localhost:{server.port}"
            client = self.shown["secured"](reactor, address, PKI / "ca.pem", mine)
            self.addCleanup(client.stopService)
            client.startService()
            await client.when_connected()
            await client.flush()
            await client.stopService()

    async def test_refused(self) -> None:
        """TLS: nothing is said to a server without TLS."""
        server = await self.server()
        client = self.shown["secured"](reactor, server.url, PKI / "ca.pem")
        self.addCleanup(client.stopService)
        told: list[Any] = []
        client.add_listener(told.append)
        client.startService()
        await self.until(lambda: told)
        self.assertIsInstance(told[0].reason, ConnectionFailed)
        self.assertEqual(told[0].reason.phase, "tls")

    async def test_watch_connection(self) -> None:
        """Events: those that are shown are told."""
        server = await self.server()
        client = self.client(server)
        log: list[str] = []
        self.shown["watch_connection"](client, log.append)
        client.startService()
        await client.when_connected()
        await self.until(lambda: log)
        self.assertEqual(log, [f"connected to {server.url}"])
        server.stop()
        await self.until(lambda: len(log) > 1)
        self.assertIn(f"lost {server.url}: ", log[1])

    async def test_complete(self) -> None:
        """Every event, error and state is on the page."""
        words = PAGE.text
        named = [name for name in events.__all__ if name != "read_error"]
        named += [name for name in errors.__all__ if name != "NatsError"]
        for name in named:
            self.assertIn(f"``{name}``", words)
