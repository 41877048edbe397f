"""Operators that are programs: the API of the client, with Deferreds.

:class:`Client` is a service with a connection of its own. Everything goes through
the reactor that it was given. For asyncio see :mod:`backplane.client.aio`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from backplane._version import __version__
from backplane.client.accounting import Outcome
from backplane.client.credentials import Credentials, insecure_credentials, load_credentials
from backplane.client.jobs import make_job
from backplane.client.login import load_login
from backplane.client.run import Operator, Progress
from backplane.config.client import find_config, load_client_config
from backplane.host import home_folder, host_identity
from backplane.nats import credentials as nats
from backplane.nats.client import NatsClient
from backplane.nats.servers import Server
from backplane.security.names import valid_identity

__all__ = ["Client"]

BUFFER: Final = 64 * 1024 * 1024
"""Bytes of requests that are kept; one for each service of a large fleet."""


class Client(Service):
    """Discovers services and asks them.

    :param brokers: addresses, ``host:port`` or URLs.
    :param reactor: provides time, TCP and name resolution; the global one by default.
    :param credentials: who asks, and how he signs; see :meth:`from_config`.
    :param insecure: ask without TLS and signatures instead.
    :param certname: who says to ask, such as ``sre.choria``, in the insecure mode; as for
        the command line by default.
    :param identity: of this host; its name by default.
    :param user, password: for the broker.
    :param login: instead, another way to log in; see :mod:`backplane.nats.credentials`.
    :param retry: connect for ever; otherwise :meth:`when_connected` fails when no broker
        could be reached.
    :param discovery_timeout: seconds, where a request does not say.
    :param now: wall-clock time.
    :param endpoint: makes the endpoint for a broker; TCP by default.
    :raises ValueError: for names that cannot be, and without either ``credentials`` or
        ``insecure``.
    """

    def __init__(
        self,
        brokers: str | Sequence[str],
        reactor: Any = None,
        *,
        credentials: Credentials | None = None,
        insecure: bool = False,
        certname: str | None = None,
        identity: str | None = None,
        user: str | None = None,
        password: str | None = None,
        login: nats.Credentials | None = None,
        retry: bool = True,
        connect_timeout: float = 5.0,
        discovery_timeout: float = 2.0,
        now: Callable[[], float] = time.time,
        endpoint: Callable[[Server], IStreamClientEndpoint] | None = None,
    ) -> None:
        if insecure == (credentials is not None):
            raise ValueError(
                "pass credentials, or insecure=True for networks without security "
                "(Client.from_config reads credentials)"
            )
        if reactor is None:
            from twisted.internet import reactor as default

            reactor = default
        if identity is None:
            identity = host_identity()
        elif not valid_identity(identity):
            raise ValueError(f"{identity[:60]!r} is not an identity")
        if credentials is None:
            credentials = insecure_credentials(identity, os.environ, certname)
        self.caller_id = credentials.caller_id
        self._discovery_timeout = discovery_timeout
        self._nats = NatsClient(
            brokers,
            reactor,
            name=self.caller_id,
            user=user,
            password=password,
            credentials=login,
            retry=retry,
            connect_timeout=connect_timeout,
            buffer_size=BUFFER,
            rng=random.SystemRandom(),
            endpoint=endpoint,
            version=__version__,
            tls=credentials.tls,
            tls_first=credentials.tls_first,
        )
        self._operator = Operator(
            self._nats,
            reactor,
            caller_id=self.caller_id,
            identity=identity,
            now=now,
            signer=credentials.signer,
        )

    @classmethod
    def from_config(cls, path: str | None = None, reactor: Any = None, **options: Any) -> Client:
        """Return a client as Choria's configuration files describe it.

        :param path: the file; looked for where Choria's clients look by default.
        :param options: as for the class; they win over the file.
        :raises ConfigError: when there is no file, or it cannot be used.
        :raises ValueError: as the class.
        """
        return cls(**file_options(path, options), reactor=reactor)

    def startService(self) -> None:
        """Begin to connect; returns at once."""
        super().startService()
        self._nats.startService()

    def stopService(self) -> Deferred[None]:
        """Close the connection; fires when it is closed."""
        if self.running:
            super().stopService()
        return self._nats.stopService()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a broker."""
        return self._nats.is_connected

    def when_connected(self) -> Deferred[None]:
        """Fire when there is a connection; fails as
        :meth:`backplane.nats.client.NatsClient.when_connected`."""
        return self._nats.when_connected()

    def discover(self, service: str, **who: Any) -> Deferred[Mapping[str, int]]:
        """Find the services that match, once there is a connection.

        :param service: the application's name.
        :param who: as for :func:`backplane.client.jobs.make_job`.
        :returns: identities, with how many services have each; fails with a
            :class:`~backplane.nats.errors.NatsError` when the broker is lost.
        :raises ValueError: for what cannot be.
        """
        job = make_job(service, "ping", **self._defaults(who))
        return self._nats.when_connected().addCallback(lambda _: self._operator.discover(job))

    def request(
        self,
        service: str,
        action: str,
        data: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        **who: Any,
    ) -> Deferred[Outcome]:
        """Discover, ask, and collect the answers, once there is a connection.

        :param service: the application's name.
        :param data: inputs of the action.
        :param progress: told of each answer as it comes.
        :param who: as for :func:`backplane.client.jobs.make_job`.
        :returns: what became of it, also when nobody answered. Cancelling it stops it.
        :raises ValueError: for what cannot be.
        """
        if not isinstance(progress, Progress | None):
            raise TypeError(f"progress is a Progress, not {type(progress).__name__}")
        job = make_job(service, action, data, **self._defaults(who))
        connected = self._nats.when_connected()
        return connected.addCallback(lambda _: self._operator.request(job, progress))

    def _defaults(self, who: Mapping[str, Any]) -> dict[str, Any]:
        return {"discovery_timeout": self._discovery_timeout, **who}


def file_options(path: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of :class:`Client` that a file and ``options`` give.

    :raises ConfigError: when there is no file, or it cannot be used.
    """
    home = home_folder()
    searched: list[str] = []
    if path is None:
        path, searched = find_config(home, os.path.exists)
    config = load_client_config(path, home=home, cwd=os.getcwd(), env=os.environ, searched=searched)
    given: dict[str, Any] = {
        "brokers": config.middleware_hosts,
        "identity": config.identity,
        "connect_timeout": config.connect_timeout,
        "discovery_timeout": config.discovery_timeout,
    }
    if not options.get("insecure") and "credentials" not in options:
        identity = config.identity or host_identity()
        certname = options.get("certname")
        given["credentials"] = load_credentials(config, identity, os.environ, certname)
    if options.get("login") is None:
        if config.credentials is None or options.get("user"):
            given.update(user=config.user, password=config.password)
        else:
            given["login"] = load_login(config)
    return {**given, **options}
