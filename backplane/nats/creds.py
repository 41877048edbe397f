"""Files with credentials of NATS: JWTs, seeds, and both in one.

A line with three dashes or more at both ends is a fence. What stands alone between two
fences is a block: the first one of a file is the JWT, the second one the seed. Without
fences a file is the JWT, or, with a line that begins like one, a seed.

Pure. Nothing here shows what it has read, but the claims of a JWT, which are public.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import attrs

from backplane.nats.errors import BadCredentials
from backplane.nats.nkeys import Owner, decode_public

__all__ = ["MAX_FILE", "Claims", "read_claims", "read_jwt", "read_seed"]

MAX_FILE: Final = 64 * 1024
"""Bytes of the largest file; JWTs have one or two thousand."""

_JWT: Final = "the JWT of a user"
_SEED: Final = "a seed"
_SEEDS: Final = ("SU", "SA", "SO", "SN", "SC")
_EXTRA: Final = "-_.="
_LAST: Final = 1e11


@attrs.frozen
class Claims:
    """What a user's JWT says.

    :ivar name: for people.
    :ivar subject: the user's public key.
    :ivar issuer: the account's public key.
    :ivar expires: Unix seconds, ``None`` for never.
    :ivar bearer: nobody must sign for it.
    """

    name: str
    subject: str
    issuer: str
    expires: float | None = None
    bearer: bool = False


def read_jwt(data: bytes) -> str:
    """Return the JWT of a file.

    :raises BadCredentials: when there is none.
    """
    lines = _lines(data, _JWT)
    blocks = _blocks(lines)
    if blocks:
        found = blocks[0]
    elif any(map(_is_fence, lines)):
        raise BadCredentials("a block that is not one line between two fences", _JWT)
    elif len(lines) == 1:
        found = lines[0]
    else:
        raise BadCredentials(f"{len(lines)} lines" if lines else "an empty file", _JWT)
    if found.count(".") != 2 or not _is_word(found):
        seed = found.startswith(_SEEDS) and "." not in found
        raise BadCredentials("a seed" if seed else "a text that is no JWT", _JWT)
    return found


def read_seed(data: bytes) -> str:
    """Return the seed of a file; whether it is a good one is not looked at.

    :raises BadCredentials: when there is none.
    """
    lines = _lines(data, _SEED)
    blocks = _blocks(lines)
    if len(blocks) > 1:
        return blocks[1]
    found = next((line for line in lines if line.startswith(_SEEDS) and "." not in line), None)
    if found is None:
        what = "an empty file" if not lines else "a file without one"
        raise BadCredentials(what, _SEED)
    return found


def read_claims(jwt: str) -> Claims:
    """Return what a user's JWT says; whether it is signed well is not looked at.

    :raises BadCredentials: for what is none.
    """
    parts = jwt.split(".")
    if len(parts) != 3:
        raise BadCredentials("a text that is no JWT", _JWT)
    header, claims = _part(parts[0]), _part(parts[1])
    if header.get("alg") not in ("ed25519-nkey", "ed25519"):
        raise BadCredentials("a JWT with signatures that NATS does not know", _JWT)
    subject, about = claims.get("sub"), claims.get("nats")
    about = about if isinstance(about, dict) else {}
    if not isinstance(subject, str):
        raise BadCredentials("a JWT without subject", _JWT)
    try:
        owner = decode_public(subject)[0]
    except BadCredentials:
        raise BadCredentials("a JWT whose subject is no key", _JWT) from None
    if owner is not Owner.USER:
        raise BadCredentials(f"the JWT of one that is no user but {owner.name.lower()}", _JWT)
    expires = claims.get("exp")
    if expires is not None and not _is_time(expires):
        raise BadCredentials("a JWT whose exp is no time", _JWT)
    return Claims(
        name=str(claims.get("name", ""))[:200],
        subject=subject,
        issuer=str(claims.get("iss", ""))[:200],
        expires=float(expires) if expires else None,
        bearer=about.get("bearer_token") is True,
    )


def _lines(data: bytes, wanted: str) -> list[str]:
    if len(data) > MAX_FILE:
        raise BadCredentials(f"more than {MAX_FILE} bytes", wanted)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadCredentials("bytes that are no text", wanted) from None
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return [line for line in lines if line]


def _is_fence(line: str) -> bool:
    return len(line) >= 6 and line.startswith("---") and line.endswith("---")


def _is_word(text: str) -> bool:
    return text.isascii() and all(char.isalnum() or char in _EXTRA for char in text)


def _blocks(lines: list[str]) -> list[str]:
    blocks, at = [], 0
    while at + 2 < len(lines):
        first, middle, last = lines[at : at + 3]
        if _is_fence(first) and _is_word(middle) and not _is_fence(middle) and _is_fence(last):
            blocks.append(middle)
            at += 3
        else:
            at += 1
    return blocks


def _is_time(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < _LAST  # type: ignore[operator]


def _part(text: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        raise BadCredentials("a JWT that cannot be read", _JWT) from None
    if not isinstance(found, dict):
        raise BadCredentials("a JWT that cannot be read", _JWT)
    return found
