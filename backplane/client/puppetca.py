"""A Puppet authority as its HTTP interface shows it.

Its certificates are fetched from whoever answers; everything after that goes over
TLS to a server whose chain leads to them and whose certificate has its name. What a
server can send is bounded in bytes, headers included, and in time.

Source: Puppet Server's ``/puppet-ca/v1``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from backplane.client.weblink import MAX_TOLD, Body, Link, of_server
from backplane.errors import RemoteError
from backplane.security.servernames import address_of
from backplane.security.tls import BrokerSecurity, BrokerTLS
from backplane.webcounted import causes

__all__ = [
    "DEFAULT_PORT",
    "AuthorityError",
    "PuppetAuthority",
    "Refused",
    "Untrusted",
    "read_address",
]

DEFAULT_PORT: Final = 8140

TIMEOUT: Final = 30.0
"""Seconds that one question may take, from the connection to the last byte."""

MAX_BODY: Final = 256 * 1024
"""Bytes of an answer; certificates have some kilobytes."""

MAX_LISTS: Final = 32 * 1024 * 1024
"""Bytes of revocation lists; those of large sites have some megabytes."""


class AuthorityError(RemoteError):
    """The authority could not be asked, or not trusted. The text begins with the URL."""


class Untrusted(AuthorityError):
    """The server has not proven to be of the authority, or not the one that was meant."""


class Refused(AuthorityError):
    """It was asked, and the answer is no.

    :ivar status: of HTTP.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def read_address(text: str, port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Return host and port of ``HOST[:PORT]``; an IPv6 address stands in brackets.

    :raises ValueError: when it is something else.
    """
    wrong = ValueError(f"{text[:80]!r} is not a host, or a host and a port such as puppet:8140")
    host, bracket, rest = text.strip().partition("]")
    if bracket:
        host = host.removeprefix("[")
        plain = ":" in host and address_of(host) is not None and text.strip().startswith("[")
    else:
        host, colon, after = host.partition(":")
        rest = colon + after
        plain = bool(host) and set(host.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
    if not plain or len(host) > 253:
        raise wrong
    if rest:
        digits = rest[1:]
        if rest[0] != ":" or not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
            raise wrong
        port = int(digits)
    if not 0 < port < 65536:
        raise wrong
    return host, port


class PuppetAuthority:
    """Asks one authority; each question has a connection of its own.

    :param clock: for time limits.
    :param timeout: seconds that a question may take.
    :param warn: told of a server certificate that is taken all the same.
    :ivar url: begins the address of everything.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        *,
        clock: IReactorTime,
        timeout: float = TIMEOUT,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        where = f"[{host}]" if ":" in host else host
        self.url = f"https://{where}:{port}/puppet-ca/v1"
        self._reactor = reactor
        self._host = host
        self._port = port
        self._clock = clock
        self._timeout = timeout
        self._warn = warn
        self._tls: BrokerTLS | None = None

    def trust(self, authorities: Sequence[x509.Certificate]) -> None:
        """Talk to servers of these authorities only, from now on."""
        # Puppet's own servers may have a CN and no alternative names.
        self._tls = BrokerTLS(
            authorities, None, legacy=True, warn=lambda text: self._warn(of_server(text))
        )

    async def bundle(self) -> bytes:
        """Return the certificates of the authority, as whoever answers has them.

        :raises AuthorityError: when nobody does.
        """
        found = await self._get("certificate/ca")
        if found is None:
            raise Refused(f"{self.address('certificate/ca')}: there is no authority here", 404)
        return found

    async def lists(self) -> bytes | None:
        """Return its revocation lists; ``None`` when there are none."""
        return await self._get("certificate_revocation_list/ca", MAX_LISTS)

    async def certificate(self, name: str) -> bytes | None:
        """Return the certificate of a name; ``None`` when there is none, or not yet."""
        return await self._get(f"certificate/{name}")

    async def request(self, name: str) -> bytes | None:
        """Return the request for a name that waits to be signed; ``None`` when there is none."""
        return await self._get(f"certificate_request/{name}")

    async def submit(self, name: str, pem: bytes) -> None:
        """Hand in a request.

        :raises Refused: when it is not taken.
        """
        await self._ask("PUT", f"certificate_request/{name}", MAX_BODY, pem)

    def address(self, path: str) -> str:
        """Return the URL of something, for people."""
        return f"{self.url}/{path}"

    async def _get(self, path: str, limit: int = MAX_BODY) -> bytes | None:
        try:
            return await self._ask("GET", path, limit)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def _ask(self, method: str, path: str, limit: int, body: bytes | None = None) -> bytes:
        url = self.address(path)
        security = _Anybody(self._host) if self._tls is None else self._tls(self._host)
        link = Link(self._reactor, self._host, self._port, security, self._timeout, limit)
        asking = Deferred.fromCoroutine(self._exchange(link, method, url, body))
        late: list[bool] = []

        def expire() -> None:
            late.append(True)
            asking.cancel()

        timer: IDelayedCall = self._clock.callLater(self._timeout, expire)
        try:
            status, answer = await asking
        except Exception as error:
            if late:
                raise AuthorityError(f"{url}: no answer within {self._timeout:g} s") from None
            if any(isinstance(cause, CancelledError) for cause in causes(error)):
                raise CancelledError from None
            kind = AuthorityError if security.problem is None else Untrusted
            raise kind(f"{url}: {link.explain(error)}") from None
        finally:
            link.abort()
            if timer.active():
                timer.cancel()
        if not 200 <= status < 300:
            raise Refused(f"{url}: {_told(status, answer)}", status)
        return answer

    async def _exchange(
        self, link: Link, method: str, url: str, body: bytes | None
    ) -> tuple[int, bytes]:
        agent = Agent.usingEndpointFactory(self._reactor, link)
        headers = Headers({"Accept": ["text/plain"], "User-Agent": ["backplane"]})
        if body is not None:
            headers.addRawHeader("Content-Type", "text/plain")
        # Servers of old want an environment; it changes nothing.
        address = f"{url}?environment=production".encode()
        response = await agent.request(
            method.encode(), address, headers, None if body is None else Body(body)
        )
        return response.code, await readBody(response)


def _told(status: int, answer: bytes) -> str:
    """Return what a server says, on one line."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    text = " ".join(answer[: 4 * MAX_TOLD].decode("utf-8", "replace").split())
    return f"{phrase}: {text[:MAX_TOLD]}" if text else phrase


class _Anybody(BrokerSecurity):
    """TLS with whoever answers, before there is anything to tell him by."""

    def __init__(self, host: str) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        super().__init__(context, host, False, lambda text: None)
        context.set_verify(SSL.VERIFY_NONE)

    def _info(self, connection: SSL.Connection, where: int, result: int) -> None:
        """Look at nothing."""
