"""What servers tell of their cluster: who else there is, and that one of them is about to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backplane.nats.connection import NatsConnection
from backplane.nats.events import Discovered, LameDuck
from backplane.nats.servers import Server, ServerPool

__all__ = ["Gossip"]


class Gossip:
    """Reads what each INFO says of the cluster.

    :param emit: told what :mod:`backplane.nats.events` has for it.
    :param leave: called when the connected server is about to end and another one is known.
    :param enabled: servers that are not configured are used, too.
    """

    def __init__(
        self,
        pool: ServerPool,
        emit: Callable[[object], None],
        leave: Callable[[str], None],
        *,
        enabled: bool,
    ) -> None:
        self._pool = pool
        self._emit = emit
        self._leave = leave
        self._enabled = enabled
        self._lame: NatsConnection | None = None

    def greeted(self, connection: NatsConnection, server: Server) -> None:
        """Take the first INFO of a connection that is used from now on."""
        self._learn(connection, server)

    def heard(self, connection: NatsConnection, server: Server) -> None:
        """Take a later one. Only there a lame duck counts: two of them must not play ball."""
        new = self._learn(connection, server)
        if connection.session.info.get("ldm") is not True:
            return
        first = self._lame is not connection
        self._lame = connection
        if first:
            self._emit(LameDuck(server.url))
        if (first or new) and self.others(server):
            self._leave(f"{server.address} is about to end")

    def others(self, server: Server) -> Sequence[Server]:
        """Return the servers of the pool but this one."""
        here = (server.host, server.port)
        return [each for each in self._pool.servers if (each.host, each.port) != here]

    def is_lame(self, connection: NatsConnection) -> bool:
        """Whether the server at the other end has said that it will end."""
        return self._lame is connection

    def _learn(self, connection: NatsConnection, server: Server) -> bool:
        urls = connection.session.info.get("connect_urls")
        if not self._enabled or not isinstance(urls, list):
            return False
        new = self._pool.learn(urls, server)
        for each in new:
            self._emit(Discovered(each.url))
        return bool(new)
