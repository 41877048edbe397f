"""Hosts of other kinds in processes of their own, a real broker that says who is connected,
and operators: what the tests of the examples in ``examples/embedding`` are made of."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import v1
from backplane.client import AsyncClient
from backplane.client.accounting import Outcome
from tests.integration.fleet import Fleet, Service, wait

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples" / "embedding"

PATIENCE: Final = 60.0
"""Seconds after which something that should have happened counts as failed."""

FAREWELLS: Final = "choria.lifecycle.event.shutdown.>"
"""Where services say that they stop."""

FOREVER: Final = 3600.0
"""Seconds that a health check takes which does not return within a test."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post(port: int) -> int:
    """Order something over HTTP; return the status, or 0 while nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


class Subscriber:
    """Hears what services publish on a subject; it speaks NATS by hand, none of our code."""

    def __init__(self, port: int, subject: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._socket.makefile("rb")
        self._file.readline()  # INFO
        self._send(f'CONNECT {{"verbose": false}}\r\nSUB {subject} 1\r\nPING')
        assert self._file.readline() == b"PONG\r\n"

    def _send(self, text: str) -> None:
        self._socket.sendall(f"{text}\r\n".encode())

    def item(self) -> tuple[str, str]:
        """Wait for the next published item; return whose it is, and what it says."""
        secure = v1.decode_secure_request(v1.decode_transport(self.next()).data)
        request = v1.decode_request(secure.message)
        assert isinstance(request.message, str)
        return request.sender_id, request.message

    def next(self) -> bytes:
        """Wait for the next message."""
        while True:
            words = self._file.readline().split()
            if not words:
                raise AssertionError("the broker has closed the subscriber's connection")
            if words[0] == b"PING":
                self._send("PONG")
            elif words[0] == b"MSG":
                return self._file.read(int(words[-1]) + 2)[:-2]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._socket.close()


class Broker:
    """What the monitoring of a broker says.

    :param fleet: its broker.
    """

    CONFIG: Final = "http: 127.0.0.1:-1"

    def __init__(self, fleet: Fleet) -> None:
        (ports,) = fleet.server.folder.glob("*.ports")
        wait(lambda: ports.read_text().rstrip().endswith("}"), "the whole ports file")
        (self._url,) = json.loads(ports.read_text())["monitoring"]

    def _connections(self, state: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(
            f"{self._url}/connz?state={state}&limit=10000", timeout=PATIENCE
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["connections"]
            return found

    def connected(self, names: set[str]) -> set[str]:
        """Return which of these clients are connected."""
        return names & {each.get("name", "") for each in self._connections("open")}

    def farewells(self, names: set[str]) -> dict[str, str]:
        """Return how the connections of these clients ended."""
        closed = self._connections("closed")
        return {each["name"]: each["reason"] for each in closed if each.get("name") in names}


class HostCase(SynchronousTestCase):
    """A broker, and one host with its instances, which end with the test.

    :cvar packages: that the host needs.
    :cvar instances: how many services it is.
    :cvar web: whether it takes orders over HTTP; the others order by themselves.
    """

    packages: tuple[str, ...] = ()
    instances = 1
    web = True
    debug_line = "DEBUG:shop:order"
    stop_code = 0

    def setUp(self) -> None:
        for name in self.packages:
            if importlib.util.find_spec(name) is None:
                self.fail(f"{name} is not installed: pip install 'choria-backplane[hosts]'")
        self.fleet = Fleet(Broker.CONFIG)
        self.addCleanup(self.fleet.close)
        self.broker = Broker(self.fleet)
        self.port = free_port()
        self.names: set[str] = set()

    def command(self) -> list[str]:
        """Return the host's command after the name of the Python; its folder is the examples'."""
        raise NotImplementedError

    def start(self, **environ: str) -> None:
        """Start the host, and wait until operators reach all of its instances."""
        self.launch(**environ)
        wait(self.up, f"{self.instances} instances\n", self.host.text)
        if self.web:
            wait(lambda: post(self.port) == 200, "an open shop\n", self.host.text)

    def launch(self, **environ: str) -> None:
        """Start the host; it may not be there yet."""
        log = self.fleet.folder / "host.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *self.command()],
                cwd=EXAMPLES,
                env={
                    **os.environ,
                    "HOME": str(self.fleet.folder),
                    "XDG_RUNTIME_DIR": str(self.fleet.folder),
                    "PYTHONPATH": str(ROOT),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONUNBUFFERED": "1",
                    "BROKER": f"127.0.0.1:{self.fleet.server.port}",
                    "LISTEN": f"tcp:{self.port}:interface=127.0.0.1",
                    **environ,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.host = Service(process, log)
        self.fleet.services.append(self.host)
        self.addCleanup(self._end)

    def _end(self) -> None:
        """End a host that a test has left running, with its workers."""
        if self.host.process.poll() is None:
            os.killpg(self.host.process.pid, signal.SIGTERM)

    def up(self) -> bool:
        """Say whether operators reach all instances; fail when the host has ended."""
        if self.host.process.poll() is not None:
            raise AssertionError(f"the host has ended:\n{self.host.text()}")
        outcome = self.ask("ping", expect=None, discovery_timeout=0.5)
        self.names = {answer.sender for answer in outcome.answers}
        return len(self.names) == self.instances

    def ask(self, action: str, **options: Any) -> Outcome:
        """Ask all instances, as an operator that is a program."""
        options = {"expect": self.instances, **options}

        async def asked() -> Outcome:
            async with AsyncClient(self.fleet.server.url, insecure=True) as client:
                return await client.request("shop", action, **options)

        return asyncio.run(asked())

    def data(self, action: str) -> list[dict[str, Any]]:
        """Ask all instances; return what each answered, all of them well."""
        outcome = self.ask(action)
        answers = [answer.reply for answer in outcome.answers]
        self.assertEqual([reply.message for reply in answers if not reply.ok], [])
        self.assertEqual({answer.sender for answer in outcome.answers}, self.names)
        return [dict(reply.data) for reply in answers]

    def orders(self) -> list[int]:
        """Return how much each instance has sold, by identity."""
        answers = sorted(self.ask("info").answers, key=lambda answer: answer.sender)
        return [answer.reply.data["facts"]["orders"] for answer in answers]

    def stop(self) -> None:
        """Let the host stop, as its kind is stopped; it ends in order."""
        self.assertEqual(self.broker.connected(self.names), self.names)
        self.leave(lambda: self.host.process.send_signal(signal.SIGTERM))

    def leave(self, act: Callable[[], object]) -> None:
        """Each instance says goodbye, the host ends as it should, the broker lets them go.

        :param act: what makes it end.
        """
        with Subscriber(self.fleet.server.port, FAREWELLS) as subscriber:
            act()
            heard: set[str] = set()
            while heard != self.names:
                heard.add(json.loads(subscriber.next())["data"]["identity"])
        self.ended_well()
        wait(
            lambda: len(self.broker.farewells(self.names)) == self.instances,
            "the end of each connection",
        )
        self.assertEqual(self.broker.connected(self.names), set())
        reasons = set(self.broker.farewells(self.names).values())
        self.assertEqual(reasons, {"Client Closed"})

    def ended_well(self) -> None:
        """The host ends, with the right code and nothing to complain about."""
        code = self.host.process.wait(PATIENCE)
        text = self.host.text()
        self.assertEqual(code, self.stop_code, text)
        self.assertNotIn("Traceback", text)
