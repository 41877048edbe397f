"""A broker, both clients in processes of their own, and who talks to them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from backplane.nats.encoder import encode_connect, encode_pub, encode_sub
from backplane.nats.operations import Info, Msg
from backplane.nats.parser import Parser
from backplane.testing import NatsServer
from benchmarks.contest.client import SERVICE, SUBJECT
from benchmarks.live import ROOT
from benchmarks.messages import PKI

__all__ = ["Arena", "arenas"]

OURS: Final = "ours"
THEIRS: Final = "nats-py"

CA: Final = PKI / "ca.pem"

# Who feeds and answers speaks in clear, so that only the contestants pay for TLS.
_TLS: Final = f"""tls {{
    cert_file: "{PKI / "broker.example.net.pem"}"
    key_file: "{PKI / "broker.example.net.key"}"
}}
allow_non_tls: true
"""

BLOCK: Final = 256 * 1024
"""Bytes that are sent to the broker at once."""


class _Plain:
    """A connection in clear, by a socket that blocks."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = Parser("client")
        while not any(isinstance(event, Info) for event in self.events()):
            pass
        self.socket.sendall(encode_connect({"verbose": False, "pedantic": False}))

    def events(self) -> list[Any]:
        """Return what has come, waiting for something."""
        data = self.socket.recv(65536)
        return list(self._parser.feed(data)) if data else []

    def end(self) -> None:
        """Let whoever reads from it read the end."""
        self.socket.shutdown(socket.SHUT_RDWR)


class Arena:
    """One broker, with or without TLS, and both contestants."""

    def __init__(self, secure: bool) -> None:
        self._server = NatsServer(config=_TLS if secure else "")
        self._server.start()
        self._server.wait_ready()
        port = self._server.port
        self._feeder = _Plain(port)
        self._service = _Plain(port)
        self._service.socket.sendall(encode_sub(SERVICE, "1"))
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._answering.start()
        url = f"{'tls' if secure else 'nats'}://localhost:{port}"
        self._clients = {
            which: subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.contest.client", which, url),
                    *([str(CA)] if secure else []),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for which in (OURS, THEIRS)
        }

    def _answer(self) -> None:
        service = self._service
        while events := service.events():
            answers = [
                encode_pub(event.reply, event.payload)
                for event in events
                if isinstance(event, Msg) and event.reply is not None
            ]
            service.socket.sendall(b"".join(answers))

    def measure(self, which: str, work: str, count: int, size: int) -> dict[str, Any]:
        """Let one of them do something; return what it said of it."""
        client = self._clients[which]
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps({"work": work, "count": count, "size": size}) + "\n")
        client.stdin.flush()
        if client.stdout.readline() != '"ready"\n':
            raise RuntimeError(f"{which} failed")
        if work == "receive":
            self._feed(count, size)
        found: dict[str, Any] = json.loads(client.stdout.readline())
        return found

    def _feed(self, count: int, size: int) -> None:
        one = encode_pub(SUBJECT, b"x" * size)
        together = max(1, BLOCK // len(one))
        for _ in range(count // together):
            self._feeder.socket.sendall(one * together)
        self._feeder.socket.sendall(one * (count % together))

    def resident(self, which: str) -> int:
        """Return the bytes that a contestant has resident."""
        with open(f"/proc/{self._clients[which].pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def close(self) -> None:
        """End everything."""
        for client in self._clients.values():
            assert client.stdin is not None
            client.stdin.close()
        for client in self._clients.values():
            client.wait(60)
            assert client.stdout is not None
            client.stdout.close()
        self._service.end()
        self._answering.join(60)
        for each in (self._service, self._feeder):
            each.socket.close()
        self._server.close()


@contextmanager
def arenas() -> Iterator[tuple[Arena, Arena]]:
    """Give one in clear and one with TLS."""
    made: list[Arena] = []
    try:
        for secure in (False, True):
            made.append(Arena(secure))
        yield made[0], made[1]
    finally:
        for each in made:
            each.close()
