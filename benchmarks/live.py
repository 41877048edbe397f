"""A service in a process of its own, over a real ``nats-server``."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from backplane.choria import v1
from backplane.nats.encoder import encode_connect, encode_pub, encode_sub
from backplane.nats.parser import Err, Info, Msg, Parser
from backplane.security.signing import InsecureSigner, SecureSigner
from backplane.testing import NatsServer
from benchmarks.measure import Case, Figure
from benchmarks.messages import (
    IDENTITY,
    NAME,
    PKI,
    REPLIES,
    key_pair,
    make_request,
    sealed,
    subject_of,
)

__all__ = ["live_cases"]

ROOT: Final = Path(__file__).resolve().parent.parent

CALLERS: Final = ("sre.choria", "chained.choria", "rip.mcollective")
"""Who asks, in turn: nobody has a request forgotten for having asked too many."""

IN_FLIGHT: Final = 50
"""Requests that wait for their reply at once."""

PATIENCE: Final = 30.0
"""Seconds without a reply after which the service counts as broken."""

_TLS: Final = f"""tls {{
    cert_file: "{PKI / "broker.example.net.pem"}"
    key_file: "{PKI / "broker.example.net.key"}"
    ca_file: "{PKI / "ca.pem"}"
    verify: true
    timeout: 5
}}
"""


class Caller:
    """A connection to the broker that costs as little as can be: a socket that blocks."""

    def __init__(self, port: int, secure: bool) -> None:
        self._parser = Parser("client")
        self._socket: socket.socket = socket.create_connection(("localhost", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not any(isinstance(event, Info) for event in self._events()):
            pass
        if secure:
            context = ssl.create_default_context(cafile=str(PKI / "ca.pem"))
            context.load_cert_chain(PKI / "sre.choria.pem", PKI / "sre.choria.key")
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._socket.sendall(
            encode_connect({"verbose": False, "pedantic": False, "tls_required": secure})
            + encode_sub(f"{REPLIES}.>", "1")
        )

    def _events(self) -> list[Any]:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the broker has closed the connection")
        events: list[Any] = list(self._parser.feed(data))
        for event in events:
            if isinstance(event, Err):
                raise RuntimeError(f"the broker says: {event.text}")
        return events

    def ask(self, messages: list[bytes], in_flight: int) -> None:
        """Publish all, as replies come in; return when the last has."""
        waiting = iter(messages)
        for _, first in zip(range(in_flight), waiting, strict=False):
            self._socket.sendall(first)
        left = len(messages)
        while left:
            came = sum(isinstance(event, Msg) for event in self._events())
            left -= came
            more = [each for _, each in zip(range(came), waiting, strict=False)]
            if more:
                self._socket.sendall(b"".join(more))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Live:
    """A broker, a service, and somebody who asks it."""

    def __init__(self, folder: Path, secure: bool) -> None:
        self._secure = secure
        self._rounds = 0
        self._server = NatsServer(config=_TLS if secure else "")
        self._server.start()
        self._server.wait_ready()
        settings: dict[str, Any] = {
            "name": NAME,
            "identity": IDENTITY,
            "brokers": [f"localhost:{self._server.port}"],
            "auth": {"full": list(CALLERS)},
        }
        if secure:
            settings["tls"] = {
                "scheme": "file",
                "ca": str(PKI / "ca.pem"),
                "cert": str(PKI / f"{IDENTITY}.pem"),
                "key": str(PKI / f"{IDENTITY}.key"),
            }
        file = folder / f"{'secure' if secure else 'plain'}.json"
        file.write_text(json.dumps(settings), encoding="utf-8")
        self._log = file.with_suffix(".log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.service", str(file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no service:\n{file.with_suffix('.log').read_text()}")
        self._caller = Caller(self._server.port, secure)

    def measure(self, count: int) -> Figure:
        """Ask so many times; the CPU is that of the service."""
        return self._measure(count, IN_FLIGHT)

    def measure_alone(self, count: int) -> Figure:
        """The same with one request at a time."""
        return self._measure(count, 1)

    def _measure(self, count: int, in_flight: int) -> Figure:
        caller = CALLERS[self._rounds % len(CALLERS)]
        self._rounds += 1
        signer: v1.Signer = SecureSigner(key_pair(caller)) if self._secure else InsecureSigner()
        requests = [make_request(caller) for _ in range(count)]
        messages = [encode_pub(subject_of(each), sealed(each, signer)) for each in requests]
        cpu, wall = self._cpu(), time.perf_counter()
        self._caller.ask(messages, in_flight)
        wall = time.perf_counter() - wall
        return Figure(cpu=(self._cpu() - cpu) / count, wall=wall / count)

    def _cpu(self) -> float:
        """Return the seconds of CPU that the service has had, in steps of a clock tick."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End everything."""
        self._caller.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        self._server.close()


@contextmanager
def live_cases() -> Iterator[list[Case]]:
    """Give the rows, with what they need running."""
    with tempfile.TemporaryDirectory(prefix="backplane-bench-") as folder:
        started: list[Live] = []
        try:
            for secure in (True, False):
                started.append(Live(Path(folder), secure))
            secured, plain = started
            yield [
                Case(name="process: ping, signed, mutual TLS", measure=secured.measure, count=1500),
                Case(name="process: ping, unsigned, plain", measure=plain.measure, count=1500),
                Case(
                    name="process: the same signed, one at a time",
                    measure=secured.measure_alone,
                    count=500,
                ),
                Case(
                    name="process: the same unsigned, one at a time",
                    measure=plain.measure_alone,
                    count=500,
                ),
            ]
        finally:
            for each in started:
                each.close()
