"""An operator, accounts and users of NATS, made on the spot: what a server in operator mode wants.

Keys are always the same, so that tests can name them; nobody must believe them elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from backplane.nats.nkeys import KeyPair, Owner, encode_seed

__all__ = [
    "ACCOUNT", "OPERATOR", "SYSTEM", "USER", "creds", "jwt", "operator_config", "public_of",
    "user_jwt",
]  # fmt: skip


def seed_of(owner: Owner, name: str) -> str:
    """Return the seed that goes with a name."""
    return encode_seed(owner, hashlib.sha256(name.encode()).digest())


OPERATOR = seed_of(Owner.OPERATOR, "operator")
SYSTEM = seed_of(Owner.ACCOUNT, "system account")
ACCOUNT = seed_of(Owner.ACCOUNT, "account")
USER = seed_of(Owner.USER, "user")

_UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)


def public_of(seed: str) -> str:
    """Return the public key of a seed."""
    return KeyPair.from_seed(seed).public


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def jwt(issuer: str, claims: dict[str, Any]) -> str:
    """Return a JWT that an issuer, given by its seed, has signed."""
    keys = KeyPair.from_seed(issuer)
    head = _part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    given = {"iat": 1700000000, "iss": keys.public, **claims}
    given.setdefault("jti", hashlib.sha256(json.dumps(given).encode()).hexdigest()[:32])
    body = _part(json.dumps(given).encode())
    return f"{head}.{body}.{_part(keys.sign(f'{head}.{body}'.encode()))}"


def user_jwt(
    name: str = "user",
    exp: float | None = None,
    nats: dict[str, Any] | None = None,
    *,
    seed: str = USER,
    issuer: str = ACCOUNT,
) -> str:
    """Return the JWT of a user.

    :param exp: Unix seconds at which it ends; never by default.
    :param nats: further claims, such as permissions.
    """
    rights = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    claims: dict[str, Any] = {
        "name": name,
        "sub": public_of(seed),
        "nats": {**rights, "type": "user", "version": 2, **(nats or {})},
    }
    return jwt(issuer, claims if exp is None else {**claims, "exp": int(exp)})


def creds(token: str, seed: str) -> str:
    """Return the content of a file with both, as NATS's tools write it."""
    return f"""-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


def _account_jwt(seed: str, name: str, nats: dict[str, Any] | None = None) -> str:
    claims = {
        "name": name,
        "sub": public_of(seed),
        "nats": {"limits": _UNLIMITED, "type": "account", "version": 2, **(nats or {})},
    }
    return jwt(OPERATOR, claims)


def operator_config(account: dict[str, Any] | None = None) -> str:
    """Return the configuration of a server in operator mode, with a system account.

    :param account: further claims of the account, such as ``revocations``.
    """
    operator = jwt(
        OPERATOR,
        {
            "name": "operator",
            "sub": public_of(OPERATOR),
            "nats": {"type": "operator", "version": 2, "system_account": public_of(SYSTEM)},
        },
    )
    return f"""operator: {operator}
system_account: {public_of(SYSTEM)}
resolver: MEMORY
resolver_preload: {{
    {public_of(SYSTEM)}: {_account_jwt(SYSTEM, "SYS")}
    {public_of(ACCOUNT)}: {_account_jwt(ACCOUNT, "ACC", account)}
}}
"""
