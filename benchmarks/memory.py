"""A whole service in this process: bytes of a broker in, bytes of the service out."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from backplane.config.service import parse
from backplane.config.settings import ServiceConfig
from backplane.logs import ManagementLog
from backplane.nats.servers import Server
from backplane.node.node import Node, NodeParts
from backplane.node.renewal import Sources
from backplane.node.trust import Trust
from backplane.security.signing import Verifier
from backplane.testing import RecordingApplication
from benchmarks.messages import IDENTITY, NAME

__all__ = ["MemoryService", "service_config"]

_INFO: Final = b'INFO {"server_id":"S","version":"2.11.0","max_payload":1048576,"headers":true}\r\n'


class _Wire:
    """A transport that keeps what is written."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.written.extend(parts)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """A wire without an end never holds a producer back."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    def take(self) -> bytes:
        """Return all that was written, and keep none of it."""
        data = b"".join(self.written)
        self.written.clear()
        return data


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, service: MemoryService) -> None:
        self._service = service

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        self._service.protocol = protocol
        protocol.makeConnection(self._service.wire)
        return succeed(protocol)


def service_config(**settings: Any) -> ServiceConfig:
    """Return the configuration of a service with some settings of its own."""
    fields = {
        "name": NAME,
        "identity": IDENTITY,
        "brokers": ["localhost:4222"],
        "auth": {"full": ["sre.choria"]},
        **settings,
    }
    return parse(fields, env={}, hostname="host.example.net", pid=1)


class MemoryService:
    """A connected service with every feature.

    :ivar protocol: its end of the connection.
    :ivar wire: what it writes to.
    """

    def __init__(self, verifier: Verifier | None, facts: Mapping[str, Any]) -> None:
        """
        :param verifier: whom it believes; everybody without.
        :param facts: of the application.
        """
        self.wire = _Wire()
        self.protocol: Protocol
        clock: Any = Clock()
        clock.rightNow = time.time()
        log = ManagementLog("warn", None, globalLogPublisher)
        config = service_config()
        sources = Sources(config, print)
        if verifier is not None:
            sources.trust.value = Trust(verifier=verifier)
        app = RecordingApplication(facts)
        names = ("info_source", "pausable", "health", "stopable", "log_level")
        node = Node(
            NodeParts(
                config=config,
                provided=dict.fromkeys(names, (app, "reactor")),
                agents=(),
                data_publisher=False,
                reactor=clock,
                now=time.time,
                endpoint=self._endpoint,
                threads=None,
                rng=random.Random(1),
                logger=log.logger,
                changed=lambda state: None,
                sources=sources,
            )
        )
        node.start()
        self.protocol.dataReceived(_INFO)
        self.protocol.dataReceived(b"PONG\r\n")
        self._sids = {
            words[1].decode(): words[-1]
            for line in self.wire.take().splitlines()
            if (words := line.split()) and words[0] == b"SUB"
        }
        self.protocol.dataReceived(b"PONG\r\n")
        self.wire.take()
        self.counters = node.admission.counters

    def _endpoint(self, server: Server) -> IStreamClientEndpoint:
        return _Endpoint(self)

    def message(self, subject: str, payload: bytes) -> bytes:
        """Return the bytes by which a broker delivers a message."""
        head = f"MSG {subject} {self._sids[subject].decode()} {len(payload)}\r\n"
        return head.encode() + payload + b"\r\n"

    def receive(self, data: bytes) -> None:
        """Let the service have bytes of the broker."""
        self.protocol.dataReceived(data)

    def replies(self) -> int:
        """Return how many messages it has published since this was asked last."""
        return self.wire.take().count(b"PUB ")
