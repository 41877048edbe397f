"""Opening one connection to one server, with the security that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs
from attrs.validators import and_, gt, instance_of, lt
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from backplane.nats.connection import NatsConnection, Owner
from backplane.nats.errors import ConnectionFailed
from backplane.nats.layer import Creator
from backplane.nats.login import Login
from backplane.nats.servers import Server

__all__ = ["Manners", "Opener"]


_TIME: Final[Any] = and_(instance_of((int, float)), gt(0), lt(math.inf))


@attrs.frozen(kw_only=True)
class Manners:
    """How connections are made and kept.

    :ivar retry: keep trying; otherwise one walk through the servers.
    :ivar connect_timeout: seconds for the handshake.
    :ivar ping_interval: seconds between keep-alive PINGs.
    :ivar max_unanswered: keep-alive PINGs that may be unanswered.
    :ivar backlog: bytes of publishes kept while a socket does not drain.
    :ivar tls_first: TLS before INFO.
    :ivar gossip: servers that other servers tell of are used.
    :ivar max_attempts: failed tries after which a server is given up; for ever when negative.
    :raises TypeError, ValueError: for a time that is no number above 0.
    """

    retry: bool
    connect_timeout: float = attrs.field(validator=_TIME)
    ping_interval: float = attrs.field(validator=_TIME)
    max_unanswered: int
    backlog: int
    tls_first: bool = False
    gossip: bool = True
    max_attempts: int = -1


@attrs.frozen(kw_only=True)
class Opener:
    """Makes connections.

    :ivar endpoint: makes the endpoint for a server.
    :ivar tls: makes the security of a connection to a server, ``None`` for none.
    """

    clock: IReactorTime
    endpoint: Callable[[Server], IStreamClientEndpoint]
    login: Login
    manners: Manners
    tls: Callable[[Server], Creator | None] | None = None

    def prepare(self, server: Server, owner: Owner) -> NatsConnection:
        """Return a connection to a server, which is to be opened.

        :raises ConnectionFailed: phase ``tls``, when there cannot be one.
        """
        try:
            security = None if self.tls is None else self.tls(server)
        except Exception as error:
            text = f"TLS cannot be set up: {error}"
            raise ConnectionFailed(text, server.address, "tls") from None
        if server.scheme == "tls" and security is None:
            text = "tls:// needs certificates, and none are configured"
            raise ConnectionFailed(text, server.address, "tls")
        return NatsConnection(
            owner,
            self.clock,
            lambda info: self.login.fields(info, server, security is not None),
            address=server.address,
            handshake_timeout=self.manners.connect_timeout,
            ping_interval=self.manners.ping_interval,
            max_unanswered=self.manners.max_unanswered,
            backlog=self.manners.backlog,
            security=security,
            tls_first=self.manners.tls_first,
        )

    def open(self, connection: NatsConnection, server: Server) -> Deferred[Any]:
        """Begin to open it; fires when the socket is open, fails when it cannot be."""
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        return self.endpoint(server).connect(factory)
