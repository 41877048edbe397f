"""How a client proves who it is: what it adds to ``CONNECT``.

Each way is an object whose :meth:`Credentials.fields` is called at every connect, so
that files are read and callables asked again: what was renewed is used without a
restart. Where a text is wanted, a callable that returns one will do, such as
:class:`TextFile`. Seeds and passwords are in no ``repr`` and in no error.

Source: NATS client protocol; ADR-14; Choria protocol 2.9.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs

from backplane.nats.creds import Claims, read_claims, read_jwt, read_seed
from backplane.nats.errors import BadCredentials
from backplane.nats.nkeys import KeyPair, Owner
from backplane.nats.sources import (
    FileSource,
    JWTFile,
    SeedFile,
    Source,
    TextFile,
    ask,
    check_source,
    known,
    read_file,
)

__all__ = [
    "ChoriaJWT",
    "Credentials",
    "CredsFile",
    "JWTFile",
    "NKey",
    "SeedFile",
    "Source",
    "TextFile",
    "Token",
    "UserJWT",
    "UserPassword",
]

MAX_NONCE: Final = 256
"""Characters of the longest nonce that is signed; servers send 15."""


class Credentials(Protocol):
    """One way of saying who we are.

    Mistakes in texts are told when they are made, those in files by :meth:`check`.
    """

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields of ``CONNECT`` for a server that said ``info``.

        :raises BadCredentials: when there are none that can be used.
        """

    def check(self) -> None:
        """Look for mistakes before the start: files are read, callables are not asked.

        :raises BadCredentials: with the first one.
        """


@attrs.frozen
class UserPassword:
    """A user and a password.

    :raises BadCredentials: for no name, and what is neither text nor a callable.
    """

    user: Source = attrs.field(repr=False)
    password: Source = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        check_source(self.user, "a user name")
        check_source(self.password, "a password", empty=True)

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        return {
            "user": ask(self.user, "a user name"),
            "pass": ask(self.password, "a password", empty=True),
        }

    def check(self) -> None:
        """See :class:`Credentials`."""
        known(self.user, "a user name")
        if not isinstance(self.password, str):
            known(self.password, "a password")


@attrs.frozen
class Token:
    """A token.

    :raises BadCredentials: for an empty one, and what is neither text nor a callable.
    """

    token: Source = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        check_source(self.token, "a token")

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        return {"auth_token": ask(self.token, "a token")}

    def check(self) -> None:
        """See :class:`Credentials`."""
        known(self.token, "a token")


@attrs.frozen
class NKey:
    """The key of a user; the server knows its public half.

    :ivar seed: ``SU…``.
    :raises BadCredentials: for a text that is no seed of a user.
    """

    seed: Source = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.seed, str):
            self.check()

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        keys = _keys(ask(self.seed, "a seed"), self.seed)
        if not info.get("nonce"):
            raise BadCredentials("a server that does not support nkeys", "one that sends a nonce")
        return {"nkey": keys.public, "sig": _sign(keys.sign, info)}

    def check(self) -> None:
        """See :class:`Credentials`."""
        seed = known(self.seed, "a seed")
        if seed is not None:
            _keys(seed, self.seed)


@attrs.frozen
class UserJWT:
    """A user's JWT, and a seed or a callable that signs for it.

    :ivar seed: of the user; a JWT that is a bearer token needs none.
    :ivar sign: instead of the seed: takes the nonce, returns its signature.
    :raises BadCredentials: for texts that are not, or do not belong together.
    """

    jwt: Source = attrs.field(repr=False)
    seed: Source | None = attrs.field(default=None, repr=False)
    sign: Callable[[bytes], bytes] | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.seed is not None and self.sign is not None:
            raise BadCredentials("a seed and sign", "one of the two")
        if isinstance(self.jwt, str) and isinstance(self.seed, str | None):
            self.check()

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        jwt = ask(self.jwt, "a JWT")
        seed = None if self.seed is None else ask(self.seed, "a seed")
        return _jwt_fields(jwt, seed, self.sign, info, self.seed)

    def check(self) -> None:
        """See :class:`Credentials`."""
        jwt = known(self.jwt, "a JWT")
        seed = None if self.seed is None else known(self.seed, "a seed")
        if seed is not None:
            _keys(seed, self.seed)
        if jwt is not None and (seed is not None or (self.seed is None and self.sign is None)):
            _match(jwt, seed, self.jwt)

    def claims(self) -> Claims:
        """Return what the JWT says; :raises BadCredentials: when there is none to be read."""
        return _claims(ask(self.jwt, "a JWT"), _path(self.jwt))


@attrs.frozen
class CredsFile:
    """A file with JWT and seed, as NATS's tools write it; the JWT of a bearer needs no seed."""

    path: str = attrs.field(converter=os.fspath)

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        jwt, seed = self._load()
        return _jwt_fields(jwt, seed, None, info, self)

    def check(self) -> None:
        """See :class:`Credentials`."""
        self._load()

    def claims(self) -> Claims:
        """Return what the JWT says; :raises BadCredentials: when there is none to be read."""
        return _claims(self._load()[0], self.path)

    def _load(self) -> tuple[str, str | None]:
        data = read_file(self.path)
        try:
            jwt = read_jwt(data)
            seed = None if read_claims(jwt).bearer else read_seed(data)
        except BadCredentials as error:
            raise BadCredentials(error.found, error.wanted, self.path) from None
        _match(jwt, seed, self)
        return jwt, seed


@attrs.frozen
class ChoriaJWT:
    """A JWT of Choria, and the seed of its key as Choria writes it: 64 hexadecimal digits."""

    jwt: Source = attrs.field(repr=False)
    seed: Source = attrs.field(repr=False)

    def fields(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Credentials`."""
        jwt = ask(self.jwt, "a JWT").strip()
        sign = _choria_signer(ask(self.seed, "a seed"), self.seed)
        return {"auth_token": jwt, "jwt": jwt, "sig": _sign(sign, info)}

    def check(self) -> None:
        """See :class:`Credentials`."""
        known(self.jwt, "a JWT")
        seed = known(self.seed, "a seed")
        if seed is not None:
            _choria_signer(seed, self.seed)


def _path(source: object) -> str | None:
    return source.path if isinstance(source, FileSource | CredsFile) else None


def _keys(seed: str, source: object) -> KeyPair:
    try:
        keys = KeyPair.from_seed(seed.strip())
        if keys.owner is not Owner.USER:
            raise BadCredentials(f"the seed of an {keys.owner.name.lower()}", "that of a user")
    except BadCredentials as error:
        raise BadCredentials(error.found, error.wanted, _path(source)) from None
    return keys


def _claims(jwt: str, path: str | None) -> Claims:
    try:
        return read_claims(jwt.strip())
    except BadCredentials as error:
        raise BadCredentials(error.found, error.wanted, path) from None


def _match(jwt: str, seed: str | None, source: object) -> None:
    """Check that a seed is that of a JWT.

    :raises BadCredentials: when it is not, or when there must be one.
    """
    path = _path(source)
    claims = _claims(jwt, path)
    if seed is None:
        if not claims.bearer:
            raise BadCredentials("a JWT without a seed", "both", path)
        return
    keys = _keys(seed, source)
    if keys.public != claims.subject:
        raise BadCredentials(f"the seed of {keys.public}", f"that of {claims.subject}", path)


def _jwt_fields(
    jwt: str,
    seed: str | None,
    sign: Callable[[bytes], bytes] | None,
    info: Mapping[str, Any],
    source: object,
) -> Mapping[str, Any]:
    fields = {"jwt": jwt.strip()}
    if seed is not None:
        sign = _keys(seed, source).sign
    if sign is not None and info.get("nonce"):
        fields["sig"] = _sign(sign, info)
    return fields


def _sign(sign: Callable[[bytes], bytes], info: Mapping[str, Any]) -> str:
    nonce = info.get("nonce")
    # Whoever can choose what is signed has our key, so only what looks like a nonce is.
    if not isinstance(nonce, str) or not nonce.isascii() or not 0 < len(nonce) <= MAX_NONCE:
        raise BadCredentials("no nonce in the server's INFO", "a short one")
    try:
        signature = sign(nonce.encode("ascii"))
        return base64.urlsafe_b64encode(signature).decode("ascii").rstrip("=")
    except Exception as error:
        raise BadCredentials(f"a {type(error).__name__} when signing", "a signature") from error


def _choria_signer(seed: str, source: object) -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    digits = seed.strip()
    try:
        if len(digits) != 64:
            raise ValueError
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digits)).sign
    except ValueError:
        raise BadCredentials(
            "something else", "a seed of 64 hexadecimal digits", _path(source)
        ) from None
