"""How a client introduces itself: the fields of ``CONNECT``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from backplane.nats.errors import ConnectionFailed
from backplane.nats.servers import Server

__all__ = ["Login"]


@attrs.frozen
class Login:
    """Who we are.

    :ivar name: shown by servers in their list of connections.
    :ivar user, password, token: they win over those in a server's address.
    :ivar verbose: let the server acknowledge each command.
    """

    name: str = ""
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    verbose: bool = False
    version: str = "0"

    def fields(self, info: Mapping[str, Any], server: Server, secure: bool) -> dict[str, Any]:
        """Return the fields for a server that said ``info``.

        :param secure: the connection has, or is about to have, TLS.

        Credentials are sent also to servers that do not ask for them: one with a
        default user does not, and would silently take us for that one.

        :raises ConnectionFailed: when the server wants TLS.
        """
        if info.get("tls_required") and not secure:
            text = "the broker wants TLS, and none is configured"
            raise ConnectionFailed(text, server.address, "tls")
        fields: dict[str, Any] = {
            "verbose": self.verbose,
            "pedantic": False,
            "tls_required": secure,
            "name": self.name,
            "lang": "python-twisted",
            "version": self.version,
            "protocol": 1,
            "echo": True,
        }
        if info.get("headers") is True:
            fields["headers"] = fields["no_responders"] = True
        return {**fields, **self._credentials(server)}

    def _credentials(self, server: Server) -> dict[str, Any]:
        if self.token:
            return {"auth_token": self.token}
        if self.user:
            return {"user": self.user, "pass": self.password}
        if server.token:
            return {"auth_token": server.token}
        if server.user:
            return {"user": server.user, "pass": server.password}
        return {}
