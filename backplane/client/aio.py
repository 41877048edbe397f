"""Operators that are programs: the API of the client for asyncio.

Everything is awaitable on the loop that runs. Clients can be started and stopped
any number of times, several at once; none touches the host's loop, its signal
handlers, or Twisted's global reactor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from backplane.client.accounting import Outcome
from backplane.client.client import Client, file_options
from backplane.client.run import Progress
from backplane.errors import StateError
from backplane.reactors.hosted import HostedReactor

__all__ = ["AsyncClient"]

_T = TypeVar("_T")


class AsyncClient:
    """Discovers services and asks them::

        async with AsyncClient("broker.example.net:4222", insecure=True) as client:
            outcome = await client.request("shop", "ping")

    :param brokers: addresses, ``host:port`` or URLs.
    :param options: as for :class:`backplane.client.client.Client`, without ``reactor``.
    """

    def __init__(self, brokers: str | Sequence[str], **options: Any) -> None:
        self._brokers = brokers
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reactor: HostedReactor | None = None
        self._client: Client | None = None

    @classmethod
    def from_config(cls, path: str | None = None, **options: Any) -> AsyncClient:
        """Return a client as Choria's configuration files describe it.

        :param path: the file; looked for where Choria's clients look by default.
        :param options: as for the class; they win over the file.
        :raises ConfigError: when there is no file, or it cannot be used.
        """
        return cls(**file_options(path, options))

    async def __aenter__(self) -> AsyncClient:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to connect.

        :raises StateError: when it is started already.
        :raises ValueError: as :class:`~backplane.client.client.Client`.
        """
        if self._client is not None:
            raise StateError("the client is started already")
        self._loop = asyncio.get_running_loop()
        reactor = HostedReactor(self._loop)
        reactor.open()
        try:
            client = Client(self._brokers, reactor, **self._options)
        except BaseException:
            await reactor.close()
            raise
        self._reactor, self._client = reactor, client
        client.startService()

    async def close(self) -> None:
        """Close the connection and leave nothing behind; twice does nothing."""
        client, reactor = self._client, self._reactor
        if client is None or reactor is None:
            return
        loop = self._here()
        self._client = self._reactor = None
        try:
            await maybeDeferred(client.stopService).asFuture(loop)
        finally:
            await reactor.close()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a broker."""
        return self._client is not None and self._client.is_connected

    async def when_connected(self) -> None:
        """Wait until there is a connection; raises as
        :meth:`backplane.nats.client.NatsClient.when_connected`."""
        await self._awaited(self._started().when_connected())

    async def discover(self, service: str, **who: Any) -> Mapping[str, int]:
        """Find the services that match, see :meth:`Client.discover`.

        :returns: identities, with how many services have each.
        :raises NatsError: when the broker is lost.
        :raises ValueError: for what cannot be.
        """
        return await self._awaited(self._started().discover(service, **who))

    async def request(
        self,
        service: str,
        action: str,
        data: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        **who: Any,
    ) -> Outcome:
        """Discover, ask, and collect the answers, see :meth:`Client.request`.

        Cancelling the task stops it.

        :raises ValueError: for what cannot be.
        """
        client = self._started()
        return await self._awaited(client.request(service, action, data, progress=progress, **who))

    def _started(self) -> Client:
        self._here()
        if self._client is None:
            raise StateError("the client is not started: use it with 'async with', or start()")
        return self._client

    def _here(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._client is not None and loop is not self._loop:
            raise StateError("the client belongs to another event loop")
        return loop

    async def _awaited(self, waiting: Deferred[_T]) -> _T:
        return await waiting.asFuture(self._here())
