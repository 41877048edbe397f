"""NATS's keys: how they are written, and what they sign.

A key is written in base32 without padding: a prefix that says whose it is, 32 bytes,
and a check sum of both, CRC-16/XMODEM with the lower byte first. The 32 bytes are
those of Ed25519. A seed, the private key, has ``S`` before the letter of its owner.

Pure: no files, no clock, no randomness. Nothing here shows a seed.
"""

from __future__ import annotations

import base64
import binascii
import enum
from typing import TYPE_CHECKING, Final

import attrs

from backplane.nats.errors import BadCredentials

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["KeyPair", "Owner", "decode_public", "decode_seed", "encode_public", "encode_seed"]

_SEED: Final = 18 << 3
_SIZE: Final = 32
_PUBLIC_LENGTH: Final = 56
_SEED_LENGTH: Final = 58


class Owner(enum.Enum):
    """Whose key one is; the value is its prefix."""

    ACCOUNT = 0
    CLUSTER = 2 << 3
    SERVER = 13 << 3
    OPERATOR = 14 << 3
    USER = 20 << 3

    @property
    def letter(self) -> str:
        """The first one of its public key."""
        return _to_text(bytes([self.value]))[0]


def encode_public(owner: Owner, raw: bytes) -> str:
    """Write a public key.

    :param raw: 32 bytes.
    """
    return _write(bytes([owner.value]), raw)


def encode_seed(owner: Owner, raw: bytes) -> str:
    """Write a seed.

    :param raw: 32 bytes.
    """
    return _write(bytes([_SEED | owner.value >> 5, (owner.value & 31) << 3]), raw)


def decode_public(text: str) -> tuple[Owner, bytes]:
    """Read a public key; return whose it is, and its 32 bytes.

    :raises BadCredentials: for anything else.
    """
    data = _read(text, _PUBLIC_LENGTH, "a public key")
    return _owner(data[0], "a public key"), data[1:]


def decode_seed(text: str) -> tuple[Owner, bytes]:
    """Read a seed; return whose it is, and its 32 bytes.

    :raises BadCredentials: for anything else.
    """
    data = _read(text, _SEED_LENGTH, "a seed")
    if data[0] & 0xF8 != _SEED or data[1] & 7:
        raise BadCredentials("a key that is no seed", "a seed, such as SU…")
    return _owner((data[0] & 7) << 5 | data[1] >> 3, "a seed"), data[2:]


@attrs.frozen(eq=False)
class KeyPair:
    """A key that can sign.

    :ivar public: in text.
    """

    owner: Owner
    public: str
    _private: Ed25519PrivateKey = attrs.field(repr=False)

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Make it of a seed.

        :raises BadCredentials: for what is none.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        owner, raw = decode_seed(seed)
        private = Ed25519PrivateKey.from_private_bytes(raw)
        return cls(owner, encode_public(owner, private.public_key().public_bytes_raw()), private)

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._private.sign(data)


def _owner(prefix: int, what: str) -> Owner:
    try:
        return Owner(prefix)
    except ValueError:
        raise BadCredentials(f"{what} of an unknown kind", f"{what} of a user") from None


def _check_sum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")


def _to_text(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=")


def _write(prefix: bytes, raw: bytes) -> str:
    if len(raw) != _SIZE:
        raise ValueError(f"a key has {_SIZE} bytes, not {len(raw)}")
    data = prefix + raw
    return _to_text(data + _check_sum(data))


def _read(text: str, length: int, what: str) -> bytes:
    if len(text) != length:
        found = f"a text of {len(text)} characters" if text else "nothing"
        raise BadCredentials(found, f"{what} of {length} characters")
    try:
        data = base64.b32decode(text + "=" * (-length % 8))
    except ValueError:
        raise BadCredentials("other letters than those of base32", what) from None
    data, told = data[:-2], data[-2:]
    if _check_sum(data) != told or _to_text(data + told) != text:
        raise BadCredentials(f"{what} whose check sum is wrong", f"{what} without a typing error")
    return data
