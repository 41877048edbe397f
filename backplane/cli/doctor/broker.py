"""One broker, tried for real: its socket, TLS, login, and each subject.

What is found is told in words by :mod:`backplane.cli.doctor.fixes`; here is the
Twisted part, which connects with the client that services and operators have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from cryptography import x509
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from backplane._version import __version__
from backplane.cli.doctor.dates import dates
from backplane.cli.doctor.findings import Finding, failed, ok, skipped, warning
from backplane.cli.doctor.fixes import connect_fix, grant, login_fix, tls_fix
from backplane.cli.doctor.party import Party
from backplane.cli.doctor.subjects import Wanted
from backplane.client.accounting import ExitCode
from backplane.nats.client import ConnectFailed, NatsClient, ServerError
from backplane.nats.errors import NatsError
from backplane.nats.layer import Security
from backplane.nats.servers import Server, parse_server

__all__ = ["BrokerCheck"]


@attrs.define
class BrokerCheck:
    """Tries one server of the pool.

    :param address: as configured, with its credentials.
    :param tls: makes the security of a connection; ``None`` where TLS cannot be tried.
    :param wanted: subjects; ``None`` when they are not known.
    :param heard: publish also what consumers notice.
    :param now: Unix time.
    :param timeout: seconds for the socket, again for the handshake, and for each answer.
    :param endpoint: makes the endpoint of a server; TCP by default. For tests.
    :ivar client: whoever made this closes it.
    :ivar warnings: what TLS has said of the certificate of this server.
    """

    party: Party
    address: str = attrs.field(repr=False)
    tls: Callable[[Server], Security] | None
    wanted: Wanted | None
    heard: bool
    reactor: Any
    now: float
    timeout: float
    endpoint: Callable[[Server], IStreamClientEndpoint] | None = None
    client: NatsClient | None = None
    warnings: list[str] = attrs.Factory(list)
    _found: list[Finding] = attrs.Factory(list)

    async def run(self) -> list[Finding]:
        """Return what was found, in order; each begins with the server's address."""
        server = parse_server(self.address)
        if self.party.secure and self.tls is None:
            await self._only_socket(server)
            return self._found
        watched: list[_Watched] = []

        def secure(server: Server) -> Security:
            assert self.tls is not None
            watched.append(_Watched(self.tls(server)))
            return watched[-1]

        party, events = self.party, _Events()
        client = NatsClient(
            [self.address],
            self.reactor,
            name=party.identity if party.kind == "service" else party.caller_id,
            user=None if party.login else party.user,
            password=None if party.login else party.password,
            token=None if party.login else party.token,
            credentials=party.login,
            endpoint=self.endpoint,
            retry=False,
            connect_timeout=self.timeout,
            stop_timeout=1.0,
            rng=random.SystemRandom(),
            version=__version__,
            tls=secure if self.tls is not None else None,
            tls_first=party.tls_first,
        )
        client.add_listener(events)
        self.client = client
        client.startService()
        try:
            await client.when_connected()
        except NatsError as error:
            self._not_connected(server, events.failed or error)
            return self._found
        self._connected(server, watched[-1] if watched else None)
        await self._subjects(server, client, events)
        return self._found

    def _say(self, server: Server, finding: Finding) -> None:
        told = f"{server.address}: {finding.detail}"
        self._found.append(attrs.evolve(finding, detail=told))

    async def _only_socket(self, server: Server) -> None:
        """See whether somebody listens, where TLS cannot be tried."""
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        try:
            protocol: Any = await self._point(server).connect(factory)
        except Exception as error:
            self._unreachable(server, str(error) or type(error).__name__)
            return
        protocol.transport.abortConnection()
        self._say(server, ok("broker.tcp", "somebody listens there"))
        for check in ("broker.tls", "broker.login", "broker.subscribe", "broker.publish"):
            self._say(server, skipped(check, "our own certificate or the CA file cannot be used"))

    def _point(self, server: Server) -> IStreamClientEndpoint:
        if self.endpoint is not None:
            return self.endpoint(server)
        return HostnameEndpoint(self.reactor, server.host, server.port, timeout=self.timeout)

    def _unreachable(self, server: Server, text: str) -> None:
        cause = ExitCode.UNREACHABLE
        self._say(server, failed("broker.tcp", _plain(text), connect_fix(text), cause))
        self._skip(server, ("broker.tls", "broker.login"), "it cannot be reached")

    def _skip(self, server: Server, checks: tuple[str, ...], why: str) -> None:
        for check in (*checks, "broker.subscribe", "broker.publish"):
            if check != "broker.tls" or self.tls is not None:
                self._say(server, skipped(check, why))

    def _not_connected(self, server: Server, error: Exception) -> None:
        text, phase = _plain(str(error)), getattr(error, "phase", "")
        if phase == "connect":
            self._unreachable(server, text)
            return
        self._say(server, ok("broker.tcp", "somebody listens there"))
        silent = phase == "info" and self.tls is not None and "not a NATS" not in text
        if phase == "tls" or silent:
            fix, ours = tls_fix(text, self.party), "rejected" in text
            cause = ExitCode.CREDENTIALS if ours else ExitCode.UNREACHABLE
            self._say(server, failed("broker.tls", text, fix, cause))
            self._skip(server, ("broker.login",), "there is no TLS connection")
            return
        if phase == "login":
            if self.tls is not None:
                self._say(server, skipped("broker.tls", "our credentials cannot be used"))
            fix = login_fix(text, self.party)
            self._say(server, failed("broker.login", text, fix, ExitCode.CREDENTIALS))
            self._skip(server, (), "the broker was not told who we are")
            return
        if phase == "handshake" and self.tls is not None:
            self._say(server, ok("broker.tls", "the handshake is done"))
        refused = "authorization" in text.lower() or "authentication" in text.lower()
        cause = ExitCode.CREDENTIALS if refused else ExitCode.UNREACHABLE
        self._say(server, failed("broker.login", text, login_fix(text, self.party), cause))
        self._skip(server, (), "the broker does not let us in")

    def _connected(self, server: Server, watched: _Watched | None) -> None:
        self._say(server, ok("broker.tcp", "somebody listens there"))
        if watched is not None:
            for finding in self._secured(server, watched):
                self._say(server, finding)
        assert self.client is not None
        payload = self.client.max_payload or 0
        party = self.party
        if party.token or (server.token and party.login is None):
            who = "with the token"
        elif party.user or (server.user and party.login is None):
            who = f"as user {party.user or server.user}"
        elif party.login is not None:
            who = f"with {' and '.join(party.login_files)}"
        else:
            who = "without user and password"
        self._say(server, ok("broker.login", f"let in {who}; messages may have {payload:,} bytes"))

    def _secured(self, server: Server, watched: _Watched) -> Iterator[Finding]:
        yield ok(
            "broker.tls", f"{watched.version}, {watched.cipher}, a certificate for {server.host}"
        )
        for text in self.warnings:
            fix = "give the broker a certificate with subjectAltName"
            yield warning("broker.certificate", text, fix)
        if watched.certificate is not None:
            fix = "renew the broker's certificate"
            yield dates("broker.certificate", watched.certificate, self.now, fix=fix)

    async def _subjects(self, server: Server, client: NatsClient, events: _Events) -> None:
        wanted = self.wanted
        if wanted is None:
            why = "the subjects begin with the name of a service"
            for check in ("broker.subscribe", "broker.publish"):
                self._say(server, skipped(check, why, "name one with --service"))
            return
        try:
            await self._subscribe(server, client, wanted)
        except NatsError as error:
            self._lost(server, "broker.subscribe", error)
            self._say(server, skipped("broker.publish", "the connection is lost"))
            return
        try:
            await self._publish(server, client, wanted, events)
        except NatsError as error:
            self._lost(server, "broker.publish", error)

    def _lost(self, server: Server, check: str, error: NatsError) -> None:
        fix, cause = "the broker's log says why", ExitCode.UNREACHABLE
        self._say(server, failed(check, _plain(str(error)), fix, cause))

    async def _subscribe(self, server: Server, client: NatsClient, wanted: Wanted) -> None:
        check = "broker.subscribe"
        needed = [client.subscribe(subject, _ignore) for subject in wanted.subscribe]
        others = [(client.subscribe(each, _ignore), what) for each, what in wanted.optional]
        await client.flush(self.timeout)
        for each in needed:
            if each.denied is not None:
                self._denied(server, check, each.subject, each.denied, "subscribe")
        for each, what in others:
            if each.denied is not None:
                text = f"{_plain(each.denied)}; without it {what}"
                self._say(server, warning(check, text, grant(each.subject, "subscribe")))
        allowed = [
            each.subject for each in (*needed, *(one for one, _ in others)) if not each.denied
        ]
        if allowed:
            self._say(server, ok(check, f"allowed: {', '.join(allowed)}"))
        for each in (*needed, *(one for one, _ in others)):
            each.unsubscribe()

    async def _publish(
        self, server: Server, client: NatsClient, wanted: Wanted, events: _Events
    ) -> None:
        check = "broker.publish"
        tried = (*wanted.publish, *(wanted.heard if self.heard else ()))
        for subject in tried:
            client.publish(subject, b"")
        await client.flush(self.timeout)
        for subject, text in events.denied.items():
            self._denied(server, check, subject, text, "publish")
        allowed = [subject for subject in tried if subject not in events.denied]
        if allowed:
            self._say(server, ok(check, f"allowed: {', '.join(allowed)}"))
        if wanted.heard and not self.heard:
            why = f"not tried, as others would hear it: {', '.join(wanted.heard)}"
            self._say(server, skipped(check, why, "try them with --publish"))

    def _denied(self, server: Server, check: str, subject: str, text: str, verb: str) -> None:
        fix = grant(subject, verb)
        self._say(server, failed(check, _plain(text), fix, ExitCode.CREDENTIALS))


class _Events:
    """What the client tells: the last failure, and subjects that may not be published to."""

    def __init__(self) -> None:
        self.failed: Exception | None = None
        self.denied: dict[str, str] = {}

    def __call__(self, event: object) -> None:
        if isinstance(event, ConnectFailed):
            self.failed = event.reason
        elif isinstance(event, ServerError) and event.kind == "publish" and event.subject:
            self.denied[event.subject] = event.text


@implementer(IOpenSSLClientConnectionCreator)
class _Watched:
    """A security whose connection can be looked at."""

    def __init__(self, security: Security) -> None:
        self._security = security
        self._connection: Any = None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """See :class:`backplane.nats.layer.Security`."""
        self._connection = self._security.clientConnectionForTLS(tlsProtocol)
        return self._connection

    def explain(self, error: BaseException | None) -> str | None:
        """See :class:`backplane.nats.layer.Security`."""
        return self._security.explain(error)

    @property
    def version(self) -> str:
        """Such as ``TLSv1.3``."""
        return str(self._connection.get_protocol_version_name())

    @property
    def cipher(self) -> str:
        """What is agreed on."""
        return str(self._connection.get_cipher_name())

    @property
    def certificate(self) -> x509.Certificate | None:
        """The server's."""
        found: x509.Certificate | None = self._connection.get_peer_certificate(as_cryptography=True)
        return found


def _ignore(message: object) -> None:
    pass


def _plain(text: str) -> str:
    """Return a reason on one line, without the dots at its end."""
    return " ".join(text.split()).rstrip(".")
