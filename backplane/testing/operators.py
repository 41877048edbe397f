"""Operators of a harness: each caller has a connection of his own."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from backplane.client.run import Operator
from backplane.nats.client import NatsClient
from backplane.nats.servers import Server
from backplane.testing.pki import Issued
from backplane.testing.securing import Securing

__all__ = ["Operators"]


class Operators:
    """Makes operators, and remembers them.

    :param broker: its address.
    :param endpoint: makes the way to it.
    :param securing: who has which certificate; ``None`` for the insecure mode.
    :ivar clients: the connections, for whoever closes them.
    """

    def __init__(
        self,
        broker: str,
        clock: IReactorTime,
        endpoint: Callable[[Server], IStreamClientEndpoint],
        rng: random.Random,
        securing: Securing | None,
    ) -> None:
        self.clients: list[NatsClient] = []
        self._broker = broker
        self._clock = clock
        self._endpoint = endpoint
        self._rng = rng
        self._securing = securing
        self._known: dict[tuple[str, str | None], tuple[NatsClient, Operator]] = {}

    def get(self, name: str, certificate: Issued | None) -> tuple[NatsClient, Operator]:
        """Return an operator and his connection, which may only just begin to connect."""
        key = (name, certificate.cert if certificate is not None else None)
        if key not in self._known:
            self._known[key] = self._make(name, certificate)
        return self._known[key]

    def forget(self) -> None:
        """Forget them all; their connections are the caller's to close."""
        self.clients.clear()
        self._known.clear()

    def _make(self, name: str, certificate: Issued | None) -> tuple[NatsClient, Operator]:
        signer: Any = None
        tls = None
        if self._securing is not None:
            signer, tls = self._securing.caller(name, certificate)
        client = NatsClient(
            [self._broker], self._clock, name=name, endpoint=self._endpoint, rng=self._rng, tls=tls
        )
        client.startService()
        self.clients.append(client)
        operator = Operator(
            client,
            self._clock,
            caller_id=f"choria={name}",
            identity="client.example.net",
            now=self._clock.seconds,
            signer=signer,
        )
        return client, operator
