"""The broker of the fleet, and what it knows of its connections."""

from __future__ import annotations

import json
import socket
import time
from datetime import datetime
from typing import Any
from urllib.request import urlopen

from backplane.testing import NatsServer

__all__ = ["FleetBroker"]

PATIENCE = 300.0
"""Seconds without an end after which a wait is given up."""


class FleetBroker:
    """A ``nats-server`` that can be asked how many are connected.

    :param config: more of its configuration.
    """

    def __init__(self, config: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.server = NatsServer(config=f'http: "127.0.0.1:{self._port}"\n{config}')
        self.server.start()
        self.server.wait_ready(30)

    def _ask(self, what: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self._port}/{what}", timeout=30) as answer:
            return json.load(answer)

    def connections(self) -> int:
        """Return how many clients are connected."""
        return int(self._ask("varz")["connections"])

    def wait_for(self, count: int) -> float:
        """Wait until so many are connected; return the seconds that it took."""
        begin = time.monotonic()
        while self.connections() < count:
            if time.monotonic() - begin > PATIENCE:
                raise RuntimeError(f"only {self.connections()} of {count} are connected")
            time.sleep(0.02)
        return time.monotonic() - begin

    def starts(self) -> list[float]:
        """Return when each present connection was accepted, in seconds from the first one."""
        found: list[float] = []
        while True:
            page = self._ask(f"connz?limit=1000&offset={len(found)}")["connections"]
            found += [_seconds(each["start"]) for each in page]
            if len(page) < 1000:
                break
        return [each - min(found) for each in sorted(found)]

    def close(self) -> None:
        """End it."""
        self.server.close()


def _seconds(text: str) -> float:
    # Nanoseconds are more than Python reads.
    head, _, tail = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}+00:00").timestamp() + float(f"0.{tail or 0}")
