"""A connection to the broker that has nothing of the code that is tried: a socket, and lines."""

from __future__ import annotations

import json
import socket
import threading
from typing import Final

import attrs

__all__ = ["Got", "Wire", "WireLost"]

_CONNECT: Final = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}


class WireLost(ConnectionError):
    """The broker has ended the connection."""


@attrs.frozen
class Got:
    """What came: a message, or the answer to a PING (without subject)."""

    subject: str
    payload: bytes
    status: str = ""


class Wire:
    """A connection; the one that reads it answers the broker's PINGs.

    :param port: of the broker.
    :param timeout: seconds that anything may take; without an end when ``None``.
    :raises OSError: when it cannot be made, and of all that follows.
    """

    def __init__(self, port: int, timeout: float | None = 30.0) -> None:
        self._lock = threading.Lock()
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        try:
            self._file = self._socket.makefile("rb", 1 << 18)
            if not self._file.readline().startswith(b"INFO "):
                raise WireLost("there is no broker")
            self.send(f"CONNECT {json.dumps(_CONNECT)}\r\n".encode())
            self._socket.settimeout(timeout)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send protocol lines; from any thread."""
        with self._lock:
            self._socket.sendall(data)

    def publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """Send a message."""
        self.send(
            b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
        )

    def subscribe(self, subject: str, number: int) -> None:
        """Subscribe; it is done when a PING is answered that was sent after it."""
        self.send(f"SUB {subject} {number}\r\nPING\r\n".encode())

    def read(self) -> Got:
        """Return what comes next.

        :raises WireLost: at the end.
        """
        while True:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                raise WireLost("the broker has ended the connection")
            verb, *words = line.decode().split()
            if verb == "MSG":
                return Got(words[0], self._take(int(words[-1])))
            if verb == "HMSG":
                head = int(words[-2])
                data = self._take(int(words[-1]))
                status = data[:head].split(b"\r\n", 1)[0].decode().partition(" ")[2]
                return Got(words[0], data[head:], status)
            if verb == "PONG":
                return Got("", b"")
            if verb == "PING":
                self.send(b"PONG\r\n")
            elif verb == "-ERR":
                raise WireLost(line.decode().strip())

    def _take(self, size: int) -> bytes:
        data: bytes = self._file.read(size + 2)
        if len(data) != size + 2:
            raise WireLost("the broker has ended the connection")
        return data[:-2]

    def close(self) -> None:
        """End it; from any thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
