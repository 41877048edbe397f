"""How a client introduces itself: the fields of ``CONNECT``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs.validators import instance_of

from backplane.nats.credentials import Credentials, Token, UserPassword
from backplane.nats.errors import BadCredentials, ConnectionFailed
from backplane.nats.servers import Server

__all__ = ["Login", "choose"]


def choose(
    credentials: Credentials | None,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
) -> Credentials | None:
    """Return the one way that is given; ``None`` when there is none.

    :raises BadCredentials: when there are several.
    """
    given = {"credentials": credentials, "user": user, "token": token}
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise BadCredentials(" and ".join(names), "one of them")
    if token:
        return Token(token)
    if user:
        return UserPassword(user, password or "")
    if credentials is not None and not callable(getattr(credentials, "fields", None)):
        kind = type(credentials).__name__
        raise BadCredentials(f"an object of type {kind}", "credentials such as Token or CredsFile")
    return credentials


@attrs.frozen
class Login:
    """Who we are.

    :ivar name: shown by servers in their list of connections.
    :ivar user, password, token: they win over those in a server's address.
    :ivar verbose: let the server acknowledge each command.
    :ivar credentials: any other way, instead of ``user`` and ``token``.
    :ivar echo: what we publish comes back to our own subscriptions.
    :ivar pedantic: let the server check subjects.
    :raises BadCredentials: for several ways at once.
    """

    name: str = attrs.field(default="", validator=instance_of(str))
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    verbose: bool = False
    version: str = "0"
    credentials: Credentials | None = attrs.field(default=None, repr=False, kw_only=True)
    echo: bool = attrs.field(default=True, kw_only=True)
    pedantic: bool = attrs.field(default=False, kw_only=True)
    _given: Credentials | None = attrs.field(init=False, repr=False)

    @_given.default
    def _choose(self) -> Credentials | None:
        return choose(self.credentials, self.user, self.password, self.token)

    def fields(self, info: Mapping[str, Any], server: Server, secure: bool) -> dict[str, Any]:
        """Return the fields for a server that said ``info``.

        :param secure: the connection has, or is about to have, TLS.

        Credentials are sent also to servers that do not ask for them: one with a
        default user does not, and would silently take us for that one.

        :raises ConnectionFailed: when the server wants TLS, or there are no credentials
            that can be used.
        """
        if info.get("tls_required") and not secure:
            text = "the broker wants TLS, and none is configured"
            raise ConnectionFailed(text, server.address, "tls")
        fields: dict[str, Any] = {
            "verbose": self.verbose,
            "pedantic": self.pedantic,
            "tls_required": secure,
            "name": self.name,
            "lang": "python-twisted",
            "version": self.version,
            "protocol": 1,
            "echo": self.echo,
        }
        if info.get("headers") is True:
            fields["headers"] = fields["no_responders"] = True
        return {**fields, **self._credentials(info, server)}

    def _credentials(self, info: Mapping[str, Any], server: Server) -> Mapping[str, Any]:
        given = self._given
        if given is None:
            given = choose(None, server.user, server.password, server.token)
        if given is None:
            return {}
        try:
            return given.fields(info)
        except BadCredentials as error:
            text = f"our credentials cannot be used: {error}"
            raise ConnectionFailed(text, server.address, "login") from error
        except Exception as error:
            # Its words may have the secret in them.
            text = f"our credentials failed with {type(error).__name__}"
            raise ConnectionFailed(text, server.address, "login") from error
